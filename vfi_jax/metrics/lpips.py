"""LPIPS (version 0.1) with AlexNet or VGG16, and FloLPIPS with RAFT in the place of PWC-Net; users bring the weights.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018; D. Danier et al.,
"FloLPIPS", PCS 2022. Frames are RGB on the scale 0..255, rounded or not as a protocol has them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from vfi_jax.errors import UserError
from vfi_jax.inference.flow import FlowEstimator
from vfi_jax.types import Array
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import load

# Of what is fed in, -1..1
SHIFT = np.float32([-0.030, -0.088, -0.188])
SPREAD = np.float32([0.458, 0.448, 0.450])
TINY = 1e-10  # added to the length of a feature
RAFT_FILE = "raft-things.pth"

Params = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Net:
    """A backbone: convolutions with ReLU, some behind a max pooling, some of whose outputs are compared.

    Attributes:
      backbone: torchvision's file, by the start of its name.
      linear: the file of the package `lpips` that weighs the channels.
      layers: index of each convolution in `features`, its stride and its padding.
      pooled: those behind a pooling.
      tapped: those that are compared.
      pool: side of the pooling; its stride is 2.
    """

    backbone: str
    linear: str
    layers: tuple[tuple[int, int, int], ...]
    pooled: tuple[int, ...]
    tapped: tuple[int, ...]
    pool: int


NETS: Mapping[str, Net] = MappingProxyType(
    {
        "alex": Net(
            "alexnet",
            "alex.pth",
            ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)),
            (3, 6),
            (0, 3, 6, 8, 10),
            3,
        ),
        "vgg": Net(
            "vgg16",
            "vgg.pth",
            tuple((index, 1, 1) for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
            (5, 10, 17, 24),
            (2, 7, 14, 21, 28),
            2,
        ),
    }
)


def read(folder: Path, name: str) -> dict[str, np.ndarray] | None:
    """The weights of a net from torchvision's and LPIPS's own files in a folder; None where one is missing.

    Args:
      folder: with `alexnet-*.pth` and `alex.pth`, or `vgg16-*.pth` and `vgg.pth`.
      name: in NETS.

    Raises:
      UserError: no such folder; files that hold something else.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it is to hold {NETS[name].backbone}-*.pth and {NETS[name].linear}")
    net = NETS[name]
    backbones, linear = sorted(folder.glob(f"{net.backbone}*.pth")), folder / net.linear
    if not backbones or not linear.exists():
        return None
    state = {**weight_files.read_weights(backbones[0])[0], **weight_files.read_weights(linear)[0]}
    wanted = [f"features.{index}.{kind}" for index, _, _ in net.layers for kind in ("weight", "bias")]
    wanted += [f"lin{index}.model.1.weight" for index in range(len(net.tapped))]
    if missing := [each for each in wanted if each not in state]:
        raise UserError(f"{backbones[0]} and {linear} are not those of LPIPS: {missing[0]} is missing")
    return {each: np.asarray(state[each], np.float32) for each in wanted}


def lpips(
    name: str, params: Params, frame: Shaped[Array, "b h w 3"], truth: Shaped[Array, "b h w 3"]
) -> Float[Array, "b"]:
    """The distance of each pair; 0 for equal ones.

    Args:
      name: in NETS.
      params: of `read`.
      frame: on the scale 0..255.
      truth: the same.
    """
    return _lpips(name, params, frame, truth, None)


def flow_weighted_lpips(
    name: str,
    params: Params,
    frame: Shaped[Array, "b h w 3"],
    truth: Shaped[Array, "b h w 3"],
    flow: Float[Array, "b h w 2"],
) -> Float[Array, "b"]:
    """The distance with every place weighed by the length of `flow` there: how far the two frames' motions differ.

    Args:
      name: in NETS.
      params: of `read`.
      frame: on the scale 0..255.
      truth: the same.
      flow: the flow from the frame before to `truth`, less that to `frame`; zero everywhere weighs all places alike.
    """
    return _lpips(name, params, frame, truth, flow)


@functools.partial(jax.jit, static_argnums=0)
def _lpips(name: str, params: Params, frame: Array, truth: Array, flow: Array | None) -> Array:
    both = jnp.concatenate([frame, truth]).astype(jnp.float32) / 127.5 - 1
    total = 0.0
    for index, features in enumerate(_features(NETS[name], params, (both - SHIFT) / SPREAD)):
        unit = features / (jnp.sqrt((features**2).sum(-1, keepdims=True)) + TINY)
        ours, theirs = jnp.split(unit, 2)
        weight = params[f"lin{index}.model.1.weight"].reshape(-1)
        place = jnp.einsum("bhwc,c->bhw", (ours - theirs) ** 2, weight, precision="highest")
        total += place.mean((1, 2)) if flow is None else (place * _weights(flow, place.shape)).sum((1, 2))
    return total


def _weights(flow: Array, shape: tuple[int, ...]) -> Array:
    """Shares of the length of the flow, resized to `[b, h, w]`."""
    resized = jax.image.resize(flow, (*shape, 2), "linear", antialias=False)
    length = jnp.sqrt((resized**2).sum(-1))
    total = length.sum((1, 2), keepdims=True)
    return jnp.where(total == 0, 1 / (shape[1] * shape[2]), length / jnp.where(total == 0, 1, total))


def _features(net: Net, params: Params, images: Array) -> list[Array]:
    """What is compared, each `[b, h, w, c]`."""
    found = []
    for index, stride, padding in net.layers:
        if index in net.pooled:
            window = (1, net.pool, net.pool, 1)
            images = jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), "VALID")
        kernel = jnp.transpose(params[f"features.{index}.weight"], (2, 3, 1, 0))
        images = jax.lax.conv_general_dilated(
            images,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            precision="highest",
        )
        images = jax.nn.relu(images + params[f"features.{index}.bias"])
        if index in net.tapped:
            found.append(images)
    return found


def judges(folder: Path) -> dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]]:
    """What can be told with the weights in a folder: `lpips_alex`, `lpips_vgg`, and `flolpips_raft` beside the first.

    Each takes frames, truths and the frames before them, `[b, h, w, 3]` on the scale 0..255.

    Raises:
      UserError: none can; files that hold something else.
    """
    params = {name: jax.device_put(state) for name in NETS if (state := read(folder, name)) is not None}
    if not params:
        known = " or ".join(f"{net.backbone}-*.pth and {net.linear}" for net in NETS.values())
        raise UserError(f"{folder} holds no weights of LPIPS: {known}")

    def plain(name: str) -> Callable[..., dict[str, np.ndarray]]:
        return lambda frame, truth, _: {f"lpips_{name}": np.asarray(lpips(name, params[name], frame, truth))}

    found = {f"lpips_{name}": plain(name) for name in params}
    if "alex" in params and (folder / RAFT_FILE).exists():
        estimate = FlowEstimator(*load.load("raft", folder / RAFT_FILE))

        def weighted(frame: np.ndarray, truth: np.ndarray, before: np.ndarray) -> dict[str, np.ndarray]:
            before, one, other = (_unit(images) for images in (before, truth, frame))
            flow = estimate(before, one) - estimate(before, other)
            return {"flolpips_raft": np.asarray(flow_weighted_lpips("alex", params["alex"], frame, truth, flow))}

        found["flolpips_raft"] = weighted
    return found


def _unit(images: np.ndarray) -> np.ndarray:
    return np.float32(images) / np.float32(255)
