"""Encoding: frames with exact timestamps into a video file, beside the copied streams of the source.

Times are exact fractions of a second, rounded once, to the ticks of the target; a frame lasts until the next one. Color
tags, chroma resolution and bit depth follow the source as far as the encoder allows.
"""

from __future__ import annotations

import contextlib
import io
import os
from fractions import Fraction
from pathlib import Path

import av
from av.codec.context import Flags
from av.video.frame import PictureType

from vfi_jax.errors import UserError
from vfi_jax.video.coding import durations, trial
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.coding.encoders import ENCODERS, Encoding, container_of, encoding_of
from vfi_jax.video.options import Options
from vfi_jax.video.pixels.convert import Converter
from vfi_jax.video.pixels.formats import pixel_format
from vfi_jax.video.pixels.layout import layout_of
from vfi_jax.video.pixels.palette import Palette
from vfi_jax.video.segments.journal import Journal
from vfi_jax.video.segments.packets import SegmentedPackets, is_kept, is_segmented
from vfi_jax.video.segments.records import Record, copied
from vfi_jax.video.timeline import rate_of, tick_of, ticks_of
from vfi_jax.video.tracks import hdr
from vfi_jax.video.tracks.streams import Copier, Cut, NothingToCopy, StreamCopier, muxing_errors

_MAX_TICKS = 10**9  # ticks per second that every encoder accepts
_SHAPED = ("h264", "hevc", "mpeg4")  # codecs with a field for the shape of pixels
_SQUARE = ("webm", "gif", "webp", "image2")  # without a field for the shape of pixels
_EXTRA = {  # options of muxers
    "apng": {"plays": "0"},  # animations repeat without end, as GIFs do by default
    "webp": {"loop": "0"},
    "matroska": {"fflags": "+bitexact"},  # otherwise it holds numbers drawn at random
    "webm": {"fflags": "+bitexact"},
    "avi": {"avoid_negative_ts": "disabled"},  # or the picture would be later, by a part of a frame
}
_TICKS = {  # seconds, of formats that count time in units of their own
    "matroska": Fraction(1, 1000),
    "webm": Fraction(1, 1000),
    "webp": Fraction(1, 1000),
    "gif": Fraction(1, 100),
    "mpegts": Fraction(1, 90000),
}


def check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    """Checks the name and the folder of a target before any work.

    Raises:
      UsageError: the extension is unknown.
      UserError: the target's folder is missing or not writable, or the target is a folder, the source itself or a
        file with several names, or exists and `overwrite` is not set.
    """
    container_of(target)
    folder = target.parent
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; create it or choose another output")
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; choose another output")
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give the output a file name")
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UserError(f"{target}: is the input itself; choose another output")
    if target.exists() and not overwrite:
        raise UserError(f"{target}: exists; choose another output, or replace it with --overwrite")
    if target.exists() and not target.is_file():
        raise UserError(f"{target}: is not a regular file; choose another output")
    if target.exists() and target.stat().st_nlink > 1:
        raise UserError(f"{target}: is a file with several names (hard links); choose another output")
    if os.path.islink(os.path.realpath(target)):
        raise UserError(f"{target}: is a link in a circle; choose another output")
    if target.is_symlink():
        folder = Path(os.path.realpath(target)).parent
    if not os.access(folder, os.W_OK):
        missing = "cannot be written to" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {missing}; choose another output")


def check_streams(target: Path, info: VideoInfo, options: Options, frames: int) -> None:
    """Checks that the target's encoder and container work: encodes a frame, and writes the header, to memory.

    Args:
      target: its extension chooses the container.
      info: the source.
      options: what is asked.
      frames: number of frames of the source.

    Raises:
      UsageError: an encoder or options of it that are unknown or exclude each other, see `encoders.encoding_of`.
      UserError: too many frames per second for the container, sound that it cannot hold, or an encoder that is not
        there or refuses the frames.
    """
    container, rate = container_of(target), rate_of(options, info.rate)
    muxer, encoding = container.muxer, encoding_of(container, options)
    if muxer in _TICKS and rate * _TICKS[muxer] > 1 and frames > 1:
        raise UserError(f"{target}: cannot hold {float(rate):g} frames per second; write to .mp4, which can")
    tick = target_tick(target, info, options)
    trial.check_encoder(target, muxer, encoding, lambda out: _add_video_stream(out, info, encoding, rate, tick))
    cut = Cut(Fraction(0) if options.is_part else None, options.stretch)
    with io.BytesIO() as memory, contextlib.suppress(av.FFmpegError):  # closing an empty file may fail, which is fine
        Writer(memory, target, info, options, cut).close()


def target_tick(target: Path, info: VideoInfo, options: Options) -> Fraction:
    """Returns the seconds per tick, of which every timestamp of the target is a multiple."""
    muxer = container_of(target).muxer
    if muxer in _TICKS:
        return _TICKS[muxer]
    if muxer == "avi":  # it has no times, only a rate
        return 1 / rate_of(options, info.rate).limit_denominator(10**6)
    tick = tick_of(options, info.time_base)
    return tick if tick.denominator <= _MAX_TICKS else Fraction(1, 10**6)


class Writer:
    """A target file open for encoding, its header written; a context manager. Holds one frame.

    Attributes:
      finished: number of frames that an earlier run has encoded, which the file begins with.
    """

    def __init__(
        self,
        sink: Path | io.BytesIO,
        target: Path,
        info: VideoInfo,
        options: Options,
        cut: Cut,
        journal: Journal | None = None,
    ) -> None:
        """Opens the file, and writes its header and what the journal holds.

        Args:
          sink: where the bytes go.
          target: file name that chooses the container and stands in error messages.
          info: the source, whose other streams are copied.
          options: what is asked.
          cut: how the times of the other streams change.
          journal: where finished segments are kept; None: nowhere.

        Raises:
          UsageError: the target's extension is unknown.
          UserError: the source's sound does not fit into the container, or the file cannot be written.
        """
        self._target, self._info = target, info
        container = container_of(target)
        muxer, encoding = container.muxer, encoding_of(container, options)
        self._tick = target_tick(target, info, options)
        self._is_part = options.is_part
        self._time = Fraction(0)  # of the last frame that was encoded
        self._held: tuple[Fraction, av.VideoFrame] | None = None
        self._first: Fraction | None = None
        self._border: int | None = None
        self._journal, self.finished = journal, 0 if journal is None else journal.frames
        self._is_segmented, self._is_kept = is_segmented(encoding.codec), can_resume(target, info, options)
        self._muxer, self._sink = muxer, sink if isinstance(sink, Path) and muxer in durations.MUXERS else None
        self._palette = Palette(has_alpha=info.has_alpha) if encoding.codec == "gif" else None
        with contextlib.ExitStack() as stack, muxing_errors(target):
            file = sink if isinstance(sink, io.BytesIO) else os.path.abspath(sink)
            extra = _muxer_options(muxer, self._tick)
            self._container = stack.enter_context(av.open(file, "w", format=muxer, container_options=extra))
            rate = rate_of(options, info.rate)
            self._stream = _add_video_stream(self._container, info, encoding, rate, self._tick)
            self._packets = SegmentedPackets(
                self._stream, lambda: _add_video_stream(self._spare(), info, encoding, rate, self._tick)
            )
            name = "rgba" if self._palette else self._stream.pix_fmt or ""
            self._converter = Converter(info, name, encoding.codec)
            self._copier: Copier = stack.enter_context(
                StreamCopier(info.path, self._container, target, cut, keep_sound=options.sound == "keep")
                if info.has_tracks
                else NothingToCopy()
            )
            self._container.start_encoding()
            self._open = stack.pop_all()
        self._restore()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        # After `finish` this does nothing. Before it, the file is discarded, and so are errors of closing it.
        with contextlib.suppress(av.FFmpegError):
            self.close()

    def write(self, frame: TimedFrame) -> None:
        """Encodes the frame held, copies the other streams up to it, and holds the new one.

        Raises:
          UserError: the file cannot be written.
        """
        self._first = frame.time if self._first is None else self._first
        if self._held is not None:
            self._encode(*self._held, until=frame.time)
        if self._border is not None:
            self._end_segment(self._border)
        self._held = frame.time, self._converter(frame)

    def begin_segment(self, frames: int) -> None:
        """Makes the next frame the first of a segment, before which there are so many frames."""
        if self._is_segmented:
            self._border = frames

    def finish(self, end: Fraction) -> None:
        """Encodes the frame held, copies the rest of the other streams, of a part up to its end, and closes the file.

        Args:
          end: time at which the last frame's display ends, seconds.

        Raises:
          UserError: the file cannot be written.
        """
        if self._held is not None:
            self._encode(*self._held, until=end, is_last=True)
        self._empty_encoder()
        self._copier.finish(end if self._is_part else None)
        with muxing_errors(self._target):
            self.close()
            if self._sink is not None and self._first is not None:
                durations.set_last(self._sink, self._muxer, end - self._first)

    def close(self) -> None:
        """Closes the file as it stands. Raises FFmpeg's own errors."""
        self._open.close()

    def _encode(self, time: Fraction, picture: av.VideoFrame, *, until: Fraction, is_last: bool = False) -> None:
        self._time = time
        if self._palette is not None:
            picture = self._palette(picture)
        picture.pts, picture.time_base = ticks_of(time, self._tick), self._tick
        picture.duration = max(1, ticks_of(until, self._tick) - picture.pts)
        if is_last:
            # MP4 gives the final duration to the frame that is stored last; a key frame is.
            picture.pict_type = PictureType.I
        with muxing_errors(self._target):
            packets = self._packets.encode(picture)
        self._write(Record(time, tuple(packets)))

    def _write(self, record: Record) -> None:
        """Writes what the encoder has given, and keeps it in the journal."""
        if self._is_kept:
            record = Record(record.time, tuple(copied(packet) for packet in record.packets))
        with muxing_errors(self._target):
            if self._journal is not None:
                self._journal.add(record)
            self._mux(record)

    def _mux(self, record: Record) -> None:
        for packet in record.packets:
            packet.stream = self._stream
            self._container.mux(packet)
        self._copier.copy_until(record.time)

    def _end_segment(self, frames: int) -> None:
        self._border = None
        self._empty_encoder()
        if self._journal is not None:
            self._journal.commit(frames)
        self._packets.split()

    def _empty_encoder(self) -> None:
        with muxing_errors(self._target):
            packets = self._packets.encode(None)
        self._write(Record(self._time, tuple(packets)))

    def _restore(self) -> None:
        """Writes what an earlier run has encoded."""
        if self._journal is None or not self.finished:
            return
        with muxing_errors(self._target):
            for record in self._journal.records(self._tick):
                self._packets.note(record.packets)
                self._mux(record)
                self._time = record.time
        self._packets.split()

    def _spare(self) -> av.container.OutputContainer:
        """Opens a container in memory for another encoder; it is never written."""
        return av.open(io.BytesIO(), "w", format=self._muxer)


def can_resume(target: Path, info: VideoInfo, options: Options) -> bool:
    """Whether a run that writes a file and is ended can be gone on with."""
    encoding = encoding_of(container_of(target), options)
    name = pixel_format(info, encoding.codec, is_lossless=encoding.is_lossless)
    return is_kept(encoding.codec, has_alpha=layout_of(name).alpha)


def _muxer_options(muxer: str, tick: Fraction) -> dict[str, str]:
    if muxer in ("mp4", "mov"):  # which store the start of a stream in this unit, a millisecond by default
        return {"movie_timescale": str(tick.denominator)}
    return _EXTRA.get(muxer, {})


def _add_video_stream(
    container: av.container.OutputContainer, info: VideoInfo, encoding: Encoding, rate: Fraction, tick: Fraction
) -> av.VideoStream:
    """Adds the encoder, with the source's size, color tags and pixel shape."""
    rate = rate.limit_denominator(10**6)
    name = pixel_format(info, encoding.codec, is_lossless=encoding.is_lossless)
    color = info.color.turned(info.turn).stored_in(name, encoding.codec)
    options = encoding.options_for(name, hdr.options(info.side_data, encoding.codec))
    options["chroma_sample_location"] = color.siting  # PyAV has no attribute for it
    stream = container.add_stream(encoding.codec, rate=rate, options=options)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = info.width, info.height, name
    if context.codec.canonical_name == "hevc" and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # players of Apple's know no other
    stream.time_base = context.time_base = tick
    context.flags |= Flags.frame_duration  # otherwise the encoder gives the last frame the nominal rate's duration
    context.thread_type = "AUTO"  # PyAV's default cuts frames into slices, which costs quality
    context.color_range, context.colorspace = color.range, color.space
    context.color_primaries, context.color_trc = color.primaries, color.transfer
    if info.aspect:
        context.sample_aspect_ratio = info.aspect
    return stream


def has_aspect(info: VideoInfo, muxer: str, encoder: str) -> bool:
    """Whether a container keeps the shape of the source's pixels; Matroska relies on the encoder's bit stream."""
    is_shaped = muxer != "matroska" or ENCODERS[encoder].codec in _SHAPED
    return info.aspect in (None, 1) or (muxer not in _SQUARE and is_shaped)
