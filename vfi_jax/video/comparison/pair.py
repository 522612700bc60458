"""Two videos on one clock and in one size."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from jaxtyping import UInt8

from vfi_jax.errors import UserError
from vfi_jax.video import forms
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.forms import Input, Source
from vfi_jax.video.gaps import Part
from vfi_jax.video.options import Options
from vfi_jax.video.pipes import PIPE
from vfi_jax.video.survey import Survey

WIDEST = 1920  # pixels of a picture; wider ones are made smaller
_SHAPE = 0.02  # by which the ratios of width to height may differ
_EARLY = Fraction(1, 4)  # of a step of the clock, by which a frame's time may lie behind it


@dataclass(frozen=True)
class Video:
    """One of the two.

    Attributes:
      source: what is read.
      survey: of its packets, in the part that is asked for.
    """

    source: Source
    survey: Survey

    @property
    def info(self) -> VideoInfo:
        """Properties of the video."""
        return self.source.info

    @property
    def shape(self) -> tuple[int, int]:
        """Width and height as they are displayed, with square pixels."""
        return round(self.info.width * (self.info.aspect or 1)), self.info.height


@dataclass(frozen=True)
class Pair:
    """Two videos that can be compared.

    Attributes:
      first: of them.
      second: of them.
      options: the part of both.
      rate: of the common clock, frames per second: the higher one of both.
      size: width and height of both pictures, even numbers: those of the larger one, `WIDEST` at most.
    """

    first: Video
    second: Video
    options: Options
    rate: Fraction
    size: tuple[int, int]

    def pictures(self) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]]:
        """Yields what both show at each step of the clock, from the first frame of each to the end of the shorter one.

        Raises:
          UserError: a video is damaged, cut short or changes its size.
        """
        with contextlib.ExitStack() as stack:
            shown = []
            for video in (self.first, self.second):
                reader = stack.enter_context(video.source.open(video.survey.rate))
                shown.append(self._at_steps(Part(reader, self.options)))
            yield from zip(*shown, strict=False)

    def _at_steps(self, part: Part) -> Iterator[np.ndarray]:
        """Yields the picture that is shown at each step; a frame that is shown twice is brought to its size once."""
        step = 0
        for frame, end in _until(part):
            picture: np.ndarray | None = None
            while (step + _EARLY) / self.rate < end:
                picture = self._scaled(frame.image) if picture is None else picture
                yield picture
                step += 1

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        eight = image if image.dtype == np.uint8 else np.uint8(image >> 8)
        if eight.shape[1::-1] == self.size:
            return eight
        method = cv2.INTER_AREA if eight.shape[1] > self.size[0] else cv2.INTER_CUBIC
        return cv2.resize(eight, self.size, interpolation=method)


def open_pair(first: Input, second: Input, options: Options | None = None) -> Pair:
    """Opens two videos, of the same shape, whatever their sizes and rates.

    Args:
      first: as `interpolate_video` takes it, but no pipe.
      second: the same.
      options: which part of both, and the rate of pictures; None: all.

    Raises:
      UserError: a file is missing, no video or damaged, or their shapes differ.
    """
    options = options or Options()
    if PIPE in (first, second):
        raise UserError("-: a pipe cannot be compared; name a file")
    videos = []
    for given in (first, second):
        source = forms.source_of(given, options)
        videos.append(Video(source, source.survey(options.begin, options.end)))
    a, b = videos
    ratios = [width / height for width, height in (a.shape, b.shape)]
    if abs(ratios[0] / ratios[1] - 1) > _SHAPE:
        texts = [f"{video.source.path} is {video.shape[0]}x{video.shape[1]}" for video in videos]
        raise UserError(f"{texts[0]}, {texts[1]}: pictures of other shapes do not lie on each other; crop one of them")
    width, height = max(a.shape, b.shape)
    scale = min(1.0, WIDEST / width)
    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    return Pair(a, b, options, max(a.survey.rate, b.survey.rate), size)


def _until(part: Part) -> Iterator[tuple[TimedFrame, Fraction]]:
    """Yields each frame with the time at which the next one is shown, both from the first frame on, seconds."""
    start: Fraction | None = None
    held: TimedFrame | None = None
    for frame in itertools.chain(part, [None]):
        start = frame.time if start is None and frame is not None else start
        if held is not None and start is not None:
            yield held, (part.end if frame is None else frame.time) - start
        held = frame
