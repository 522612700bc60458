"""How near a frame is to the truth."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def psnr(frame: UInt8[np.ndarray, "*b h w 3"], truth: UInt8[np.ndarray, "*b h w 3"]) -> float:
    """`10 log10(255^2 / mean((a - b)^2))` in dB over all pixels and channels, in float64; equal frames give inf.

    Follows RIFE's Vimeo90K script: the frame is rounded to 8 bit (half to even) before.
    """
    squared = np.mean((frame.astype(np.float64) - truth.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / squared)) if squared else float("inf")
