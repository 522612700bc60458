"""Reading label masks: windows with the masks that `prepare.masks` wrote beside the set.

A folder `masks_MODEL` in the set (`masks_MODEL_test` for its test list) holds `labels.json` (model, SHA-256 of its
weights, wanted keep rate, thresholds of the uncertainty, which frames of a window are inputs and target, number of
windows) and safetensors files of `PER_FILE` windows each, in the order of the set. A file holds one uint8 array
`[h, ceil(w / 8), 3]` per window, under the window's name, eight pixels of a row in a byte, and the same JSON as
metadata. The channels are the masks of a pruned model's levels 3, 2 and 1, at the frame's size: 1 is computed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Bool, UInt8

from vfi_jax.config import Window
from vfi_jax.data.labels import check_complete, file_of, folder_of, mismatch, read_about, stored
from vfi_jax.data.parts import SourceWrapper
from vfi_jax.data.sources import Source
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError, UserError

PER_FILE = 256
KIND = "masks"
METADATA_KEY = "vfi_jax label masks"
ABOUT_KEYS = {"model", "weights", "keep_rate", "thresholds", "inputs", "target", "windows"}


def packed(masks: Bool[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w8 3"]:
    """Packs masks as they are stored."""
    return np.packbits(masks, axis=1)


@dataclasses.dataclass(frozen=True)
class MaskedSource(SourceWrapper):
    """A source whose windows carry `masks`, uint8 `[h, w, 3]`, 0 or 1.

    Attributes:
      source: the windows.
      folder: of the masks.
      about: content of `labels.json`.
    """

    folder: Path
    about: dict[str, Any]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window with its masks.

        Raises:
          UserError: as the source; or the masks are missing, damaged, of another model or of another size.
        """
        window = self.source[index]
        stored = self._read(file_of(self.folder, int(index), PER_FILE), window["name"])
        height, width = window["frames"].shape[1:3]
        if stored.shape != (height, -(-width // 8), 3):
            raise _mismatch(self.folder, f"the masks of {window['name']} are not of {width}x{height} pixels")
        return {**window, "masks": np.unpackbits(stored, axis=1, count=width)}

    def _read(self, file: Path, name: str) -> UInt8[np.ndarray, "h w8 3"]:
        owner = "another model, other weights or another set"
        with stored(file, name, self.about, key=METADATA_KEY, owner=owner, what="masks") as masks:
            return masks.get_tensor(name)


def with_masks(source: Source, path: str | Path, model: str, window: Window, listed: str = "train") -> MaskedSource:
    """Adds to a source the label masks that stand beside it.

    Args:
      source: the set at `path`, opened with the same `listed`.
      path: its folder.
      model: the uncertainty network whose masks are read.
      window: inputs and target of training; masks are for one selection of frames.
      listed: which of Vimeo90K's lists: "train" or "test".

    Raises:
      UserError: no masks, unfinished ones, or of another model or set.
      UsageError: the masks are for other inputs or another target.
    """
    folder = folder_of(path, model, listed, KIND)
    about = read_about(folder, ABOUT_KEYS)
    if about is None:
        raise UserError(f"{folder}: no masks: run `vfi-jax prepare masks {path} --weights FILE` first")
    if about["model"] != model:
        raise _mismatch(folder, f"its model is {about['model']}")
    check_complete(folder, about, len(source), per_file=PER_FILE, what="masks", command="masks")
    inputs, targets, _ = frame_selections(window)
    if {tuple(map(int, row)) for row in inputs} != {tuple(about["inputs"])} or set(targets) != {about["target"]}:
        raise UsageError(
            f"the masks are for inputs {tuple(about['inputs'])} and target {about['target']}: "
            "config.data.window must say the same"
        )
    return MaskedSource(source, folder, about)


def _mismatch(folder: Path, what: str) -> UserError:
    return mismatch(folder, what, "masks")
