"""New frames that no network makes: between the shots of a cut, and between frames that are alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.timeline import Instant


def is_cut(pair: Sequence[TimedFrame]) -> bool:
    """Whether two frames belong to different shots."""
    return pair[0].shot != pair[1].shot


def needs_network(pair: Sequence[TimedFrame]) -> bool:
    """Whether a network makes the new frames of a gap."""
    return not (is_cut(pair) or pair[1].held)


def filled(pair: Sequence[TimedFrame], instants: Sequence[Instant], cuts: str) -> Iterator[TimedFrame]:
    """Yields the new frames of a gap that needs no network.

    Args:
      pair: the frames around it.
      instants: of the new frames, 0 < t < 1.
      cuts: as in `Options`: what stands between two shots. Frames that are alike are repeated.
    """
    left, right = pair
    for instant in instants:
        if cuts == "fade" and is_cut(pair):
            image = _mixed(left.image, right.image, instant.t)
            yield TimedFrame(instant.time, left.duration, image, neighbors=tuple(pair), shot=left.shot)
        else:
            nearest = right if cuts == "nearest" and is_cut(pair) and instant.t >= Fraction(1, 2) else left
            yield nearest._replace(time=instant.time, duration=left.duration)


def _mixed(a: np.ndarray, b: np.ndarray, t: Fraction) -> np.ndarray:
    weight = np.float32(t)
    return np.rint(a * (1 - weight) + b * weight).astype(a.dtype)
