"""Black bars: rows and columns at the edges that show nothing; they are left alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vfi_jax.video.content.small import eight_bits

_BLACK = 10  # of 255, up to which a bar is black: encoders leave noise there
_LEAST = 0.25  # of the height and of the width, that a picture between bars has at least


class Area(NamedTuple):
    """The part of a frame inside its bars: rows from `top` to `bottom` - 1, columns from `left` to `right` - 1."""

    top: int
    bottom: int
    left: int
    right: int

    def cropped(self, image: np.ndarray) -> np.ndarray:
        """Returns the part of an image, a view."""
        return image[self.top : self.bottom, self.left : self.right]

    def joined(self, other: Area) -> Area:
        """Returns the least area that holds both."""
        return Area(
            min(self.top, other.top), max(self.bottom, other.bottom), min(self.left, other.left),
            max(self.right, other.right),
        )  # fmt: skip

    def sizes(self, size: tuple[int, int]) -> dict[str, int]:
        """Returns the sizes of the bars of a frame of a height and a width, pixels, by edge; those that are there."""
        height, width = size
        edges = {"top": self.top, "bottom": height - self.bottom, "left": self.left, "right": width - self.right}
        return {edge: pixels for edge, pixels in edges.items() if pixels}


def area_of(image: np.ndarray, known: Area | None = None) -> Area:
    """Returns the part of a frame inside its bars, and inside those of the frames before; all of a dark frame.

    Args:
      image: `[h, w, c]`.
      known: the area of the frames before, which is not left again.
    """
    height, width = image.shape[:2]
    whole = Area(0, height, 0, width)
    if known == whole:
        return whole
    level = eight_bits(image[..., :3].max(-1))
    rows, columns = np.flatnonzero(level.max(1) > _BLACK), np.flatnonzero(level.max(0) > _BLACK)
    if not len(rows):
        return known or whole
    area = Area(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
    if area.bottom - area.top < _LEAST * height or area.right - area.left < _LEAST * width:
        area = whole  # a dark picture with a light in it
    return area if known is None else area.joined(known)


class Bars:
    """The bars of a clip, which new frames take over.

    Attributes:
      area: inside the bars of all frames so far; None before the first.
      size: height and width of the frames.
    """

    def __init__(self) -> None:
        self.area: Area | None = None
        self.size = (0, 0)

    def add(self, image: np.ndarray) -> None:
        """Looks at a frame of the source."""
        self.size = image.shape[:2]
        self.area = area_of(image, self.area)

    def left_alone(self, new: np.ndarray, before: np.ndarray) -> np.ndarray:
        """Returns a new frame with the bars of the frame before it."""
        if self.area is None or not self.area.sizes(self.size):
            return new
        whole = before.copy()
        self.area.cropped(whole)[...] = self.area.cropped(new)
        return whole

    def notes(self) -> list[str]:
        """Says, in one line, which bars there are."""
        sizes = {} if self.area is None else self.area.sizes(self.size)
        shown = ", ".join(f"{pixels} pixels at the {edge}" for edge, pixels in sizes.items())
        return [f"black bars are left alone: {shown}"] * bool(sizes)
