"""Frames for the encoder: original ones as they were decoded, new ones such that a still picture does not flicker.

Original frames never take the way through RGB. They are passed on, or have their planes turned upright; where the
target has another depth or chroma resolution, FFmpeg's scaler converts YUV to YUV.

New frames come from RGB, where codes have been rounded, clipped to the gamut, and interpolated and averaged where
chroma is subsampled. What these steps change in an original frame is known. It is taken back from a new frame as far as
both neighbors agree on it, wherever the new frame repeats both.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import PictureType

from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.pixels.color import MATRIX_NAMES, conversion_of
from vfi_jax.video.pixels.layout import GRAY, RGB, YUV, Layout, Turn, joined, layout_of, split
from vfi_jax.video.pixels.rgb import FromRGB, Scaler, rescaled

_STILL = 16  # of 255: a code that is that close to both neighbors' repeats them

Planes = list[np.ndarray]


class Change(NamedTuple):
    """Changes of a plane by conversion to RGB and back.

    Attributes:
      again: codes behind it.
      less: by how much they are too small.
      more: by how much they are too large.
    """

    again: np.ndarray
    less: np.ndarray
    more: np.ndarray


class Converter:
    """Converts frames to the target's pixel format. Holds two frames."""

    def __init__(self, info: VideoInfo, pixel_format: str, encoder: str = "") -> None:
        """Takes the source, the target's pixel format, and FFmpeg's name of the encoder, if there is one."""
        self._info, self._name, self._layout = info, pixel_format, layout_of(pixel_format)
        self._color = info.color.turned(info.turn).stored_in(pixel_format, encoder)
        self._from_rgb = FromRGB(self._layout, self._color, (info.width, info.height))
        self._known: list[tuple[TimedFrame, list[Change]]] = []
        self._scalers: dict[tuple[str, int, bool], Scaler] = {}

    def __call__(self, frame: TimedFrame) -> av.VideoFrame:
        """Returns a frame as it is to be encoded; it may be the one that was decoded."""
        if frame.raw is None:
            return joined(self._new(frame), self._name)
        picture = frame.raw if self._is_ready(frame.raw) else joined(self._planes(frame.raw), self._name)
        picture.pict_type = PictureType.NONE  # of the source's coding; encoders would follow it
        return picture

    def _is_ready(self, raw: av.VideoFrame) -> bool:
        return raw.format.name == self._name and self._info.turn == Turn() and self._has_target_colors(raw)

    def _has_target_colors(self, raw: av.VideoFrame) -> bool:
        if RGB in (self._layout.family, layout_of(raw.format.name).family):
            return self._layout.family == layout_of(raw.format.name).family
        return conversion_of(raw) == (self._color.matrix, self._color.full)

    def _planes(self, raw: av.VideoFrame) -> Planes:
        """Returns an original frame as planes of the target."""
        layout, target = layout_of(raw.format.name), self._layout
        across, down = (target.down, target.across) if self._info.turn.transpose else (target.across, target.down)
        stored = replace(target, across=across, down=down, alpha=layout.alpha)
        if layout.family == GRAY and stored.family == YUV:
            planes = _with_chroma(split(raw), layout, stored, full=self._color.full)
        else:
            planes = self._scaled(raw, stored)
        if layout.alpha > target.alpha:
            planes = planes[:-1]
        elif layout.alpha < target.alpha:
            planes = [*planes, np.full(planes[0].shape, target.peak, target.dtype)]
        return [self._info.turn(plane) for plane in planes]

    def _scaled(self, raw: av.VideoFrame, layout: Layout) -> Planes:
        """Returns a frame as planes of another layout, not yet turned."""
        if layout_of(raw.format.name) == layout and self._has_target_colors(raw):
            return split(raw)
        matrix, full = conversion_of(raw)
        key = (raw.format.name, matrix, full)
        if key not in self._scalers:
            own = (f"in_color_matrix={MATRIX_NAMES[matrix]}", f"in_range={'pc' if full else 'tv'}")
            source = own if layout_of(raw.format.name).family == YUV else ()
            target = (
                f"out_color_matrix={MATRIX_NAMES[self._color.matrix]}",
                f"out_range={'pc' if self._color.full or layout.family == GRAY else 'tv'}",
                f"in_chroma_loc={self._info.color.scaled_siting}",
                f"out_chroma_loc={self._info.color.scaled_siting}",
            )
            size = (raw.width, raw.height)
            self._scalers[key] = Scaler(raw.format.name, layout.planar, size, ":".join((*source, *target)))
        return split(self._scalers[key](raw))

    def _new(self, frame: TimedFrame) -> Planes:
        """Returns a new frame as planes of the target."""
        planes = self._from_rgb(frame.image)
        known = [self._changes(neighbor) for neighbor in frame.neighbors if neighbor.raw is not None]
        if len(known) < 2:
            return planes
        return [_corrected(plane, *both, self._layout) for plane, *both in zip(planes, *known, strict=True)]

    def _changes(self, frame: TimedFrame) -> list[Change]:
        """Returns what the way through RGB changes in each plane of an original frame."""
        for known, changes in self._known:
            if known.image is frame.image:
                return changes
        assert frame.raw is not None
        pairs = zip(self._planes(frame.raw), self._from_rgb(frame.image), strict=True)
        changes = [Change(again, cv2.subtract(codes, again), cv2.subtract(again, codes)) for codes, again in pairs]
        self._known = [*self._known[-1:], (frame, changes)]
        return changes


def _corrected(new: np.ndarray, before: Change, after: Change, layout: Layout) -> np.ndarray:
    """Takes back from a plane of a new frame what RGB has changed in both neighbors, where it repeats them.

    Where their changes have the same sign, the smaller one counts, and otherwise none does.
    """
    distance = cv2.max(cv2.absdiff(new, before.again), cv2.absdiff(new, after.again))
    mask = cv2.compare(distance, _STILL * (layout.peak + 1) // 256, cv2.CMP_LE)
    less, more = cv2.min(before.less, after.less), cv2.min(before.more, after.more)
    brighter = cv2.add(new, cv2.bitwise_and(less, less, mask=mask))
    plane = cv2.subtract(brighter, cv2.bitwise_and(more, more, mask=mask))
    return plane if layout.bits in (8, 16) else cv2.min(plane, layout.peak)


def _with_chroma(gray: Planes, before: Layout, after: Layout, *, full: bool) -> Planes:
    """Returns planes of YUV for those of gray, with neutral chroma."""
    if full:
        planes = [rescaled(plane, before.peak, after.peak).astype(after.dtype) for plane in gray]
    else:
        planes = [(plane.astype(np.float32) * 2.0 ** (after.bits - before.bits)).astype(after.dtype) for plane in gray]
    height, width = planes[0].shape
    shape = (-(-height // 2**after.down), -(-width // 2**after.across))
    neutral = np.full(shape, (after.peak + 1) // 2, after.dtype)
    return [planes[0], neutral, neutral, *planes[1:]]
