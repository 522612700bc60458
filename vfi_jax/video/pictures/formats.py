"""Pixel formats of encoders of pictures, animations and raw video: those that take RGB, or only some forms of YUV."""

from __future__ import annotations

import av

from vfi_jax.video import y4m
from vfi_jax.video.coding.decode import VideoInfo

_DEEP = {"gray": ("gray16be", "gray16le"), "rgb24": ("rgb48be", "rgb48le"), "rgba": ("rgba64be", "rgba64le")}
_ONLY = {  # encoders that are given one format, which holds most of what they can
    "gif": "pal8", "libwebp": "bgra", "libwebp_anim": "bgra", "bmp": "bgr24", "mpeg4": "yuv420p",
}  # fmt: skip
_RGB = ("png", "apng", "tiff")


def picture_format(info: VideoInfo, codec: str) -> str | None:
    """Returns the pixel format in which an encoder keeps most of a source; None for an encoder of videos.

    Args:
      info: the source.
      codec: FFmpeg's name of the encoder.
    """
    if codec == "exr":
        return "gbrapf32le" if info.has_alpha else "gbrpf32le"
    if codec in _ONLY:
        return _ONLY[codec]
    if codec == "mjpeg":
        return f"yuvj{_sampling(info)}p"
    if codec == "rawvideo":
        return _raw(info)
    if codec not in _RGB:
        return None
    name = "rgba" if info.has_alpha else "gray" if _is_gray(info) else "rgb24"
    known = {form.name for form in av.Codec(codec, "w").video_formats or ()}
    return next(deep for deep in _DEEP[name] if deep in known) if info.bits > 8 else name


def _is_gray(info: VideoInfo) -> bool:
    form = av.VideoFormat(info.pixel_format, 16, 16)
    return not form.has_palette and sum(not component.is_alpha for component in form.components) == 1


def _sampling(info: VideoInfo) -> str:
    """The chroma resolution of a source, as in names of formats."""
    form = av.VideoFormat(info.pixel_format, 16, 16)
    if form.is_rgb or form.has_palette or len(form.components) < 3:
        return "444"
    halves = form.chroma_width() < 16, form.chroma_height() < 16
    across, down = reversed(halves) if info.turned else halves
    return ("420" if down else "422") if across else "444"


def _raw(info: VideoInfo) -> str:
    """The source's own format if y4m has it, or one that holds it."""
    name = info.pixel_format.replace("yuvj", "yuv")
    if name in y4m.FORMATS and not info.turned:
        return name
    if _is_gray(info):
        return "gray" if info.bits == 8 else "gray16le"
    depth = next((depth for depth in (10, 12, 14, 16) if info.bits <= depth), 16)
    return f"yuv{_sampling(info)}p" + (f"{depth}le" if info.bits > 8 else "")
