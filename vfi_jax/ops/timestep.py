"""The time of the predicted frame as a map."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.types import Array


def time_map(t: ArrayLike, frames: Float[Array, "b n h w c"]) -> Float[Array, "b h w 1"]:
    """Spreads t (a number, `[b, 1, 1, 1]`, or a map already) over the frames' size, float32."""
    batch, _, height, width, _ = frames.shape
    return jnp.broadcast_to(jnp.asarray(t, jnp.float32), (batch, height, width, 1))
