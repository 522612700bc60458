"""Training sets made once: records out of any source."""

from __future__ import annotations

import dataclasses
import functools
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from vfi_jax.config import Footage
from vfi_jax.data import images, sources
from vfi_jax.data.published import survey
from vfi_jax.data.records import ABOUT, INFO, SPLIT, read_about, shard_lengths
from vfi_jax.data.sources import Source
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare import footage
from vfi_jax.system.files import written_whole

PER_SHARD = 64  # records a file; what is lost at most when the work is killed
ENCODINGS = ("png", "raw")
REPORT = "report.txt"


def records(source: str, output: Path, config: Footage, *, encoding: str = "png", smallest: int = 0) -> dict[str, Any]:
    """Writes windows into ArrayRecord files with TFDS's description; after a kill the same call continues.

    Each record has `name` and `frames`: PNG (`[h, w, 3]` each), or raw (one array `[n, h, w, 3]`, one size for all).

    Args:
      source: a folder of video files, or what `data.sources.open_source` takes.
      output: folder of the set; made where it is missing.
      config: how windows are cut out of videos; its `frames` and `step` for images too, its `frames` for scenes.
      encoding: "png" or "raw".
      smallest: windows with a shorter side are left out, pixels.

    Returns:
      Counts: "windows", "clips", "rejected" by reason.

    Raises:
      UsageError: no such encoding; `output` holds a set made with other settings.
      UserError: an unreadable clip or image (what is written stays), no usable window, mixed sizes in raw, no space.
    """
    settings = {"source": source, "encoding": encoding, "smallest": smallest, "footage": dataclasses.asdict(config)}

    def groups() -> list[_Group]:
        if sources.is_footage(source):
            return _clips(Path(source), config)
        return _whole(sources.open_source(source, config.frames, step=config.step))

    return _written(output, settings, groups)


def published(name: str, root: Path, output: Path, *, encoding: str = "png") -> dict[str, Any]:
    """The training part of a published set as records, without what is damaged; `report.txt` says what that is.

    Args:
      name: in `data.published.PUBLISHED`.
      root: the set's folder, as its authors lay it out.
      output: folder of the records; made where it is missing.
      encoding: "png" or "raw".

    Returns:
      Counts: "windows", "clips", "rejected" (things missing, files damaged), and "expected" clips.

    Raises:
      UsageError: no such set or encoding; `output` holds a set made with other settings.
      UserError: nothing of the set is there, no space.
    """
    found = survey(name, root)
    settings = {"source": f"{name}: {root}", "encoding": encoding, "smallest": 0, "footage": None}
    counts = _written(output, settings, lambda: _whole(found.source))
    with written_whole(output / REPORT) as partial:
        partial.write_text("\n".join(found.lines()) + "\n")
    rejected = {"missing": len(found.missing), "damaged": len(found.damaged)}
    return {"windows": counts["windows"], "clips": found.found, "expected": found.expected, "rejected": rejected}


def _written(output: Path, settings: dict[str, Any], groups: Callable[[], list[_Group]]) -> dict[str, Any]:
    """The counts of a record set, which is written as far as it is not."""
    if settings["encoding"] not in ENCODINGS:
        raise UsageError(f"encoding is {settings['encoding']!r}: one of {', '.join(ENCODINGS)}")
    try:
        output.mkdir(parents=True, exist_ok=True)
        records = _RecordSet(output, settings)
        return records.counts() if records.finished else records.write(groups())
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}; what is written stays") from None


@dataclasses.dataclass(frozen=True)
class _Group:
    """Windows that are found together, those of a clip or all of a source; nothing is read before it is asked for."""

    name: str
    look: Callable[[], _Found]


@dataclasses.dataclass(frozen=True)
class _Found:
    """What a group has: number of windows, those rejected by reason, and the named windows from a number on."""

    count: int
    rejected: Counter[str]
    windows: Callable[[int], Iterator[tuple[str, np.ndarray]]]


def _clips(folder: Path, config: Footage) -> list[_Group]:
    def look(path: Path) -> _Found:
        clip = footage.analyze(path, config)

        def windows(start: int) -> Iterator[tuple[str, np.ndarray]]:
            for first, frames in footage.windows(dataclasses.replace(clip, starts=clip.starts[start:]), config):
                yield f"{path.relative_to(folder)}/{first:06d}", frames

        return _Found(len(clip.starts), clip.rejected, windows)

    return [_Group(str(path.relative_to(folder)), functools.partial(look, path)) for path in videos_of(folder)]


def _whole(source: Source) -> list[_Group]:
    def windows(start: int) -> Iterator[tuple[str, np.ndarray]]:
        for window in (source[index] for index in range(start, len(source))):
            yield window["name"], window["frames"]

    return [_Group("", lambda: _Found(len(source), Counter(), windows))]


class _RecordSet:
    """A set that is being written.

    TFDS's writer starts a new file for each group and after `PER_SHARD` records and knows the full ones only. It writes
    down what it knows in place, so a kill may leave nothing of that: a copy stands in our own file, with names and
    counts, and is what continues.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder, self._settings = folder, settings
        self._about: dict[str, Any] = {
            "settings": settings, "finished": False, "clips": {}, "names": [], "looked": [0, 0], "shape": None,
            "info": "",
        }  # fmt: skip
        if (folder / ABOUT).is_file():
            found = read_about(folder)
            if found["settings"] != json.loads(json.dumps(settings)):
                raise UsageError(f"{folder} holds records made with other settings: choose another folder")
            self._about = found
            (folder / INFO).unlink(missing_ok=True)
            if found["info"]:
                (folder / INFO).write_text(found["info"])

    def write(self, groups: list[_Group]) -> dict[str, Any]:
        """Writes what is missing; returns the counts."""
        self._save()
        for group in tqdm(groups, unit="clip", desc="records", disable=len(groups) == 1):
            if group.name not in self._about["clips"]:
                self._add(group.name, group.look())
        counts = self.counts()
        if not counts["windows"]:
            rejected = told(Counter(counts["rejected"]))
            raise UserError(f"no usable window in {counts['clips']} clips; rejected: {rejected}")
        self._save(finished=True)
        return counts

    @property
    def finished(self) -> bool:
        """Whether the set is whole."""
        return self._about["finished"]

    def counts(self) -> dict[str, Any]:
        """Windows, clips, and what was rejected by reason."""
        clips = self._about["clips"]
        rejected = sum((Counter(clip["rejected"]) for clip in clips.values()), Counter())
        return {"windows": len(self._about["names"]), "clips": len(clips), "rejected": dict(rejected)}

    def _add(self, name: str, found: _Found) -> None:
        names, writer = self._about["names"], None
        before = sum(clip["kept"] for clip in self._about["clips"].values())
        looked, small = self._about["looked"]
        windows = tqdm(
            found.windows(looked), total=found.count, initial=looked, unit="window", desc=name, leave=not name
        )
        for window, frames in windows:
            looked += 1
            if min(frames.shape[1:3]) < self._settings["smallest"]:
                small += 1
                continue
            self._check_shape(window, frames)
            writer = writer or _writer(self._folder, self._raw, frames.shape)
            writer.add_examples({SPLIT: [{"name": window, "frames": frames if self._raw else _pngs(frames)}]})
            names.append(window)
            if (len(names) - before) % PER_SHARD == 0:
                self._about["looked"] = [looked, small]
                self._save()
        if writer:
            writer.close_all()
        rejected = found.rejected + Counter({"small": small})  # without those that are zero
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
        """Writes down what the full files hold."""
        about = self._about
        info = self._folder / INFO
        about.update(finished=finished, info=info.read_text() if info.is_file() else "")
        kept = about["names"][: sum(shard_lengths(about["info"]))]
        with written_whole(self._folder / ABOUT) as partial:
            partial.write_text(json.dumps({**about, "names": kept}))


def _writer(folder: Path, raw: bool, shape: tuple[int, ...]) -> Any:
    import tensorflow_datasets as tfds  # half a second, which packing does without

    identity = tfds.core.dataset_info.DatasetIdentity(
        name="windows", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="vfi_jax"
    )
    picture = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    # As bytes: otherwise every value is an integer of its own to the parser.
    whole = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding="bytes")
    frames = whole if raw else tfds.features.Sequence(picture)
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Windows of consecutive frames, RGB.",
        features=tfds.features.FeaturesDict({"name": tfds.features.Text(), "frames": frames}),
    )
    writer = tfds.core.SequentialWriter(info, PER_SHARD, overwrite=False, file_format="array_record")
    if not folder.joinpath(INFO).is_file():
        writer.initialize_splits([SPLIT])
    return writer


def _pngs(frames: np.ndarray) -> list[io.BytesIO]:
    return [io.BytesIO(cv2.imencode(".png", frame[..., ::-1])[1].tobytes()) for frame in frames]


def told(rejected: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {reason}" for reason, count in rejected.most_common()) or "none"


def videos_of(source: Path) -> list[Path]:
    """Video files of a folder and below.

    Raises:
      UserError: no such folder, none in it.
    """
    if not source.is_dir():
        raise UserError(f"{source}: no such folder of videos")
    paths = images.videos_in(source)
    if not paths:
        raise UserError(f"{source}: no video files in it")
    return paths
