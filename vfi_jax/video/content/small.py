"""Pictures of 8 bits, for measures that need no more."""

from __future__ import annotations

import numpy as np


def eight_bits(picture: np.ndarray) -> np.ndarray:
    """Returns a picture, uint8 or uint16, with 8 bits."""
    return picture if picture.dtype == np.uint8 else (picture >> 8).astype(np.uint8)
