"""A video file in, the same video with k times the frames out: decode -> windows -> in-betweens -> encode.

Generators all the way: memory does not grow with the length of the clip. Times are exact fractions of a second,
computed from the source's own timestamps and rounded once, to the ticks of the target. Original and new frames take
the same way through RGB, so that neither differs from the other in color.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from vfi_jax.errors import UsageError, UserError
from vfi_jax.system.files import written_whole
from vfi_jax.video.decode import SCALING, Reader, TimedFrame, VideoInfo, clock_origin, exact, open_input, probe

Between = Callable[[tuple[np.ndarray, ...], Sequence[float]], Iterable[np.ndarray]]
Progress = Callable[[int, int | None], object]

_LIMITED, _FULL = 1, 2  # AVColorRange
_FINEST = 10**9  # ticks a second that every encoder takes
_MILLISECONDS = {"matroska", "webm"}  # containers that count in them
_SOURCE_ONLY = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}  # metadata of the container


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed.

    Attributes:
      codec: FFmpeg's name of the encoder; it must take planar YUV.
      options: (name, value) pairs for it.
    """

    codec: str
    options: tuple[tuple[str, str], ...]


# Visually lossless: the frames are the product, and a smaller file is one re-encoding away.
H264 = Encoding("libx264", (("crf", "16"), ("preset", "veryfast")))
VP9 = Encoding("libvpx-vp9", (("crf", "20"), ("deadline", "good"), ("cpu-used", "5"), ("row-mt", "1")))

CONTAINERS = {  # file name extension -> FFmpeg's muxer and what fits into it
    ".mp4": ("mp4", H264),
    ".m4v": ("mp4", H264),
    ".mov": ("mov", H264),
    ".mkv": ("matroska", H264),
    ".webm": ("webm", VP9),
}


@dataclass(frozen=True)
class Summary:
    """What was done.

    Attributes:
      source_frames: frames read.
      frames: frames written, `(source_frames - 1) * factor + 1`.
      notes: one line for everything that was left out of the target, mended, or is odd about the source.
    """

    source_frames: int
    frames: int
    notes: tuple[str, ...]


def check(source: Path, target: Path, factor: int) -> VideoInfo:
    """Find out, before any expensive work, whether `interpolate_video` can do what is asked.

    Opens the source, decodes one frame, and writes the target's header to memory.

    Raises:
      UsageError: a factor below 2, or a target whose extension is unknown.
      UserError: the source is no video; the target's folder is missing, the target is a folder or the source itself, or
        its container cannot hold the sound.
    """
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 2:
        raise UsageError(f"factor {factor}: must be a whole number from 2 up")
    source, target = Path(source), Path(target)
    muxer, _ = _container(target)
    _check_target(source, target)
    info = probe(source)
    if muxer in _MILLISECONDS and info.rate * factor > 1000:
        raise UserError(
            f"{target}: cannot hold {float(info.rate * factor):g} frames a second; write to .mp4, which can"
        )
    with io.BytesIO() as memory, contextlib.suppress(av.FFmpegError):  # closing an empty file may fail; that is all
        _Writer(memory, target, info, factor).close()
    return info


def interpolate_video(
    source: Path,
    target: Path,
    between: Between,
    factor: int,
    *,
    num_frames: int = 2,
    progress: Progress | None = None,
) -> Summary:
    """Write `target` with `factor` times the frames of `source`: n frames become `(n - 1) * factor + 1`.

    Original frames keep their timestamps, the last one also its duration; new ones are spaced evenly between. Sound,
    and subtitles and attachments that the container can hold, are copied packet by packet. The target appears under its
    name only when it is complete.

    Args:
      source: any video that FFmpeg reads.
      target: its extension chooses container and codec, see `CONTAINERS`.
      between: `between(frames, times)` gives one frame for each time in (0, 1) between the middle two of `frames`.
        Frames are `[h, w, 3]` RGB, uint8, or uint16 where the source has more than 8 bits; the new ones likewise.
      factor: from 2 up.
      num_frames: even; how many consecutive frames `between` takes. The ends of the clip repeat a frame.
      progress: called after each frame with the number written and the total, which is an estimate or None.

    Raises:
      UsageError, UserError: as `check`; and UserError where the source turns out damaged, cut short or of changing
        size, or the disk is full.
    """
    source, target = Path(source), Path(target)
    check(source, target, factor)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(Reader(source))
        part = stack.enter_context(written_whole(target))
        writer = stack.enter_context(_Writer(part, target, reader.info, factor))
        total = None if reader.info.frames is None else (reader.info.frames - 1) * factor + 1
        count = 0
        for frame in _interpolated(reader.frames(), between, factor, num_frames):
            writer.write(frame)
            count += 1
            if progress is not None:
                progress(count, total)
        writer.finish()
        notes = (*reader.notes, *writer.notes)
    return Summary(source_frames=(count - 1) // factor + 1, frames=count, notes=notes)


# ------------------------------------------------------------------------------------------------ frames between frames


def _interpolated(frames: Iterator[TimedFrame], between: Between, factor: int, num_frames: int) -> Iterator[TimedFrame]:
    """Each frame, followed by the new ones up to the next; at last the last."""
    times = [j / factor for j in range(1, factor)]
    last = next(frames)
    for window in _windows(itertools.chain([last], frames), num_frames):
        left, last = window[num_frames // 2 - 1], window[num_frames // 2]
        step = (last.time - left.time) / factor
        yield TimedFrame(left.time, step, left.image)
        images = between(tuple(frame.image for frame in window), times)
        for j, image in zip(range(1, factor), images, strict=True):
            if (image.shape, image.dtype) != (left.image.shape, left.image.dtype):  # FFmpeg would scale it to fit
                raise ValueError(
                    f"`between` gave {image.shape} {image.dtype} for {left.image.shape} {left.image.dtype}"
                )
            yield TimedFrame(left.time + j * step, step, image)
    yield last


def _windows(frames: Iterable[TimedFrame], size: int) -> Iterator[tuple[TimedFrame, ...]]:
    """Runs of `size` consecutive frames, so that every pair of neighbors is once in the middle; ends are repeated."""
    if size < 2 or size % 2:
        raise ValueError(f"num_frames must be even, got {size}")
    margin = size // 2 - 1
    window: deque[TimedFrame] = deque(maxlen=size)
    for frame in frames:
        window.extend([frame] * (1 if window else 1 + margin))
        if len(window) == size:
            yield tuple(window)
    for _ in range(margin):
        window.append(window[-1])
        if len(window) == size:
            yield tuple(window)


# ------------------------------------------------------------------------------------------------------------- target


def _container(target: Path) -> tuple[str, Encoding]:
    try:
        return CONTAINERS[target.suffix.lower()]
    except KeyError:
        raise UsageError(f"{target}: the output's name must end in one of {', '.join(CONTAINERS)}") from None


def _check_target(source: Path, target: Path) -> None:
    folder = target.parent
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; create it or choose another output")
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; choose another output")
    if target.is_dir():
        raise UserError(f"{target}: is a folder; give the output a file name")
    if target.exists() and source.exists() and os.path.samefile(source, target):
        raise UserError(f"{target}: is the input itself; choose another output")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written to; choose another output")


@contextlib.contextmanager
def _one_line(target: Path) -> Iterator[None]:
    """Errors of FFmpeg and the system while writing, as one UserError."""
    try:
        yield
    except (av.FFmpegError, OSError) as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            message = f"{target.parent}: the disk is full; free some space or choose another output"
        else:
            message = f"{target}: cannot be written ({error.strerror})"
        raise UserError(message) from error


class _Writer:
    """The target, open for encoding, with its header written; a context manager.

    Attributes:
      notes: one line for everything of the source that the target lacks.
    """

    def __init__(self, sink: Path | io.BytesIO, target: Path, info: VideoInfo, factor: int) -> None:
        self._target, self._info = target, info
        muxer, encoding = _container(target)
        self._tick = _time_base(info, factor)
        self._scaler = VideoReformatter()
        self._held: TimedFrame | None = None
        with contextlib.ExitStack() as stack, _one_line(target):
            file = sink if isinstance(sink, io.BytesIO) else os.path.abspath(sink)
            # MP4 writes where a stream starts in this unit, by default in milliseconds.
            options = {"movie_timescale": str(self._tick.denominator)} if muxer in ("mp4", "mov") else {}
            self._container = stack.enter_context(av.open(file, "w", format=muxer, container_options=options))
            self._stream = _video_out(self._container, info, encoding, info.rate * factor, self._tick)
            self._copy = stack.enter_context(_Copy(info.path, self._container, target))
            self._container.start_encoding()
            self._open = stack.pop_all()
        self.notes = list(self._copy.notes)
        if info.bits > 8 and not self._stream.pix_fmt.endswith("10le"):
            self.notes.append(f"{info.bits}-bit source written with 8 bits: {encoding.codec} takes no more here")
        if info.aspect not in (None, 1) and muxer == "webm":
            self.notes.append(f"the pixels' shape ({info.aspect}) is lost: WebM written here cannot carry it")

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        # After `finish` this does nothing; before it the file is thrown away, and so are errors on closing it.
        with contextlib.suppress(av.FFmpegError):
            self.close()

    def write(self, frame: TimedFrame) -> None:
        """Encode the frame before this one, and copy what sounds or is read up to it; hold this one."""
        if self._held is not None:
            self._encode(self._held)
        self._held = frame

    def _encode(self, frame: TimedFrame, *, is_last: bool = False) -> None:
        image = av.VideoFrame.from_ndarray(frame.image, "rgb48le" if frame.image.dtype == np.uint16 else "rgb24")
        picture = self._scaler.reformat(
            image,
            format=self._stream.pix_fmt,
            dst_colorspace=self._info.color.matrix,
            dst_color_range=_FULL if self._info.color.full else _LIMITED,
            interpolation=SCALING,
        )
        picture.pts, picture.time_base = round(frame.time / self._tick), self._tick
        picture.duration = round((frame.time + frame.duration) / self._tick) - picture.pts
        if is_last:  # as a key frame it is stored last too, and MP4 gives the last stored frame the duration at the end
            picture.pict_type = PictureType.I
        with _one_line(self._target):
            self._container.mux(self._stream.encode(picture))
        self._copy.until(frame.time)

    def finish(self) -> None:
        """Write what is still held back, and close the file. Raises UserError where the disk is full."""
        if self._held is not None:
            self._encode(self._held, is_last=True)
        with _one_line(self._target):
            self._container.mux(self._stream.encode(None))
        self._copy.until(None)
        with _one_line(self._target):
            self.close()

    def close(self) -> None:
        """Close the file as it stands. Raises what FFmpeg raises."""
        self._open.close()


class _Copy:
    """Sound, subtitles and attachments of the source, handed on packet by packet; a context manager.

    The source is opened once more for them, so that they are read at the pace of the encoded video however the
    source interleaves its streams; neither side has to hold packets back for the other.
    """

    def __init__(self, source: Path, target: av.container.OutputContainer, name: Path) -> None:
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
        self._next = self._advance()

    def __enter__(self) -> _Copy:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def until(self, time: Fraction | None) -> None:
        """Copy every packet that belongs at or before `time` seconds; all that are left where it is None."""
        while (packet := self._next) is not None:
            start, tick = packet.pts if packet.dts is None else packet.dts, exact(packet.time_base)
            if time is not None and (start or 0) * tick - self._origin > time:
                return
            shift = round(self._origin / tick)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = None if packet.dts is None else packet.dts - shift
            packet.stream = self._streams[packet.stream_index]
            with _one_line(self._name):
                self._target.mux(packet)
            self._next = self._advance()

    @property
    def notes(self) -> list[str]:
        """What is left out, one line a kind."""
        left = [s.type for s in self._container.streams if s.index not in self._streams]
        left.remove("video")  # the one that is interpolated
        return [f"left out: {left.count(kind)} {kind} stream(s)" for kind in sorted(set(left))]

    def _add(self, stream: av.stream.Stream) -> av.stream.Stream | None:
        """The stream's place in the target; None where it is not to be copied."""
        wanted = {"audio", "subtitle"} | ({"attachment"} if self._target.format.name == "matroska" else set())
        if stream.type not in wanted:
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

    def _advance(self) -> av.Packet | None:
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except av.FFmpegError as error:
            raise UserError(f"{self._source}: is cut short or damaged, in its sound ({error.strerror})") from error


def _metadata(source: av.container.InputContainer | av.stream.Stream) -> dict[str, str]:
    """Titles and the like, without what describes the source's own container."""
    return {key: value for key, value in source.metadata.items() if key.lower() not in _SOURCE_ONLY}


def _video_out(
    container: av.container.OutputContainer, info: VideoInfo, encoding: Encoding, rate: Fraction, tick: Fraction
) -> av.VideoStream:
    """The encoder, with the source's color tags and shape."""
    rate = rate.limit_denominator(10**6)
    stream = container.add_stream(encoding.codec, rate=rate, options=dict(encoding.options))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = info.width, info.height, _pixel_format(info, encoding.codec)
    stream.time_base = context.time_base = tick
    context.flags |= Flags.frame_duration  # otherwise the encoder gives the last frame the nominal rate's duration
    context.thread_type = "AUTO"  # PyAV's default cuts frames into slices, which costs quality
    context.color_range, context.colorspace = info.color.range, info.color.space
    context.color_primaries, context.color_trc = info.color.primaries, info.color.transfer
    if info.aspect:
        context.sample_aspect_ratio = info.aspect
    return stream


def _time_base(info: VideoInfo, factor: int) -> Fraction:
    """Seconds a tick, of which every timestamp of the target is a multiple."""
    exact = info.time_base / factor
    return exact if exact.denominator <= _FINEST else Fraction(1, 10**6)


def _pixel_format(info: VideoInfo, codec: str) -> str:
    """Planar YUV with the source's chroma resolution and depth, as far as its size and the encoder allow.

    Sources in RGB become 4:2:0: little else plays the rest. An odd side cannot be halved, so its chroma stays whole.
    """
    source = av.VideoFormat(info.pixel_format, 16, 16)
    halves = (True, True)
    if not source.is_rgb and len(source.components) > 2:
        halves = (source.chroma_width() < 16, source.chroma_height() < 16)
    across, down = reversed(halves) if info.turned else halves
    across, down = across and info.width % 2 == 0, down and info.height % 2 == 0
    sampling = ("420" if down else "422") if across else "444"
    deep = f"yuv{sampling}p10le"
    known = {f.name for f in av.Codec(codec, "w").video_formats or ()}
    return deep if info.bits > 8 and deep in known else f"yuv{sampling}p"
