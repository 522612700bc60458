"""Soft census ("ternary") distance: compares each pixel's order among its neighbors, not its brightness."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vfi_jax.types import Array

NORMALIZER, SATURATION = 0.81, 0.1


def census_map(
    a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], patch: int, border: int
) -> Float[Array, "b h w 1"]:
    """Mean over offsets and channels of `e^2 / (0.1 + e^2)`, in 0..1.

    e is the difference between a and b of `d / sqrt(0.81 + d^2)`, d that between the pixel at an offset of a `patch`
    x `patch` window (zeros outside) and its center. The center counts, and each channel is compared separately.

    With 7, 1 and gray by luma: `Ternary` of RIFE (ECCV 2022). With 7, 3 and the plain mean: the census loss of IFRNet
    and AMT; with 3, 1 on features: their geometry loss.

    Args:
      a: on the scale 0..1.
      b: the same.
      patch: odd, pixels.
      border: pixels at the frame's edge where the map is zero.
    """
    padded_a, padded_b = _padded(a, patch // 2), _padded(b, patch // 2)

    @jax.checkpoint  # a gradient would keep several images for each offset
    def add(total: Array, offset: Array) -> tuple[Array, None]:
        error = _normalized(_at(padded_a, offset, a) - a) - _normalized(_at(padded_b, offset, b) - b)
        return total + error**2 / (SATURATION + error**2), None

    # A loop on the device: 49 unrolled offsets take 10 s to compile.
    total, _ = jax.lax.scan(add, jnp.zeros_like(a), np.indices((patch, patch)).reshape(2, -1).T)
    mean = total.mean(-1, keepdims=True) / patch**2
    edges = ((0, 0), (border, border), (border, border), (0, 0))
    return jnp.pad(mean[:, border : mean.shape[1] - border, border : mean.shape[2] - border], edges)


def census_loss(frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """The census loss of IFRNet and AMT: 7x7, gray as the mean of the channels, no gradient to the target.

    The mean is over all pixels, the 3 at the border, which are zero, included.
    """
    gray = jax.lax.stop_gradient(target.mean(-1, keepdims=True))
    return census_map(frame.mean(-1, keepdims=True), gray, patch=7, border=3).mean()


def _padded(image: Array, reach: int) -> Array:
    return jnp.pad(image, ((0, 0), (reach, reach), (reach, reach), (0, 0)))


def _at(padded: Array, offset: Array, like: Array) -> Array:
    return jax.lax.dynamic_slice(padded, (0, offset[0], offset[1], 0), like.shape)


def _normalized(difference: Array) -> Array:
    return difference * jax.lax.rsqrt(NORMALIZER + difference**2)
