"""Animated WebP, which not every FFmpeg decodes; Pillow does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, UnidentifiedImageError

from vfi_jax.errors import UserError
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.pixels.color import LIMITED, UNKNOWN_SITING, Color
from vfi_jax.video.pixels.layout import Turn
from vfi_jax.video.pixels.rgb import ToRGB
from vfi_jax.video.survey import Survey
from vfi_jax.video.values import Position

_MILLISECOND = Fraction(1, 1000)
_USUAL = 100 * _MILLISECOND  # for frames without a duration, as browsers show them
_BT709, _UNSPECIFIED = 1, 2  # AVColorSpace


@dataclass(frozen=True)
class WebPSource:
    """An animated WebP.

    Attributes:
      path: the file.
      info: of its first frame.
      durations: of its frames, seconds.
      notes: none.
    """

    path: Path
    info: VideoInfo
    durations: tuple[Fraction, ...]
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the frames of a part."""
        times = list(itertools.accumulate(self.durations, initial=Fraction(0)))[:-1]
        part = [
            number
            for number, time in enumerate(times)
            if not begin.is_behind(number, time) and (end is None or end.is_behind(number, time))
        ]
        seconds = times[part[-1]] - times[part[0]] if part else Fraction(0)
        last = self.durations[part[-1]] if part else Fraction(0)
        is_constant = len(set(self.durations[:-1])) < 2
        return Survey(len(part), seconds, last, self.info.rate, is_constant)

    def open(self, rate: Fraction) -> WebPReader:
        """Returns the reader."""
        return WebPReader(self.path, replace(self.info, rate=rate), self.durations)


def open_webp(path: Path) -> WebPSource:
    """Reads the durations of all frames, which takes decoding them.

    Raises:
      UserError: it is no WebP, damaged, or one picture.
    """
    try:
        with Image.open(path, formats=["WEBP"]) as image:
            size, has_alpha = image.size, image.mode == "RGBA"
            durations = tuple(_duration(image, number) for number in range(getattr(image, "n_frames", 1)))
    except (UnidentifiedImageError, OSError, EOFError, ValueError) as error:
        raise UserError(f"{path}: is not a WebP, or is damaged ({' '.join(str(error).split())[:80]})") from None
    if len(durations) < 2:
        raise UserError(f"{path} is one picture: there is nothing between; a second picture, or a video is needed")
    mean = len(durations) / sum(durations)
    return WebPSource(path, _describe(path, size, has_alpha, mean), durations)


def _duration(image: Image.Image, number: int) -> Fraction:
    image.seek(number)
    image.load()
    return image.info.get("duration", 0) * _MILLISECOND or _USUAL


def _describe(path: Path, size: tuple[int, int], has_alpha: bool, rate: Fraction) -> VideoInfo:
    return VideoInfo(
        path=path,
        container="webp",
        codec="webp",
        width=size[0],
        height=size[1],
        rate=rate,
        time_base=_MILLISECOND,
        pixel_format="rgba" if has_alpha else "rgb24",
        bits=8,
        turn=Turn(),
        aspect=None,
        color=Color(_BT709, False, _BT709, LIMITED, _UNSPECIFIED, _UNSPECIFIED, UNKNOWN_SITING),
        audio=(),
        has_alpha=has_alpha,
        is_lossless=False,
        is_interlaced=False,
        side_data={},
        has_tracks=False,
    )


class WebPReader:
    """Decodes an animated WebP; a context manager.

    Attributes:
      info: the animation.
      notes: none.
    """

    def __init__(self, path: Path, info: VideoInfo, durations: tuple[Fraction, ...]) -> None:
        self._path, self.info, self._durations = path, info, durations
        self.notes: list[str] = []
        self._rgb = ToRGB()

    def __enter__(self) -> WebPReader:
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields the frames of a part."""
        time = Fraction(0)
        with Image.open(self._path, formats=["WEBP"]) as image:
            for number, duration in enumerate(self._durations):
                if end is not None and not end.is_behind(number, time):
                    return
                if begin is None or not begin.is_behind(number, time):
                    yield self._frame(image, number, time)
                time += duration

    def _frame(self, image: Image.Image, number: int, time: Fraction) -> TimedFrame:
        try:
            image.seek(number)
            pixels = np.asarray(image.convert("RGBA" if self.info.has_alpha else "RGB"))
        except (OSError, EOFError, ValueError):
            raise UserError(f"{self._path}: is damaged at frame {number}") from None
        raw = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), self.info.pixel_format)
        return TimedFrame(time, self._durations[number], self._rgb(raw), raw)
