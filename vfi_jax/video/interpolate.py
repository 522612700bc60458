"""Interpolation of a whole video: `factor` times the frames, from decoding to encoding.

The path is: decode, windows of frames, in-between frames, encode; each is a generator, so memory does not grow with the
length of the clip. Times are exact fractions of a second, computed from the source's own timestamps. Original and new
frames take the same path through RGB, so that their colors agree.
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

from vfi_jax.errors import UsageError, UserError
from vfi_jax.system.files import written_whole
from vfi_jax.video import losses
from vfi_jax.video.decode import Reader, TimedFrame, VideoInfo, probe
from vfi_jax.video.encode import Writer, check_streams, check_target
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import Options

Between = Callable[[tuple[np.ndarray, ...], Sequence[float]], Iterable[np.ndarray]]
Progress = Callable[[int, int | None], object]


@dataclass(frozen=True)
class Summary:
    """The result of `interpolate_video`.

    Attributes:
      source_frames: number of frames read.
      frames: number of frames written, `(source_frames - 1) * factor + 1`.
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
      losses: what the target will lack beside the source.
    """

    source: Path
    target: Path
    options: Options
    info: VideoInfo
    losses: tuple[Loss, ...] = ()


def check(source: Path, target: Path, options: Options | None = None) -> Job:
    """Checks, before any expensive work, whether `interpolate_video` can do what is asked.

    Opens the source, decodes one frame, and writes the target's header to memory.

    Raises:
      UsageError: a target whose extension is unknown.
      UserError: the source is no video; the target's folder is missing, the target is a folder or the source itself,
        exists and is not to be replaced, or its container cannot hold the frame rate or the sound; or anything is lost
        although `options` are strict.
    """
    source, target, options = Path(source), Path(target), options or Options()
    if options.multiple.denominator != 1:
        raise UsageError(f"factor {options.multiple}: must be a whole number")
    check_target(source, target, overwrite=options.overwrite)
    info = probe(source)
    check_streams(target, info, int(options.multiple))
    lost = losses.find(info, target, info.rate * options.multiple)
    if lost and options.strict:
        raise UserError(f"{target}: would lack parts of the source: {'; '.join(str(one) for one in lost)}")
    return Job(source, target, options, info, lost)


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
      target: its extension chooses container and codec, see `encode.CONTAINERS`.
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
    factor, began = int(job.options.multiple), time.perf_counter()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(job.source))
        partial = stack.enter_context(written_whole(job.target))
        writer = stack.enter_context(Writer(partial, job.target, reader.info, factor))
        total = None if reader.info.frames is None else (reader.info.frames - 1) * factor + 1
        count, start = 0, Fraction(0)
        for frame in _interpolated(reader.frames(), between, factor, num_frames):
            writer.write(frame)
            start = start if count else frame.time
            count += 1
            if progress is not None:
                progress(count, total)
        writer.finish()
    return Summary(
        source_frames=(count - 1) // factor + 1,
        frames=count,
        notes=tuple(reader.notes),
        losses=job.losses,
        start=start,
        end=frame.time + frame.duration,
        elapsed=time.perf_counter() - began,
    )


def _interpolated(frames: Iterator[TimedFrame], between: Between, factor: int, num_frames: int) -> Iterator[TimedFrame]:
    """Yields each frame followed by the new ones before the next; the last frame ends the clip."""
    times = [j / factor for j in range(1, factor)]
    last = next(frames)
    for window in _windows(itertools.chain([last], frames), num_frames):
        left, last = window[num_frames // 2 - 1], window[num_frames // 2]
        step = (last.time - left.time) / factor
        yield TimedFrame(left.time, step, left.image)
        images = between(tuple(frame.image for frame in window), times)
        for j, image in zip(range(1, factor), images, strict=True):
            if (image.shape, image.dtype) != (left.image.shape, left.image.dtype):  # FFmpeg would scale it to fit
                raise ValueError(
                    f"`between` gave {image.shape} {image.dtype} for {left.image.shape} {left.image.dtype}"
                )
            yield TimedFrame(left.time + j * step, step, image)
    yield last


def _windows(frames: Iterable[TimedFrame], size: int) -> Iterator[tuple[TimedFrame, ...]]:
    """Yields runs of `size` consecutive frames with each pair of neighbors once in the middle; repeats the ends."""
    if size < 2 or size % 2:
        raise ValueError(f"num_frames must be even, got {size}")
    margin = size // 2 - 1
    window: deque[TimedFrame] = deque(maxlen=size)
    for frame in frames:
        window.extend([frame] * (1 if window else 1 + margin))
        if len(window) == size:
            yield tuple(window)
    for _ in range(margin):
        window.append(window[-1])
        if len(window) == size:
            yield tuple(window)
