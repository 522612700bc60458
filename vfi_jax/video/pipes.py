"""Standard input and output as y4m."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from vfi_jax.errors import UserError
from vfi_jax.video import y4m
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.coding.encoders import container_of, encoding_of
from vfi_jax.video.options import Options
from vfi_jax.video.pixels.color import FULL, Color
from vfi_jax.video.pixels.convert import Converter
from vfi_jax.video.pixels.formats import pixel_format
from vfi_jax.video.pixels.layout import Turn
from vfi_jax.video.pixels.rgb import ToRGB
from vfi_jax.video.survey import Survey
from vfi_jax.video.timeline import rate_of, tick_of
from vfi_jax.video.tracks.streams import Cut
from vfi_jax.video.values import Position

PIPE = Path("-")
_BT601, _UNSPECIFIED = 5, 2  # AVColorSpace


class PipeSource:
    """A stream on standard input; its header has been read. It can be opened once.

    Attributes:
      path: -.
      info: from the header.
      notes: none.
    """

    def __init__(self, pipe: y4m.Readable) -> None:
        """Reads the header.

        Raises:
          UserError: it is empty, or no y4m.
        """
        self._decoder = y4m.Decoder(pipe, "standard input")
        self.path, self.notes = PIPE, ()
        self.info = _describe(self._decoder.header)

    @property
    def files(self) -> tuple[Path, ...]:
        """None: what a pipe has given is gone."""
        return ()

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Knows the rate only."""
        rate = self.info.rate
        return Survey(None, Fraction(0), 1 / rate, rate)

    def open(self, rate: Fraction) -> PipeReader:
        """Returns the reader."""
        return PipeReader(self._decoder, self.info)


def standard_input() -> PipeSource:
    """Opens standard input, without a buffer that would wait for more than a frame.

    Raises:
      UserError: it is a terminal, empty, or no y4m.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("-: standard input is a terminal; pipe y4m into it, or name a file")
    return PipeSource(io.FileIO(sys.stdin.fileno(), "rb", closefd=False))


def _describe(header: y4m.Header) -> VideoInfo:
    form = av.VideoFormat(header.pixel_format, 16, 16)
    full = header.range == FULL or (not header.range and len(form.components) == 1)
    return VideoInfo(
        path=PIPE,
        container="yuv4mpegpipe",
        codec="rawvideo",
        width=header.width,
        height=header.height,
        rate=header.rate,
        time_base=1 / header.rate,
        pixel_format=header.pixel_format,
        bits=form.components[0].bits,
        turn=Turn(),
        aspect=header.aspect,
        color=Color(
            _BT601, full, _UNSPECIFIED, FULL if full else header.range, _UNSPECIFIED, _UNSPECIFIED, header.siting
        ),
        audio=(),
        has_alpha=False,
        is_lossless=False,
        is_interlaced=header.is_interlaced,
        side_data={},
        has_tracks=False,
    )


class PipeReader:
    """Frames of a stream as they come; a context manager.

    Attributes:
      info: the stream.
      notes: none.
    """

    def __init__(self, decoder: y4m.Decoder, info: VideoInfo) -> None:
        self._decoder, self.info, self.notes = decoder, info, []
        self._rgb = ToRGB()

    def __enter__(self) -> PipeReader:
        return self

    def __exit__(self, *_: object) -> None: ...

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields the frames of a part; what follows it is not read."""
        for number, frame in enumerate(self._decoder.frames()):
            time = number / self.info.rate
            if end is not None and not end.is_behind(number, time):
                return
            if begin is None or not begin.is_behind(number, time):
                yield TimedFrame(time, 1 / self.info.rate, self._rgb(frame), frame)


@dataclass(frozen=True)
class PipeTarget:
    """Standard output."""

    path: Path = PIPE
    is_stream: bool = True

    def check(self, options: Options) -> None:
        """Checks that somebody reads it.

        Raises:
          UserError: it is a terminal.
        """
        if sys.stdout is None or sys.stdout.isatty():
            raise UserError("-: standard output is a terminal; pipe it into a program, or name a file")

    def check_content(self, info: VideoInfo, options: Options, frames: int | None) -> None:
        """Y4m holds frames of any size and rate."""

    def tick(self, info: VideoInfo, options: Options) -> Fraction:
        """Returns a tick in which all times are whole: frames of a stream have none."""
        return tick_of(options, info.time_base)

    @contextlib.contextmanager
    def open(self, info: VideoInfo, options: Options, cut: Cut, job: Mapping[str, str] | None) -> Iterator[PipeWriter]:
        """Writes the header; whatever else is printed meanwhile goes to standard error."""
        sys.stdout.flush()
        number = sys.stdout.fileno()
        pipe = os.dup(number)
        os.dup2(sys.stderr.fileno(), number)
        try:
            yield PipeWriter(_Output(pipe), info, options)
        finally:
            os.dup2(pipe, number)
            os.close(pipe)


class _Output:
    """A file that is written at once and whole."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, data: bytes, /) -> None:
        """Writes all of it; waits while the reader is slow."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._number, rest) :]


class PipeWriter:
    """Writes frames as they come.

    Attributes:
      finished: 0.
    """

    finished = 0

    def __init__(self, pipe: y4m.Writable, info: VideoInfo, options: Options) -> None:
        """Writes the header."""
        encoding = encoding_of(container_of(PIPE), options)
        name = pixel_format(info, encoding.codec, is_lossless=True)
        full = info.color.full
        self._convert = Converter(info, name)
        header = y4m.Header(
            info.width, info.height, rate_of(options, info.rate), info.aspect, name,
            range=FULL if full else info.color.range, siting=info.color.turned(info.turn).siting, is_interlaced=False,
        )  # fmt: skip
        self._encoder = y4m.Encoder(pipe, header)

    def write(self, frame: TimedFrame) -> None:
        """Passes on a frame.

        Raises:
          BrokenPipeError: the reader has left.
        """
        self._encoder.write(self._convert(frame))

    def begin_segment(self, frames: int) -> None:
        """Does nothing: what is written is gone."""

    def finish(self, end: Fraction) -> None:
        """Does nothing: a stream has no end of its own."""
