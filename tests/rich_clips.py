"""Clips with subtitles, covers, attachments, chapters, tags and side data, for tests of what an output keeps."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
from av.stream import Disposition
from PIL import Image

TICK = Fraction(1, 1000)
HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
HDR = {"x264-params": f"mastering-display={DISPLAY}:cll=1000,400"}
HDR_TAGS = {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}


@dataclass(frozen=True)
class Text:
    """A subtitle track: codec, tags, flags and lines, one each 40 ms."""

    codec: str
    tags: Mapping[str, str] = field(default_factory=dict)
    flags: int = 0
    lines: Sequence[bytes] = (b"first", b"second")


def picture_file(form: str = "jpeg") -> bytes:
    """A small picture as a file."""
    file = io.BytesIO()
    Image.fromarray(clips.moving(0)).save(file, form)
    return file.getvalue()


def make(
    path: Path,
    *,
    frames: int = 3,
    rate: Fraction | int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    picture_tags: Mapping[str, str] | None = None,
    picture_flags: Disposition = Disposition.default,
    texts: Sequence[Text] = (),
    cover: bool = False,
    attachments: Sequence[tuple[str, str, bytes]] = (),
    tags: Mapping[str, str] | None = None,
    chapters: Sequence[tuple[int, str]] = (),
    second: bool = False,
    alpha: bool = False,
) -> Path:
    """Writes a clip of moving patterns.

    Args:
      path: its extension chooses the container.
      frames: how many.
      rate: frames per second.
      codec: of the picture.
      pix_fmt: of the picture.
      options: of the encoder.
      picture_tags: of the picture's track.
      picture_flags: of the picture's track.
      texts: subtitle tracks.
      cover: whether an MP4 file gets a cover; other containers have theirs as an attachment.
      attachments: (name, MIME type, data).
      tags: of the file.
      chapters: (start in milliseconds, title).
      second: whether there is another picture track.
      alpha: whether the left half is transparent.
    """
    with av.open(str(path), "w") as out:
        pictures = [_picture(out, codec, pix_fmt, rate, options) for _ in range(1 + second)]
        pictures[0].metadata.update(picture_tags or {})
        pictures[0].disposition = picture_flags
        tracks = [_text(out, text) for text in texts]
        thumbnail = out.add_stream("mjpeg", rate=1, pix_fmt="yuvj420p", width=64, height=48) if cover else None
        if thumbnail is not None:
            thumbnail.disposition = Disposition.attached_pic
        for attachment in attachments:
            out.add_attachment(*attachment)
        out.metadata.update(tags or {})
        ends = [start for start, _ in chapters[1:]] + [chapters[-1][0] + 100] if chapters else []
        out.set_chapters(
            [
                {"id": i, "start": start, "end": end, "time_base": TICK, "metadata": {"title": title}}
                for i, ((start, title), end) in enumerate(zip(chapters, ends, strict=True))
            ]
        )
        out.start_encoding()
        if thumbnail is not None:
            packet = av.Packet(picture_file())
            packet.stream, packet.pts, packet.dts, packet.time_base = thumbnail, 0, 0, Fraction(1)
            out.mux(packet)
        for text, track in zip(texts, tracks, strict=True):
            for i, line in enumerate(text.lines):
                packet = av.Packet(line)
                packet.stream, packet.pts, packet.dts, packet.duration, packet.time_base = (
                    track,
                    40 * i,
                    40 * i,
                    30,
                    TICK,
                )
                out.mux(packet)
        for i in range(frames):
            for stream in pictures:
                out.mux(stream.encode(_frame(i, pix_fmt, rate, alpha)))
        for stream in pictures:
            out.mux(stream.encode(None))
    return path


def _picture(out, codec, pix_fmt, rate, options):
    stream = out.add_stream(codec, rate=rate, options=dict(options or {}), width=64, height=48)
    stream.pix_fmt = pix_fmt
    stream.time_base = stream.codec_context.time_base = 1 / Fraction(rate)
    return stream


def _text(out, text):
    stream = out.add_mux_stream(text.codec) if "pgs" in text.codec else out.add_stream(text.codec)
    if stream.codec_context is not None:
        stream.codec_context.subtitle_header = HEADER
        stream.codec_context.time_base = TICK
    stream.metadata.update(text.tags)
    stream.disposition = text.flags
    return stream


def _frame(index, pix_fmt, rate, alpha):
    image = np.dstack([clips.moving(index), np.full((48, 64), 255, np.uint8)])
    if alpha:
        image[:, :32, 3] = 0
    frame = av.VideoFrame.from_ndarray(image, "rgba").reformat(format=pix_fmt)
    frame.pts, frame.time_base = index, 1 / Fraction(rate)
    return frame
