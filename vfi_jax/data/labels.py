"""Flow labels beside a set: made once by `vfi-jax prepare flow`, checked and read with the windows.

A folder `flow_TEACHER` in the set (`flow_TEACHER_test` for its test list) holds `labels.json` (teacher, SHA-256 of its
weights, which frames of a window are inputs and target, number of windows) and safetensors of `PER_FILE` windows each,
in the order of the set: float16 by the windows' names, with the same JSON as metadata.

Of two inputs: `flow` `[h, w, 4]`, from the target to input 0 and to input 1. Of four: `flows` `[h, w, 8]`, from input 1
to 0, 1 to 2, 2 to 3, 2 to 1. Pixels, (x, y).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from safetensors import SafetensorError, safe_open

from vfi_jax.config import Window
from vfi_jax.data.sources import LISTS, Source
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError, UserError

PER_FILE = 64
ABOUT = "labels.json"
KIND = "vfi_jax flow labels"  # key of the metadata
NAMES = {"teacher", "weights", "inputs", "target", "windows"}  # in `labels.json`


def folder_of(path: str | Path, teacher: str, listed: str = "train") -> Path:
    """Where the labels of a set stand; of its test list, where it has one and `listed` is "test"."""
    has_list = listed == "test" and any((Path(path) / name).is_file() for name in LISTS["test"])
    return Path(path) / (f"flow_{teacher}_test" if has_list else f"flow_{teacher}")


def file_of(folder: Path, index: int) -> Path:
    """The file with the label of a window, by its place in the set."""
    return folder / f"{index // PER_FILE:05d}.safetensors"


@dataclasses.dataclass(frozen=True)
class Labeled:
    """A source whose windows carry `flow` or `flows`, float16; see the head of this file.

    Attributes:
      source: the windows.
      folder: of the labels.
      about: what `labels.json` says.
    """

    source: Source
    folder: Path
    about: dict[str, Any]

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
        """Of the windows."""
        return self.source.names

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window with its label.

        Raises:
          UserError: see `Source`; or the label is missing, damaged, of another teacher or of another size.
        """
        window = self.source[index]
        label = self._label(file_of(self.folder, int(index)), window["name"])
        size, found = window["frames"].shape[1:3], label.shape[:2]
        if size != found:
            raise self._foreign(f"{window['name']} is {found[1]}x{found[0]} there, and {size[1]}x{size[0]} in the set")
        return {**window, "flow" if label.shape[-1] == 4 else "flows": label}

    def _label(self, file: Path, name: str) -> np.ndarray:
        try:
            with safe_open(file, framework="numpy") as labels:
                if json.loads(labels.metadata()[KIND]) != self.about:
                    raise self._foreign(f"{file.name} is of another teacher, other weights or another set")
                if name not in labels.keys():  # noqa: SIM118
                    raise self._foreign(f"{file.name} has no {name}")
                return labels.get_tensor(name)
        except (SafetensorError, OSError, TypeError, KeyError, json.JSONDecodeError) as error:
            raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]}): prepare the labels again") from None

    def _foreign(self, what: str) -> UserError:
        return UserError(f"{self.folder} does not belong to this set: {what}; prepare the labels again")


def labeled(source: Source, path: str | Path, teacher: str, window: Window, listed: str = "train") -> Labeled:
    """A source with the labels that stand beside it.

    Args:
      source: the set at `path`, opened with the same `listed`.
      path: its folder.
      teacher: who made the labels.
      window: inputs and target that training takes; labels are for one choice of them.
      listed: which of Vimeo90K's lists: "train" or "test".

    Raises:
      UserError: no labels, unfinished ones, or of another teacher or set.
      UsageError: labels for other inputs, or another target.
    """
    folder = folder_of(path, teacher, listed)
    about = read_about(folder)
    if about is None:
        test = " --list test" if folder != folder_of(path, teacher) else ""
        raise UserError(f"{folder}: no labels: run `vfi-jax prepare flow {path} --teacher {teacher}{test}` first")
    labels = Labeled(source, folder, about)
    if about["teacher"] != teacher:
        raise labels._foreign(f"its teacher is {about['teacher']}")
    if about["windows"] != len(source):
        raise labels._foreign(f"it has {about['windows']} windows, and the set {len(source)}")
    if not all(file_of(folder, index).exists() for index in range(0, len(source), PER_FILE)):
        raise UserError(f"{folder} is unfinished: run the `vfi-jax prepare flow` that made it again; it continues")
    _check_choice(about, window)
    return labels


def _check_choice(about: dict[str, Any], window: Window) -> None:
    """Flows between four inputs serve any target; those from the target to two inputs serve that one."""
    inputs, targets, _ = frame_selections(window)
    wanted = {tuple(map(int, row)) for row in inputs}
    if wanted != {tuple(about["inputs"])} or (len(about["inputs"]) == 2 and set(targets.tolist()) != {about["target"]}):
        raise UsageError(
            f"the labels are for inputs {tuple(about['inputs'])} and target {about['target']}: "
            "config.data.window must say the same"
        )


def read_about(folder: Path) -> dict[str, Any] | None:
    """What `labels.json` says; None where there is none.

    Raises:
      UserError: it is damaged.
    """
    try:
        about = json.loads((folder / ABOUT).read_text())
        if set(about) != NAMES:
            raise ValueError("not what `prepare flow` writes")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / ABOUT} cannot be read ({error}): prepare the labels again") from None
    return about
