"""The other streams of a video: sound, subtitles, covers, attachments, chapters and tags.

Streams are copied without decoding, but for sound in slow motion, for text subtitles in a form that the target's
container does not know, and for covers, which Matroska holds as attachments.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition, Stream

from vfi_jax.errors import UserError
from vfi_jax.video.coding.decode import clock_origin, exact, open_input
from vfi_jax.video.coding.encoders import is_bare
from vfi_jax.video.tracks import inventory, labels
from vfi_jax.video.tracks.inventory import Track
from vfi_jax.video.tracks.stretch import StretchedSound

TEXT = {"mp4": "mov_text", "mov": "mov_text", "matroska": "subrip", "webm": "webvtt"}  # muxer: its form of text
_COVERS = {"mjpeg": "image/jpeg", "png": "image/png", "bmp": "image/bmp", "webp": "image/webp", "gif": "image/gif"}
_MP4_COVERS = ("mjpeg", "png", "bmp")
_TRANSPORTED = (  # FFmpeg writes others too, as private data that nobody can read
    "h264", "hevc", "mpeg2video", "mpeg1video", "mpeg4", "aac", "mp2", "mp3", "mp3float", "ac3", "eac3", "dca",
    "truehd", "opus", "libopus", "dvbsub", "dvb_subtitle", "pgssub", "hdmv_pgs_subtitle", "dvb_teletext",
)  # fmt: skip
_INTERLEAVED = 10  # seconds by which streams of one file may be interleaved
_TEXT_TICK = Fraction(1, 1000)


@dataclass(frozen=True)
class Route:
    """How a track of the source gets into the target.

    Attributes:
      track: of the source.
      way: `copy` packet by packet; `convert` to another form of text; `attach` as a file; `encode`, the picture that is
        interpolated; `rewrite`, the target's muxer makes one of its own from chapters and tags; or `none`.
    """

    track: Track
    way: str


def routes(container: InputContainer, muxer: str) -> tuple[Route, ...]:
    """Returns how each track of an open source gets into a container.

    Args:
      container: the source.
      muxer: FFmpeg's name of the target's muxer.
    """
    tracks = inventory.read(container).tracks
    return tuple(Route(track, _way(container.streams[track.index], track, muxer)) for track in tracks)


def _way(stream: Stream, track: Track, muxer: str) -> str:
    if track.kind in ("picture", "chapters", "timecode"):
        return "encode" if track.kind == "picture" else "rewrite"
    if is_bare(muxer):
        return "none"
    if track.kind == "cover":
        if muxer == "matroska":
            return "attach" if track.codec in _COVERS else "none"
        return "copy" if muxer == "mp4" and track.codec in _MP4_COVERS else "none"
    if track.kind == "attachment":
        return "copy" if muxer == "matroska" else "none"
    if _is_accepted(stream, muxer):
        return "copy"
    is_text = track.kind == "subtitle" and stream.codec_context is not None and stream.codec_context.codec.text_sub
    return "convert" if is_text and muxer in TEXT else "none"


def _is_accepted(stream: Stream, muxer: str) -> bool:
    """Whether a muxer writes a header for a stream of this codec."""
    if muxer == "mpegts" and (stream.codec_context is None or stream.codec_context.name not in _TRANSPORTED):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            _copy(trial, stream)
            trial.start_encoding()
    except (av.FFmpegError, ValueError):
        return False
    return True


def _copy(target: OutputContainer, stream: Stream) -> Stream:
    """Adds a stream for the packets of another one; PyAV would set up an encoder for those of pictures."""
    return target.add_stream_from_template(stream, **({"opaque": True} if stream.codec_context else {}))


class Cut(NamedTuple):
    """How times of the source become times of the target: those of a part are shifted, and all are multiplied.

    Attributes:
      origin: where the part begins, seconds; None: the whole clip is taken, with its own clock.
      stretch: what times are multiplied by.
      length: of a part that ends before its clip, on the target's clock, seconds; chapters are cut there.
    """

    origin: Fraction | None = None
    stretch: Fraction = Fraction(1)
    length: Fraction | None = None

    def __call__(self, time: Fraction) -> Fraction:
        """Returns the target's time for one of the source's."""
        return (time - (self.origin or 0)) * self.stretch


@runtime_checkable
class Copier(Protocol):
    """Carries the other streams of a source; a context manager."""

    def copy_until(self, time: Fraction | None) -> None:
        """Copies what belongs at or before a time, seconds."""
        ...

    def finish(self, end: Fraction | None) -> None:
        """Copies what remains, up to an end, seconds."""
        ...

    def __enter__(self) -> Copier: ...
    def __exit__(self, *_: object) -> None: ...


class NothingToCopy:
    """The copier for a source without other streams."""

    def copy_until(self, time: Fraction | None) -> None:
        """Does nothing."""

    def finish(self, end: Fraction | None) -> None:
        """Does nothing."""

    def __enter__(self) -> NothingToCopy:
        return self

    def __exit__(self, *_: object) -> None: ...


class StreamCopier:
    """Copies the other streams of a source into a target, packet by packet; a context manager.

    Opens the source a second time, so that these streams are read at the pace of the encoded video however the source
    interleaves them, and neither side has to buffer packets for the other.
    """

    def __init__(self, source: Path, target: OutputContainer, name: Path, cut: Cut, *, keep_sound: bool) -> None:
        """Adds the streams, tags and chapters of `source` to `target`, whose header is not yet written.

        Args:
          source: the video to copy from.
          target: the container to copy into; it has the picture's stream, which gets its tags and flags.
          name: the target's file name for error messages.
          cut: how times change; packets before the beginning of a part are left out.
          keep_sound: whether sound is copied.

        Raises:
          UserError: `source` cannot be opened, or the target cannot hold its sound.
        """
        self._source, self._name, self._target = source, name, target
        self._cut, self._keep_sound = cut, keep_sound
        self._stretched: dict[int, StretchedSound] = {}
        self._container = open_input(source)
        try:
            self._origin = clock_origin(self._container)
            self._label()
            self._streams: dict[int, Stream] = {}
            self._converted: set[int] = set()
            for route in routes(self._container, target.format.name):
                self._add(route)
            copied = [self._container.streams[index] for index in self._streams]
            self._packets = self._container.demux(copied) if copied else iter(())
        except BaseException:
            self._container.close()
            raise
        self._next = self._read_packet()

    def __enter__(self) -> StreamCopier:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def copy_until(self, time: Fraction | None) -> None:
        """Copies the packets that belong at or before `time` (seconds), or all remaining ones if it is None.

        Raises:
          UserError: the source is damaged, or the target cannot be written.
        """
        while (packet := self._next) is not None:
            if time is not None and self._start(packet) > time:
                return
            self._copy(packet)
            self._next = self._read_packet()

    def finish(self, end: Fraction | None) -> None:
        """Copies the remaining packets that begin before `end` (seconds), or all of them if it is None.

        Raises:
          UserError: the source is damaged, or the target cannot be written.
        """
        while (packet := self._next) is not None:
            if end is None or self._start(packet) < end:
                self._copy(packet)
            elif self._start(packet) > end + _INTERLEAVED:
                break
            self._next = self._read_packet()
        for index, sound in self._stretched.items():
            self._mux(sound.finish(), index)

    def _start(self, packet: av.Packet) -> Fraction:
        """Returns the time of a packet on the target's clock."""
        start = packet.pts if packet.dts is None else packet.dts
        return self._cut((start or 0) * exact(packet.time_base) - self._origin)

    def _copy(self, packet: av.Packet) -> None:
        index, tick = packet.stream_index, exact(packet.time_base)
        if index in self._stretched:
            self._mux(self._stretched[index].add(packet), index)
            return
        if packet.stream.disposition & Disposition.attached_pic:  # a cover has no time
            packet.pts = packet.dts = 0
            self._mux([packet], index)
            return
        if self._cut.origin is not None and not self._fits(packet):
            return
        shift = round((self._origin + (self._cut.origin or 0)) / tick)
        pts = (packet.dts or 0) if packet.pts is None else packet.pts
        dts = pts if packet.dts is None else packet.dts
        packet.pts, packet.dts = (round((stamp - shift) * self._cut.stretch) for stamp in (pts, dts))
        if self._cut.stretch != 1:
            packet.duration = round(packet.duration * self._cut.stretch)
        written = self._convert(packet, self._streams[index]) if index in self._converted else packet
        self._mux([] if written is None else [written], index)

    def _fits(self, packet: av.Packet) -> bool:
        """Whether a packet begins in the part; a subtitle that is shown at its beginning is shortened to do so."""
        tick = exact(packet.time_base)
        begin = (self._origin + (self._cut.origin or 0)) / tick
        missing = begin - (packet.pts if packet.pts is not None else packet.dts or 0)
        if missing <= 0:
            return True
        if packet.stream.type != "subtitle" or not packet.duration or packet.duration <= missing:
            return False
        packet.pts = packet.dts = math.ceil(begin)
        packet.duration = max(1, packet.duration - math.ceil(missing))
        return True

    def _mux(self, packets: Iterable[av.Packet], index: int) -> None:
        with muxing_errors(self._name):
            for packet in packets:
                packet.stream = self._streams[index]
                self._target.mux(packet)

    def _label(self) -> None:
        """Gives the target the tags and chapters of the source, and the picture's stream its tags and flags."""
        picture = self._target.streams.video[0]
        source = inventory.read(self._container)
        rate = exact(picture.codec_context.framerate) or Fraction(25)
        fits = source.time_code is None or labels.holds_time_code(self._target.format.name, source, rate)
        keep = dict if fits else labels.without_time_code
        self._target.metadata.update(keep(source.tags))
        self._target.set_chapters(_chapters(self._container, self._cut))
        picture.metadata.update(labels.spelled(keep(source.picture.tags), self._target.format.name))
        picture.disposition = source.picture.flags

    def _add(self, route: Route) -> None:
        """Adds a stream to the target for a track that it can hold."""
        stream, track = self._container.streams[route.track.index], route.track
        if track.kind == "audio" and (not self._keep_sound or is_bare(self._target.format.name)):
            return
        if track.kind == "audio" and self._cut.stretch != 1:
            self._add_stretched(stream, track)
            return
        if track.kind == "audio" and route.way == "none":
            hint = "write to .mkv, which can" if self._name.suffix.lower() != ".mkv" else "convert it first"
            raise UserError(f"{self._name}: cannot hold the source's sound ({track.codec}); {hint}")
        if track.kind == "attachment" and route.way == "copy":
            _copy(self._target, stream).metadata.update(track.tags)
        elif route.way == "attach":
            name = track.tags.get("filename", f"cover.{_COVERS[track.codec].removeprefix('image/')}")
            mime = track.tags.get("mimetype", _COVERS[track.codec])
            self._target.add_attachment(name, mime, cover(self._source, track.index))
        elif route.way in ("copy", "convert"):
            out = self._add_text(stream) if route.way == "convert" else _copy(self._target, stream)
            out.metadata.update({} if track.kind == "cover" else labels.spelled(track.tags, self._target.format.name))
            out.disposition = track.flags
            self._streams[track.index] = out

    def _add_stretched(self, stream: av.AudioStream, track: Track) -> None:
        """Adds an encoder for a track of sound that becomes longer."""
        try:
            sound = StretchedSound(stream, self._target, self._origin + (self._cut.origin or 0), self._cut.stretch)
        except ValueError as error:
            raise UserError(
                f"{self._name}: its sound cannot be stretched ({error}); leave it out, --sound drop"
            ) from error
        sound.stream.metadata.update(labels.spelled(track.tags, self._target.format.name))
        sound.stream.disposition = track.flags
        self._stretched[track.index] = sound
        self._streams[track.index] = sound.stream

    def _add_text(self, stream: Stream) -> Stream:
        """Adds an encoder of the target's form of text, with the styles that the source's decoder has read."""
        stream.codec_context.open(strict=False)
        out = self._target.add_stream(TEXT[self._target.format.name])
        out.codec_context.subtitle_header = stream.codec_context.subtitle_header
        out.codec_context.time_base = _TEXT_TICK
        self._converted.add(stream.index)
        return out

    def _convert(self, packet: av.Packet, out: Stream) -> av.Packet | None:
        """Returns a subtitle in the form of the target; None for a pause, which some forms store."""
        try:
            subtitle = packet.stream.codec_context.decode2(packet)
        except av.FFmpegError as error:
            raise UserError(f"{self._source}: is damaged, in its subtitles ({error.strerror})") from error
        if subtitle is None or not len(subtitle):
            return None
        written = out.codec_context.encode_subtitle(subtitle)
        written.pts, written.dts, written.time_base = packet.pts, packet.pts, packet.time_base
        written.duration = packet.duration
        return written

    def _read_packet(self) -> av.Packet | None:
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except av.FFmpegError as error:
            raise UserError(f"{self._source}: is cut short or damaged, in its sound ({error.strerror})") from error


def _chapters(source: InputContainer, cut: Cut) -> list[Any]:
    """Returns the chapters of a source on the target's clock, without those outside a part."""
    kept = []
    for chapter in source.chapters():
        tick = exact(chapter["time_base"]) or Fraction(1)
        times = [max(Fraction(0), cut(chapter[name] * tick)) for name in ("start", "end")]
        tick = tick if cut == Cut() else min(tick, Fraction(1, 1000))
        start, end = (round((time if cut.length is None else min(time, cut.length)) / tick) for time in times)
        if end > start:
            kept.append({**chapter, "start": start, "end": end, "time_base": tick})
    return kept


def cover(source: Path, index: int) -> bytes:
    """Reads the file of a cover, the only packet of its stream.

    Raises:
      UserError: `source` cannot be opened, or the cover is damaged.
    """
    with contextlib.closing(open_input(source)) as container:
        packets = (bytes(packet) for packet in container.demux(container.streams[index]) if packet.size)
        if (data := next(packets, None)) is None:
            raise UserError(f"{source}: its cover is damaged")
        return data


@contextlib.contextmanager
def muxing_errors(target: Path) -> Iterator[None]:
    """Context manager: re-raises errors of FFmpeg and of the system while `target` is written as a one-line UserError.

    Raises:
      UserError: the disk is full, or the target cannot be written for another reason.
    """
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{target.parent}: the disk is full; free some space or choose another output"
        else:
            message = f"{target}: cannot be written ({error.strerror})"
        raise UserError(message) from error
