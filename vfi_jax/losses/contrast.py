"""How far local contrast lies below the target's: a distance of means that is indifferent to where the edges are."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.types import Array

CELL = 8  # pixels a side
TINY = 1e-3  # of brightness: keeps the gradient of the root finite


def contrast_loss(frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    """`mean |c(frame) - c(target)|`, c the mean gradient magnitude of the grey image in each cell of 8x8 pixels.

    A frame that is right on average but blurred has less contrast than the target; distances from pixel to pixel reward
    that where motion is uncertain. This project's own.

    Args:
      frame: in 0..1.
      target: likewise.

    Raises:
      ValueError: a side below 9 pixels.
    """
    if min(frame.shape[1:3]) <= CELL:
        raise ValueError(f"a frame of {frame.shape[2]}x{frame.shape[1]} has no cell of {CELL}x{CELL} pixels")
    return jnp.abs(_contrast(frame) - _contrast(target)).mean()


def _contrast(image: Array) -> Array:
    """`[b, h // 8, w // 8]` at most, of the differences to the next row and column."""
    grey = image.mean(-1)
    down, across = grey[:, 1:, :-1] - grey[:, :-1, :-1], grey[:, :-1, 1:] - grey[:, :-1, :-1]
    magnitude = jnp.sqrt(down**2 + across**2 + TINY**2)
    cell = (1, CELL, CELL)
    return lax.reduce_window(magnitude, 0.0, lax.add, cell, cell, "VALID") / CELL**2
