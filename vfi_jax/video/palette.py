"""Palettes: frames in at most 256 colors of their own, by FFmpeg's filters."""

from __future__ import annotations

from fractions import Fraction

import av
from av.filter import Graph


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
        whole = frame.reformat(format="rgba" if self._has_alpha else "rgb24")
        whole.pts, whole.time_base = self._count, Fraction(1)
        self._count += 1
        if self._graph is None:
            self._graph = _graph(whole, self._has_alpha)
        self._graph.push(whole)
        result = self._graph.pull()
        assert isinstance(result, av.VideoFrame)
        return result


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
