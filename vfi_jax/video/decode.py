"""Decoding: a video file as RGB frames with exact timestamps.

Frames are `[h, w, 3]`, RGB, full range, the right way up: uint8, or uint16 (0..65535) where the source has more than
8 bits. Times are `Fraction` seconds on the file's own clock, never counted up where the file tells them.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.reformatter import Interpolation, VideoReformatter

from vfi_jax.errors import UserError

# FFmpeg's default rounding darkens luma by 1.1 levels on the way to RGB and back; with these flags the bias is < 0.01.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT

_LIMITED, _FULL = 1, 2  # AVColorRange
_BT709, _UNSPECIFIED, _BT601 = 1, 2, 5  # AVColorSpace; swscale has the same numbers
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9, 14: 9}  # AVColorSpace to swscale's
_TEXT_ART = {"ansi", "bintext", "idf", "xbin"}  # FFmpeg draws text and unknown binary files as pictures
_DECLARES_LENGTH = ("mov", "matroska", "avi")  # formats whose header says how long the file should be


@dataclass(frozen=True)
class Color:
    """How YUV and RGB are converted, and the tags to write. Numbers are FFmpeg's (AVCOL_*).

    Attributes:
      matrix: swscale's number of the matrix; where the tag is missing or unknown to it BT.601, in both directions.
      full: whether YUV uses the full range.
      space: tag of the matrix.
      range: tag of the range.
      primaries: tag.
      transfer: tag.
    """

    matrix: int
    full: bool
    space: int
    range: int
    primaries: int
    transfer: int


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before it is decoded as a whole.

    Attributes:
      path: the file.
      container: FFmpeg's name of the file format.
      codec: FFmpeg's name of the codec.
      width: pixels as shown, after rotation.
      height: pixels as shown, after rotation.
      rate: nominal frames per second; timestamps decide, not this.
      time_base: seconds; every timestamp that the file tells is a multiple of it.
      frames: number of frames as the file announces it, or an estimate from its duration; None where neither is known.
      pixel_format: FFmpeg's name.
      bits: per channel.
      turned: whether rotation swaps the sides.
      aspect: sample aspect ratio as shown, after rotation; None where unknown.
      color: of the first frame.
      audio: codec of each sound track.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    frames: int | None
    pixel_format: str
    bits: int
    turned: bool
    aspect: Fraction | None
    color: Color
    audio: tuple[str, ...]


class TimedFrame(NamedTuple):
    """A frame, when it is shown, and for how long (seconds)."""

    time: Fraction
    duration: Fraction
    image: np.ndarray


def exact(ratio: Rational | None) -> Fraction | None:
    """A ratio of PyAV, whose arithmetic may be that of 32 bits, as a fraction; None where it is unset."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def open_input(path: Path) -> av.container.InputContainer:
    """Open a media file. Raises UserError, in one line, where it is missing, no file, empty or not a medium."""
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a video file")
    if not path.is_file():
        raise UserError(f"{path}: is not a regular file; give a video file")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty (0 bytes); give a video file")
    try:
        # Absolute, because FFmpeg takes "name:" at the front for a protocol.
        return _open(os.path.abspath(path))
    except av.FFmpegError as error:
        raise UserError(f"{path}: is not a video, or is cut short or damaged ({error.strerror})") from error


def _open(name: str) -> av.container.InputContainer:
    try:
        return av.open(name)
    except UnicodeDecodeError:  # PyAV before 19 is strict about metadata
        return av.open(name, metadata_errors="replace")


def clock_origin(container: av.container.InputContainer) -> Fraction:
    """Seconds at which the file's clock starts, where that is arbitrary (MPEG transport streams); otherwise 0."""
    arbitrary = bool(container.format.flags & av.format.Flags.ts_discont.value)
    return Fraction(container.start_time or 0, av.time_base) if arbitrary else Fraction(0)


def probe(path: Path) -> VideoInfo:
    """Describe a video. Decodes one frame, so that whatever is no video is found out. Raises UserError as Reader."""
    with Reader(path) as reader:
        return reader.info


class Reader:
    """A video file open for decoding; a context manager. Holds one frame.

    Attributes:
      info: the video.
      notes: one line for each thing that was mended or is odd; complete once `frames` is exhausted.

    Raises:
      UserError: one line, where the file is missing, not a video, has no frames, ends early, is damaged, or changes its
        size; from the constructor or while `frames` runs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container = open_input(path)
        try:
            self._stream = _video_stream(path, self._container)
            self._stream.thread_type = "AUTO"
            self._tick = exact(self._stream.time_base)
            self._origin = clock_origin(self._container)
            self._scaler = VideoReformatter()
            self._count, self._damaged, self._repeated, self._mended = 0, 0, 0, 0
            self._packets: Counter[int] = Counter()
            self._cut, self._end, self._last = False, Fraction(0), Fraction(0)
            self._raw = self._decode()
            self._first = next(self._raw, None)
            if self._first is None:
                raise UserError(f"{path}: has no frames that can be decoded; it may be cut short")
            self._turn = _orientation(self._first)
            self.info = self._describe(self._first)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def notes(self) -> list[str]:
        """What was mended or is odd, one line each."""
        found = [
            (self._repeated, "frames repeat the timestamp of the one before and were dropped"),
            (self._mended, "timestamps run backwards and were replaced by the frame rate's"),
            (self._damaged, "frames are damaged in the source"),
            (self._first.interlaced_frame, "the source is interlaced; deinterlace it first for a good result"),
        ]
        return [text if count is True else f"{count} {text}" for count, text in found if count]

    def frames(self) -> Iterator[TimedFrame]:
        """Every frame in the order of time, once; times start where the file's clock does."""
        before: av.VideoFrame | None = None
        duration = 1 / self.info.rate
        for frame in itertools.chain([self._first], self._raw):
            if before is not None and frame.pts is not None and frame.pts == before.pts:
                self._repeated += 1
                continue
            following = self._last + duration if before is not None else Fraction(0)
            self._last = self._time(frame, following, is_first=before is None)
            duration = frame.duration * self._tick or 1 / self.info.rate
            self._count += 1
            before = frame
            yield TimedFrame(self._last, duration, self._image(frame))
        self._check_complete()

    def _time(self, frame: av.VideoFrame, following: Fraction, *, is_first: bool) -> Fraction:
        """The frame's own time, or `following` where it has none or it lies before the last one's."""
        if frame.pts is None:
            return following
        time = frame.pts * self._tick - self._origin
        if is_first or time > self._last:
            return time
        self._mended += 1
        return following

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        """The frame as RGB, upright."""
        transpose, flip_rows, flip_columns = self._turn
        size = (frame.height, frame.width) if transpose else (frame.width, frame.height)
        if size != (self.info.width, self.info.height):
            raise UserError(
                f"{self._path}: the size changes from {self.info.width}x{self.info.height} to {size[0]}x{size[1]} at "
                f"frame {self._count} ({float(self._last):.3f} s); cut the file there and treat the parts one by one"
            )
        self._damaged += frame.is_corrupt
        options = {}
        if not frame.format.is_rgb:
            color = _color(frame, self._stream)
            options = {"src_colorspace": color.matrix, "src_color_range": _FULL if color.full else _LIMITED}
        target = "rgb48le" if self.info.bits > 8 else "rgb24"
        image = self._scaler.reformat(frame, format=target, interpolation=SCALING, **options).to_ndarray()
        image = image.transpose(1, 0, 2) if transpose else image
        return np.ascontiguousarray(image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Every frame as the decoder gives it. Reads all streams, since the longest one tells where the file ends."""
        try:
            for packet in self._container.demux():
                self._note_end(packet)
                if packet.stream is self._stream:
                    yield from packet.decode()
        except av.FFmpegError as error:
            raise UserError(f"{self._path}: is cut short or damaged {self._where()} ({error.strerror})") from error

    def _note_end(self, packet: av.Packet) -> None:
        start = packet.dts if packet.pts is None else packet.pts
        if start is not None:
            self._end = max(self._end, (start + (packet.duration or 0)) * exact(packet.time_base))
        if packet.size:
            self._packets[packet.stream_index] += 1
            self._cut = packet.is_corrupt

    def _check_complete(self) -> None:
        """Refuse a file that ends before its header says so; FFmpeg itself takes that for the end of the video."""
        name = self._container.format.name
        if not any(word in name for word in _DECLARES_LENGTH):
            return
        missing = self._cut
        if "mov" in name:
            watched = (self._stream, *self._container.streams.audio)
            missing |= any(self._packets[s.index] < len(s.index_entries) for s in watched)
        elif self._container.duration:
            length = Fraction(self._container.duration, av.time_base)
            missing |= length - self._end > 2 / self.info.rate
        if missing:
            raise UserError(f"{self._path}: is cut short: the data ends {self._where()}; fetch or copy the file again")

    def _where(self) -> str:
        return f"after frame {self._count} ({float(self._last):.3f} s)" if self._count else "at its beginning"

    def _describe(self, frame: av.VideoFrame) -> VideoInfo:
        stream, turned = self._stream, self._turn[0]
        rate = exact(stream.guessed_rate) or exact(stream.average_rate) or Fraction(25)
        tick = self._tick
        if frame.pts is None:  # no clock in the file: frames follow each other at the rate
            tick = frame.duration * tick or 1 / rate
        size = (frame.width, frame.height)
        aspect = exact(stream.sample_aspect_ratio)
        return VideoInfo(
            path=self._path,
            container=self._container.format.name,
            codec=stream.codec_context.name,
            width=size[turned],
            height=size[not turned],
            rate=rate,
            time_base=tick,
            frames=_estimate(self._container, stream, rate),
            pixel_format=frame.format.name,
            bits=max(component.bits for component in frame.format.components),
            turned=turned,
            aspect=1 / aspect if aspect and turned else aspect,
            color=_color(frame, stream),
            audio=tuple(s.codec_context.name if s.codec_context else "unknown" for s in self._container.streams.audio),
        )


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """The first moving picture of a file; UserError where there is none."""
    pictures = container.streams.video
    videos = [s for s in pictures if not s.disposition & Disposition.attached_pic]
    if pictures and not videos:
        raise UserError(f"{path}: is not a video: its only picture is a cover")
    if not videos or (videos[0].codec_context and videos[0].codec_context.name in _TEXT_ART):
        raise UserError(f"{path}: is not a video")
    if videos[0].codec_context is None:
        raise UserError(f"{path}: its video codec is unknown to this FFmpeg; convert it first, to H.264 for example")
    return videos[0]


def _estimate(container: av.container.InputContainer, stream: av.VideoStream, rate: Fraction) -> int | None:
    """Number of frames as announced, else from the duration, else None."""
    length = Fraction(container.duration, av.time_base) if container.duration else None
    return stream.frames or (max(1, round(length * rate)) if length else None)


def _color(frame: av.VideoFrame, stream: av.VideoStream) -> Color:
    """The frame's own tags, which may differ from the file's."""
    context = stream.codec_context
    full = frame.color_range == _FULL or frame.format.name.startswith("yuvj")
    tags = {"primaries": context.color_primaries, "transfer": context.color_trc}
    if frame.format.is_rgb:  # no matrix to keep: the one of HD video, and say so
        return Color(matrix=_BT709, full=False, space=_BT709, range=_LIMITED, **tags)
    space = frame.colorspace or _UNSPECIFIED  # 0 means RGB, which it is not
    written = _FULL if full else frame.color_range
    return Color(matrix=_MATRICES.get(space, _BT601), full=full, space=space, range=written, **tags)


def _orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """(transpose, then flip rows, then flip columns) that turn a frame upright, from its display matrix."""
    matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return False, False, False
    # A point (x, y) of the picture is shown at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)
