"""LPIPS (version 0.1) with AlexNet or VGG16, and FloLPIPS with RAFT in the place of PWC-Net; users bring the weights.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018; D. Danier et al.,
"FloLPIPS", PCS 2022. Frames are RGB on the scale 0..255, rounded or not as a protocol has them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Shaped

from vfi_jax.types import Array

# Of what is fed in, -1..1
SHIFT = np.float32([-0.030, -0.088, -0.188])
SPREAD = np.float32([0.458, 0.448, 0.450])
TINY = 1e-10  # added to the length of a feature

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


def _unit(images: np.ndarray) -> np.ndarray:
    return np.float32(images) / np.float32(255)
