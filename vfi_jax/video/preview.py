"""A preview of an interpolation: new frames from all over the clip, and the gap with most motion before and after."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import cv2
import numpy as np
from jaxtyping import UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.coding.encoders import is_pattern
from vfi_jax.video.pipes import PIPE
from vfi_jax.viz.sheets import save_png, sheet

WIDEST = 320  # pixels of a picture
COLUMNS = 6
ROWS = 2  # of new frames from all over the clip
ENDING = ".preview.png"
_Item = TypeVar("_Item")


class Shown(NamedTuple):
    """A frame in small, with its time in seconds."""

    image: UInt8[np.ndarray, "h w 3"]
    time: Fraction
    is_new: bool

    @property
    def label(self) -> str:
        """The frame's time, and whether it is new."""
        return f"{float(self.time):.3f} s, {'new' if self.is_new else 'original'}"


class Thinned(Generic[_Item]):
    """Items that are spread evenly over all that were added, of which there may be any number."""

    def __init__(self, count: int) -> None:
        """Keeps up to twice as many as `count`, which `chosen` returns."""
        self._count, self._every, self._added = count, 1, 0
        self._kept: list[_Item] = []

    def add(self, item: _Item) -> None:
        """Adds an item behind the others."""
        if self._added % self._every == 0:
            self._kept.append(item)
        self._added += 1
        if len(self._kept) > 2 * self._count:
            self._kept, self._every = self._kept[::2], 2 * self._every

    def chosen(self) -> list[_Item]:
        """Returns `count` items, or all if there are fewer."""
        places = np.linspace(0, len(self._kept) - 1, min(self._count, len(self._kept))).round().astype(int)
        return [self._kept[place] for place in places]


class Preview:
    """Watches the frames of a target as they are written; holds some small pictures."""

    def __init__(self) -> None:
        """Starts before the first frame."""
        self._new: Thinned[Shown] = Thinned(COLUMNS * ROWS)
        self._gap: Thinned[Shown] = Thinned(COLUMNS - 1)
        self._left: tuple[Shown, int] | None = None
        self._best: tuple[float, list[Shown]] = (0.0, [])

    def add(self, frame: TimedFrame) -> None:
        """Adds the next frame of the target."""
        shown = Shown(_small(frame.image), frame.time, bool(frame.neighbors))
        if shown.is_new:
            self._new.add(shown)
        else:
            if self._left is not None:
                self._close(self._left, shown, frame.shot)
            self._left, self._gap = (shown, frame.shot), Thinned(COLUMNS - 1)
        self._gap.add(shown)

    def _close(self, left: tuple[Shown, int], right: Shown, shot: int) -> None:
        """Ends a gap, and keeps it if more moves in it than in those before."""
        inside = self._gap.chosen()
        motion = float(np.abs(left[0].image.astype(np.int16) - right.image).mean())
        if len(inside) > 1 and shot == left[1] and motion >= self._best[0]:
            self._best = motion, [*inside, right]

    def image(self) -> UInt8[np.ndarray, "h w 3"]:
        """Draws the preview.

        Raises:
          ValueError: no frame was added.
        """
        chosen = self._new.chosen() or [self._left[0]] * (self._left is not None)
        cells = [(shown.image, shown.label) for shown in chosen]
        rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
        if gap := self._best[1]:
            left, right = gap[0], gap[-1]
            shown = [left] * (len(gap) - 1) + [right]
            rows.append(
                [(each.image, f"before: {float(now.time):.3f} s") for each, now in zip(shown, gap, strict=True)]
            )
            rows.append([(each.image, f"after: {each.label}") for each in gap])
        return sheet(rows)

    def write(self, path: Path) -> None:
        """Writes the preview as PNG.

        Raises:
          UserError: it cannot be written.
        """
        save_png(path, self.image())


def path_of(target: Path, *, overwrite: bool) -> Path:
    """Returns where the preview of a target goes: beside it, or beside the folder of its pictures.

    Raises:
      UsageError: the target is a pipe.
      UserError: a preview stands there that is not to be replaced.
    """
    if target == PIPE:
        raise UsageError("--preview goes beside the output, and a pipe has no place: name a file")
    beside = target.parent if is_pattern(target.name) else target
    path = beside.with_name(f"{beside.stem}{ENDING}")
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists; move it, or replace it with --overwrite")
    return path


def _small(image: np.ndarray) -> np.ndarray:
    eight = image[..., :3] if image.dtype == np.uint8 else np.uint8(image[..., :3] >> 8)
    height, width = eight.shape[:2]
    if width <= WIDEST:
        return eight
    return cv2.resize(eight, (WIDEST, max(1, round(height * WIDEST / width))), interpolation=cv2.INTER_AREA)
