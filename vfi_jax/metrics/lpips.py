"""LPIPS (version 0.1) with AlexNet or VGG16, and FloLPIPS with RAFT instead of PWC-Net; users bring the weights.

R. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018; D. Danier et al.,
"FloLPIPS", PCS 2022. Frames are RGB on the scale 0..255, rounded or not.
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

# Mean and deviation of the network's inputs, which are in -1..1.
SHIFT = np.float32([-0.030, -0.088, -0.188])
SPREAD = np.float32([0.458, 0.448, 0.450])
EPSILON = 1e-10  # added to the norm of a feature

Params = Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Net:
    """A backbone: convolutions with ReLU, of which some follow a max pooling and some have their outputs compared.

    Attributes:
      backbone: start of the name of torchvision's file.
      linear: name of the file of the package `lpips` with the channels' weights.
      layers: index of each convolution in torchvision's `features`, its stride and its padding.
      pooled: indices of convolutions that follow a pooling.
      tapped: indices of convolutions whose outputs are compared.
      pool: side of the pooling window; its stride is 2.
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
    """LPIPS: `sum_l mean_hw sum_c w_lc (u_l(frame) - u_l(truth))^2`, u_l the features of level l, normalized per pixel.

    Args:
      name: a name in NETS.
      params: parameters under the names of torchvision's and LPIPS's files.
      frame: on the scale 0..255.
      truth: likewise.

    Returns:
      The distance of each pair; 0 for equal frames.
    """
    return _lpips(name, params, frame, truth, None)


def flow_weighted_lpips(
    name: str,
    params: Params,
    frame: Shaped[Array, "b h w 3"],
    truth: Shaped[Array, "b h w 3"],
    flow: Float[Array, "b h w 2"],
) -> Float[Array, "b"]:
    """FloLPIPS: LPIPS whose mean over pixels is weighted by how far the motions of the two frames differ.

    Args:
      name: a name in NETS.
      params: parameters under the names of torchvision's and LPIPS's files.
      frame: on the scale 0..255.
      truth: likewise.
      flow: the flow from the previous frame to `truth` minus the flow to `frame`, pixels; zero everywhere gives all
        pixels the same weight.

    Returns:
      The distance of each pair.
    """
    return _lpips(name, params, frame, truth, flow)


@functools.partial(jax.jit, static_argnums=0)
def _lpips(name: str, params: Params, frame: Array, truth: Array, flow: Array | None) -> Array:
    both = jnp.concatenate([frame, truth]).astype(jnp.float32) / 127.5 - 1
    total = 0.0
    for index, features in enumerate(_features(NETS[name], params, (both - SHIFT) / SPREAD)):
        unit = features / (jnp.sqrt((features**2).sum(-1, keepdims=True)) + EPSILON)
        ours, theirs = jnp.split(unit, 2)
        weight = params[f"lin{index}.model.1.weight"].reshape(-1)
        distance = jnp.einsum("bhwc,c->bhw", (ours - theirs) ** 2, weight, precision="highest")
        total += distance.mean((1, 2)) if flow is None else (distance * _weights(flow, distance.shape)).sum((1, 2))
    return total


def _weights(flow: Array, shape: tuple[int, ...]) -> Array:
    """The length of the flow, resized to `[b, h, w]` and normalized to a sum of 1 per image."""
    resized = jax.image.resize(flow, (*shape, 2), "linear", antialias=False)
    length = jnp.sqrt((resized**2).sum(-1))
    total = length.sum((1, 2), keepdims=True)
    return jnp.where(total == 0, 1 / (shape[1] * shape[2]), length / jnp.where(total == 0, 1, total))


def _features(net: Net, params: Params, images: Array) -> list[Array]:
    """The features that are compared, each `[b, h, w, c]`."""
    tapped = []
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
            tapped.append(images)
    return tapped
