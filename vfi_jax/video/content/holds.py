"""Held frames: those that are like the frame before, as in animation on twos, telecined films and screen recordings."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import cv2
import numpy as np

from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.small import eight_bits

_BLOCK = 8  # pixels: what is smaller than a block of this side still counts, by its share of it
_NOISE = 4.0  # levels, mean of a block, up to which frames are alike: compression changes that much
_ONE_WAY = 0.5  # share of the change that goes one way, from which on it is a fade
_FADE = 0.02  # levels, mean: a change below it is none
LONGEST = Fraction(1, 5)  # second: what is held for longer is a still picture
_PERIODS = 6  # frames, of the longest rhythm that is looked for: 24 in 30 frames per second repeat after four


class Holds:
    """Marks the frames that are held; keeps the first of those that are alike.

    Attributes:
      count: number of held frames so far.
    """

    def __init__(self) -> None:
        self._first: np.ndarray | None = None
        self.count = 0

    def marked(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """Yields the frames, with a mark at each that is like the one before, and like the first of a row of them."""
        for frame in frames:
            image = eight_bits(frame.image)
            held = self._first is not None and is_alike(self._first, image)
            self.count += held
            if not held:
                self._first = image
            yield frame._replace(held=held)


def is_alike(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two pictures, uint8 `[h, w, c]`, differ by no more than compression does.

    A change of all of the picture in one direction is a fade, however small it is.
    """
    change = cv2.absdiff(a, b)
    size = tuple(max(1, side // _BLOCK) for side in a.shape[1::-1])
    if cv2.resize(change, size, interpolation=cv2.INTER_AREA).max() > _NOISE:
        return False
    whole = float(change.mean())
    return whole <= _FADE or abs(float(b.mean()) - float(a.mean())) < _ONE_WAY * whole


def without_held(frames: Iterable[TimedFrame], longest: Fraction) -> Iterator[TimedFrame]:
    """Yields the frames that are not held; they last until the next one.

    Of what is held for longer than `longest` seconds, the last frame is yielded too: a still picture stays one.
    """
    first: TimedFrame | None = None
    last: TimedFrame | None = None
    for frame in frames:
        if frame.held and first is not None:
            last = frame
            continue
        if first is not None:
            yield first
            if last is not None and frame.time - first.time > longest:
                yield last
        first, last = frame, None
    if first is not None:
        yield first if last is None else first._replace(duration=last.time + last.duration - first.time)


def evenly(
    frames: Iterable[TimedFrame], longest: Fraction, passed: Callable[[Fraction], object]
) -> Iterator[TimedFrame]:
    """Yields the frames that are not held, at the times at which they would stand had none been held.

    Args:
      frames: of which held ones are marked.
      longest: as in `without_held`. The last held frame before a cut, and that of the clip, are yielded too.
      passed: called with the time of each frame, held or not.
    """
    rhythm = Rhythm()
    first: TimedFrame | None = None
    last: TimedFrame | None = None
    shift = Fraction(0)
    for number, frame in enumerate(frames):
        passed(frame.time)
        if frame.held and first is not None:
            last = frame
            continue
        if first is not None:
            yield first._replace(time=first.time + shift)
            if last is not None and (frame.time - first.time > longest or frame.shot != first.shot):
                yield last
        first, last = frame, None
        shift = rhythm.delay(number) * frame.duration
    if first is not None and last is None:
        yield first
    elif first is not None and last is not None:
        yield first._replace(time=first.time + shift)
        yield last


class Rhythm:
    """The rhythm in which frames are held, such as 2, 3, 2, 3 of a film in 60 frames per second.

    Where the numbers of the frames that are not held, T_k, repeat their distances after at most six of them, there is
    a line c + r k that lies in [T_k, T_k + 1) for each of them: r is the mean distance, and the frames stood on that
    line before some were held.
    """

    def __init__(self) -> None:
        self._numbers: deque[int] = deque(maxlen=2 * _PERIODS + 1)

    def delay(self, number: int) -> Fraction:
        """Returns by how much the next frame that is not held, of a number, stands too early, in frames: 0 to 1."""
        self._numbers.append(number)
        numbers = list(self._numbers)
        steps = [b - a for a, b in itertools.pairwise(numbers)]
        for period in range(1, _PERIODS + 1):
            if len(steps) >= 2 * period and steps[period:] == steps[:-period]:
                return self._on_line(numbers, Fraction(sum(steps[-period:]), period))
        return Fraction(0)

    @staticmethod
    def _on_line(numbers: list[int], step: Fraction) -> Fraction:
        backwards = [(number, i * step) for i, number in enumerate(reversed(numbers))]
        place = max(number + back for number, back in backwards)
        fits = all(number <= place - back < number + 1 for number, back in backwards)
        return place - numbers[-1] if fits else Fraction(0)
