"""Reading flow labels: windows with the flow fields that `prepare.flow_labels` wrote beside the set.

A folder `flow_TEACHER` in the set (`flow_TEACHER_test` for its test list) holds `labels.json` (teacher, SHA-256 of its
weights, which frames of a window are inputs and target, number of windows) and safetensors files of `PER_FILE` windows
each, in the order of the set. A file holds one float16 array per window, under the window's name, and the same JSON as
metadata.

With two inputs, a label is `flow` `[h, w, 4]`: from the target to input 0, then to input 1. With four, it is `flows`
`[h, w, 8]`: from input 1 to 0, 1 to 2, 2 to 3 and 2 to 1. Flow is (x, y) in pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float16
from safetensors import SafetensorError, safe_open

from vfi_jax.config import Window
from vfi_jax.data.parts import SourceWrapper
from vfi_jax.data.sources import LISTS, Source
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError, UserError

PER_FILE = 64
ABOUT = "labels.json"
METADATA_KEY = "vfi_jax flow labels"
ABOUT_KEYS = {"teacher", "weights", "inputs", "target", "windows"}


def folder_of(path: str | Path, teacher: str, listed: str = "train", kind: str = "flow") -> Path:
    """Returns the labels' folder of a set, or of its test list if it has one and `listed` is "test"."""
    has_list = listed == "test" and any((Path(path) / name).is_file() for name in LISTS["test"])
    return Path(path) / (f"{kind}_{teacher}_test" if has_list else f"{kind}_{teacher}")


def file_of(folder: Path, index: int, per_file: int) -> Path:
    """Returns the file with the label of window number `index` of the set."""
    return folder / f"{index // per_file:05d}.safetensors"


@dataclasses.dataclass(frozen=True)
class LabeledSource(SourceWrapper):
    """A source whose windows carry `flow` or `flows`, float16, as this module's docstring says.

    Attributes:
      source: the windows.
      folder: of the labels.
      about: content of `labels.json`.
    """

    folder: Path
    about: dict[str, Any]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window with its label.

        Raises:
          UserError: as the source; or the label is missing, damaged, of another teacher or of another size.
        """
        window = self.source[index]
        label = self._read(file_of(self.folder, int(index), PER_FILE), window["name"])
        height, width = window["frames"].shape[1:3]
        if label.shape[:2] != (height, width):
            sizes = f"{label.shape[1]}x{label.shape[0]} there, and {width}x{height} in the set"
            raise mismatch(self.folder, f"{window['name']} is {sizes}")
        return {**window, "flow" if label.shape[-1] == 4 else "flows": label}

    def _read(self, file: Path, name: str) -> Float16[np.ndarray, "h w c"]:
        owner = "another teacher, other weights or another set"
        with stored(file, name, self.about, key=METADATA_KEY, owner=owner, what="labels") as labels:
            return labels.get_tensor(name)


def with_labels(source: Source, path: str | Path, teacher: str, window: Window, listed: str = "train") -> LabeledSource:
    """Adds to a source the labels that stand beside it.

    Args:
      source: the set at `path`, opened with the same `listed`.
      path: its folder.
      teacher: the flow method whose labels are read.
      window: inputs and target of training; labels are for one selection of frames.
      listed: which of Vimeo90K's lists: "train" or "test".

    Raises:
      UserError: no labels, unfinished ones, or of another teacher or set.
      UsageError: the labels are for other inputs or another target.
    """
    folder = folder_of(path, teacher, listed)
    about = read_about(folder)
    if about is None:
        test = " --list test" if folder != folder_of(path, teacher) else ""
        raise UserError(f"{folder}: no labels: run `vfi-jax prepare flow {path} --teacher {teacher}{test}` first")
    if about["teacher"] != teacher:
        raise mismatch(folder, f"its teacher is {about['teacher']}")
    check_complete(folder, about, len(source), per_file=PER_FILE, what="labels", command="flow")
    _check_selection(about, window)
    return LabeledSource(source, folder, about)


def check_complete(
    folder: Path, about: Mapping[str, Any], count: int, *, per_file: int, what: str, command: str
) -> None:
    """Checks that a folder of labels, masks or maps has those of every window of a set.

    Args:
      folder: of the files.
      about: content of `labels.json`.
      count: number of windows in the set.
      per_file: windows per file.
      what: the folder holds, for messages.
      command: of `vfi-jax prepare` that wrote it.

    Raises:
      UserError: it is of another set, or unfinished.
    """
    if about["windows"] != count:
        raise mismatch(folder, f"it has {about['windows']} windows, and the set {count}", what)
    if not all(file_of(folder, index, per_file).exists() for index in range(0, count, per_file)):
        raise UserError(f"{folder} is unfinished: run the `vfi-jax prepare {command}` that made it again; it continues")


@contextlib.contextmanager
def stored(file: Path, name: str, about: Mapping[str, Any], *, key: str, owner: str, what: str) -> Iterator[safe_open]:
    """Opens a file of labels, masks or maps that holds those of a window; a context manager.

    Args:
      file: of `safetensors`.
      name: of the window.
      about: content of `labels.json`, which must be that of the file's metadata.
      key: of the metadata.
      owner: to what a file with other metadata belongs, in the error.
      what: the file holds, in errors.

    Raises:
      UserError: the file is missing or damaged, here or when the content is read, belongs to another set, or lacks the
        window.
    """
    try:
        with safe_open(file, framework="numpy") as content:
            if json.loads(content.metadata()[key]) != about:
                raise mismatch(file.parent, f"{file.name} is of {owner}", what)
            if name not in content.keys():  # noqa: SIM118
                raise mismatch(file.parent, f"{file.name} has no {name}", what)
            yield content
    except (SafetensorError, OSError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]}): prepare the {what} again") from None


def mismatch(folder: Path, reason: str, what: str = "labels") -> UserError:
    """Returns the error for labels that belong to another set."""
    return UserError(f"{folder} does not belong to this set: {reason}; prepare the {what} again")


def _check_selection(about: dict[str, Any], window: Window) -> None:
    """Flow between four inputs serves any target; flow from the target to two inputs serves that target alone."""
    inputs, targets, _ = frame_selections(window)
    selected = {tuple(map(int, row)) for row in inputs}
    same_target = len(about["inputs"]) == 4 or set(targets.tolist()) == {about["target"]}
    if selected != {tuple(about["inputs"])} or not same_target:
        raise UsageError(
            f"the labels are for inputs {tuple(about['inputs'])} and target {about['target']}: "
            "config.data.window must say the same"
        )


def read_about(folder: Path, keys: Set[str] = frozenset(ABOUT_KEYS)) -> dict[str, Any] | None:
    """Reads `labels.json`; returns None if there is none.

    Args:
      folder: of the labels.
      keys: that it must have.

    Raises:
      UserError: it is damaged.
    """
    try:
        about = json.loads((folder / ABOUT).read_text())
        if set(about) != keys:
            raise ValueError("not what `vfi-jax prepare` writes")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder / ABOUT} cannot be read ({error}): prepare the labels again") from None
    return about
