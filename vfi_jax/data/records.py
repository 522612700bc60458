"""Reading record sets: windows in ArrayRecord files with TFDS's description, without TensorFlow.

`prepare.record_writer` writes them.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np

from vfi_jax.errors import DamagedError, UserError

SPLIT = "train"
INFO = "dataset_info.json"  # TFDS's description
ABOUT = "prepared.json"  # ours: names, settings, counts, and whether the set is complete


def is_records(folder: Path) -> bool:
    """Returns whether a folder holds a record set, complete or not."""
    return (folder / ABOUT).is_file()


def read_about(folder: Path) -> dict[str, Any]:
    """Reads the description: `settings`, `names`, `clips` (finished ones), `finished`, `info` (TFDS's description).

    Raises:
      UserError: missing or damaged.
    """
    try:
        return json.loads((folder / ABOUT).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / ABOUT} cannot be read ({error}): prepare the records again") from None


@dataclasses.dataclass(frozen=True)
class Records:
    """A record set as a source of windows.

    Attributes:
      folder: of the set.
      names: of the windows, as written.
      by_clip: see `sources.Source`.
      has_own_split: see `sources.Source`.
      has_regions: whether records have region maps.
      regions: whether windows carry them, `regions` uint8 `[n, h / 2, w / 2]`.
    """

    folder: Path
    names: Sequence[str]
    by_clip: bool
    has_own_split: bool = False
    has_regions: bool = False
    regions: bool = False

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.names)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window.

        Raises:
          DamagedError: its file is damaged.
        """
        try:
            record = self._data[int(index)]
        except (RuntimeError, LookupError, OSError, ValueError) as error:
            reason = str(error).splitlines()[0].partition(";")[0][:120]
            raise DamagedError(
                f"{self.folder}: record {index} ({self.names[index]}) cannot be read: {reason}; "
                "prepare the records again"
            ) from None
        window = {"frames": np.stack(list(record["frames"])), "name": self.names[index]}
        if self.regions:
            window["regions"] = np.stack([np.asarray(labels)[..., 0] for labels in record["regions"]])
        return window

    @functools.cached_property
    def _data(self) -> Any:
        import tensorflow_datasets as tfds  # half a second

        return tfds.builder_from_directory(self.folder).as_data_source(SPLIT)

    def __getstate__(self) -> dict[str, Any]:
        # Without `_data`: worker processes open the files themselves.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def open_records(folder: Path) -> Records:
    """Opens a record set and reads the last record of each of its files.

    Raises:
      UserError: the set is unfinished, or a file is missing, cut short or damaged.
    """
    about = read_about(folder)
    if not about["finished"]:
        raise UserError(f"{folder} is unfinished: run the `vfi-jax prepare records` that made it again; it continues")
    source = Records(
        folder, about["names"], by_clip=len(about["clips"]) > 1, has_regions="regions" in about["settings"]
    )
    for end in itertools.accumulate(shard_lengths(about["info"])):
        _ = source[end - 1]
    return source


def shard_lengths(info: str) -> list[int]:
    """Returns the number of records in each file from the text of TFDS's description; none if it is empty."""
    splits = json.loads(info)["splits"] if info else []
    return [int(length) for split in splits for length in split.get("shardLengths", [])]
