"""Layouts of pixels: what a pixel format stores, whatever the order of its bytes, and frames as planes of codes.

Planes are arrays `[h, w]` of codes, uint8, or uint16 for more than 8 bits: luma, and blue and red differences; or
green, blue and red; then opacity, if there is any. Between two formats of one layout, codes do not change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av
import numpy as np

GRAY, YUV, RGB = "gray", "yuv", "rgb"
_SAMPLINGS = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
_DEPTHS = (8, 9, 10, 12, 14, 16)  # bits that FFmpeg's planar formats have; not every format has each
_PACKED_GRAY = ("ya8", "ya16le")  # the only formats with opacity beside gray


class Turn(NamedTuple):
    """How a stored frame is turned upright: transposed, then its rows and its columns reversed."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def __call__(self, array: np.ndarray) -> np.ndarray:
        """Turns an array `[h, w, ...]`."""
        array = array.swapaxes(0, 1) if self.transpose else array
        return np.ascontiguousarray(array[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1])


@dataclass(frozen=True)
class Layout:
    """Channels, sampling and depth of a pixel format.

    Attributes:
      family: gray, yuv or rgb.
      across: log2 of the columns that share a chroma sample.
      down: log2 of the rows that share a chroma sample.
      bits: per channel, 8 to 16.
      alpha: whether there is opacity.
    """

    family: str
    across: int
    down: int
    bits: int
    alpha: bool

    @property
    def planar(self) -> str:
        """FFmpeg's format that stores it in planes, or in two bytes or words per pixel for gray with opacity."""
        bits = next(bits for bits in _DEPTHS if bits >= self.bits)
        if self.family == GRAY and self.alpha:
            return "ya8" if bits == 8 else "ya16le"
        kind = {GRAY: "gray", RGB: "gbrap" if self.alpha else "gbrp"}.get(self.family)
        kind = kind or f"yuv{'a' if self.alpha else ''}{_SAMPLINGS[self.across, self.down]}p"
        return kind if bits == 8 else f"{kind}{bits}le"

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """Type of codes."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def peak(self) -> int:
        """Largest code."""
        return 2**self.bits - 1


def layout_of(name: str) -> Layout:
    """Returns the layout of a pixel format.

    Formats of fewer than 8 bits per channel count as 8, those of floats as 16, palettes as RGB with opacity.

    Raises:
      ValueError: it has no channels, such as frames that stay in the memory of a device.
    """
    form = av.VideoFormat(name, 16, 16)
    components = form.components
    if not components and not form.has_palette:
        raise ValueError(f"{name} has no channels")
    alpha = form.has_palette or any(component.is_alpha for component in components)
    deepest = max((component.bits for component in components), default=8)
    bits = next((bits for bits in _DEPTHS if bits >= deepest), 16)
    if form.is_rgb or form.has_palette or form.is_bayer or name.startswith("xyz"):
        return Layout(RGB, 0, 0, bits, alpha)
    if len(components) - alpha < 3:
        return Layout(GRAY, 0, 0, 16 if alpha and bits > 8 else bits, alpha)
    across, down = (16 // size for size in (form.chroma_width(), form.chroma_height()))
    return Layout(YUV, across.bit_length() - 1, down.bit_length() - 1, bits, alpha)


def is_float(name: str) -> bool:
    """Whether a format stores floats."""
    return any(word in name for word in ("f16", "f32"))


def split(frame: av.VideoFrame) -> list[np.ndarray]:
    """Returns the planes of a frame, in native byte order; they may share the frame's memory."""
    layout = layout_of(frame.format.name)
    if frame.format.name.replace("yuvj", "yuv") != layout.planar:
        frame = frame.reformat(format=layout.planar)
    planes = [_codes(plane, frame.width, layout) for plane in frame.planes]
    if layout.planar in _PACKED_GRAY:
        return [np.ascontiguousarray(planes[0][:, channel::2]) for channel in range(2)]
    return planes


def _codes(plane: av.video.plane.VideoPlane, width: int, layout: Layout) -> np.ndarray:
    rows = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))[: plane.height]
    columns = 2 * width if layout.planar in _PACKED_GRAY else plane.width
    return rows.view(np.dtype(layout.dtype).newbyteorder("<"))[:, :columns]


def joined(planes: Sequence[np.ndarray], name: str) -> av.VideoFrame:
    """Returns a frame of a pixel format from planes of its layout."""
    layout = layout_of(name)
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, name if name.startswith("yuvj") else layout.planar)
    if layout.planar in _PACKED_GRAY:
        planes = [np.stack(planes, -1).reshape(height, 2 * width)]
    for plane, codes in zip(frame.planes, planes, strict=True):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, abs(plane.line_size))[: plane.height]
        rows.view(np.dtype(layout.dtype).newbyteorder("<"))[:, : codes.shape[1]] = codes
    return frame if frame.format.name == name else frame.reformat(format=name)
