"""Sources: sets of windows with random access. `source[i]` is `{"frames": uint8 [n, h, w, 3] RGB, "name": str}`.

`open_source` detects the type of a set from the folder's contents, or loads a source of another package. Sources open
their files lazily, so that they can be sent to worker processes.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, SupportsIndex, runtime_checkable

import numpy as np

from vfi_jax.data import records
from vfi_jax.data.fitness import ANY, check_outline
from vfi_jax.data.images import gaps, images_in, is_image, load_image, to_uint8, videos_in
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import DamagedError, UsageError, UserError
from vfi_jax.system.plugins import Registry, named_entry_points

SYNTHETIC = "synthetic:"
MOST_SCENES = 10_000_000  # each has a name in memory
LISTS = {"train": ("tri_trainlist.txt", "sep_trainlist.txt"), "test": ("tri_testlist.txt", "sep_testlist.txt")}


@runtime_checkable
class Source(Protocol):
    """A set of windows, as the pipeline reads it: Grain's protocol of random access, with names.

    Attributes:
      names: one per window, `CLIP/WINDOW`.
      has_own_split: True for Vimeo90K's training list, whose published split into training and validation is kept.
      by_clip: True if clips differ in length and kind, so that training draws from each clip equally often.
    """

    names: Sequence[str]
    has_own_split: bool
    by_clip: bool

    def __len__(self) -> int:
        """Number of windows."""

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Returns `frames` uint8 `[n, h, w, 3]` and `name`; may raise `DamagedError`, see `parts.Tolerant`."""


# Sources of other packages: each is a `Source`, or a function `(argument, *, length, step, listed)` that returns one.
# `argument` is the text after the `?` of the path, the others are those of `open_source`.
PLUGINS: Registry[Source | Callable[..., Source]] = Registry({}, "vfi_jax.sources", None, "source of data")


@dataclasses.dataclass(frozen=True)
class WindowFolders:
    """Folders of numbered images: one per window (Vimeo90K's `sequences/*/*/im1.png, ...`), or longer ones (GoPro's).

    Attributes:
      root: folder that the names are relative to.
      names: of the windows: `FOLDER`, or `FOLDER/FIRST` with the number of an image in it, counted from 0.
      length: frames per window of a longer folder.
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
        frames = [to_uint8(load_image(file)) for file in self.files(name)]
        sizes = [(width, height) for height, width, _ in map(np.shape, frames)]
        check_outline(len(frames), sizes, ANY, str(self.root / name))
        return {"frames": np.stack(frames), "name": name}

    def files(self, name: str, list_images: Callable[[Path], list[Path]] = images_in) -> list[Path]:
        """Lists the images of a window; none where its folder is missing.

        Args:
          name: of the window.
          list_images: lists the images of a folder.

        Raises:
          DamagedError: the folder cannot be listed, or the window reaches over a gap in the numbers of its images.
        """
        folder, first = self.root / name, Path(name).name
        try:
            if folder.is_dir():
                return list_images(folder)
            if not (self.length and first.isdigit() and folder.parent.is_dir()):
                return []
            files = list_images(folder.parent)
        except OSError as error:
            raise DamagedError(f"cannot read {folder}: {error.strerror or error}") from None
        window = files[int(first) : int(first) + self.length]
        for gap in gaps(files):
            if gap.after in window[1:]:
                raise DamagedError(f"{folder.parent} has {gap}")
        return window


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Synthetic scenes (`data.synthetic.scenes.random_scene`), rendered on demand; window i is the scene of seed i.

    Attributes:
      count: number of windows.
      length: frames per window, from time 0 to 1.
      height: pixels.
      width: pixels.
      speed: pixels that the fastest layer moves from the first frame to the last.
      has_own_split: see `Source`.
      by_clip: see `Source`.
      regions: whether windows carry `regions`, exact maps of the layers: 1 is the background.
    """

    count: int
    length: int
    height: int = 96
    width: int = 128
    speed: float = 10.0
    has_own_split: bool = False
    by_clip: bool = False
    regions: bool = False

    @property
    def names(self) -> Sequence[str]:
        """One clip per scene."""
        return [f"scene{index:06d}/0" for index in range(self.count)]

    def __len__(self) -> int:
        """Number of windows."""
        return self.count

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Renders a window."""
        number = int(index)
        scene = random_scene(number, self.height, self.width, speed=self.speed)
        times = np.linspace(0, 1, self.length)
        frames = np.rint(255 * np.stack([scene.frame(time) for time in times])).astype(np.uint8)
        exact = {"regions": np.stack([scene.regions(time) for time in times])} if self.regions else {}
        return {"frames": frames, "name": f"scene{number:06d}/0", **exact}


def is_footage(path: str) -> bool:
    """Returns whether a path is a folder of video files, of which records have to be made first."""
    folder = Path(path)
    return bool(path) and folder.is_dir() and not records.is_records(folder) and bool(videos_in(folder))


def is_plugin(path: str) -> bool:
    """Returns whether a path that does not exist names a source of another package, see `open_source`."""
    if not path or path.startswith(SYNTHETIC) or Path(path).exists():
        return False
    name = path.partition("?")[0]
    module, _, attribute = name.partition(":")
    is_reference = bool(attribute) and all(part.isidentifier() for part in module.split("."))
    return is_reference or name in named_entry_points(PLUGINS.group)


def open_source(path: str, length: int, *, step: int = 1, listed: str = "train") -> Source:
    """Opens the set at a path.

    Args:
      path: Vimeo90K (triplet or septuplet, with its lists), records, any tree of folders of images,
        `synthetic:COUNT`, or a source of another package: `package.module:NAME`, or a name that an installed package
        registers in the entry point group `vfi_jax.sources`, optionally followed by `?ARGUMENT`; see `PLUGINS`.
      length: frames per window, of synthetic ones and of those cut out of folders with more images; 0: folders whole.
      step: images from the start of a window in such a folder to that of the next.
      listed: which of Vimeo90K's lists: "train" or "test"; the other if that one is missing.

    Raises:
      UserError: the folder is missing, or holds no set that is recognized.
      UsageError: the path is empty, COUNT is no number, or the source of the other package cannot be used.
    """
    if not path:
        raise UsageError("data.path is empty: name a set, such as --config.data.path=FOLDER")
    if path.startswith(SYNTHETIC):
        count = path.removeprefix(SYNTHETIC)
        if not re.fullmatch("[0-9]{1,9}", count) or not 0 < int(count) <= MOST_SCENES:
            raise UsageError(f"{path[:50]}: a number of scenes from 1 to {MOST_SCENES} is needed, such as synthetic:64")
        return Synthetic(int(count), length)
    if is_plugin(path):
        return _open_plugin(path, length, step, listed)
    folder = Path(path)
    if not folder.is_dir():
        address = "; addresses are not read, download the set first" if "://" in path else ""
        raise UserError(f"{path}: no such folder{address}")
    if records.is_records(folder):
        return records.open_records(folder)
    lists = [name for kind in (listed, "train", "test") for name in LISTS[kind] if (folder / name).is_file()]
    if lists and (folder / "sequences").is_dir():
        names = (folder / lists[0]).read_text().split()
        if not names:
            raise UserError(f"{folder / lists[0]} is empty")
        return WindowFolders(folder / "sequences", names, has_own_split="train" in lists[0])
    return _open_folders(folder, length, step)


def _open_plugin(path: str, length: int, step: int, listed: str) -> Source:
    name, _, argument = path.partition("?")
    source = PLUGINS.find(name)
    if isinstance(source, type) or not isinstance(source, Source):
        if not callable(source):
            raise UsageError(f"source of data {name} is a {type(source).__name__}: neither a Source nor a function")
        source = source(argument, length=length, step=step, listed=listed)
    elif argument:
        raise UsageError(f"source of data {name} takes no argument: leave ?{argument} out")
    if not isinstance(source, Source):
        needed = ("names", "has_own_split", "by_clip", "__len__", "__getitem__")
        missing = ", ".join(attribute for attribute in needed if not hasattr(source, attribute))
        raise UsageError(f"source of data {name} gives a {type(source).__name__}, which lacks {missing}")
    if not len(source):
        raise UserError(f"{path}: no windows in it")
    return source


def _open_folders(folder: Path, length: int, step: int) -> WindowFolders:
    counts = Counter(file.parent.relative_to(folder) for file in folder.rglob("*") if is_image(file))
    if not counts:
        raise UserError(
            f"{folder}: no set that is known: Vimeo90K (sequences/ and its lists) or folders of images; "
            "for videos run `vfi-jax prepare records` first"
        )
    clips = sorted((str(below), count) for below, count in counts.items())
    names = [name for below, count in clips for name in _names_of_windows(below, count, length, step)]
    return WindowFolders(folder, names, length)


def _names_of_windows(folder: str, count: int, length: int, step: int) -> list[str]:
    """Names the windows in a folder of `count` images; the folder is one window if it has no more than `length`."""
    if not length or count <= length:
        return [folder]
    return [f"{folder}/{first:06d}" for first in range(0, count - length + 1, step)]
