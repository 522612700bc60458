"""Padding frames to legal sizes, and cropping the result."""

from __future__ import annotations

import flax.struct
import numpy as np

from vfi_jax.errors import UserError


@flax.struct.dataclass
class Padding:
    """How the published scripts enlarge a frame to a legal size.

    Attributes:
      multiple: sides become multiples of `max(multiple, int(multiple / scale))`.
      mode: "constant" (zeros), "edge" or "reflect".
      position: "end" (bottom and right only) or "center".
    """

    multiple: int
    mode: str = "constant"
    position: str = "end"


def pad_amounts(height: int, width: int, padding: Padding, scale: float = 1.0) -> tuple[tuple[int, int], ...]:
    """Returns ((top, bottom), (left, right)) that make both sides multiples of `max(m, int(m / scale))`."""
    multiple = max(padding.multiple, int(padding.multiple / scale))
    amounts = []
    for side in (height, width):
        missing = -side % multiple
        before = missing // 2 if padding.position == "center" else 0
        amounts.append((before, missing - before))
    return tuple(amounts)


def pad(frames: np.ndarray, padding: Padding, scale: float = 1.0) -> np.ndarray:
    """Pads `[..., h, w, c]` on the host, so that sizes which share a padded shape share a compiled program.

    Raises:
      UserError: the frame is too small to be reflected.
    """
    amounts = pad_amounts(*frames.shape[-3:-1], padding, scale)
    if not any(sum(pair) for pair in amounts):
        return frames
    if padding.mode == "reflect" and any(max(a) >= side for a, side in zip(amounts, frames.shape[-3:-1], strict=True)):
        raise UserError(f"frames of {frames.shape[-2]}x{frames.shape[-3]} are too small to be padded by reflection")
    return np.pad(frames, [(0, 0)] * (frames.ndim - 3) + [*amounts, (0, 0)], mode=padding.mode)


def crop(frames: np.ndarray, height: int, width: int, padding: Padding, scale: float = 1.0) -> np.ndarray:
    """Undoes `pad` for frames that were `height` x `width`."""
    (top, _), (left, _) = pad_amounts(height, width, padding, scale)
    return frames[..., top : top + height, left : left + width, :]
