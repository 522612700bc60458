"""Pixel formats: which of those that an encoder takes keeps most of the source."""

from __future__ import annotations

import av

from vfi_jax.video.decode import VideoInfo
from vfi_jax.video.picture_formats import picture_format


def pixel_format(info: VideoInfo, codec: str, *, is_lossless: bool) -> str:
    """Returns the pixel format in which a source is encoded.

    It is planar YUV with the source's chroma resolution and depth, as far as its size and the encoder allow. Sources in
    RGB become 4:2:0, because few players show anything else. An odd side keeps its full chroma resolution, because it
    cannot be halved.

    Args:
      info: the source.
      codec: FFmpeg's name of the encoder.
      is_lossless: whether it is to keep every code.
    """
    if (chosen := picture_format(info, codec)) is not None:
        return chosen
    source = av.VideoFormat(info.pixel_format, 16, 16)
    halves = (not is_lossless, not is_lossless)
    if not source.is_rgb and len(source.components) > 2:
        halves = (source.chroma_width() < 16, source.chroma_height() < 16)
    across, down = reversed(halves) if info.turned else halves
    across, down = across and info.width % 2 == 0, down and info.height % 2 == 0
    sampling = ("420" if down else "422") if across else "444"
    deep = f"yuv{sampling}p10le"
    known = {f.name for f in av.Codec(codec, "w").video_formats or ()}
    return deep if info.bits > 8 and deep in known else f"yuv{sampling}p"
