"""Sets of windows with random access: `source[i]` is `{"frames": uint8 [n, h, w, 3], "name": str}`, RGB.

A set is told by what its path holds. Sources open their files lazily, so they can be sent to worker processes.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np

from vfi_jax.data import records
from vfi_jax.data.images import images_in, is_image, load_image, to_uint8, videos_in
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import DamagedError, UsageError, UserError

SYNTHETIC = "synthetic:"
LISTS = {"train": ("tri_trainlist.txt", "sep_trainlist.txt"), "test": ("tri_testlist.txt", "sep_testlist.txt")}
REPLACEMENT, REPLACEMENTS = 7, 8  # beside the index, to draw what replaces a damaged window; how many are tried
VIMEO_TRAINING_SHARE = 0.95  # of the published training list; the rest is validation, as in RIFE's code


@runtime_checkable
class Source(Protocol):
    """What the pipeline reads; Grain's protocol of random access, with names.

    Attributes:
      names: one a window, `CLIP/WINDOW`.
      has_own_split: windows of one clip are in one part by the set's own order (Vimeo90K's published list).
      by_clip: clips differ in length and kind, so that training draws from every clip alike.
    """

    names: Sequence[str]
    has_own_split: bool
    by_clip: bool

    def __len__(self) -> int:
        """Number of windows."""

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """`frames` uint8 `[n, h, w, 3]` and `name`."""


@dataclasses.dataclass(frozen=True)
class WindowFolders:
    """Folders of numbered images: one a window (Vimeo90K's `sequences/*/*/im1.png, ...`), or longer ones (GoPro's).

    Attributes:
      root: what the names are below.
      names: of the windows: a folder's, relative to `root`, or `FOLDER/FIRST`, the number of an image in it (from 0).
      length: frames a window of a longer folder.
      has_own_split: see `Source`.
      by_clip: see `Source`.
    """

    root: Path
    names: Sequence[str]
    length: int = 0
    has_own_split: bool = False
    by_clip: bool = False

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.names)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window.

        Raises:
          DamagedError: an image is missing or unreadable, or sizes differ within the window.
        """
        name = self.names[index]
        files = self._files(name)
        frames = [to_uint8(load_image(file)) for file in files]
        if not frames:
            raise DamagedError(f"{self.root / name}: no images in it; take it off the list, or fetch the set again")
        sizes = {frame.shape for frame in frames}
        if len(sizes) > 1:
            shown = " and ".join(sorted(f"{w}x{h}" for h, w, _ in sizes))
            raise DamagedError(f"{self.root / name} mixes sizes ({shown}): all frames of a window need one")
        return {"frames": np.stack(frames), "name": name}

    def _files(self, name: str) -> list[Path]:
        folder, first = self.root / name, Path(name).name
        if folder.is_dir():
            return images_in(folder)
        if not (self.length and first.isdigit() and folder.parent.is_dir()):
            return []
        return images_in(folder.parent)[int(first) : int(first) + self.length]


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Made-up scenes (`data.synthetic.random_scene`), drawn on demand: window i is that of seed i.

    Attributes:
      count: number of windows.
      length: frames a window, from time 0 to 1.
      height: pixels.
      width: pixels.
      speed: pixels that the fastest layer moves from the first frame to the last.
    """

    count: int
    length: int
    height: int = 96
    width: int = 128
    speed: float = 10.0
    has_own_split: bool = False
    by_clip: bool = False

    @property
    def names(self) -> Sequence[str]:
        """Each scene is a clip of its own."""
        return [f"scene{index:06d}/0" for index in range(self.count)]

    def __len__(self) -> int:
        """Number of windows."""
        return self.count

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Draws a window."""
        number = int(index)
        scene = random_scene(number, self.height, self.width, speed=self.speed)
        frames = [scene.frame(time) for time in np.linspace(0, 1, self.length)]
        return {"frames": np.rint(255 * np.stack(frames)).astype(np.uint8), "name": f"scene{number:06d}/0"}


@dataclasses.dataclass(frozen=True)
class Part:
    """Some windows of a source, in an order of its own; a window may come more than once."""

    source: Source
    indices: Sequence[int]

    @property
    def has_own_split(self) -> bool:
        """See `Source`."""
        return self.source.has_own_split

    @property
    def by_clip(self) -> bool:
        """See `Source`."""
        return self.source.by_clip

    @property
    def names(self) -> Sequence[str]:
        """Of the windows in the part."""
        return [self.source.names[index] for index in self.indices]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.indices)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window of the part."""
        return self.source[self.indices[index]]


def is_footage(path: str) -> bool:
    """Whether a path is a folder of video files, which has to be made into records first."""
    folder = Path(path)
    return bool(path) and folder.is_dir() and not records.is_records(folder) and bool(videos_in(folder))


def open_source(path: str, length: int, *, step: int = 1, listed: str = "train") -> Source:
    """The set at a path.

    Args:
      path: Vimeo90K (triplet or septuplet, with its lists), records, any tree of folders of images, or
        `synthetic:COUNT`.
      length: frames a window; of synthetic ones, and of those cut out of folders with more images; 0: folders whole.
      step: images from the start of a window in such a folder to that of the next.
      listed: which of Vimeo90K's lists: "train" or "test"; the other where there is no such list.

    Raises:
      UserError: nothing there, or nothing that is recognized.
      UsageError: an empty path, or a COUNT that is no number.
    """
    if not path:
        raise UsageError("data.path is empty: name a set, such as --config.data.path=FOLDER")
    if path.startswith(SYNTHETIC):
        count = path.removeprefix(SYNTHETIC)
        if not count.isdigit() or not int(count):
            raise UsageError(f"{path}: a number of scenes is needed, such as synthetic:64")
        return Synthetic(int(count), length)
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{path}: no such folder")
    if records.is_records(folder):
        return records.open_records(folder)
    lists = [name for kind in (listed, "train", "test") for name in LISTS[kind] if (folder / name).is_file()]
    if lists and (folder / "sequences").is_dir():
        names = (folder / lists[0]).read_text().split()
        if not names:
            raise UserError(f"{folder / lists[0]} is empty")
        return WindowFolders(folder / "sequences", names, has_own_split="train" in lists[0])
    counts = Counter(file.parent.relative_to(folder) for file in folder.rglob("*") if is_image(file))
    if not counts:
        raise UserError(
            f"{path}: no set that is known: Vimeo90K (sequences/ and its lists) or folders of images; "
            "for videos run `vfi-jax prepare records` first"
        )
    found = sorted((str(below), count) for below, count in counts.items())
    names = [name for below, count in found for name in _cut(below, count, length, step)]
    return WindowFolders(folder, names, length)


def _cut(folder: str, count: int, length: int, step: int) -> list[str]:
    """Names of the windows in a folder of `count` images; the whole folder's, where it has no more than a window."""
    if not length or count <= length:
        return [folder]
    return [f"{folder}/{first:06d}" for first in range(0, count - length + 1, step)]


@dataclasses.dataclass(frozen=True)
class Tolerant:
    """A source in which a window that cannot be read is replaced by another, the same one every time.

    Its windows have one field more, `damaged`: why the window that was asked for is not there, or "".
    """

    source: Source

    @property
    def has_own_split(self) -> bool:
        """See `Source`."""
        return self.source.has_own_split

    @property
    def by_clip(self) -> bool:
        """See `Source`."""
        return self.source.by_clip

    @property
    def names(self) -> Sequence[str]:
        """Of the windows."""
        return self.source.names

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window, or what replaces it.

        Raises:
          DamagedError: neither can be read, nor others that were tried.
        """
        damaged, rng = "", np.random.default_rng([REPLACEMENT, int(index)])
        for place in (int(index), *rng.integers(len(self), size=REPLACEMENTS)):
            try:
                return {**self.source[int(place)], "damaged": damaged}
            except DamagedError as error:
                damaged = damaged or str(error)
        raise DamagedError(f"{damaged}; nor can {REPLACEMENTS} others of the set")


def split(source: Source, holdout: float) -> tuple[Part, Part]:
    """Training and validation: the last `holdout` of the windows, moved back to where a clip begins.

    Vimeo90K's training list is split as published: its first 95 %.

    Raises:
      UserError: a single clip, which cannot be split.
    """
    count = len(source)
    at = int(count * VIMEO_TRAINING_SHARE) if source.has_own_split else boundary(source.names, holdout)
    if not 0 < at < count:
        raise UserError("the set has one clip only: name others with --config.data.validation=FOLDER")
    return Part(source, range(at)), Part(source, range(at, count))


def balanced(source: Source) -> Part:
    """Every clip as often as the one with the most windows: those of shorter clips are repeated."""
    clips: dict[str, list[int]] = {}
    for index, name in enumerate(source.names):
        clips.setdefault(clip_of(name), []).append(index)
    longest = max(map(len, clips.values()))
    return Part(source, [index for own in clips.values() for index in itertools.islice(itertools.cycle(own), longest)])


def boundary(names: Sequence[str], holdout: float) -> int:
    """Index of the first window held out: the last `holdout` of them, moved back to where a clip begins."""
    at = min(len(names) - 1, round(len(names) * (1 - holdout)))
    while at > 0 and clip_of(names[at]) == clip_of(names[at - 1]):
        at -= 1
    return at


def clip_of(name: str) -> str:
    """The clip of a window's name; a window without one is its own."""
    return name.rpartition("/")[0] or name
