"""Pads frames to legal sizes and crops the result."""

from __future__ import annotations

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.types import Array


@flax.struct.dataclass
class Padding:
    """How the published scripts enlarge a frame to a legal size.

    Attributes:
      multiple: sides become multiples of `max(multiple, int((resized or multiple) / scale))`.
      mode: "constant" (zeros), "edge" or "reflect".
      position: "end" (bottom and right only) or "center".
      resized: what the sides of frames resized by a `scale` must be multiples of; 0: `multiple`.
    """

    multiple: int
    mode: str = "constant"
    position: str = "end"
    resized: int = 0


def pad_amounts(height: int, width: int, padding: Padding, scale: float = 1.0) -> tuple[tuple[int, int], ...]:
    """Returns ((top, bottom), (left, right)) in pixels: for sides as `padding` has them."""
    multiple = max(padding.multiple, int((padding.resized or padding.multiple) / scale))
    amounts = []
    for side in (height, width):
        missing = -side % multiple
        before = missing // 2 if padding.position == "center" else 0
        amounts.append((before, missing - before))
    return tuple(amounts)


def pad(frames: np.ndarray, padding: Padding, scale: float = 1.0) -> np.ndarray:
    """Pads `[..., h, w, c]` on the host, so that all sizes with one padded shape share a compiled program.

    Raises:
      UserError: the frame is too small to be reflected.
    """
    amounts = pad_amounts(*frames.shape[-3:-1], padding, scale)
    if not any(sum(pair) for pair in amounts):
        return frames
    if padding.mode == "reflect" and not _reflectable(frames, amounts):
        raise UserError(f"frames of {frames.shape[-2]}x{frames.shape[-3]} are too small to be padded by reflection")
    return np.pad(frames, [(0, 0)] * (frames.ndim - 3) + [*amounts, (0, 0)], mode=padding.mode)


def pad_reflected(frames: Float[Array, "*b h w c"], padding: Padding, model: str) -> Float[Array, "*b h2 w2 c"]:
    """Pads by reflection on the device, for models that do it themselves; see `Padding`.

    Raises:
      UserError: the frame is too small to be reflected; names the model.
    """
    amounts = pad_amounts(*frames.shape[-3:-1], padding)
    if not _reflectable(frames, amounts):
        raise UserError(
            f"frames of {frames.shape[-2]}x{frames.shape[-3]} are too small for {model}, "
            f"which reflects them to multiples of {padding.multiple}"
        )
    return jnp.pad(frames, [(0, 0)] * (frames.ndim - 3) + [*amounts, (0, 0)], mode="reflect")


def _reflectable(frames: Array, amounts: tuple[tuple[int, int], ...]) -> bool:
    return all(max(pair) < side for pair, side in zip(amounts, frames.shape[-3:-1], strict=True))


def crop(frames: Array, height: int, width: int, padding: Padding, scale: float = 1.0) -> Array:
    """Undoes `pad` or `pad_reflected` for frames that were `height` x `width`."""
    (top, _), (left, _) = pad_amounts(height, width, padding, scale)
    return frames[..., top : top + height, left : left + width, :]
