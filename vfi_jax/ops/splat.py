"""Forward warping (splatting): every pixel is added to the four pixels around the end of its flow.

S. Niklaus and F. Liu, "Softmax Splatting for Video Frame Interpolation", CVPR 2020, as XLA's scatter-add: deterministic
on CPU, in the order of the device elsewhere. Image and flow are on the source grid, flow (x, y) in pixels, finite.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.ops.bilinear import corners
from vfi_jax.types import Array


def splat_sum(image: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
    """`out[q] = sum_p k(p + flow[p] - q) image[p]`, k the bilinear kernel `(1 - |x|)(1 - |y|)` where both are below 1.

    Parts that fall outside are lost, and the rest is not rescaled. This is the transpose of bilinear sampling at
    `p + flow` with zeros outside.
    """
    return jax.vmap(_splat_one)(image, flow)


def splat_average(image: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]) -> Float[Array, "b h w c"]:
    """`S(image) / S(1)`, S the sum of `splat_sum`; 0 where nothing falls (the weight is 0 exactly)."""
    return splat_linear(image, flow, jnp.ones_like(image[..., :1]))


def splat_linear(
    image: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"], metric: Float[Array, "b h w 1"]
) -> Float[Array, "b h w c"]:
    """`S(image * metric) / S(metric)`; where the divisor is 0 exactly, it is 1. The metric is used unchanged."""
    both = splat_sum(jnp.concatenate([image * metric, metric], -1), flow)
    weight = both[..., -1:]
    return both[..., :-1] / jnp.where(weight == 0, 1, weight)


def splat_softmax(
    image: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"], metric: Float[Array, "b h w 1"]
) -> Float[Array, "b h w c"]:
    """`S(image * exp(metric)) / S(exp(metric))`: the pixel with the larger metric is in front.

    Part of the public API for models with softmax splatting. The maximum is not subtracted before the exponential.
    """
    return splat_linear(image, flow, jnp.exp(metric))


def _splat_one(image: Array, flow: Array) -> Array:
    height, width, channels = image.shape
    out = jnp.zeros((height * width, channels), image.dtype)
    for index, weight in corners(flow):
        out = out.at[index].add(weight[..., None] * image, mode="drop")
    return out.reshape(height, width, channels)
