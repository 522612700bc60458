"""Deformable sampling: nine weighted samples around each pixel, whose places are predicted, in groups of channels."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from vfi_jax.ops.warp import sample_inside
from vfi_jax.types import Array

TAPS = np.indices((3, 3)).reshape(2, -1).T.astype(np.float32) - 1  # p_i, row by row: (y, x)


def deform_conv(
    x: Float[Array, "b h w i"],
    offsets: Float[Array, "b h w g18"],
    weights: Float[Array, "b h w g9"],
    kernel: Float[Array, "3 3 i o"],
) -> Float[Array, "b h w o"]:
    """`out(p) = sum_i K_i . (W_{g,i}(p) x_g(p + p_i + O_{g,i}(p)))`: a modulated deformable 3x3 convolution.

    p_i are the nine places of the 3x3 grid, row by row, x_g the g-th of the equal groups of channels, sampled
    bilinearly with zeros outside, K_i the slice of the kernel at p_i over all channels. Source: Xizhou Zhu et al.,
    "Deformable ConvNets v2", CVPR 2019. One place is computed after another, and again for the gradient: nine samples
    of all channels are never kept at once.

    Args:
      x: sampled in float32.
      offsets: O in pixels, float32: group by group, of each the nine places, of each (y, x).
      weights: W, float32: group by group, of each the nine places.
      kernel: K, in the dtype of the products.

    Returns:
      The sums, in float32.
    """
    channels, features = kernel.shape[-2:]
    groups = weights.shape[-1] // len(TAPS)
    by_tap = kernel.reshape(len(TAPS), groups, channels // groups, features)

    def add(total: Array, samples: Array, kernel: Array) -> Array:
        products = jnp.einsum("bghwi,gio->bhwo", samples.astype(kernel.dtype), kernel)
        return total + products.astype(jnp.float32)

    return _sum(add, jnp.zeros((*x.shape[:-1], features)), x, offsets, weights, by_tap)


def deform_attend(
    x: Float[Array, "b h w c"], offsets: Float[Array, "b h w g18"], weights: Float[Array, "b h w g9"]
) -> Float[Array, "b h w c"]:
    """`out_g(p) = sum_i W_{g,i}(p) x_g(p + p_i + O_{g,i}(p))`: `deform_conv` without a kernel; float32."""
    batch, height, width, channels = x.shape
    groups = weights.shape[-1] // len(TAPS)

    def add(total: Array, samples: Array, _: Array) -> Array:
        return total + samples

    total = jnp.zeros((batch, groups, height, width, channels // groups))
    out = _sum(add, total, x, offsets, weights, jnp.zeros(len(TAPS)))
    return jnp.moveaxis(out, 1, 3).reshape(x.shape)


def _sum(
    add: Callable[[Array, Array, Array], Array], total: Array, x: Array, offsets: Array, weights: Array, kernel: Array
) -> Array:
    """Adds the weighted samples of the nine places, `[b, g, h, w, c / g]` each, with the slice of `kernel` of each."""
    batch, height, width, channels = x.shape
    taps = len(TAPS)
    groups = weights.shape[-1] // taps
    image = jnp.moveaxis(x.astype(jnp.float32).reshape(batch, height, width, groups, channels // groups), 3, 1)
    # To `[taps, 2, b, g, h, w]` and `[taps, b, g, h, w]`.
    offsets = offsets.astype(jnp.float32).reshape(batch, height, width, groups, taps, 2).transpose(4, 5, 0, 3, 1, 2)
    weights = weights.astype(jnp.float32).reshape(batch, height, width, groups, taps).transpose(4, 0, 3, 1, 2)
    rows, columns = jnp.arange(height, dtype=jnp.float32)[:, None], jnp.arange(width, dtype=jnp.float32)

    @jax.checkpoint
    def step(total: Array, tap: tuple[Array, ...]) -> tuple[Array, None]:
        place, offset, weight, kernel = tap
        samples = sample_inside(image, columns + place[1] + offset[1], rows + place[0] + offset[0])
        return add(total, weight[..., None] * samples, kernel), None

    return lax.scan(step, total, (jnp.asarray(TAPS), offsets, weights, kernel))[0]
