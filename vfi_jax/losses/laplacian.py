"""Laplacian-pyramid distance."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vfi_jax.errors import UsageError
from vfi_jax.ops.kinks import absolute
from vfi_jax.types import Array

TAPS = np.array([1, 4, 6, 4, 1]) / 16


def laplacian_pyramid(image: Float[Array, "b h w c"], levels: int) -> list[Float[Array, "b h2 w2 c"]]:
    """Band-pass images, fine to coarse: `P_l = x_l - up(down(x_l))`, `x_{l+1} = down(x_l)`.

    `down` blurs with outer([1,4,6,4,1])/256, edges reflected, and keeps every second pixel; `up` puts zeros between
    and blurs with 4 times the kernel. The low-pass image that remains is not part of it.

    Raises:
      UsageError: a side that `2**levels` does not divide, or a level smaller than 3 pixels, which cannot be reflected.
    """
    height, width = image.shape[1:3]
    if height % 2**levels or width % 2**levels or min(height, width) < 3 * 2 ** (levels - 1):
        raise UsageError(
            f"a pyramid of {levels} levels needs sides divisible by {2**levels} and of {3 * 2 ** (levels - 1)} or more "
            f"pixels, not {width}x{height}: choose another crop, or fewer levels"
        )
    bands = []
    for _ in range(levels):
        smaller = _both_axes(_down, image)
        bands.append(image - _both_axes(_up, smaller))
        image = smaller
    return bands


def laplacian_loss(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], levels: int) -> Float[Array, ""]:
    """`sum_l mean |P_l(a) - P_l(b)|`, no weights: blind to a constant offset. RIFE (ECCV 2022) uses five levels."""
    # The pyramid is linear: that of the difference is the difference of the two.
    return sum(absolute(band).mean() for band in laplacian_pyramid(a - b, levels))


# Along one axis `down` and `up` are small constant matrices: two products a level compile and run faster, forward and
# backward, than ten slices of a padded image.


def _both_axes(matrix: Callable[[int], np.ndarray], image: Array) -> Array:
    rows, columns = (jnp.asarray(matrix(side), image.dtype) for side in image.shape[1:3])
    out = jnp.einsum("yh,bhwc->bywc", rows, image, precision="highest")
    return jnp.einsum("xw,bywc->byxc", columns, out, precision="highest")


def _blur(side: int) -> np.ndarray:
    """`[side, side]`, the five taps, reflected at the edges without repeating them."""
    position = np.arange(side)[:, None] + np.arange(-2, 3)
    mirrored = (side - 1) - np.abs((side - 1) - np.abs(position))
    return (np.eye(side)[mirrored] * TAPS[:, None]).sum(1)


def _down(side: int) -> np.ndarray:
    """`[side / 2, side]`."""
    return _blur(side)[::2]


def _up(side: int) -> np.ndarray:
    """`[2 * side, side]`: zeros between, then twice the blur."""
    return 2 * _blur(2 * side)[:, ::2]
