"""Local-contrast distance: compares mean gradient magnitudes, whatever the positions of the edges."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.errors import UsageError
from vfi_jax.ops.gray import sobel
from vfi_jax.ops.kinks import absolute
from vfi_jax.types import Array

CELL = 8  # pixels a side
TINY = 1e-3  # of brightness: keeps the gradient of the square root finite


def contrast_loss(frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """`mean |c(frame) - c(target)|`, c the mean Sobel gradient magnitude of the gray image in each cell of 8x8 pixels.

    Pixel-wise distances reward a blurred average where motion is uncertain; this term penalizes it, because a blurred
    frame has less contrast than its target. Gradients are Sobel's divided by 8: plain differences of neighbors would
    reward a checkerboard of single pixels most. This project's own.

    Args:
      frame: the prediction, in 0..1.
      target: the true frame, in 0..1.

    Raises:
      UsageError: a side below 10 pixels.
    """
    if min(frame.shape[1:3]) < CELL + 2:
        raise UsageError(
            f"frames of {frame.shape[2]}x{frame.shape[1]} have no cell of {CELL}x{CELL} pixels: enlarge the crop"
        )
    return absolute(_contrast(frame) - _contrast(target)).mean()


def _contrast(image: Array) -> Array:
    """`[b, (h - 2) // 8, (w - 2) // 8]`."""
    across, down = sobel(image.mean(-1))
    magnitude = jnp.sqrt((across / 8) ** 2 + (down / 8) ** 2 + TINY**2)
    cell = (1, CELL, CELL)
    return lax.reduce_window(magnitude, 0.0, lax.add, cell, cell, "VALID") / CELL**2
