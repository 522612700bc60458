"""Still tiles: what does not change between frames is copied instead of computed.

A tile of `TILE` pixels is still if its values, and those up to `HALO` pixels around it, differ by no more than a level
of 8 bits between all input frames. It is copied from the frame before the new one; of frames that are still everywhere
nothing is computed. The other tiles form areas of neighbors. Each area is computed as if a square window around it were
a frame; sides of windows are among a few (`sides`), so that a few compiled programs serve whatever moves. Where that
would not save a pixel, the frame is computed as a whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

TILE = 32
AROUND = 2  # tiles
HALO = AROUND * TILE  # what moves by up to twice as much leaves a trace in one of the frames
SMALLEST = 256  # side of a window; the next ones are half as large again, and twice as large

# From input frames `[n, h, w, c]`, whole or a window of them, to the new frames `[h, w, c]`, one after another.
Compute = Callable[[np.ndarray], Iterator[np.ndarray]]
Tile = tuple[int, int]


class Area(NamedTuple):
    """Neighboring tiles that are not still.

    Attributes:
      tiles: rows and columns, in tiles.
      top: of the window, pixels.
      left: likewise.
      side: likewise.
    """

    tiles: frozenset[Tile]
    top: int
    left: int
    side: int


def composed(
    frames: Shaped[np.ndarray, "n h w c"], compute: Compute, count: int
) -> Iterator[Shaped[np.ndarray, "h w c"]]:
    """Yields the new frames, copied where nothing moves.

    Args:
      frames: the input frames, of which the middle two are around the new ones.
      compute: gives the new frames.
      count: number of new frames.
    """
    height, width = frames.shape[1:3]
    areas = [_area(tiles, height, width) for tiles in neighbors(moving_tiles(frames))]
    if any(area.side > min(height, width) for area in areas) or sum(a.side**2 for a in areas) >= height * width:
        yield from compute(frames)
        return
    parts = [compute(frames[:, a.top : a.top + a.side, a.left : a.left + a.side]) for a in areas]
    for _ in range(count):
        new = frames[len(frames) // 2 - 1].copy()  # the frame before
        for area, part in zip(areas, parts, strict=True):
            _paste(new, area, next(part))
        yield new


def moving_tiles(frames: Shaped[np.ndarray, "n h w c"]) -> Bool[np.ndarray, "rows columns"]:
    """Tiles that are not still: in or around them a channel differs by more than a level of 8 bits."""
    white = np.iinfo(frames.dtype).max if np.issubdtype(frames.dtype, np.integer) else 1
    moving = (frames.max(0) - frames.min(0) > white / 255 * (1 + 1e-4)).any(-1)  # floats are rounded
    for axis in (0, 1):
        moving = np.logical_or.reduceat(moving, range(0, moving.shape[axis], TILE), axis)
    reach = 2 * AROUND + 1
    around = np.lib.stride_tricks.sliding_window_view(np.pad(moving, AROUND), (reach, reach))
    return np.asarray(around.any((2, 3)))


def neighbors(moving: Bool[np.ndarray, "rows columns"]) -> Iterator[frozenset[Tile]]:
    """Yields the tiles of each area; tiles are neighbors also across a corner."""
    left = {(int(row), int(column)) for row, column in np.argwhere(moving)}
    while left:
        area, edge = set(), {min(left)}
        while edge:
            area |= edge
            left -= edge
            edge = {
                (row + down, column + right)
                for row, column in edge
                for down, right in itertools.product((-1, 0, 1), repeat=2)
            } & left
        yield frozenset(area)


def sides() -> Iterator[int]:
    """Yields the sides that windows may have: 256, 384, 512, 768, and so on."""
    for power in itertools.count():
        yield SMALLEST << power
        yield 3 * (SMALLEST << power) // 2


def _area(tiles: frozenset[Tile], height: int, width: int) -> Area:
    """The area of tiles, with its window; that of an area at an edge of the frame is moved inside, if it fits."""
    starts = [TILE * min(axis) for axis in zip(*tiles, strict=True)]
    ends = [TILE * (max(axis) + 1) for axis in zip(*tiles, strict=True)]
    bounds = list(zip(starts, ends, (height, width), strict=True))
    longest = max(min(end, whole) - start for start, end, whole in bounds)
    side = next(side for side in sides() if side >= longest)
    # Around the middle, as far as the frame reaches.
    top, left = (max(0, min((start + end - side) // 2, whole - side)) for start, end, whole in bounds)
    return Area(tiles, top, left, side)


def _paste(frame: np.ndarray, area: Area, part: np.ndarray) -> None:
    """Copies the tiles of an area from its window into the frame."""
    for row, column in area.tiles:
        top, left = row * TILE, column * TILE
        tile = part[top - area.top : top - area.top + TILE, left - area.left : left - area.left + TILE]
        frame[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
