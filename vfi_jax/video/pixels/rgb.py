"""Stored frames as the RGB pictures that networks see, and back.

Pictures are `[h, w, 3]`, full range, uint8, or uint16 (0..65535) where the source has more than 8 bits. With opacity
they are `[h, w, 4]`, always uint16, and premultiplied: colors are those over black.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from vfi_jax.video.pixels.color import FULL, LIMITED, MATRIX_NAMES, Color, conversion_of
from vfi_jax.video.pixels.layout import GRAY, RGB, YUV, Layout, Turn, joined, layout_of, split

# FFmpeg's default rounding darkens luma by 1.1 levels on the way to RGB and back; with these flags the bias is < 0.01.
SCALING = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_FLAGS = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
_PEAK = 65535


class Scaler:
    """FFmpeg's scaler from one pixel format to another; it keeps its tables from frame to frame."""

    def __init__(self, before: str, after: str, size: tuple[int, int], arguments: str) -> None:
        """Sets it up.

        Args:
          before: pixel format.
          after: pixel format.
          size: width and height.
          arguments: of FFmpeg's filter `scale`.
        """
        self._graph = av.filter.Graph()
        width, height = size
        buffer = self._graph.add_buffer(width=width, height=height, format=before, time_base=Fraction(1, 1))
        scale = self._graph.add("scale", f"flags={_FLAGS}:{arguments}")
        nodes = (buffer, scale, self._graph.add("format", after), self._graph.add("buffersink"))
        self._graph.link_nodes(*nodes).configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Returns the frame in the other pixel format."""
        self._graph.push(frame)
        return self._graph.pull()


class ToRGB:
    """Converts stored frames to RGB."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        """Returns the picture of a frame, `[h, w, 3]`, not yet turned, by the frame's own tags."""
        layout = layout_of(frame.format.name)
        options = {}
        if layout.family != RGB:
            matrix, full = conversion_of(frame)
            options = {"src_colorspace": matrix, "src_color_range": FULL if full else LIMITED}
        if layout.family == GRAY:
            frame = _with_neutral_chroma(split(frame)[0], layout)
        target = "rgb48le" if layout.bits > 8 else "rgb24"
        return self._scaler.reformat(frame, format=target, interpolation=SCALING, **options).to_ndarray()


def with_opacity(rgb: np.ndarray, raw: av.VideoFrame | None, turn: Turn) -> np.ndarray:
    """Returns the premultiplied picture of a frame.

    Args:
      rgb: its picture, `[h, w, 3]`.
      raw: the frame as it is stored; it is opaque if its format has no opacity, or without it.
      turn: how `raw` is turned upright.
    """
    deep = rgb if rgb.dtype == np.uint16 else rgb.astype(np.uint16) * (_PEAK // 255)
    layout = None if raw is None else layout_of(raw.format.name)
    if raw is None or layout is None or not layout.alpha:
        return np.concatenate([deep, np.full_like(deep[..., :1], _PEAK)], -1)
    return premultiplied(deep, turn(rescaled(split(raw)[-1], layout.peak, _PEAK)))


def premultiplied(rgb: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Returns `[h, w, 4]` uint16: colors over black, and opacity."""
    over_black = np.rint(rgb * (opacity / np.float32(_PEAK))[..., None])
    return np.concatenate([over_black.astype(np.uint16), opacity[..., None]], -1)


def unpremultiplied(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the colors `[h, w, 3]` and the opacity `[h, w]` of a premultiplied picture; black where it is 0."""
    opacity = picture[..., 3]
    scale = np.float32(_PEAK) / np.maximum(opacity, 1)
    return np.minimum(np.rint(picture[..., :3] * scale[..., None]), _PEAK).astype(np.uint16), opacity


class FromRGB:
    """Converts pictures to the planes of a pixel format."""

    def __init__(self, layout: Layout, color: Color, size: tuple[int, int]) -> None:
        """Takes the target.

        Args:
          layout: of the target.
          color: of the target.
          size: width and height.
        """
        self._layout, self._size = layout, size
        family = YUV if layout.family == GRAY else layout.family
        self._planar = replace(layout, family=family, alpha=False).planar
        self._arguments = (
            f"out_color_matrix={MATRIX_NAMES[color.matrix]}:out_range={'pc' if color.full else 'tv'}"
            f":out_chroma_loc={color.scaled_siting}"
        )
        self._scalers: dict[str, Scaler] = {}

    def __call__(self, picture: np.ndarray) -> list[np.ndarray]:
        """Returns the planes of a picture."""
        rgb, opacity = unpremultiplied(picture) if picture.shape[-1] == 4 else (picture, None)
        name = "rgb48le" if rgb.dtype == np.uint16 else "rgb24"
        if name not in self._scalers:
            self._scalers[name] = Scaler(name, self._planar, self._size, self._arguments)
        planes = split(self._scalers[name](av.VideoFrame.from_ndarray(rgb, name)))
        planes = planes[:1] if self._layout.family == GRAY else planes
        if self._layout.alpha:
            shown = np.full(rgb.shape[:2], _PEAK, np.uint16) if opacity is None else opacity
            planes.append(rescaled(shown, _PEAK, self._layout.peak).astype(self._layout.dtype))
        return planes


def _with_neutral_chroma(luma: np.ndarray, layout: Layout) -> av.VideoFrame:
    neutral = np.full(luma.shape, (layout.peak + 1) // 2, luma.dtype)
    return joined([luma, neutral, neutral], replace(layout, family=YUV, alpha=False).planar)


def rescaled(codes: np.ndarray, before: int, after: int) -> np.ndarray:
    """Returns codes of 0..`before` as those of 0..`after`; the way there and back is exact if `after` is larger."""
    return ((codes.astype(np.uint32) * (2 * after) + before) // (2 * before)).astype(np.uint16)
