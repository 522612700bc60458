"""The time of the predicted frame, in each form that models and wrappers take."""

from __future__ import annotations

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.ops.resize import resize_to
from vfi_jax.types import Array


def time_array(t: ArrayLike, frames: Float[Array, "b n h w c"]) -> Float[Array, "b #h #w 1"]:
    """Returns t as `[b, 1, 1, 1]`, or as a map of the frames' size, float32.

    Args:
      t: a number; one per sample, `[b]` or `[b, 1, 1, 1]`; or a map `[b, h, w, 1]` or `[h, w, 1]`.
      frames: of which `b`, `h` and `w` are taken.

    Raises:
      UserError: t has another shape.
    """
    batch, _, height, width, _ = frames.shape
    array = jnp.asarray(t, jnp.float32)
    spread = array.reshape(-1, 1, 1, 1) if array.ndim < 2 else array[None] if array.ndim == 3 else array
    full = (batch, height, width, 1)
    if spread.ndim != 4 or any(side not in (1, wanted) for side, wanted in zip(spread.shape, full, strict=True)):
        raise UserError(f"t has shape {array.shape}: it is a number, one per sample {(batch,)}, or a map {full}")
    if spread.shape[1:3] == (1, 1):
        return jnp.broadcast_to(spread, (batch, 1, 1, 1))
    return jnp.broadcast_to(spread, full)


def reference_of(
    frames: Float[Array, "b n h w c"], reference: Float[Array, "b h w c"] | None, reference_t: ArrayLike | None
) -> tuple[Float[Array, "b h w c"], ArrayLike]:
    """Returns a reference frame and its time or distance map; where none is given, frame 0 at 0.

    Args:
      frames: the inputs.
      reference: a frame between the inputs, or one of them.
      reference_t: its time or map, in any form that `time_array` takes.

    Raises:
      UserError: one of the two is given without the other.
    """
    if (reference is None) != (reference_t is None):
        raise UserError("a reference frame and its time belong together: give both, reference and reference_t")
    if reference is None or reference_t is None:
        return frames[:, 0], 0.0
    return jnp.asarray(reference), reference_t


def time_map(
    t: ArrayLike, frames: Float[Array, "b n h w c"], size: tuple[int, int] | None = None
) -> Float[Array, "b h2 w2 1"]:
    """Spreads t over the frames' size, or over another, to which a map is resized; float32.

    Args:
      t: see `time_array`.
      frames: of which the shape is taken.
      size: (height, width); None: that of the frames.

    Raises:
      UserError: t has another shape.
    """
    array, size = time_array(t, frames), size or frames.shape[2:4]
    if array.shape[1:3] != (1, 1):
        return resize_to(array, size)
    return jnp.broadcast_to(array, (array.shape[0], *size, 1))
