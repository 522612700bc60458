"""Decoding: a video file as RGB frames with exact timestamps.

Pictures of frames are those of `rgb`, the right way up. Times are `Fraction` seconds on the file's own clock; they
follow from the frame rate only where the file has no timestamps.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from vfi_jax.errors import IncompleteError, UserError
from vfi_jax.video.coding.holes import Holes
from vfi_jax.video.coding.skip import Skip
from vfi_jax.video.pixels.color import Color, color_of, siting_of
from vfi_jax.video.pixels.layout import Turn, layout_of
from vfi_jax.video.pixels.rgb import ToRGB
from vfi_jax.video.values import Position

_TEXT_ART = {"ansi", "bintext", "idf", "xbin"}  # FFmpeg decodes text and unknown binary files with these
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
USUAL_RATE = Fraction(25)  # frames per second, where nothing is known
_TRANSPORT_PACKETS = (188, 192, 204)  # bytes, of which a whole transport stream is a multiple
_DECLARES_LENGTH = ("mov", "matroska", "avi")  # formats whose header declares the length of the file


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video that are known before all of it is decoded.

    Attributes:
      path: the file.
      container: FFmpeg's name of the file format.
      codec: FFmpeg's name of the codec.
      width: displayed width, after rotation, pixels.
      height: displayed height, after rotation, pixels.
      rate: frames per second to announce, and of frames without timestamps or durations: the nominal rate where the
        timestamps agree with it, otherwise their mean.
      time_base: seconds, of which every timestamp of the file is a multiple.
      pixel_format: FFmpeg's name.
      bits: per channel.
      turn: how stored frames are turned upright.
      aspect: displayed sample aspect ratio, after rotation; None if unknown.
      color: of the first frame.
      audio: codec of each audio stream.
      has_alpha: whether pixels have an opacity that is not 1 throughout, as far as format, tags and first frame show.
      is_lossless: whether the codec always is.
      is_interlaced: whether the first frame is.
      side_data: FFmpeg's structures that accompany the first frame, by the names of `av.sidedata`.
      has_tracks: whether `path` is a file that FFmpeg opens and that may hold more than the frames.
    """

    path: Path
    container: str
    codec: str
    width: int
    height: int
    rate: Fraction
    time_base: Fraction
    pixel_format: str
    bits: int
    turn: Turn
    aspect: Fraction | None
    color: Color
    audio: tuple[str, ...]
    has_alpha: bool
    is_lossless: bool
    is_interlaced: bool
    side_data: Mapping[str, bytes]
    has_tracks: bool = True

    @property
    def turned(self) -> bool:
        """Whether the rotation swaps width and height."""
        return self.turn.transpose


class TimedFrame(NamedTuple):
    """A frame with its display time and duration, seconds, and as it was decoded, if it was.

    Frames of the source keep all other fields on their way to the target: only their time changes. New frames have
    their neighbors instead, the original frames before and after them. The frame of a picture has its file, if that
    holds just the frame. `shot` counts the cuts before the frame, and a frame that is `held` is like the one before.
    """

    time: Fraction
    duration: Fraction
    image: np.ndarray
    raw: av.VideoFrame | None = None
    neighbors: tuple[TimedFrame, ...] = ()
    file: Path | None = None
    shot: int = 0
    held: bool = False


def exact(ratio: Rational | None) -> Fraction | None:
    """Converts a ratio of PyAV, whose arithmetic may have 32 bits, to a fraction; returns None if it is unset."""
    return Fraction(ratio.numerator, ratio.denominator) if ratio else None


def open_input(path: Path) -> av.container.InputContainer:
    """Opens a media file.

    Raises:
      UserError: it is missing, not a file, empty, or not a medium.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a video file")
    if not path.is_file():
        raise UserError(f"{path}: is not a regular file; give a video file")
    if not path.stat().st_size:
        raise UserError(f"{path}: is empty (0 bytes); give a video file")
    try:
        # Absolute, because FFmpeg mistakes a leading "name:" for a protocol.
        return _open(os.path.abspath(path))
    except av.FFmpegError as error:
        raise UserError(f"{path}: is not a video, or is cut short or damaged ({error.strerror})") from error


def _open(name: str) -> av.container.InputContainer:
    try:
        return av.open(name)
    except UnicodeDecodeError:  # PyAV before 19 is strict about metadata
        return av.open(name, metadata_errors="replace")


def clock_origin(container: av.container.InputContainer) -> Fraction:
    """Returns the start of the file's clock in seconds if it is arbitrary (MPEG transport streams), otherwise 0."""
    arbitrary = bool(container.format.flags & av.format.Flags.ts_discont.value)
    return Fraction(container.start_time or 0, av.time_base) if arbitrary else Fraction(0)


def probe(path: Path, rate: Fraction | None = None) -> VideoInfo:
    """Describes a video; decodes one frame, which detects files that are no videos. Arguments are those of `Reader`.

    Raises:
      UserError: as `Reader`.
    """
    with Reader(path, rate) as reader:
        return reader.info


class Reader:
    """A video file open for decoding; a context manager. Holds one frame.

    Attributes:
      info: the video.
      notes: one line for each repair and for each unusual property; complete once `frames` is exhausted.

    Raises:
      UserError: the file is missing, not a video, has no frames, ends early, is damaged, or changes its size; raised by
        the constructor or by `frames`.
    """

    def __init__(self, path: Path, rate: Fraction | None = None) -> None:
        """Opens a video and decodes its first frame.

        Args:
          path: the file.
          rate: see `VideoInfo.rate`; None: the header's.
        """
        self._path, self._nominal = path, rate
        self._container = open_input(path)
        try:
            self._stream = video_stream(path, self._container)
            self._siting = siting_of(self._container, self._stream.index)
            self._stream.thread_type = "AUTO"
            self._decoder = _decoder_of_alpha(self._stream)
            self._tick = exact(self._stream.time_base)
            self._origin = clock_origin(self._container)
            self._to_rgb = ToRGB()
            self._count, self._damaged, self._repeated, self._reordered = 0, 0, 0, 0
            self._packets: Counter[int] = Counter()
            self._undecodable: list[str] = []
            self._holes = Holes()
            self._skip: Skip | None = None
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
        """Lists repairs and unusual properties, one line each."""
        candidates = [
            (self._repeated, "frames repeat the timestamp of the one before and were dropped"),
            (self._reordered, "timestamps run backwards and were replaced by the frame rate's"),
            (self._damaged, "frames are damaged in the source"),
        ]
        return [*(f"{count} {text}" for count, text in candidates if count), *self._holes.notes(self._count)]

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields every frame once, in the order of time; times start at the start of the file's clock.

        Where both places are times, decoding begins a key frame or two before `begin`; frames that are counted are all
        decoded. What follows `end` is not read.
        """
        if begin is not None and begin.value and not begin.is_frame and (end is None or not end.is_frame):
            self._skip = Skip(int((begin.value + self._origin) / self._tick))
        before: int | None = None  # a frame's own number changes when it is written
        duration = 1 / self.info.rate
        for frame in itertools.chain([self._first], self._raw):
            if self._count and frame.pts is not None and frame.pts == before:
                self._repeated += 1
                continue
            following = self._last + duration if self._count else Fraction(0)
            self._last = self._time(frame, following, is_first=not self._count)
            within = begin is None or not begin.is_behind(self._count, self._last)
            if within:  # frames before it may have been left out
                self._holes.add(following if self._count else self._last, self._last, duration / 2 + self._tick)
            duration = frame.duration * self._tick or 1 / self.info.rate
            self._count += 1
            before = frame.pts
            if end is not None and not end.is_behind(self._count - 1, self._last):
                return
            if within:
                yield TimedFrame(self._last, duration, self._image(frame), frame)
        self._check_complete()
        if self._undecodable:
            raise IncompleteError(
                f"{self._path}: is damaged {self._undecodable[0]}: {len(self._undecodable)} pictures cannot be decoded"
            )

    def _time(self, frame: av.VideoFrame, following: Fraction, *, is_first: bool) -> Fraction:
        """Returns the frame's timestamp, or `following` if it has none or does not lie after the previous frame's."""
        if frame.pts is None:
            return following
        time = frame.pts * self._tick - self._origin
        if is_first or time > self._last:
            return time
        self._reordered += 1
        return following

    def _image(self, frame: av.VideoFrame) -> np.ndarray:
        """Converts a frame to upright RGB."""
        size = (frame.height, frame.width) if self._turn.transpose else (frame.width, frame.height)
        if size != (self.info.width, self.info.height):
            raise UserError(
                f"{self._path}: the size changes from {self.info.width}x{self.info.height} to {size[0]}x{size[1]} at "
                f"frame {self._count} ({float(self._last):.3f} s); cut the file there and treat the parts one by one"
            )
        self._damaged += frame.is_corrupt
        return self._turn(self._to_rgb(frame))

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Yields every frame as decoded. Reads all streams, since the longest one shows where the file ends."""
        try:
            for packet in self._container.demux():
                self._note_end(packet)
                if packet.stream is self._stream:
                    yield from self._pictures(packet)
        except av.FFmpegError as error:
            raise IncompleteError(
                f"{self._path}: is cut short or damaged {self._where()} ({error.strerror})"
            ) from error

    def _pictures(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        decoder, packets = self._decoder or self._stream.codec_context, [packet]
        if self._skip is not None and (packets := self._skip.take(packet)):
            if self._skip.dropped:
                decoder.flush_buffers()
            self._skip = None
        for each in packets:
            try:
                yield from decoder.decode(each)
            except av.error.InvalidDataError:  # one picture; others may follow
                if not self._count:
                    raise
                self._undecodable.append(self._where())

    def _note_end(self, packet: av.Packet) -> None:
        start = packet.dts if packet.pts is None else packet.pts
        if start is not None:
            self._end = max(self._end, (start + (packet.duration or 0)) * exact(packet.time_base))
        if packet.size:
            self._packets[packet.stream_index] += 1
            self._cut = packet.is_corrupt

    def _check_complete(self) -> None:
        """Raises for a file that ends before its header says so; FFmpeg itself takes that for the end of the video."""
        name = self._container.format.name
        if name == "mpegts" and all(self._path.stat().st_size % size for size in _TRANSPORT_PACKETS):
            raise IncompleteError(f"{self._path}: is cut short: the data ends {self._where()}, inside a packet")
        if not any(word in name for word in _DECLARES_LENGTH):
            return
        missing = self._cut
        if "mov" in name:
            streams = (self._stream, *self._container.streams.audio)
            missing |= any(self._packets[s.index] < len(s.index_entries) for s in streams)
        elif self._container.duration:
            length = Fraction(self._container.duration, av.time_base)
            missing |= length - self._end > 2 / self.info.rate
        if missing:
            raise IncompleteError(
                f"{self._path}: is cut short: the data ends {self._where()}; fetch or copy the file again"
            )

    def _where(self) -> str:
        return f"after frame {self._count} ({float(self._last):.3f} s)" if self._count else "at its beginning"

    def _describe(self, frame: av.VideoFrame) -> VideoInfo:
        stream, turned = self._stream, self._turn.transpose
        rate = self._nominal or exact(stream.guessed_rate) or exact(stream.average_rate) or USUAL_RATE
        tick = self._tick
        if frame.pts is None:  # without timestamps, frames follow each other at the nominal rate
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
            pixel_format=frame.format.name,
            bits=layout_of(frame.format.name).bits,
            turn=self._turn,
            aspect=1 / aspect if aspect and turned else aspect,
            color=color_of(frame, stream, self._siting),
            audio=tuple(s.codec_context.name if s.codec_context else "unknown" for s in self._container.streams.audio),
            has_alpha=_has_alpha(frame, stream),
            is_lossless=stream.codec_context.codec.lossless and not stream.codec_context.codec.lossy,
            is_interlaced=frame.interlaced_frame,
            side_data=_side_data(frame),
        )


def video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """Returns the first video stream that is not a cover; raises UserError if there is none."""
    streams = container.streams.video
    videos = [s for s in streams if not s.disposition & Disposition.attached_pic]
    if streams and not videos:
        raise UserError(f"{path}: is not a video: its only picture is a cover")
    if not videos or (videos[0].codec_context and videos[0].codec_context.name in _TEXT_ART):
        raise UserError(f"{path}: is not a video")
    if videos[0].codec_context is None:
        raise UserError(f"{path}: its video codec is unknown to this FFmpeg; convert it first, to H.264 for example")
    return videos[0]


def _decoder_of_alpha(stream: av.VideoStream) -> av.VideoCodecContext | None:
    """Returns a decoder for VP8 and VP9 with alpha, of which FFmpeg's own decoders give the colors only."""
    name = _ALPHA_DECODERS.get(stream.codec_context.name)
    if name is None or not any(key.lower() == "alpha_mode" and value == "1" for key, value in stream.metadata.items()):
        return None
    return av.VideoCodecContext.create(name, "r")


def _has_alpha(frame: av.VideoFrame, stream: av.VideoStream) -> bool:
    """Whether a video is transparent. GIFs and palettes have alpha even if they are opaque: their pixels decide."""
    if stream.codec_context.name == "gif" or frame.format.has_palette:
        return bool((frame.reformat(format="bgra").to_ndarray()[..., 3] < 255).any())
    return any(component.is_alpha for component in frame.format.components)


def _side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """Reads the structures that accompany a frame."""
    try:
        # By number up to the end, because PyAV 19 iterates over their types, and its length counts a type once.
        structures = []
        with contextlib.suppress(IndexError):
            for number in itertools.count():
                structures.append(frame.side_data[number])
        return {data.type.name: bytes(data) for data in structures}
    except ValueError:  # of a kind that PyAV does not know
        return {}


def _orientation(frame: av.VideoFrame) -> Turn:
    """Returns, from its display matrix, how a frame is turned upright."""
    try:
        matrix = frame.side_data.get(SideData.DISPLAYMATRIX)
    except ValueError:  # beside a structure that PyAV does not know
        matrix = None
    if matrix is None:
        return Turn()
    # A point (x, y) of the frame is displayed at (a x + c y, b x + d y).
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    return Turn(True, b < 0, c < 0) if abs(b) > abs(a) else Turn(False, d < 0, a < 0)
