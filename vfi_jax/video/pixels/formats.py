"""Pixel formats: which of those that an encoder takes keeps most of the source."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from vfi_jax.video.coding.decode import VideoInfo
from vfi_jax.video.coding.encoders import container_of, encoding_of
from vfi_jax.video.options import Options
from vfi_jax.video.pictures.formats import picture_format
from vfi_jax.video.pixels.layout import GRAY, RGB, YUV, Layout, Turn, is_float, layout_of

_PLAYED = "yuv420p"  # most players show nothing else
_FAMILIES = {GRAY: {GRAY: 0, YUV: 0, RGB: 0}, YUV: {YUV: 0, RGB: 1, GRAY: 2}, RGB: {RGB: 0, YUV: 1, GRAY: 2}}
_FAILING = {  # formats that encoders list, but refuse
    "libvpx-vp9": ("yuva422p", "yuva444p", "gbrap"),
    "libx265": ("yuva420p", "yuva420p10le"),
}


def pixel_format(info: VideoInfo, codec: str, *, is_lossless: bool) -> str:
    """Returns the pixel format in which a source is encoded: of those of the encoder, the one that loses least.

    Opacity counts most, then RGB, chroma resolution and depth; among formats that lose the same, the smallest wins.
    Where an encoder with losses takes 4:2:0, RGB and gray become that, because few players show anything else. An odd
    side keeps its full chroma resolution where the encoder cannot halve it, or where the frame is turned.

    Args:
      info: the source.
      codec: FFmpeg's name of the encoder.
      is_lossless: whether it is to keep every code.

    Raises:
      ValueError: the encoder takes no pixel format that FFmpeg's scaler writes.
    """
    if (chosen := picture_format(info, codec)) is not None:
        return chosen
    wanted = source_layout(info)
    encoder = av.Codec(codec, "w")
    names = [form.name for form in encoder.video_formats or ()]
    is_exact = is_lossless or (encoder.lossless and not encoder.lossy)
    if wanted.family != YUV and _PLAYED in names and not is_exact:
        wanted = replace(wanted, family=YUV, across=1, down=1)
    layouts = {name: layout_of(name) for name in names if _is_written(codec, name)}
    scored = sorted(layouts, key=lambda name: _cost(wanted, layouts[name], name))  # stable: the encoder's order decides
    for name in scored:
        if _fits(layouts[name], info, codec, name):
            return name
    raise ValueError(f"{codec} takes no pixel format that can be written")


def target_format(info: VideoInfo, target: Path, options: Options) -> str:
    """Returns the pixel format of a target, whose name chooses the container.

    Raises:
      UsageError: the name has an unknown extension, or options exclude each other.
    """
    encoding = encoding_of(container_of(target), options)
    return pixel_format(info, encoding.codec, is_lossless=encoding.is_lossless)


def source_layout(info: VideoInfo) -> Layout:
    """Returns the layout of a source's frames when they are upright, without opacity that is 1 throughout."""
    layout = layout_of(info.pixel_format)
    across, down = (layout.down, layout.across) if info.turn.transpose else (layout.across, layout.down)
    return replace(layout, across=across, down=down, alpha=info.has_alpha)


def _is_written(codec: str, name: str) -> bool:
    form = av.VideoFormat(name, 16, 16)
    if form.has_palette or form.is_bayer or not form.components or name in _FAILING.get(codec, ()):
        return False
    return max(component.bits for component in form.components) >= 8 and not name.startswith("yuvj")


def _cost(source: Layout, target: Layout, name: str) -> tuple[int | bool, ...]:
    """Ranks a target format: losses, the most important first, then what exceeds the source."""
    chroma = (target.across - source.across, target.down - source.down)
    if source.family == GRAY:
        chroma = (0, 0) if target.family == GRAY else (-3 + target.across, -3 + target.down)
    return (
        source.alpha and not target.alpha,
        _FAMILIES[source.family][target.family],
        sum(max(0, lost) for lost in chroma),
        max(0, source.bits - target.bits),
        is_float(name),
        target.alpha and not source.alpha,
        source.family != target.family,
        sum(max(0, -lost) for lost in chroma),
        max(0, target.bits - source.bits),
    )


def _fits(layout: Layout, info: VideoInfo, codec: str, name: str) -> bool:
    """Whether the sides can be subsampled."""
    odd = [bool(side % 2 and halved) for side, halved in ((info.width, layout.across), (info.height, layout.down))]
    return not any(odd) or (info.turn == Turn() and _opens(codec, name, 64 + odd[0], 64 + odd[1]))


def _opens(codec: str, name: str, width: int, height: int) -> bool:
    """Whether an encoder takes frames of a format and size."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = width, height, name, Fraction(1, 25)
    try:
        context.open()
    except (av.FFmpegError, ValueError):
        return False
    return True
