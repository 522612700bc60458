"""Interpolation of a whole video, from decoding to encoding.

The path is: decode, the part that is asked for, windows of frames, in-between frames, encode; each is a generator, so
memory does not grow with the length of the clip. `timeline` computes all times, as exact fractions of a second, from
the source's own timestamps. Original frames are encoded as they were decoded; only new ones come from RGB.
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
from vfi_jax.video import forms, losses
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.forms import Frames, Input, Source, Target
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import MAX_FACTOR, Options
from vfi_jax.video.pixels import rgb
from vfi_jax.video.pixels.formats import target_format
from vfi_jax.video.pixels.layout import layout_of
from vfi_jax.video.survey import Survey
from vfi_jax.video.timeline import Instant, Timeline, rate_of, total
from vfi_jax.video.tracks.streams import Cut

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
      source: what is read.
      target: what is written.
      options: what is asked.
      info: properties of the source.
      survey: of the source's packets.
      losses: what the target will lack beside the source.
    """

    source: Source
    target: Target
    options: Options
    info: VideoInfo
    survey: Survey
    losses: tuple[Loss, ...] = ()

    @property
    def has_opacity(self) -> bool:
        """Whether frames have opacity as a fourth channel: the source is transparent, and the target keeps it."""
        name = target_format(self.info, self.target.path, self.options)
        return self.info.has_alpha and layout_of(name).alpha

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for all that is worth knowing of the source before the work begins."""
        return self.source.notes

    @property
    def total(self) -> int | None:
        """Number of frames of the target, which repeated timestamps and damage make smaller; None for a pipe."""
        if self.survey.frames is None:
            return None
        whole = self.options.loop or self.options.hold_last
        return total(self.options, self.survey.frames, self.survey.seconds + whole * self.survey.last)


def check(source: Input, target: Path, options: Options | None = None) -> Job:
    """Checks, before any expensive work, whether `interpolate_video` can do what is asked.

    Reads the source's packets, decodes one frame, and writes the target's header to memory.

    Raises:
      UsageError: a target whose extension is unknown.
      UserError: the source is no video, or has no frames in the part that is asked for; the target's folder is missing,
        the target is a folder or the source itself, exists and is not to be replaced, or its container cannot hold the
        frame rate or the sound; there would be more than `MAX_FACTOR` times as many frames; or anything is lost
        although `options` are strict.
    """
    options = options or Options()
    given = forms.target_of(target, source, options)
    given.check(options)
    opened = forms.source_of(source, options)
    packets = opened.survey(options.begin, options.end)
    if options.is_part and packets.frames == 0:
        raise UserError(f"{opened.path}: has no frame from --from to --to")
    info = dataclasses.replace(opened.info, rate=packets.rate)
    given.check_content(info, options, packets.frames)
    lost = losses.find(info, given.path, rate_of(options, info.rate), options, packets)
    if lost and options.strict:
        raise UserError(f"{target}: would lack parts of the source: {'; '.join(str(one) for one in lost)}")
    job = Job(opened, given, options, info, packets, lost)
    _check_total(job)
    return job


def _check_total(job: Job) -> None:
    """Raises UserError for a rate that would make too many frames of each."""
    frames, rate = job.survey.frames, job.info.rate
    multiple = rate_of(job.options, rate) * job.options.stretch / rate if frames is None else None
    if multiple is not None and multiple > MAX_FACTOR:
        raise UserError(f"{job.source.path}: {MAX_FACTOR} times as many frames at most are made; ask for a lower --fps")
    if job.total is not None and frames is not None and job.total > MAX_FACTOR * max(1, frames):
        raise UserError(
            f"{job.source.path}: {frames} frames would become {job.total}, {MAX_FACTOR} times as many at most are "
            "made; ask for a lower --fps"
        )


def interpolate_video(
    source: Input,
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
      source: any video that FFmpeg reads; a folder of pictures or a pattern of their names; two pictures; or - for y4m
        on standard input.
      target: its extension chooses container and codec, see `encoders.CONTAINERS`; a pattern such as out/%06d.png or a
        folder for pictures; or - for y4m on standard output.
      between: `between(frames, times)` gives one frame for each time in (0, 1) between the middle two of `frames`.
        Frames are `[h, w, 3]` RGB, uint8, or uint16 where the source has more than 8 bits; the new ones likewise. Where
        the source is transparent and the target keeps that (`Job.has_opacity`), they are `[h, w, 4]` uint16: colors
        over black, and opacity, which `Interpolator(extra=1)` takes.
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
        reader = stack.enter_context(job.source.open(job.info.rate))
        part = Part(reader, options, is_lenient=job.target.is_stream)
        length = (job.survey.seconds + job.survey.last) * options.stretch
        cut = Cut(part.origin if options.is_part else None, options.stretch, None if options.stop is None else length)
        sink = stack.enter_context(job.target.open(job.info, options, cut))
        timeline = Timeline(options, job.target.tick(job.info, options))
        start = Fraction(0)
        frames = _with_opacity(part, job.info) if job.has_opacity else part
        for frame in _interpolated(frames, between, timeline, num_frames, options):
            sink.write(frame)
            start = start if count else frame.time
            count += 1
            if progress is not None:
                progress(count, None if job.total is None else max(count, job.total))
        sink.finish(part.end)
        if part.error is not None:
            raise part.error
    return Summary(
        source_frames=part.count,
        frames=count,
        notes=(*job.notes, *reader.notes, *timeline.notes()),
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
        except UserError as error:
            if not self._is_lenient:
                raise
            self.error: UserError | None = error


def _with_opacity(frames: Iterable[TimedFrame], info: VideoInfo) -> Iterator[TimedFrame]:
    """Yields frames whose pictures have opacity as a fourth channel."""
    return (frame._replace(image=rgb.with_opacity(frame.image, frame.raw, info.turn)) for frame in frames)


def _interpolated(
    frames: Iterable[TimedFrame], between: Between, timeline: Timeline, num_frames: int, options: Options
) -> Iterator[TimedFrame]:
    """Yields the frames of each gap, and then the last frame as often as it is shown.

    Where latency counts, an original frame that is shown does not wait for the next one.
    """
    loop, at_once = options.loop, options.latency and not options.loop
    frames = iter(_repeated(frames, num_frames // 2) if loop else frames)
    last = next(frames)
    is_early = at_once and timeline.begins_with(last.time)
    yield from [last] * is_early
    for window in _windows(itertools.chain([last], frames), num_frames, closed=loop):
        left, last = pair = window[num_frames // 2 - 1 : num_frames // 2 + 1]
        yield from _divided(window, pair, timeline.between(left.time, last.time)[is_early:], between)
        is_early = at_once and timeline.begins_with(last.time)
        yield from [last] * is_early
    if not loop:
        yield from (last._replace(time=shown) for shown in timeline.last(last.time, last.duration)[is_early:])


def _divided(
    window: tuple[TimedFrame, ...], pair: tuple[TimedFrame, ...], instants: list[Instant], between: Between
) -> Iterator[TimedFrame]:
    """Yields the left frame of a gap, if it is shown, and the new ones; `between` is called for every gap."""
    left, new = pair[0], [instant for instant in instants if instant.t]
    yield from (left._replace(time=instant.time) for instant in instants if not instant.t)
    images = between(tuple(frame.image for frame in window), [float(instant.t) for instant in new])
    for instant, image in zip(new, images, strict=True):
        if (image.shape, image.dtype) != (left.image.shape, left.image.dtype):  # FFmpeg would scale it to fit
            raise ValueError(f"`between` gave {image.shape} {image.dtype} for {left.image.shape} {left.image.dtype}")
        yield TimedFrame(instant.time, left.duration, image, neighbors=pair)


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
