"""The other streams of a video: sound, subtitles, attachments, chapters and metadata, copied without decoding."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from vfi_jax.errors import UserError
from vfi_jax.video.decode import clock_origin, exact, open_input

_CONTAINER_METADATA = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


class StreamCopier:
    """Copies sound, subtitles and attachments of a source into a target, packet by packet; a context manager.

    Opens the source a second time, so that these streams are read at the pace of the encoded video however the source
    interleaves them, and neither side has to buffer packets for the other.
    """

    def __init__(self, source: Path, target: av.container.OutputContainer, name: Path) -> None:
        """Adds the streams, metadata and chapters of `source` to `target`, whose header is not yet written.

        Args:
          source: the video to copy from.
          target: the container to copy into.
          name: the target's file name for error messages.

        Raises:
          UserError: `source` cannot be opened, or the target cannot hold its sound.
        """
        self._source, self._name, self._target = source, name, target
        self._container = open_input(source)
        try:
            self._origin = clock_origin(self._container)
            self._streams = {s.index: out for s in self._container.streams if (out := self._add(s)) is not None}
            target.metadata.update(_metadata(self._container))
            target.set_chapters(self._container.chapters())
            copied = [s for s in self._container.streams if s.index in self._streams and s.type != "attachment"]
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
            start, tick = packet.pts if packet.dts is None else packet.dts, exact(packet.time_base)
            if time is not None and (start or 0) * tick - self._origin > time:
                return
            shift = round(self._origin / tick)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = self._streams[packet.stream_index]
            with muxing_errors(self._name):
                self._target.mux(packet)
            self._next = self._read_packet()

    @property
    def notes(self) -> list[str]:
        """One line for each kind of stream that is left out."""
        left_out = [s.type for s in self._container.streams if s.index not in self._streams]
        left_out.remove("video")  # the one that is interpolated
        return [f"left out: {left_out.count(kind)} {kind} stream(s)" for kind in sorted(set(left_out))]

    def _add(self, stream: av.stream.Stream) -> av.stream.Stream | None:
        """Adds a copy of a stream to the target; returns None for a stream that is left out."""
        copied = {"audio", "subtitle"} | ({"attachment"} if self._target.format.name == "matroska" else set())
        if stream.type not in copied:
            return None
        try:
            out = self._target.add_stream_from_template(stream)
        except ValueError as error:  # the container cannot hold it, or the codec is unknown
            if stream.type != "audio":
                return None
            codec = stream.codec_context.name if stream.codec_context else "unknown"
            hint = "write to .mkv, which can" if self._name.suffix.lower() != ".mkv" else "convert it first"
            raise UserError(f"{self._name}: cannot hold the source's sound ({codec}); {hint}") from error
        out.metadata.update(_metadata(stream))
        out.disposition = stream.disposition
        return out

    def _read_packet(self) -> av.Packet | None:
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except av.FFmpegError as error:
            raise UserError(f"{self._source}: is cut short or damaged, in its sound ({error.strerror})") from error


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


def _metadata(source: av.container.InputContainer | av.stream.Stream) -> dict[str, str]:
    """Returns titles and the like, without the entries that describe the source's own container."""
    return {key: value for key, value in source.metadata.items() if key.lower() not in _CONTAINER_METADATA}
