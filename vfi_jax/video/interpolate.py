"""Interpolation of a whole video, from decoding to encoding.

The path is: decode, the part that is asked for, windows of frames, in-between frames, encode; each is a generator, so
memory does not grow with the length of the clip. `timeline` computes all times, as exact fractions of a second, from
the source's own timestamps. Original and new frames take the same path through RGB, so that their colors agree.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.system.unnamed import written_at_once
from vfi_jax.video import losses
from vfi_jax.video.decode import Reader, TimedFrame, VideoInfo, probe
from vfi_jax.video.encode import Writer, check_streams, check_target, target_tick
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import MAX_FACTOR, Options
from vfi_jax.video.streams import Cut
from vfi_jax.video.survey import Survey, survey
from vfi_jax.video.timeline import Instant, Timeline, rate_of, total

Between = Callable[[tuple[np.ndarray, ...], Sequence[float]], Iterable[np.ndarray]]
Progress = Callable[[int, int | None], object]


@dataclass(frozen=True)
class Summary:
    """The result of `interpolate_video`.

    Attributes:
      source_frames: number of frames of the source, in the part that was asked for.
      frames: number of frames written.
      notes: one line for everything that was repaired or is unusual in the source.
      losses: what the target lacks beside the source.
      start: display time of the first frame, seconds.
      end: when the display of the last frame ends, seconds.
      elapsed: seconds that it took.
    """

    source_frames: int
    frames: int
    notes: tuple[str, ...]
    losses: tuple[Loss, ...] = ()
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    elapsed: float = dataclasses.field(default=0.0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON's types; times in seconds, exact ones as text as well."""
        return {
            "source_frames": self.source_frames,
            "frames": self.frames,
            "notes": list(self.notes),
            "losses": [loss.as_json() for loss in self.losses],
            "times": {
                "start": float(self.start),
                "end": float(self.end),
                "exact_start": str(self.start),
                "exact_end": str(self.end),
                "elapsed": self.elapsed,
            },
        }


@dataclass(frozen=True)
class Job:
    """An interpolation that `check` has found to be possible.

    Attributes:
      source: the video to read.
      target: the video to write.
      options: what is asked.
      info: properties of the source.
      survey: of the source's packets.
      losses: what the target will lack beside the source.
    """

    source: Path
    target: Path
    options: Options
    info: VideoInfo
    survey: Survey
    losses: tuple[Loss, ...] = ()

    @property
    def total(self) -> int:
        """Number of frames of the target, which repeated timestamps and damage make smaller."""
        whole = self.options.loop or self.options.hold_last
        return total(self.options, self.survey.frames, self.survey.seconds + whole * self.survey.last)


def check(source: Path, target: Path, options: Options | None = None) -> Job:
    """Checks, before any expensive work, whether `interpolate_video` can do what is asked.

    Reads the source's packets, decodes one frame, and writes the target's header to memory.

    Raises:
      UsageError: a target whose extension is unknown.
      UserError: the source is no video, or has no frames in the part that is asked for; the target's folder is missing,
        the target is a folder or the source itself, exists and is not to be replaced, or its container cannot hold the
        frame rate or the sound; there would be more than `MAX_FACTOR` times as many frames; or anything is lost
        although `options` are strict.
    """
    source, target, options = Path(source), Path(target), options or Options()
    check_target(source, target, overwrite=options.overwrite)
    nominal = probe(source)
    packets = survey(source, options.begin, options.end)
    if options.is_part and not packets.frames:
        raise UserError(f"{source}: has no frame from --from to --to")
    info = dataclasses.replace(nominal, rate=packets.rate)
    check_streams(target, info, options, packets.frames)
    lost = losses.find(info, target, rate_of(options, info.rate), options)
    if lost and options.strict:
        raise UserError(f"{target}: would lack parts of the source: {'; '.join(str(one) for one in lost)}")
    job = Job(source, target, options, info, packets, lost)
    if job.total > MAX_FACTOR * max(1, packets.frames):
        raise UserError(
            f"{source}: {packets.frames} frames would become {job.total}, {MAX_FACTOR} times as many at most are made; "
            "ask for a lower --fps"
        )
    return job


def interpolate_video(
    source: Path,
    target: Path,
    between: Between,
    options: Options | None = None,
    *,
    num_frames: int = 2,
    progress: Progress | None = None,
) -> Summary:
    """Writes `target` with more frames per second than `source`; see `Options` for what can be asked.

    Original frames keep their timestamps, the last one also its duration; new ones are spaced evenly between them.
    Sound is copied packet by packet, and so are subtitles and attachments that the container can hold. The target
    appears under its name only when it is complete.

    Args:
      source: any video that FFmpeg reads.
      target: its extension chooses container and codec, see `encoders.CONTAINERS`.
      between: `between(frames, times)` gives one frame for each time in (0, 1) between the middle two of `frames`.
        Frames are `[h, w, 3]` RGB, uint8, or uint16 where the source has more than 8 bits; the new ones likewise.
      options: all that the command can be asked for; None: the defaults of `Options`.
      num_frames: number of consecutive frames that `between` takes, even. The first and last frame are repeated at
        the ends of the clip.
      progress: called after each frame with the number written and the total, which is an estimate or None.

    Raises:
      UsageError, UserError: as `check`; and UserError if the source turns out damaged, cut short or of changing size,
        or the disk is full.
    """
    return interpolate(check(source, target, options), between, num_frames=num_frames, progress=progress)


def interpolate(job: Job, between: Between, *, num_frames: int = 2, progress: Progress | None = None) -> Summary:
    """Does a job that `check` returned; arguments and errors are those of `interpolate_video`."""
    options, count, began = job.options, 0, time.perf_counter()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(job.source, job.info.rate))
        part = Part(reader, options)
        length = (job.survey.seconds + job.survey.last) * options.stretch
        cut = Cut(part.origin if options.is_part else None, options.stretch, None if options.stop is None else length)
        partial = stack.enter_context(written_at_once(job.target, replace=options.overwrite))
        writer = stack.enter_context(Writer(partial, job.target, job.info, options, cut))
        timeline = Timeline(options, target_tick(job.target, job.info, options))
        start = Fraction(0)
        for frame in _interpolated(part, between, timeline, num_frames, loop=options.loop):
            writer.write(frame)
            start = start if count else frame.time
            count += 1
            if progress is not None:
                progress(count, max(count, job.total))
        writer.finish(part.end)
    return Summary(
        source_frames=part.count,
        frames=count,
        notes=(*reader.notes, *timeline.notes()),
        losses=job.losses,
        start=start,
        end=part.end,
        elapsed=time.perf_counter() - began,
    )


class Part:
    """The frames from `--from` to `--to`, on the target's clock.

    Attributes:
      origin: time of the first frame, seconds on the source's clock.
      count: number of frames so far.
      end: time at which the last frame's display ends, seconds on the target's clock.
    """

    def __init__(self, reader: Reader, options: Options) -> None:
        frames = reader.frames(options.begin, options.end)
        first = next(frames, None)
        if first is None:
            raise UserError(f"{reader.info.path}: no frame lies behind --from")
        self._frames = itertools.chain([first], frames)
        self.origin = first.time
        self._shift, self._stretch = self.origin if options.is_part else Fraction(0), options.stretch
        self.count, self.end = 0, Fraction(0)

    def __iter__(self) -> Iterator[TimedFrame]:
        for frame in self._frames:
            shown, duration = (frame.time - self._shift) * self._stretch, frame.duration * self._stretch
            self.count, self.end = self.count + 1, shown + duration
            yield frame._replace(time=shown, duration=duration)


def _interpolated(
    frames: Iterable[TimedFrame], between: Between, timeline: Timeline, num_frames: int, *, loop: bool
) -> Iterator[TimedFrame]:
    """Yields the frames of each gap, and then the last frame as often as it is shown."""
    frames = iter(_repeated(frames, num_frames // 2) if loop else frames)
    last = next(frames)
    for window in _windows(itertools.chain([last], frames), num_frames, closed=loop):
        left, last = window[num_frames // 2 - 1], window[num_frames // 2]
        yield from _divided(window, left, timeline.between(left.time, last.time), between)
    if not loop:
        yield from (last._replace(time=shown) for shown in timeline.last(last.time, last.duration))


def _divided(
    window: tuple[TimedFrame, ...], left: TimedFrame, instants: list[Instant], between: Between
) -> Iterator[TimedFrame]:
    """Yields the left frame of a gap, if it is shown, and the new ones; `between` is called for every gap."""
    new = [instant for instant in instants if instant.t]
    yield from (left._replace(time=instant.time) for instant in instants if not instant.t)
    images = between(tuple(frame.image for frame in window), [float(instant.t) for instant in new])
    for instant, image in zip(new, images, strict=True):
        if (image.shape, image.dtype) != (left.image.shape, left.image.dtype):  # FFmpeg would scale it to fit
            raise ValueError(f"`between` gave {image.shape} {image.dtype} for {left.image.shape} {left.image.dtype}")
        yield TimedFrame(instant.time, left.duration, image)


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
