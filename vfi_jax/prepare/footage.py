"""Video files: finding them, selecting windows without defects, and reading those windows.

A file is decoded twice: once to select windows on all of its frames, and once to cut them out.
"""

from __future__ import annotations

import collections
import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from vfi_jax.config import Footage
from vfi_jax.data.images import to_uint8, videos_in
from vfi_jax.data.shots import Analysis
from vfi_jax.errors import UserError
from vfi_jax.video.coding.decode import Reader


@dataclasses.dataclass(frozen=True)
class Clip:
    """A video file after analysis.

    Attributes:
      path: the file.
      frames: number of frames.
      starts: first frame of each window selected.
      rejected: number of windows rejected by reason, see `Analysis.select_windows`.
      rows: (first, last + 1) inside black bars.
      columns: likewise.
    """

    path: Path
    frames: int
    starts: tuple[int, ...]
    rejected: Counter[str]
    rows: tuple[int, int]
    columns: tuple[int, int]


def find_videos(folder: Path) -> list[Path]:
    """Lists the video files in a folder and its subfolders.

    Raises:
      UserError: the folder is missing or holds no video.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of videos")
    paths = videos_in(folder)
    if not paths:
        raise UserError(f"{folder}: no video files in it")
    return paths


def analyze(path: Path, config: Footage) -> Clip:
    """Decodes a file and selects its windows.

    Raises:
      UserError: the file cannot be read, is cut short or damaged.
    """
    analysis = Analysis()
    with Reader(path) as reader:
        for frame in reader.frames():
            analysis.add(to_uint8(frame.image))
    starts, rejected = analysis.select_windows(config)
    selected = tuple(evenly_spread(starts, config.per_clip))
    return Clip(path, len(analysis), selected, rejected, *analysis.picture_area())


def evenly_spread(items: list[int], count: int) -> list[int]:
    """Picks at most `count` of the items at even distances; all if `count` is 0."""
    if not count or len(items) <= count:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def read_windows(clip: Clip, config: Footage) -> Iterator[tuple[int, UInt8[np.ndarray, "n h w 3"]]]:
    """Decodes a file again and yields (first frame, RGB frames) of each window selected.

    Frames come without black bars, reduced to the config's short side, with even sides.

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
    """Reduces an image by area averaging to the short side given, or less to even sides; never enlarges it."""
    height, width = image.shape[:2]
    ratio = min(1.0, short_side / min(height, width)) if short_side else 1.0
    height, width = (round(side * ratio) // 2 * 2 for side in (height, width))
    if ratio == 1.0:
        return np.ascontiguousarray(image[:height, :width])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def format_rejections(rejected: Counter[str]) -> str:
    """Formats the number of rejected windows by reason, such as "7 cut, 2 static"."""
    return ", ".join(f"{count} {reason}" for reason, count in rejected.most_common()) or "none"
