"""The frames of an interpolated video one by one, for programs that show, store or change them themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.content.stage import Content
from vfi_jax.video.forms import Input, Source
from vfi_jax.video.gaps import Between, Part, Segments, interpolated, with_opacity
from vfi_jax.video.job import check_total, surveyed
from vfi_jax.video.options import Options
from vfi_jax.video.timeline import tick_of


class Frame(NamedTuple):
    """A frame with its times.

    Attributes:
      time: at which its display begins, seconds.
      duration: of its display, seconds.
      image: `[h, w, 3]` RGB, uint8, or uint16 where the source has more than 8 bits; of a transparent source
        `[h, w, 4]` uint16: colors over black, and opacity.
      is_new: whether it lies between two frames of the source.
    """

    time: Fraction
    duration: Fraction
    image: np.ndarray
    is_new: bool


def interpolated_frames(
    source: Input, between: Between, options: Options | None = None, *, num_frames: int = 2
) -> Iterator[Frame]:
    """Returns the frames that `interpolate_video` would write, in the order of time, as an iterator.

    Times are exact, as in a container that counts finely enough (MP4). A few frames are held at a time. A frame comes
    when the next one is known, and with it the end of its display.

    Args:
      source: as `interpolate_video` takes it.
      between: likewise; of a transparent source, frames have four channels, which `Interpolator(extra=1)` takes.
      options: likewise; those of the encoder and of the target say nothing here. None: the defaults of `Options`.
      num_frames: number of consecutive frames that `between` takes, even.

    Raises:
      UsageError, UserError: the source is no video, or has no frames in the part that is asked for, or there would be
        too many frames; while iterating, UserError if it turns out damaged, cut short or of changing size.
    """
    options = options or Options()
    opened, packets = surveyed(source, options)
    info = dataclasses.replace(opened.info, rate=packets.rate)
    options = options.with_rate(info.rate)
    check_total(opened.path, info.rate, options, packets)
    return _frames(opened, info, between, options, num_frames)


def _frames(source: Source, info: VideoInfo, between: Between, options: Options, num_frames: int) -> Iterator[Frame]:
    with source.open(info.rate) as reader:
        part = Part(reader, options)
        frames: Iterable[TimedFrame] = with_opacity(part, info) if info.has_alpha else part
        content = Content(options, info, tick_of(options, info.time_base))
        held: TimedFrame | None = None
        for frame in content.exposed(interpolated(frames, between, num_frames, options, content, Segments())):
            if held is not None:
                yield _frame(held, frame.time)
            held = frame
        if held is not None:
            yield _frame(held, content.timeline.end(part.end, held.time))


def _frame(frame: TimedFrame, end: Fraction) -> Frame:
    return Frame(frame.time, end - frame.time, frame.image, frame.raw is None)
