"""Palettes: frames in at most 256 colors of their own, by FFmpeg's filters."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.filter import Graph

_COLORS = 256


class Palette:
    """Converts frames of one size, one by one, to a palette that fits each of them.

    Frames of at most 256 colors keep them exactly. Others are dithered by an ordered pattern, which does not crawl
    where the picture stands still. Alpha becomes transparent or opaque.
    """

    def __init__(self, *, has_alpha: bool) -> None:
        """Keeps one entry of each palette for transparency if there is alpha."""
        self._has_alpha = has_alpha
        self._graph: Graph | None = None
        self._count = 0

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Returns the frame as `pal8`."""
        if (exact := _exact(frame, has_alpha=self._has_alpha)) is not None:
            return exact
        whole = frame.reformat(format="rgba" if self._has_alpha else "rgb24")
        whole.pts, whole.time_base = self._count, Fraction(1)
        self._count += 1
        if self._graph is None:
            self._graph = _graph(whole, self._has_alpha)
        self._graph.push(whole)
        result = self._graph.pull()
        assert isinstance(result, av.VideoFrame)
        return result


def _exact(frame: av.VideoFrame, *, has_alpha: bool) -> av.VideoFrame | None:
    """Returns a frame of at most 256 colors with just these, which FFmpeg's filters would round; None for others."""
    codes = np.ascontiguousarray(frame.reformat(format="argb").to_ndarray())
    opaque = codes[..., 0] >= 128 if has_alpha else np.True_
    codes[..., 0] = np.where(opaque, 255, 0)
    codes[codes[..., 0] == 0] = 0
    colors, indices = np.unique(codes.view(np.uint32)[..., 0], return_inverse=True)
    if len(colors) > _COLORS:
        return None
    palette = np.zeros((_COLORS, 4), np.uint8)
    palette[: len(colors)] = colors.view(np.uint8).reshape(-1, 4)
    return av.VideoFrame.from_ndarray((indices.reshape(codes.shape[:2]).astype(np.uint8), palette), "pal8")


def _graph(frame: av.VideoFrame, has_alpha: bool) -> Graph:
    graph = Graph()
    size = f"{frame.width}x{frame.height}"
    about = f"video_size={size}:pix_fmt={frame.format.name}:time_base=1/1"
    source = graph.add("buffer", f"{about}:pixel_aspect=1/1")
    split = graph.add("split")
    colors = graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(has_alpha)}")
    use = graph.add("paletteuse", "new=1:dither=bayer:bayer_scale=3")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(colors, 1, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph
