"""Sources over sources: parts for training and validation, balanced clips, replacement of damaged windows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np

from vfi_jax.data.fitness import ANY, Requirement, check_window
from vfi_jax.data.sources import Source, WindowFolders
from vfi_jax.errors import DamagedError, UsageError, UserError, one_line

REPLACEMENT_STREAM = 7  # beside the index, in the seed that draws replacements of a damaged window
REPLACEMENTS = 8  # number of windows that are tried
VIMEO_TRAINING_SHARE = 0.95  # of the published training list; the rest is validation, as in RIFE's code


@dataclasses.dataclass(frozen=True)
class SourceWrapper:
    """A source that passes on the properties of another one.

    Attributes:
      source: the other one.
    """

    source: Source

    def inner(self, index: int) -> int:
        """Returns the number in `source` of the window with this number here."""
        return index

    @property
    def has_own_split(self) -> bool:
        """See `sources.Source`."""
        return self.source.has_own_split

    @property
    def by_clip(self) -> bool:
        """See `sources.Source`."""
        return self.source.by_clip

    @property
    def names(self) -> Sequence[str]:
        """Names of the windows."""
        return self.source.names

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.source)


@dataclasses.dataclass(frozen=True)
class Part(SourceWrapper):
    """Some windows of a source, in any order; a window may occur more than once.

    Attributes:
      source: the source.
      indices: of the windows in it.
    """

    indices: Sequence[int]

    def inner(self, index: int) -> int:
        """Returns the number of the window in `source`."""
        return self.indices[index]

    @property
    def names(self) -> Sequence[str]:
        """Names of the windows in the part."""
        return [self.source.names[index] for index in self.indices]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.indices)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window of the part."""
        return self.source[self.indices[index]]


@dataclasses.dataclass(frozen=True)
class Tolerant(SourceWrapper):
    """A source that replaces a window that cannot be read, or is unfit, by another one, always the same.

    Its windows have one more field, `damaged`: why the requested window is replaced, or "".

    Attributes:
      source: the windows.
      required: what a window must have.
      path: of the set, for messages.
    """

    required: Requirement = ANY
    path: str = ""

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window or its replacement.

        Raises:
          DamagedError: neither it nor any of `REPLACEMENTS` others can be used.
        """
        damaged, rng = "", np.random.default_rng([REPLACEMENT_STREAM, int(index)])
        for candidate in (int(index), *rng.integers(len(self), size=REPLACEMENTS)):
            try:
                return {**self._fit(int(candidate)), "damaged": damaged}
            except DamagedError as error:
                damaged = damaged or str(error)
        raise DamagedError(f"{damaged}; nor can {REPLACEMENTS} others of the set")

    def _fit(self, index: int) -> dict[str, Any]:
        try:
            window = self.source[index]
        except UsageError:
            raise
        except (UserError, OSError, LookupError, ValueError, TypeError) as error:
            raise DamagedError(one_line(error)) from None
        check_window(window, self.required, self._place(window, index))
        return window

    def _place(self, window: Any, index: int) -> str:
        """Returns the path of a window, for messages: its folder, or the path of its set and its name."""
        inner, _ = innermost(self, index)
        name = window.get("name", f"window {index}") if isinstance(window, Mapping) else f"window {index}"
        return str(inner.root / name) if isinstance(inner, WindowFolders) else f"{self.path}: {name}"


def innermost(source: Source, index: int) -> tuple[Source, int]:
    """Returns the source within all wrappers, and the number of a window there."""
    while isinstance(source, SourceWrapper):
        source, index = source.source, source.inner(index)
    return source, index


def split(source: Source, holdout: float) -> tuple[Part, Part]:
    """Splits a source into training and validation: the last `holdout` of the windows, moved back to a clip's start.

    Vimeo90K's training list is split as published: its first 95 % are for training.

    Raises:
      UserError: there is one clip only, which cannot be split.
    """
    count = len(source)
    start = int(count * VIMEO_TRAINING_SHARE) if source.has_own_split else first_held_out(source.names, holdout)
    if not 0 < start < count:
        raise UserError("the set has one clip only: name others with --config.data.validation=FOLDER")
    return Part(source, range(start)), Part(source, range(start, count))


def balanced(source: Source) -> Part:
    """Repeats the windows of shorter clips so that every clip occurs as often as the one with the most windows."""
    clips: dict[str, list[int]] = {}
    for index, name in enumerate(source.names):
        clips.setdefault(clip_of(name), []).append(index)
    longest = max(map(len, clips.values()))
    repeated = (itertools.islice(itertools.cycle(indices), longest) for indices in clips.values())
    return Part(source, list(itertools.chain.from_iterable(repeated)))


def first_held_out(names: Sequence[str], holdout: float) -> int:
    """Returns the index of the first of the last `holdout` windows, moved back to where a clip begins."""
    start = min(len(names) - 1, round(len(names) * (1 - holdout)))
    while start > 0 and clip_of(names[start]) == clip_of(names[start - 1]):
        start -= 1
    return start


def clip_of(name: str) -> str:
    """Returns the clip of a window's name; a window without one is its own clip."""
    return name.rpartition("/")[0] or name
