"""Laplacian-pyramid distance."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

TAPS = np.array([1, 4, 6, 4, 1], np.float32) / 16


def laplacian_pyramid(image: Float[Array, "b h w c"], levels: int) -> list[Float[Array, "b h2 w2 c"]]:
    """Band-pass images, fine to coarse: `P_l = x_l - up(down(x_l))`, `x_{l+1} = down(x_l)`.

    `down` blurs with outer([1,4,6,4,1])/256, edges reflected, and keeps every second pixel; `up` puts zeros between
    and blurs with 4 times the kernel. The low-pass image that remains is not part of it.

    Raises:
      ValueError: a side that `2**levels` does not divide, or a level smaller than 3 pixels, which cannot be reflected.
    """
    height, width = image.shape[1:3]
    if height % 2**levels or width % 2**levels or min(height, width) < 3 * 2 ** (levels - 1):
        raise ValueError(f"{levels} pyramid levels need sides divisible by {2**levels} and >= {3 * 2 ** (levels - 1)}")
    bands = []
    for _ in range(levels):
        smaller = _blur(image)[:, ::2, ::2]
        bands.append(image - _up(smaller))
        image = smaller
    return bands


def laplacian_loss(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], levels: int) -> Float[Array, ""]:
    """`sum_l mean |P_l(a) - P_l(b)|`, no weights: blind to a constant offset. RIFE (ECCV 2022) uses five levels."""
    # The pyramid is linear: that of the difference is the difference of the two.
    return sum(jnp.abs(band).mean() for band in laplacian_pyramid(a - b, levels))


def _blur(image: Array, gain: float = 1.0) -> Array:
    padded = jnp.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    height, width = image.shape[1:3]
    rows = sum(np.float32(gain) * tap * padded[:, i : i + height] for i, tap in enumerate(TAPS))
    return sum(tap * rows[:, :, i : i + width] for i, tap in enumerate(TAPS))


def _up(image: Array) -> Array:
    batch, height, width, channels = image.shape
    spread = jnp.zeros((batch, height, 2, width, 2, channels), image.dtype).at[:, :, 0, :, 0].set(image)
    return _blur(spread.reshape(batch, 2 * height, 2 * width, channels), gain=4.0)
