"""Writing a record set: ArrayRecord files with TFDS's description, resumable after a kill at any time."""

from __future__ import annotations

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vfi_jax.data.records import ABOUT, INFO, SPLIT, read_about, shard_lengths
from vfi_jax.data.region_maps import encoded
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.footage import format_rejections
from vfi_jax.system import progress, strict_json
from vfi_jax.system.files import written_whole

RECORDS_PER_FILE = 64  # also the largest number that a kill loses


@dataclasses.dataclass(frozen=True)
class Windows:
    """The windows of a group.

    Attributes:
      count: number of windows.
      rejected: number of windows already rejected, by reason.
      read_from: `read_from(i)` yields the windows from number i on: `name`, `frames` `[n, h, w, 3]`, and `regions`
        `[n, h / 2, w / 2]` where the set has region maps.
    """

    count: int
    rejected: Counter[str]
    read_from: Callable[[int], Iterator[dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class WindowGroup:
    """Windows that are found together: those of one clip, or all of a source.

    Attributes:
      name: of the clip; "" for a source as a whole.
      open: finds the windows; not called for a group that is already written.
    """

    name: str
    open: Callable[[], Windows]


class RecordSetWriter:
    """A record set that is being written.

    TFDS's writer starts a new file for each group and after `RECORDS_PER_FILE` records, and knows only complete files.
    It updates its description in place, so that a kill may leave an empty one. Our own file therefore keeps a copy,
    beside the windows' names and the counts; the next call continues from it.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Opens the set in a folder, or begins it.

        Args:
          folder: an existing folder.
          settings: `encoding`, `smallest` (pixels), and anything else that decides the content.

        Raises:
          UsageError: the folder holds a set with other settings.
          UserError: its description is damaged.
        """
        self._folder, self._settings = folder, settings
        self._about: dict[str, Any] = {
            "settings": settings, "finished": False, "clips": {}, "names": [], "looked": [0, 0], "shape": None,
            "info": "",
        }  # fmt: skip
        if (folder / ABOUT).is_file():
            about = read_about(folder)
            if about["settings"] != json.loads(strict_json.dumps(settings)):
                raise UsageError(f"{folder} holds records with other settings: choose another folder")
            self._about = about
            (folder / INFO).unlink(missing_ok=True)
            if about["info"]:
                (folder / INFO).write_text(about["info"])

    @property
    def finished(self) -> bool:
        """Whether the set is complete."""
        return self._about["finished"]

    def counts(self) -> dict[str, Any]:
        """Returns the numbers of "windows" and "clips", and "rejected" windows by reason."""
        clips = self._about["clips"]
        rejected = sum((Counter(clip["rejected"]) for clip in clips.values()), Counter())
        return {"windows": len(self._about["names"]), "clips": len(clips), "rejected": dict(rejected)}

    def write(self, groups: list[WindowGroup]) -> dict[str, Any]:
        """Writes the groups that are missing and returns the counts.

        Raises:
          UserError: no window is usable, or shapes differ.
        """
        self._save()
        for group in progress.bar(groups, unit="clip", desc="records", disable=len(groups) == 1):
            if group.name not in self._about["clips"]:
                self._add(group.name, group.open())
        counts = self.counts()
        if not counts["windows"]:
            rejected = format_rejections(Counter(counts["rejected"]))
            raise UserError(f"no usable window in {counts['clips']} clips; rejected: {rejected}")
        self._save(finished=True)
        return counts

    def _add(self, name: str, windows: Windows) -> None:
        """Writes one group, from the window at which an interrupted call stopped."""
        names, writer = self._about["names"], None
        before = sum(clip["kept"] for clip in self._about["clips"].values())
        looked, small = self._about["looked"]
        shown = progress.bar(
            windows.read_from(looked), total=windows.count, initial=looked, unit="window", desc=name, leave=not name
        )
        for window in shown:
            name_of, frames = window["name"], window["frames"]
            looked += 1
            if min(frames.shape[1:3]) < self._settings["smallest"]:
                small += 1
                continue
            self._check_shape(name_of, frames)
            writer = writer or _open_writer(self._folder, self._raw, frames.shape, regions="regions" in window)
            maps = {"regions": [io.BytesIO(encoded(each)) for each in window["regions"]]} if "regions" in window else {}
            example = {"name": name_of, "frames": frames if self._raw else _as_pngs(frames), **maps}
            writer.add_examples({SPLIT: [example]})
            names.append(name_of)
            if (len(names) - before) % RECORDS_PER_FILE == 0:
                self._about["looked"] = [looked, small]
                self._save()
        if writer:
            writer.close_all()
        rejected = windows.rejected + Counter({"small": small})  # drops zero counts
        self._about["clips"][name] = {"kept": len(names) - before, "rejected": dict(rejected)}
        self._about["looked"] = [0, 0]
        self._save()

    @property
    def _raw(self) -> bool:
        return self._settings["encoding"] == "raw"

    def _check_shape(self, name: str, frames: np.ndarray) -> None:
        shape = list(frames.shape) if self._raw else [len(frames)]
        self._about["shape"] = self._about["shape"] or shape
        if shape != self._about["shape"]:
            raise UserError(
                f"{name} has frames of shape {shape}, those before {self._about['shape']}: "
                "raw records have one size (use png), and all windows one length"
            )

    def _save(self, *, finished: bool = False) -> None:
        """Saves the description, with the names of the windows in complete files."""
        about = self._about
        info = self._folder / INFO
        about.update(finished=finished, info=info.read_text() if info.is_file() else "")
        kept = about["names"][: sum(shard_lengths(about["info"]))]
        with written_whole(self._folder / ABOUT) as partial:
            partial.write_text(strict_json.dumps({**about, "names": kept}))


def _open_writer(folder: Path, raw: bool, shape: tuple[int, ...], *, regions: bool) -> Any:
    """Opens TFDS's writer of a group whose windows have `shape`, and region maps or not."""
    import tensorflow_datasets as tfds  # takes half a second, which other commands save

    identity = tfds.core.dataset_info.DatasetIdentity(
        name="windows", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="vfi_jax"
    )
    image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    # As bytes, because the parser would otherwise treat every value as an integer of its own.
    array = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    frames = array if raw else tfds.features.Sequence(image)
    labels = tfds.features.Sequence(tfds.features.Image(shape=(None, None, 1), encoding_format="png"))
    maps = {"regions": labels} if regions else {}
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Windows of consecutive frames, RGB.",
        features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "frames": frames, **maps}),
    )
    writer = tfds.core.SequentialWriter(info, RECORDS_PER_FILE, overwrite=False, file_format="array_record")
    if not folder.joinpath(INFO).is_file():
        writer.initialize_splits([SPLIT])
    return writer


def _as_pngs(frames: np.ndarray) -> list[io.BytesIO]:
    return [io.BytesIO(cv2.imencode(".png", frame[..., ::-1])[1].tobytes()) for frame in frames]
