"""Writing frames as numbered pictures."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.system.filled import filled_at_once
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.coding.encoders import PLACE, Encoding, container_of, encoding_of
from vfi_jax.video.options import Options
from vfi_jax.video.pixels import linear
from vfi_jax.video.pixels.color import FULL
from vfi_jax.video.pixels.convert import Converter
from vfi_jax.video.pixels.formats import pixel_format
from vfi_jax.video.pixels.rgb import unpremultiplied
from vfi_jax.video.timeline import tick_of
from vfi_jax.video.tracks.streams import Cut, muxing_errors

_BT601 = 5  # AVColorSpace


@dataclass(frozen=True)
class PictureTarget:
    """Pictures whose names follow a pattern.

    Attributes:
      path: the folder, and the pattern of names, such as f_%04d.png.
      first: number of the first one.
      sources: the source's own files, which must not be replaced.
      is_stream: False.
    """

    path: Path
    first: int
    sources: frozenset[Path]
    is_stream: bool = False

    def check(self, options: Options) -> None:
        """Checks the folder, and what it holds already.

        Raises:
          UserError: it cannot be written, holds pictures of the pattern that are not to be replaced, or the source.
        """
        container_of(self.path)
        folder = self.path.parent
        if folder.exists() and not folder.is_dir():
            raise UserError(f"{folder}: is not a folder; choose another output")
        if not folder.exists() and not folder.parent.is_dir():
            raise UserError(f"{folder.parent}: no such folder; create it or choose another output")
        old = self._old()
        if any(os.path.realpath(file) in self._real_sources() for file in old):
            raise UserError(f"{folder}: holds the pictures of the input under names of the output; choose another one")
        if old and not options.overwrite:
            raise UserError(
                f"{folder}: holds {len(old)} pictures named like the output ({old[0].name}); choose another folder, or "
                "replace them with --overwrite"
            )
        if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
            raise UserError(f"{folder}: cannot be written to; choose another output")

    def check_content(self, info: VideoInfo, options: Options, frames: int | None) -> None:
        """Encodes a black picture.

        Raises:
          UserError: the encoder refuses the size.
        """
        black = np.zeros((info.height, info.width, 3), np.uint16 if info.bits > 8 else np.uint8)
        PictureEncoder(self.path, info, options)(TimedFrame(Fraction(0), Fraction(1), black))

    def tick(self, info: VideoInfo, options: Options) -> Fraction:
        """Returns a tick in which all times are whole: nothing is rounded, since pictures have no times."""
        return tick_of(options, info.time_base)

    @contextlib.contextmanager
    def open(
        self, info: VideoInfo, options: Options, cut: Cut, job: Mapping[str, str] | None
    ) -> Iterator[PictureWriter]:
        """Opens a hidden folder, whose pictures move to their own when all are complete."""
        pattern = _expression(self.path.name)
        with filled_at_once(self.path.parent, lambda file: bool(pattern.fullmatch(file.name))) as partial:
            writer = PictureWriter(partial, self, info, options)
            yield writer
            writer.fit_width()

    def _old(self) -> list[Path]:
        pattern, folder = _expression(self.path.name), self.path.parent
        return sorted(file for file in folder.iterdir() if pattern.fullmatch(file.name)) if folder.is_dir() else []

    def _real_sources(self) -> set[str]:
        return {os.path.realpath(file) for file in self.sources}


def _expression(pattern: str) -> re.Pattern[str]:
    """Compiles a pattern: numbers of any width, so that those of another run are recognized."""
    before, _, after = PLACE.split(pattern, maxsplit=1)
    return re.compile(rf"{re.escape(before)}[0-9]+{re.escape(after)}")


def numbered(pattern: str, number: int, width: int = 0) -> str:
    """Returns the name of a picture, with `width` digits at least."""
    before, digits, after = PLACE.split(pattern, maxsplit=1)
    return f"{before}{number:0{max(width, int(digits or 1))}d}{after}"


class PictureWriter:
    """Writes pictures into a folder, one by one.

    Attributes:
      finished: 0.
    """

    finished = 0

    def __init__(self, folder: Path, target: PictureTarget, info: VideoInfo, options: Options) -> None:
        """Starts with the target's first number."""
        self._folder, self._target = folder, target
        self._encode = PictureEncoder(target.path, info, options)
        self._count = 0

    def write(self, frame: TimedFrame) -> None:
        """Writes a picture: as a copy of its file, if the source is of the same kind.

        Raises:
          UserError: it cannot be written.
        """
        name = numbered(self._target.path.name, self._target.first + self._count)
        self._count += 1
        with muxing_errors(self._folder / name):
            if frame.file is not None and _kind(frame.file) == _kind(self._target.path):
                shutil.copyfile(frame.file, self._folder / name)
            else:
                (self._folder / name).write_bytes(self._encode(frame))

    def begin_segment(self, frames: int) -> None:
        """Does nothing."""

    def finish(self, end: Fraction) -> None:
        """Does nothing: pictures have no end."""

    def fit_width(self) -> None:
        """Gives all numbers one width, if the last one is longer than the first."""
        numbers = range(self._target.first, self._target.first + self._count)
        width = len(str(numbers[-1])) if numbers else 0
        for number in numbers:
            name = numbered(self._target.path.name, number)
            if name != (longer := numbered(self._target.path.name, number, width)):
                os.rename(self._folder / name, self._folder / longer)


def _kind(path: Path) -> str:
    return {".jpeg": ".jpg", ".tiff": ".tif"}.get(path.suffix.lower(), path.suffix.lower())


class PictureEncoder:
    """Compresses frames, each to the bytes of a file."""

    def __init__(self, target: Path, info: VideoInfo, options: Options) -> None:
        """Takes the encoder from the target's extension."""
        self._target, self._info = target, info
        self._encoding: Encoding = encoding_of(container_of(target), options)
        self._format = pixel_format(info, self._encoding.codec, is_lossless=self._encoding.is_lossless)
        full = replace(
            info.color, matrix=_BT601, full=True, space=_BT601, range=FULL
        )  # as JPEG and gray pictures have it
        self._convert = None if self._encoding.codec == "exr" else Converter(replace(info, color=full), self._format)

    def __call__(self, frame: TimedFrame) -> bytes:
        """Encodes a frame.

        Raises:
          UserError: the encoder refuses it.
        """
        picture = _light(frame, self._info) if self._convert is None else self._convert(frame)
        context = av.CodecContext.create(self._encoding.codec, "w")
        context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
        context.time_base = Fraction(1, 25)
        context.options = self._encoding.options_for(self._format, {})
        picture.pts, picture.time_base = 0, context.time_base
        with muxing_errors(self._target):
            packets = [*context.encode(picture), *context.encode(None)]
        return b"".join(bytes(packet) for packet in packets)


def _light(frame: TimedFrame, info: VideoInfo) -> av.VideoFrame:
    """Returns a frame as floats of light, with opacity if there is any."""
    image, opacity = unpremultiplied(frame.image) if frame.image.shape[-1] == 4 else (frame.image, None)
    codes = image if image.dtype == np.uint16 else image.astype(np.uint16) * 257
    light = linear.to_light(codes, info.color.transfer)
    if not info.has_alpha:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(light), "gbrpf32le")
    shown = np.ones((*codes.shape[:2], 1), np.float32) if opacity is None else np.float32(opacity)[..., None] / 65535
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate([light, shown], -1)), "gbrapf32le")
