"""The frames of the target, one gap between two frames of the source after the other."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from vfi_jax.errors import IncompleteError, UserError
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.content.cuts import within_shot
from vfi_jax.video.content.fills import filled, needs_network
from vfi_jax.video.content.stage import Content
from vfi_jax.video.forms import Frames, Sink
from vfi_jax.video.options import Options
from vfi_jax.video.pixels import rgb
from vfi_jax.video.segments.journal import LENGTH
from vfi_jax.video.timeline import Instant

Between = Callable[[tuple[np.ndarray, ...], Sequence[float]], Iterable[np.ndarray]]


class Part:
    """The frames from `--from` to `--to`, on the target's clock.

    Attributes:
      origin: time of the first frame, seconds on the source's clock.
      count: number of frames so far.
      end: time at which the last frame's display ends, seconds on the target's clock.
      error: what has ended a lenient part early.
    """

    def __init__(self, reader: Frames, options: Options, *, is_lenient: bool = False) -> None:
        """Reads the first frame.

        Args:
          reader: of the source.
          options: what is asked.
          is_lenient: whether a source that breaks off just ends, and has an `error`.
        """
        frames = reader.frames(options.begin, options.end)
        first = next(frames, None)
        if first is None:
            missing = "no frame lies behind --from" if options.is_part else "has no frames"
            raise UserError(f"{reader.info.path}: {missing}")
        self._frames = itertools.chain([first], frames)
        self.origin = first.time
        self._shift, self._stretch = self.origin if options.is_part else Fraction(0), options.stretch
        self.count, self.end = 0, Fraction(0)
        self._is_lenient, self.error = is_lenient, None

    def __iter__(self) -> Iterator[TimedFrame]:
        for frame in self._read():
            shown, duration = (frame.time - self._shift) * self._stretch, frame.duration * self._stretch
            self.count, self.end = self.count + 1, shown + duration
            yield frame._replace(time=shown, duration=duration)

    def _read(self) -> Iterator[TimedFrame]:
        try:
            yield from self._frames
        except IncompleteError as error:
            if not self._is_lenient:
                raise
            self.error: IncompleteError | None = error


def with_opacity(frames: Iterable[TimedFrame], info: VideoInfo) -> Iterator[TimedFrame]:
    """Yields frames whose pictures have opacity as a fourth channel."""
    return (frame._replace(image=rgb.with_opacity(frame.image, frame.raw, info.turn)) for frame in frames)


class Segments:
    """Divides a target into segments, each of whole gaps.

    Attributes:
      count: number of frames of the target so far.
    """

    def __init__(self, sink: Sink | None = None) -> None:
        """Takes what is written to, which knows how many frames are there from an earlier run; None: nothing is."""
        self._sink, self._begin, self.count = sink, 0, 0

    def begin_gap(self) -> bool:
        """Begins a segment where the one before is long enough; returns whether the gap's frames are there already."""
        if self._sink is None:
            return False
        if self.count - self._begin >= LENGTH:
            self._begin = self.count
            if self.count > self._sink.finished:
                self._sink.begin_segment(self.count)
        return self.count < self._sink.finished


def interpolated(
    frames: Iterable[TimedFrame],
    between: Between,
    num_frames: int,
    options: Options,
    content: Content,
    segments: Segments,
) -> Iterator[TimedFrame]:
    """Yields the frames of each gap, and then the last frame as often as it is shown.

    Frames that are there from an earlier run are yielded without pictures of their own. Where latency counts, an
    original frame that is shown does not wait for the next one.
    """
    timeline, loop, at_once = content.timeline, options.loop, options.latency and not options.loop
    frames = iter(content.marked(_repeated(frames, num_frames // 2) if loop else frames))
    last = next(frames)
    is_early = at_once and timeline.begins_with(last.time)
    yield from [last] * is_early
    for window in _windows(itertools.chain([last], frames), num_frames, closed=loop):
        left, last = pair = window[num_frames // 2 - 1 : num_frames // 2 + 1]
        instants = timeline.between(left.time, last.time)[is_early:]
        if segments.begin_gap():
            between(tuple(frame.image for frame in window), [])
            yield from (left._replace(time=instant.time) for instant in instants)
        else:
            yield from _divided(within_shot(window), pair, instants, between, content)
        segments.count += len(instants)
        is_early = at_once and timeline.begins_with(last.time)
        yield from [last] * is_early
    if not loop:
        yield from (last._replace(time=shown) for shown in timeline.last(last.time, last.duration)[is_early:])


def _divided(
    window: tuple[TimedFrame, ...],
    pair: tuple[TimedFrame, ...],
    instants: list[Instant],
    between: Between,
    content: Content,
) -> Iterator[TimedFrame]:
    """Yields the left frame of a gap, if it is shown, and the new ones; `between` is called for every gap."""
    left, new = pair[0], [instant for instant in instants if instant.t]
    yield from (left._replace(time=instant.time) for instant in instants if not instant.t)
    predicted = new if needs_network(pair) else []
    images = between(tuple(frame.image for frame in window), [float(instant.t) for instant in predicted])
    for instant, image in zip(predicted, images if predicted else (), strict=True):
        if (image.shape, image.dtype) != (left.image.shape, left.image.dtype):  # FFmpeg would scale it to fit
            raise ValueError(f"`between` gave {image.shape} {image.dtype} for {left.image.shape} {left.image.dtype}")
        finished = content.finished(image, pair)
        yield TimedFrame(instant.time, left.duration, finished, neighbors=pair, shot=left.shot)
    if not needs_network(pair):
        yield from filled(pair, new, content.cut_style)


def _repeated(frames: Iterable[TimedFrame], count: int) -> Iterator[TimedFrame]:
    """Yields the frames, and the first `count` of them once more after the end, as if the clip began again."""
    first: list[TimedFrame] = []
    end = Fraction(0)
    for frame in frames:
        first += [frame] * (len(first) < count)
        end = frame.time + frame.duration
        yield frame
    period = end - first[0].time if first else Fraction(0)
    for i, frame in enumerate(itertools.islice(itertools.cycle(first), count)):
        yield frame._replace(time=frame.time + period * (1 + i // len(first)))


def _windows(frames: Iterable[TimedFrame], size: int, *, closed: bool) -> Iterator[tuple[TimedFrame, ...]]:
    """Yields runs of `size` consecutive frames with each pair of neighbors once in the middle; repeats the ends.

    Where the clip is `closed`, its last frame is not repeated: `frames` go on behind it.
    """
    if size < 2 or size % 2:
        raise ValueError(f"num_frames must be even, got {size}")
    margin = size // 2 - 1
    window: deque[TimedFrame] = deque(maxlen=size)
    for frame in frames:
        window.extend([frame] * (1 if window else 1 + margin))
        if len(window) == size:
            yield tuple(window)
    for _ in range(0 if closed else margin):
        window.append(window[-1])
        if len(window) == size:
            yield tuple(window)
