"""Region maps of a clip: every pair of frames is interpolated with those of its own two frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vfi_jax.data import region_maps
from vfi_jax.errors import UsageError
from vfi_jax.inference.interpolator import Interpolator


def check_model(interpolate: Interpolator) -> None:
    """Raises UsageError if a model sees no regions."""
    if not interpolate.sees_regions:
        raise UsageError(f"{interpolate.model.variant} sees no regions with these weights: see docs/regions.md")


def between_with(
    interpolate: Interpolator, maps: Mapping[int, Path]
) -> Callable[[Sequence[np.ndarray], Sequence[float]], Iterator[np.ndarray]]:
    """Returns `Interpolator.between` for the pairs of a clip, with the maps of their frames.

    It counts its calls, and so has to be called for every pair, in order. Frames without a map have no regions.

    Args:
      interpolate: of a model of two frames.
      maps: index of a frame, from 0, to its map.
    """
    number = -1

    def between(frames: Sequence[np.ndarray], times: Sequence[float]) -> Iterator[np.ndarray]:
        nonlocal number
        number += 1
        height, width = frames[0].shape[:2]
        pair = region_maps.read_pair(maps, (number, number + 1), (height, width))
        return interpolate.between(frames, times, regions=np.stack(pair))

    return between
