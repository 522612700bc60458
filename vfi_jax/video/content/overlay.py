"""Overlays: logos, subtitles and other things that lie on the picture and do not move with it, by a mask picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vfi_jax.data.images import load_image
from vfi_jax.errors import UserError


class Overlay:
    """Where overlays lie."""

    def __init__(self, mask: Path, size: tuple[int, int]) -> None:
        """Reads a mask: white where an overlay may be, black elsewhere, gray where it fades out.

        Args:
          mask: a picture.
          size: height and width of the frames, the right way up.

        Raises:
          UserError: it cannot be read, or has another size.
        """
        picture = load_image(mask)
        if picture.shape[:2] != size:
            shown = [f"{width}x{height}" for height, width in (picture.shape[:2], size)]
            raise UserError(f"{mask}: the mask is {shown[0]}, and the frames {shown[1]}; bring it to their size")
        self._share = (picture.max(-1, keepdims=True) / np.float32(np.iinfo(picture.dtype).max)).astype(np.float32)

    def left_alone(self, new: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Returns a new frame with the overlays of the frame before it."""
        mixed = before * self._share + new * (1 - self._share)
        return np.rint(mixed).astype(new.dtype)
