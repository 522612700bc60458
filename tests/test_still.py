"""Still tiles are copied, the others computed as parts of their windows: by brute force, at odd sizes, of all types."""

import numpy as np
import pytest

import vfi_jax
from vfi_jax.inference import still
from vfi_jax.inference.interpolator import Interpolator

RNG = np.random.default_rng(0)
TILE, HALO, SIDE = 32, 64, 256


@pytest.fixture(scope="module")
def network():
    """A network whose frame is not one of its inputs, even where nothing moves."""
    return vfi_jax.create("rife_lap_s", widths=(8, 8), level_scales=(4, 2), refinement=None)


def pair(height, width, *changes):
    """Two frames that differ in the given pixels only."""
    first = RNG.integers(20, 236, (height, width, 3), np.uint8)
    second = first.copy()
    for row, column in changes:
        second[row, column] += 2
    return first, second


def moves(apart, row, column):
    """Whether a pixel in or around the tile at a place differs."""
    near = apart[max(row - HALO, 0) : row + TILE + HALO, max(column - HALO, 0) : column + TILE + HALO]
    return near.any()


CASES = pytest.mark.parametrize(
    ("change", "window"),
    [
        ((10, 10), (0, 0)),
        ((250, 400), (112, 272)),  # around tiles from 160 to 319, and from 320 to 479
        ((500, 1029), (245, 774)),  # the last pixel of odd sides
    ],
)


def expected(frames, window, compute):
    """The frame before; tiles that move are those of a window that is computed."""
    frame, inside = frames[0].copy(), np.zeros_like(frames[0])
    place = tuple(slice(start, start + SIDE) for start in window)
    inside[place] = compute(*(each[place] for each in frames))
    apart = np.abs(frames[0].astype(int) - frames[1]) > 1
    for row in range(0, frame.shape[0], TILE):
        for column in range(0, frame.shape[1], TILE):
            if moves(apart, row, column):
                tile = slice(row, row + TILE), slice(column, column + TILE)
                frame[tile] = inside[tile]
    return frame


@CASES
def test_tiles_that_move_are_those_of_a_window(change, window):
    frames = pair(501, 1030, change)

    def compute(first, second):
        return 255 - (first // 2 + second[::-1] // 2)  # depends on the window

    (frame,) = still.composed(np.stack(frames), lambda part: iter([compute(*part)]), 1)
    np.testing.assert_array_equal(frame, expected(frames, window, compute))
    assert (frame != frames[0]).any()


@pytest.mark.slow
@CASES
def test_an_interpolator_computes_windows_as_frames(network, change, window):
    frames = pair(501, 1030, change)
    frame = Interpolator(*network, copy_still=True)(*frames)
    np.testing.assert_array_equal(frame, expected(frames, window, Interpolator(*network)))
    assert (frame != frames[0]).any()


class Counting:
    """Stands in for a network: gives black frames, and notes the sizes of what it computes."""

    def __init__(self):
        self.sizes = []

    def __call__(self, frames):
        self.sizes.append(frames.shape[1:3])
        yield from [np.zeros_like(frames[0])] * 3


@pytest.mark.parametrize(
    ("size", "changes", "sizes"),
    [
        ((700, 1100), [], []),
        ((5, 7), [], []),
        ((5, 7), [(2, 2)], [(5, 7)]),
        ((255, 4000), [(2, 2)], [(255, 4000)]),  # no window fits
        ((700, 1100), [(0, 0)], [(SIDE, SIDE)]),
        ((700, 1100), [(0, 0), (699, 1099)], [(SIDE, SIDE)] * 2),
        ((700, 1100), [(0, 0), (30, 190)], [(SIDE, SIDE)]),  # tiles from 0 to 2, and from 3 to 7: neighbors
        ((700, 1100), [(0, 0), (30, 192)], [(SIDE, SIDE)] * 2),  # tiles from 0 to 2, and from 4 to 8
        ((700, 1100), [(300, 300), (430, 450)], [(384, 384)]),
        ((700, 1100), [(300, 300), (300, 900)], [(SIDE, SIDE)] * 2),
        ((700, 1100), [(300, column) for column in range(0, 1100, 50)], [(700, 1100)]),
        ((300, 300), [(0, 0), (299, 299)], [(300, 300)]),  # two windows: more than the frame
    ],
)
def test_no_more_is_computed_than_moves(size, changes, sizes):
    compute, frames = Counting(), np.stack(pair(*size, *changes))
    new = list(still.composed(frames, compute, 3))
    assert compute.sizes == sizes
    assert len(new) == 3
    if not changes:
        np.testing.assert_array_equal(new, frames[[0, 0, 0]])
        assert new[0].base is None, "a view of the input"


@pytest.mark.parametrize(
    ("dtype", "level"), [(np.uint8, 1), (np.uint16, 257), (np.float32, 1 / 255), (np.float64, 1 / 255)]
)
def test_a_level_of_eight_bits_is_still(dtype, level):
    """Of any two frames: the second of three is a level above the first, a fourth a level below it."""
    value = (level * (10 + 200 * RNG.random((300, 300, 3)))).astype(dtype)
    frames = np.stack([value, value + dtype(level), value])
    assert not still.moving_tiles(frames).any()
    assert still.moving_tiles(np.stack([*frames, value - dtype(level)])).all()
    frames[1, 200, 250, 1] += dtype(max(1, 0.1 * level) if level >= 1 else 0.1 * level)
    rows, columns = np.nonzero(still.moving_tiles(frames))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 8, 5, 9)


def test_an_interpolator_copies_equal_pairs(network):
    """Of a batch, of several times, and with opacity; no network runs, so that nothing is compiled."""
    interpolate = Interpolator(*network, copy_still=True)
    frames = RNG.integers(0, 255, (2, 30, 41, 3), np.uint8)
    np.testing.assert_array_equal(interpolate(frames, frames), frames)
    np.testing.assert_array_equal(interpolate(frames[0], frames[0] + 1, t=0.3), frames[0])
    np.testing.assert_array_equal(list(interpolate.between([frames[0]] * 2, [0.25, 0.75])), frames[[0, 0]])
    deep = RNG.random((30, 41, 4))
    np.testing.assert_array_equal(interpolate.with_extra(1)(deep, deep), deep)
