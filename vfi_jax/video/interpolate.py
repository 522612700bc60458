"""Interpolation of a whole video, from decoding to encoding.

The path is: decode, the part that is asked for, windows of frames, in-between frames, encode; each is a generator, so
memory does not grow with the length of the clip. `timeline` computes all times, as exact fractions of a second, from
the source's own timestamps. Original frames are encoded as they were decoded; only new ones come from RGB.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from vfi_jax.errors import IncompleteError
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.cuts import Cut as ShotCut
from vfi_jax.video.content.stage import Content
from vfi_jax.video.forms import Input
from vfi_jax.video.gaps import Between, Part, Segments, interpolated, with_opacity
from vfi_jax.video.job import Job, check
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import Options
from vfi_jax.video.segments import fingerprint
from vfi_jax.video.tracks.streams import Cut

__all__ = ["Between", "Job", "Part", "Progress", "Summary", "check", "interpolate", "interpolate_video"]

Progress = Callable[[int, int | None], object]
Watch = Callable[[TimedFrame], object]


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
      cuts: where new shots begin.
      elapsed: seconds that it took.
    """

    source_frames: int
    frames: int
    notes: tuple[str, ...]
    losses: tuple[Loss, ...] = ()
    start: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    cuts: tuple[ShotCut, ...] = ()
    elapsed: float = dataclasses.field(default=0.0, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The summary as JSON's types; times in seconds, exact ones as text as well."""
        return {
            "source_frames": self.source_frames,
            "frames": self.frames,
            "notes": list(self.notes),
            "losses": [loss.as_json() for loss in self.losses],
            "cuts": [cut.as_json() for cut in self.cuts],
            "times": {
                "start": float(self.start),
                "end": float(self.end),
                "exact_start": str(self.start),
                "exact_end": str(self.end),
                "elapsed": self.elapsed,
            },
        }


def interpolate_video(
    source: Input,
    target: Path,
    between: Between,
    options: Options | None = None,
    *,
    num_frames: int = 2,
    progress: Progress | None = None,
    key: Mapping[str, str] | None = None,
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
      key: name to value of all that `between` depends on, such as a model and its weights. With it, the finished parts
        of a video that a run does not complete are kept in a hidden folder beside it, and a run with the same source,
        options and key goes on from there. None: nothing is kept.

    Raises:
      UsageError, UserError: as `check`; and UserError if the source turns out to change its size, or the disk is full.
      IncompleteError: the source is damaged or cut short; the target is there, and holds what can be read. Where
        `options` are strict, it is not there.
    """
    return interpolate(check(source, target, options), between, num_frames=num_frames, progress=progress, key=key)


def interpolate(
    job: Job,
    between: Between,
    *,
    num_frames: int = 2,
    progress: Progress | None = None,
    watch: Watch | None = None,
    key: Mapping[str, str] | None = None,
) -> Summary:
    """Does a job that `check` returned; `watch` is called with each frame that this run makes.

    Other arguments and errors are those of `interpolate_video`.
    """
    options, count, began = job.options, 0, time.perf_counter()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(job.source.open(job.info.rate))
        part = Part(reader, options, is_lenient=job.target.is_stream or not options.strict)
        length = (job.survey.seconds + job.survey.last) * options.stretch
        cut = Cut(part.origin if options.is_part else None, options.stretch, None if options.stop is None else length)
        same = None if key is None else fingerprint.of(job.source.files, options, key)
        sink = stack.enter_context(job.target.open(job.info, options, cut, same))
        content = Content(options, job.info, job.target.tick(job.info, options))
        start = last = Fraction(0)
        frames = with_opacity(part, job.info) if job.has_opacity else part
        for frame in content.exposed(interpolated(frames, between, num_frames, options, content, Segments(sink))):
            if count >= sink.finished:
                sink.write(frame)
                if watch is not None:
                    watch(frame)
            start, last = start if count else frame.time, frame.time
            count += 1
            if progress is not None:
                progress(count, None if job.total is None else max(count, job.total))
        end = content.timeline.end(part.end, last)
        sink.finish(end)
    if error := part.error or job.damage:
        raise IncompleteError(f"{error}; {job.target.path} holds what can be read, {count} frames")
    return Summary(
        source_frames=part.count,
        frames=count,
        notes=(*job.notes, *reader.notes, *content.notes()),
        losses=job.losses,
        start=start,
        end=end,
        cuts=content.cuts,
        elapsed=time.perf_counter() - began,
    )
