"""Folders of clips: which files are clips, what their outputs are called, and one after the other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfi_jax.data.images import VIDEO_SUFFIXES
from vfi_jax.errors import UserError
from vfi_jax.video.coding.encoders import CONTAINERS
from vfi_jax.video.pictures import sequences

SUFFIXES = frozenset((*VIDEO_SUFFIXES, *CONTAINERS))
DONE, SKIPPED, FAILED = RESULTS = ("done", "skipped", "failed")
_UNKNOWN = ".mkv"  # holds whatever a source of a form that is not written may hold


@dataclass(frozen=True)
class Clips:
    """The clips of a folder, with the file that each becomes.

    Attributes:
      folder: of the sources.
      pairs: (source, target) in natural order.
      note: what the folder holds, in one line.
    """

    folder: Path
    pairs: tuple[tuple[Path, Path], ...]
    note: str


@dataclass(frozen=True)
class Outcome:
    """The outcome of one clip.

    Attributes:
      source: the clip.
      target: its output.
      result: done, skipped, or failed.
      error: why it failed.
      details: of what was done, as JSON's types.
    """

    source: Path
    target: Path
    result: str
    error: str = ""
    details: dict[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON's types."""
        about = {"source": str(self.source), "target": str(self.target), "result": self.result}
        return about | ({"error": self.error} if self.error else {}) | (self.details or {})


def are_clips(folder: Path) -> bool:
    """Whether a folder holds clips rather than pictures: at least as many of them."""
    if not folder.is_dir():
        return False
    clips, stills = _counted(folder)
    return bool(clips) and len(clips) >= len(stills)


def find(folder: Path, target: Path) -> Clips:
    """Finds the clips of a folder, and names their outputs: as the source, or .mkv where its form is not written.

    Raises:
      UserError: two clips would get one output, or the target is the folder itself or a file.
    """
    clips, _ = _counted(folder)
    if target.suffix.lower() in CONTAINERS or (target.exists() and not target.is_dir()):
        raise UserError(f"{folder}: is a folder of clips, whose output is a folder too, not {target}")
    if target.exists() and target.samefile(folder):
        raise UserError(f"{target}: is the input itself; choose another output")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent}: no such folder; create it or choose another output")
    pairs = [(clip, target / _name(clip)) for clip in clips]
    by_target: dict[Path, list[Path]] = defaultdict(list)
    for clip, output in pairs:
        by_target[output].append(clip)
    for output, sources in by_target.items():
        if len(sources) > 1:
            names = " and ".join(clip.name for clip in sources)
            raise UserError(f"{folder}: {names} would both become {output.name}; rename one of them")
    others = len(sequences.files_in(folder)) - len(clips)
    rest = f"; {others} other file{'s are' if others > 1 else ' is'} not read" if others else ""
    first, last = clips[0].name, clips[-1].name
    return Clips(folder, tuple(pairs), f"{folder}: a folder of {len(clips)} clips, from {first} to {last}{rest}")


def process(clips: Clips, work: Callable[[Path, Path], dict[str, Any]], *, overwrite: bool) -> list[Outcome]:
    """Works on each clip whose output is not there; outputs appear under their names only when they are complete.

    Args:
      clips: as `find` returns them.
      work: takes source and target; returns what is to be known of it, as JSON's types.
      overwrite: whether outputs that are there are made again.
    """
    return [_one(source, target, work, overwrite=overwrite) for source, target in clips.pairs]


def _one(source: Path, target: Path, work: Callable[[Path, Path], dict[str, Any]], *, overwrite: bool) -> Outcome:
    if target.exists() and not overwrite:
        return Outcome(source, target, SKIPPED)
    try:
        return Outcome(source, target, DONE, details=work(source, target))
    except UserError as error:
        return Outcome(source, target, FAILED, error=" ".join(str(error).split()))


def _counted(folder: Path) -> tuple[list[Path], list[Path]]:
    """The clips and the pictures of a folder; WebP counts as a picture."""
    files = sequences.files_in(folder)
    clips = [file for file in files if file.suffix.lower() in SUFFIXES and not sequences.is_picture(file)]
    return clips, [file for file in files if sequences.is_picture(file)]


def _name(clip: Path) -> str:
    return clip.name if clip.suffix.lower() in CONTAINERS else f"{clip.stem}{_UNKNOWN}"
