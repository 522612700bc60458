"""Labels that survive a container: tags, flags, languages and chapters, found by writing them to memory.

FFmpeg's muxers leave out in silence what they have no place for. Instead of a table of what each of them holds, a file
of one frame with all labels is written and read back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from vfi_jax.video.coding.encoders import is_bare
from vfi_jax.video.tracks import inventory
from vfi_jax.video.tracks.inventory import Inventory, Track

_CODECS = {  # muxer: codecs of pictures, sound and subtitles that it takes and that are quick
    "webm": ("libvpx", "libopus", "webvtt"),
    "matroska": ("mjpeg", "aac", "subrip"),
    "mp4": ("mjpeg", "aac", "mov_text"),
    "mov": ("mjpeg", "aac", "mov_text"),
    "avi": ("mjpeg", "aac", "xsub"),
    "mpegts": ("mpeg2video", "aac", "dvbsub"),
}
_PIXELS = {"libvpx": "yuv420p", "mpeg2video": "yuv420p", "mjpeg": "yuvj420p"}
_SIDE = 16
_QUICKTIME = {  # languages with two codes: the one that FFmpeg's muxer does not write, and the other
    "sqi": "alb", "fre": "fra", "deu": "ger", "zho": "chi", "nld": "dut", "cze": "ces", "ell": "gre", "fas": "per",
    "isl": "ice", "rum": "ron", "slo": "slk",
}  # fmt: skip


def surviving(
    muxer: str, source: Inventory, tracks: Sequence[Track], chapters: Sequence[Mapping[str, Any]], rate: Fraction
) -> Inventory:
    """Returns what is left of the labels of `source` in a container.

    Args:
      muxer: FFmpeg's name of the container's muxer.
      source: its tags.
      tracks: those that are to be written, the picture first; of the kinds picture, video, audio and subtitle.
      chapters: as PyAV gives them.
      rate: frames per second of the target, to which a time code must fit.

    Returns:
      The inventory of the file written, whose tracks are in the order of `tracks`; others may follow.
    """
    if is_bare(muxer):
        bare = [dataclasses.replace(track, tags={}, flags=track.flags & Disposition.default) for track in tracks]
        return Inventory(muxer, {}, (), tuple(bare))
    try:
        return _round_trip(muxer, source, tracks, chapters, rate)
    except (av.FFmpegError, ValueError):  # a time code that does not fit the rate
        bare = [dataclasses.replace(track, tags=without_time_code(track.tags)) for track in tracks]
        source = dataclasses.replace(source, tags=without_time_code(source.tags))
        return _round_trip(muxer, source, bare, chapters, rate)


def holds_time_code(muxer: str, source: Inventory, rate: Fraction) -> bool:
    """Whether the time code of a source can be written at a frame rate; codes that drop frames need 29.97 or 59.94."""
    return surviving(muxer, source, [source.picture], [], rate).time_code == source.time_code


def spelled(tags: Mapping[str, str], muxer: str) -> dict[str, str]:
    """Returns tags with that code of the language which a container's muxer writes."""
    code = tags.get("language", "")
    return dict(tags) | ({"language": _QUICKTIME[code]} if muxer == "mov" and code in _QUICKTIME else {})


def without_time_code(tags: Mapping[str, str]) -> dict[str, str]:
    """Leaves out the time code."""
    return {key: value for key, value in tags.items() if key.lower() != "timecode"}


def _round_trip(
    muxer: str, source: Inventory, tracks: Sequence[Track], chapters: Sequence[Mapping[str, Any]], rate: Fraction
) -> Inventory:
    memory = io.BytesIO()
    with av.open(memory, "w", format=muxer) as out:
        streams = [_add(out, muxer, track, rate) for track in tracks]
        out.metadata.update(source.tags)
        out.set_chapters([dict(chapter) for chapter in chapters])
        out.start_encoding()
        for stream in streams:
            _write_one(out, stream)
    form = "mpegts" if muxer == "mpegts" else None  # FFmpeg does not recognize so short a stream by itself
    with contextlib.closing(av.open(io.BytesIO(memory.getvalue()), format=form)) as back:
        return inventory.read(back)


def _add(out: OutputContainer, muxer: str, track: Track, rate: Fraction) -> Stream:
    picture, sound, text = _CODECS[muxer]
    if track.kind == "audio":
        stream = out.add_stream(sound, rate=48000)
    elif track.kind == "subtitle":
        stream = out.add_mux_stream(text, time_base=Fraction(1, 1000))
    else:
        stream = out.add_stream(picture, rate=rate.limit_denominator(10**6), width=_SIDE, height=_SIDE)
        stream.pix_fmt = _PIXELS[picture]
    stream.metadata.update(spelled(track.tags, muxer))
    stream.disposition = track.flags
    return stream


def _write_one(out: OutputContainer, stream: Stream) -> None:
    """Writes a black frame, silence, or an empty subtitle."""
    if isinstance(stream, AudioStream):
        silence = av.AudioFrame(stream.format.name, stream.layout.name, stream.frame_size or 960)
        for plane in silence.planes:
            plane.update(bytes(plane.buffer_size))
        silence.sample_rate, silence.pts, silence.time_base = 48000, 0, Fraction(1, 48000)
        out.mux([*stream.encode(silence), *stream.encode(None)])
    elif isinstance(stream, VideoStream):
        frame = av.VideoFrame.from_ndarray(np.zeros((_SIDE * 3 // 2, _SIDE), np.uint8), stream.pix_fmt)
        frame.pts = 0
        out.mux([*stream.encode(frame), *stream.encode(None)])
    else:
        packet = av.Packet(bytes(2))
        packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = stream, 0, 0, 1, Fraction(1, 1000)
        out.mux(packet)
