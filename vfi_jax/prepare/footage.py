"""Video files decoded and cut into windows."""

from __future__ import annotations

import collections
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from vfi_jax.config import Footage
from vfi_jax.data.images import to_uint8
from vfi_jax.data.shots import _Analysis, _change
from vfi_jax.video.decode import Reader


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video file, analyzed.

    Attributes:
      path: the file.
      frames: number of frames.
      starts: first frame of every window that is kept.
      rejected: windows by reason: "cut", "fade", "flash", "duplicate", "static", "interlaced"; the first that applies.
      rows: (first, last + 1) inside black borders.
      columns: likewise.
    """

    path: Path
    frames: int
    starts: tuple[int, ...]
    rejected: Counter[str]
    rows: tuple[int, int]
    columns: tuple[int, int]


def analyze(path: Path, config: Footage) -> Clip:
    """Decodes a file once and says which windows are worth keeping.

    Raises:
      UserError: the file cannot be read, is cut short or damaged.
    """
    analysis = _Analysis()
    with Reader(path) as reader:
        for frame in reader.frames():
            analysis.see(to_uint8(frame.image))
    marks, small = analysis.marks(config), analysis.small
    starts, rejected = [], Counter()
    for start in range(0, len(small) - config.frames + 1, config.step):
        reason = marks.reason(start, start + config.frames)
        if reason is None and _change(small[start], small[start + config.frames - 1]) < config.static:
            reason = "static"
        if reason:
            rejected[reason] += 1
        else:
            starts.append(start)
    return Clip(path, len(small), tuple(spread(starts, config.per_clip)), rejected, *analysis.inside())


def spread(items: list[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spread; all where `count` is 0."""
    if not count or len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def windows(clip: Clip, config: Footage) -> Iterator[tuple[int, UInt8[np.ndarray, "n h w 3"]]]:
    """(first frame, RGB frames) of every window that is kept, borders cut off, reduced to the short side; even sides.

    Raises:
      UserError: as `analyze`.
    """
    starts = set(clip.starts)
    recent: collections.deque[np.ndarray] = collections.deque(maxlen=config.frames)
    with Reader(clip.path) as reader:
        for index, frame in enumerate(reader.frames()):
            first = index - config.frames + 1
            image = to_uint8(frame.image[slice(*clip.rows), slice(*clip.columns)])
            recent.append(_reduced(image, config.short_side))
            if first in starts:
                yield first, np.stack(recent)
            if starts and first >= max(starts):
                return


def _reduced(image: np.ndarray, short_side: int) -> np.ndarray:
    """Averaged down so that the short side is `short_side`, never enlarged; even sides."""
    height, width = image.shape[:2]
    ratio = min(1.0, short_side / min(height, width)) if short_side else 1.0
    height, width = (round(side * ratio) // 2 * 2 for side in (height, width))
    if ratio == 1.0:
        return np.ascontiguousarray(image[:height, :width])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def rejections(clips: Iterable[Clip]) -> Counter[str]:
    """Windows rejected in all clips, by reason."""
    return sum((clip.rejected for clip in clips), Counter())
