"""From the times of a source's frames to those of the target's: pure arithmetic with fractions, one gap at a time.

A frame of the target is an `Instant`: a place `t` in a gap between two frames of the source, and a time. All are
computed from the source's own timestamps; nothing is counted, so that no error can add up. With a factor f, frame k of
the target lies at place k / f on the scale on which the source's frames are 0, 1, 2, ...; with a rate R, it lies at the
first frame's time plus k / R seconds. Memory does not grow with the clip.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

from vfi_jax.errors import UsageError
from vfi_jax.video.options import Options

MOMENTS = 9  # of an exposure; odd, so that the frame's own time is one of them


class Instant(NamedTuple):
    """A frame of the target.

    Attributes:
      t: its place in the gap, 0 <= t < 1: 0 is the source's own frame at the left.
      time: seconds on the target's clock.
    """

    t: Fraction
    time: Fraction


class Output(NamedTuple):
    """A frame of the target with its gap, counted from 0, and its duration in seconds."""

    gap: int
    t: Fraction
    time: Fraction
    duration: Fraction


class Steps:
    """The frames of the target that are still to come, by their numbers; of a blurred one, the moments of its exposure.

    Attributes:
      taken: numbers that were taken, for whoever blurs; it removes them.
    """

    def __init__(self, shutter: Fraction | None = None) -> None:
        """Starts at 0.

        Args:
          shutter: exposure as a share of the distance of two frames; None: frames are moments.
        """
        self._offsets = [Fraction(0)] if shutter is None else exposure(shutter)
        self._at = len(self._offsets) // 2  # the clip begins in the middle of the first exposure
        self._keeps = shutter is not None
        self.taken: deque[Fraction] = deque()

    @property
    def next(self) -> Fraction:
        """The number of the frame, or of the moment, that comes next."""
        number, at = divmod(self._at, len(self._offsets))
        return number + self._offsets[at]

    def take(self, fits: Callable[[Fraction], bool]) -> list[Fraction]:
        """Takes the numbers up to the first that does not fit."""
        steps = []
        while fits(self.next):
            steps.append(self.next)
            self._at += 1
        self.taken.extend(steps if self._keeps else ())
        return steps


def exposure(shutter: Fraction) -> list[Fraction]:
    """Returns the middles of the equal parts of an exposure, in the distance of two frames, around the frame's time."""
    return [shutter * Fraction(2 * i + 1 - MOMENTS, 2 * MOMENTS) for i in range(MOMENTS)]


class Timeline:
    """Divides the gaps of one clip, in their order.

    Attributes:
      steps: the frames to come.
      undivided: number of gaps without new frames, because the target's ticks are too coarse for them.
      dropped: number of frames of the source that share a tick with the frame before.
    """

    def __init__(self, options: Options, tick: Fraction) -> None:
        """Starts at the first gap.

        Args:
          options: what is asked.
          tick: seconds, of which every time of the target is a multiple.
        """
        self._multiple, self._rate, self._curve = options.multiple, options.rate, options.curve
        self._hold, self._tick = options.hold_last, tick if options.shutter is None else tick / 10**9
        self._gap = 0
        self.steps = Steps(None if options.shutter is None else Fraction(options.shutter))
        self._start: Fraction | None = None
        self._emitted: int | None = None  # tick of the last frame
        self.undivided = 0
        self.dropped = 0

    def between(self, left: Fraction, right: Fraction) -> list[Instant]:
        """Returns the frames of the target from `left` (inclusive) to `right` (exclusive), seconds.

        A gap in which two frames would share a tick has no new ones.
        """
        instants = self._instants(left, right)
        self._gap += 1
        if instants and not instants[0].t and ticks_of(instants[0].time, self._tick) == self._emitted:
            self.dropped += 1
            instants = instants[1:]
        ticks = [ticks_of(instant.time, self._tick) for instant in instants]
        around = [-math.inf if self._emitted is None else self._emitted, *ticks]
        if self._multiple is not None and self.steps.next == self._gap * self._multiple:  # `right` is shown too
            around.append(ticks_of(right, self._tick))
        if any(a >= b for a, b in itertools.pairwise(around)):
            self.undivided += any(instant.t for instant in instants)
            instants = [instant for instant in instants if not instant.t]
        if instants:
            self._emitted = ticks_of(instants[-1].time, self._tick)
        return instants

    def begins_with(self, left: Fraction) -> bool:
        """Whether `left`, seconds, where the next gap begins, is the time of a frame of the target."""
        if self._rate is not None:
            return self._start is None or (not self._curve and ((left - self._start) * self._rate).denominator == 1)
        assert self._multiple is not None
        return (self._gap * self._multiple).denominator == 1

    def last(self, time: Fraction, duration: Fraction) -> list[Fraction]:
        """Returns the times at which the last frame is shown, which is at `time` for `duration`, seconds."""
        if self._hold:
            return [instant.time for instant in self.between(time, time + duration)]
        shown = [instant for instant in self._instants(time, time + duration) if not instant.t]
        if shown and ticks_of(shown[0].time, self._tick) == self._emitted:
            self.dropped += 1
            return []
        return [instant.time for instant in shown]

    def end(self, end: Fraction, last: Fraction) -> Fraction:
        """Returns when the target ends, for the end of the source and the time of the target's last frame, seconds."""
        return end if self._curve is None or self._rate is None else last + 1 / self._rate

    def notes(self) -> list[str]:
        """Lists, one line each, what the ticks of the target are too coarse for."""
        finer = f"the file counts in ticks of {float(self._tick):g} s; write to .mp4, which has finer ones"
        texts = [
            (self.undivided, "pairs of frames stay undivided, which lie too close together for new ones"),
            (self.dropped, "frames are dropped, which lie in one tick with the frame before"),
        ]
        return [f"{count} {text}: {finer}" for count, text in texts if count]

    def _instants(self, left: Fraction, right: Fraction) -> list[Instant]:
        start = self._start = left if self._start is None else self._start
        if (rate := self._rate) is not None:
            steps = self.steps.take(lambda step: self._place(step / rate) < right - start)
            places = [(start + self._place(step / rate), start + step / rate) for step in steps]
            return [Instant((place - left) / (right - left), time) for place, time in places]
        multiple, stop = self._multiple, self._gap + 1
        assert multiple is not None
        ts = [step / multiple - self._gap for step in self.steps.take(lambda step: step < stop * multiple)]
        return [Instant(t, left + t * (right - left)) for t in ts]

    def _place(self, time: Fraction) -> Fraction:
        """The place in the source of a time in the target, both in seconds from their starts."""
        return time if self._curve is None else self._curve.place(time)


class Even:
    """A timeline of frames that stand elsewhere than they stood: the target's frames stay where they would have been.

    Gaps lie between frames whose times have been changed, or of which some were left out.
    """

    def __init__(self, timeline: Timeline) -> None:
        """Takes the timeline of the source's own frames."""
        self._timeline, self.steps = timeline, timeline.steps
        self._before: Fraction | None = None
        self._waiting: deque[Instant] = deque()

    def passed(self, time: Fraction) -> None:
        """Notes the time of the source's next frame."""
        if self._before is not None:
            self._waiting.extend(self._timeline.between(self._before, time))
        self._before = time

    def between(self, left: Fraction, right: Fraction) -> list[Instant]:
        """Returns the frames of the target from `left` (inclusive) to `right` (exclusive), seconds."""
        instants = []
        while self._waiting and self._waiting[0].time < right:
            time = self._waiting.popleft().time
            instants.append(Instant((time - left) / (right - left), time))
        return instants

    def begins_with(self, left: Fraction) -> bool:
        """Is false: frames wait until it is known where they stand."""
        return False

    def last(self, time: Fraction, duration: Fraction) -> list[Fraction]:
        """Returns the times at which the last frame is shown, as `Timeline.last` does."""
        return [*(instant.time for instant in self._waiting), *self._timeline.last(time, duration)]

    def end(self, end: Fraction, last: Fraction) -> Fraction:
        """Returns when the target ends, as `Timeline.end` does."""
        return self._timeline.end(end, last)

    def notes(self) -> list[str]:
        """Lists what the timeline does."""
        return self._timeline.notes()


def outputs(frames: Iterable[tuple[Fraction, Fraction]], options: Options, tick: Fraction) -> Iterator[Output]:
    """Yields all frames of the target, up to the time at which the source ends.

    Args:
      frames: (time, duration) of the source's frames, in the order of time, seconds.
      options: what is asked.
      tick: seconds, of which every time of the target is a multiple.
    """
    held: Output | None = None
    for gap, t, time in _positions(frames, options, tick):
        if held is not None:
            yield held._replace(duration=time - held.time)
        held = Output(gap, t, time, Fraction(0))


def _positions(
    frames: Iterable[tuple[Fraction, Fraction]], options: Options, tick: Fraction
) -> Iterator[tuple[int, Fraction, Fraction]]:
    """Yields (gap, t, time) of each frame, and at last the time at which the clip ends."""
    timeline, end, gap = Timeline(options, tick), Fraction(0), -1
    left: tuple[Fraction, Fraction] | None = None
    stretched = ((time * options.stretch, duration * options.stretch) for time, duration in frames)
    for gap, right in enumerate(stretched, -1):
        if left is not None:
            yield from ((gap, t, time) for t, time in timeline.between(left[0], right[0]))
        left = right
    if left is None:
        return
    end = left[0] + left[1]
    if options.loop:
        yield from ((gap + 1, t, time) for t, time in timeline.between(left[0], end))
    else:
        yield from ((gap + 1, Fraction(0), time) for time in timeline.last(*left))
    yield gap + 1, Fraction(0), end


def ticks_of(time: Fraction, tick: Fraction) -> int:
    """Returns the nearest number of ticks, the later one of two: frames a tick apart never share one."""
    return math.floor(time / tick + Fraction(1, 2))


def tick_of(options: Options, time_base: Fraction) -> Fraction:
    """Returns the longest tick (seconds) in which all times are whole, for times that are multiples of `time_base`."""
    base = time_base * options.stretch
    if options.rate is None:
        assert options.multiple is not None
        return base / options.multiple.numerator
    step = 1 / options.rate
    common = math.lcm(base.denominator, step.denominator)
    return Fraction(math.gcd(int(base * common), int(step * common)), common)


def rate_of(options: Options, nominal: Fraction) -> Fraction:
    """Returns the frames per second of the target, for those of the source."""
    return nominal * (options.multiple or 1) / options.stretch if options.rate is None else options.rate


def total(options: Options, frames: int, seconds: Fraction) -> int:
    """Returns the number of frames of the target.

    Args:
      options: what is asked.
      frames: number of frames of the source, of the part that is asked for.
      seconds: from the first frame's time to the last one's, and to the last one's end for `loop` and `hold_last`.
    """
    whole = options.loop or options.hold_last
    if options.rate is None:
        assert options.multiple is not None
        return math.ceil(frames * options.multiple) if whole else math.floor((frames - 1) * options.multiple) + 1
    if options.curve is not None:
        return math.floor(options.curve.length(seconds) * options.rate + 1e-9) + 1
    spans = seconds * options.stretch * options.rate
    return math.ceil(spans) if whole else math.floor(spans) + 1


def check_midpoints(options: Options, name: str, num_frames: int = 2) -> None:
    """Raises UsageError if frames other than t = k / 2^n are asked for, for a model that supports t = 0.5 only.

    Where it takes more than two frames, n is 1: those around the halves are not known.
    """
    other = [f"--{name}" for name in ("shutter", "speed-curve") if getattr(options, name.replace("-", "_")) is not None]
    if other := [*other, *["--held fill"] * (options.held == "fill")]:
        raise UsageError(f"{name} supports t = 0.5 only: {other[0]} takes other times; choose another model")
    if num_frames > 2 and (options.multiple is None or options.multiple.numerator > 2):
        raise UsageError(f"{name} takes four frames, at t = 0.5 only: give a --factor of 2")
    if options.multiple is None:
        raise UsageError(f"{name} supports t = 0.5 only: --fps takes other times; give a --factor of 2, 4 or 8")
    pieces = options.multiple.numerator
    if pieces & (pieces - 1):
        raise UsageError(f"{name} supports t = 0.5 only: the factor must be a power of two, not {options.multiple}")
