"""Reading distance maps: windows with the maps that `prepare.distances` wrote beside the set.

A folder `distance_TEACHER` in the set (`distance_TEACHER_test` for its test list) holds `labels.json` (flow method,
SHA-256 of its weights, frames per window, number of windows) and safetensors files of `PER_FILE` windows each, in the
order of the set. A file holds one float16 array `[m, h / 2, w / 2]` per window, under the window's name, with the maps
of `distance_maps.triples`, and the same JSON as metadata. Values are not clipped, and may be NaN.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Float16

from vfi_jax.config import Distance, Window
from vfi_jax.data.distance_maps import of_crop, of_frame, triples
from vfi_jax.data.labels import check_complete, file_of, folder_of, mismatch, read_about, stored
from vfi_jax.data.parts import SourceWrapper
from vfi_jax.data.sources import Source
from vfi_jax.data.windows import FrameSelections, Sample, frame_selections, validation_selection
from vfi_jax.errors import UserError

PER_FILE = 8
KIND = "distance"
METADATA_KEY = "vfi_jax distance maps"
ABOUT_KEYS = {"teacher", "weights", "frames", "windows"}
FIELD = "distance"  # of a window: its `WindowMaps`


@dataclasses.dataclass(frozen=True)
class WindowMaps:
    """The maps of one window, read one by one.

    Attributes:
      file: that holds them.
      name: of the window.
      about: content of `labels.json`.
      size: height and width of the window's frames.
    """

    file: Path
    name: str
    about: Mapping[str, Any]
    size: tuple[int, int]

    def read(self, start: int, target: int, end: int) -> Float16[np.ndarray, "h2 w2"]:
        """Reads the map of three frames of the window, as it is stored.

        Raises:
          UserError: it is missing, damaged, of another flow method or of another size.
        """
        shape = tuple(-(-side // 2) for side in self.size)
        owner = "another method, other weights or set"
        with stored(self.file, self.name, self.about, key=METADATA_KEY, owner=owner, what="maps") as maps:
            of_window = maps.get_slice(self.name)
            if tuple(of_window.get_shape()[1:]) != shape:
                height, width = of_window.get_shape()[1:]
                sizes = f"{width}x{height} there, and {shape[1]}x{shape[0]} is half of the set's"
                raise _mismatch(self.file.parent, f"{self.name} is {sizes}")
            index = triples(self.about["frames"]).index((start, target, end))
            return of_window[index : index + 1][0]


@dataclasses.dataclass(frozen=True)
class MappedSource(SourceWrapper):
    """A source whose windows carry `distance`, their `WindowMaps`.

    Attributes:
      source: the windows.
      folder: of the maps.
      about: content of `labels.json`.
    """

    folder: Path
    about: dict[str, Any]

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window; its maps are read when a sample is drawn.

        Raises:
          UserError: as the source.
        """
        window = self.source[index]
        file = file_of(self.folder, int(index), PER_FILE)
        size = window["frames"].shape[1:3]
        return {**window, FIELD: WindowMaps(file, window["name"], self.about, size)}


def with_maps(source: Source, path: str | Path, teacher: str, window: Window, listed: str = "train") -> MappedSource:
    """Adds to a source the distance maps that stand beside it.

    Args:
      source: the set at `path`, opened with the same `listed`.
      path: its folder.
      teacher: the flow method whose maps are read.
      window: of training.
      listed: which of Vimeo90K's lists: "train" or "test".

    Raises:
      UserError: no maps, unfinished ones, or of another method, set or window.
    """
    folder = folder_of(path, teacher, listed, KIND)
    about = read_about(folder, ABOUT_KEYS)
    if about is None:
        raise UserError(f"{folder}: no maps: run `vfi-jax prepare distance {path} --teacher {teacher}` first")
    if about["teacher"] != teacher:
        raise _mismatch(folder, f"its flow method is {about['teacher']}")
    if about["frames"] != window.frames:
        raise _mismatch(folder, f"its windows have {about['frames']} frames, and data.window {window.frames}")
    check_complete(folder, about, len(source), per_file=PER_FILE, what="maps", command="distance")
    return MappedSource(source, folder, about)


def _mismatch(folder: Path, what: str) -> UserError:
    return mismatch(folder, what, "maps")


def distance_sample(
    record: Mapping[str, Any],
    window: Window,
    config: Distance,
    rng: np.random.Generator,
    *,
    reverse: float = 0.0,
    fill: bool = False,
) -> Sample:
    """Draws start, target and end of a window, reverses them by chance, and makes a sample with their map.

    Args:
      record: `frames` uint8 `[n, h, w, 3]`, `name`, and `distance`, its `WindowMaps`; without them maps are constant.
      window: the selections to draw from, of two inputs.
      config: of the maps.
      rng: source of the draws.
      reverse: probability of the reversed order.
      fill: whether pixels whose map is not finite take the sample's time.

    Returns:
      `frames` `[2, h, w, 3]`, `target` `[h, w, 3]`, `t` float32 `[h, w, 1]` (`[1, 1, 1]` if the config names no maps)
      and `name`; `reference` `[h, w, 3]` and `reference_t` (as `t`) if the config wants a reference.

    Raises:
      UserError: the record has another number of frames, or its maps cannot be read.
    """
    selections = frame_selections(window)
    start, target, end = _triple(selections, int(rng.choice(len(selections.target), p=selections.probability)))
    first, last = start, end
    if reverse and rng.random() < reverse:
        start, end = end, start
    sample = _sample(record, window, config, (start, target, end), fill=fill)
    if config.reference:
        index = int(rng.integers(first, last + 1))
        sample["reference"] = record["frames"][index]
        sample["reference_t"] = _distance(record, config, (start, index, end), fill=fill)
    return sample


def validation_distance_sample(record: Mapping[str, Any], window: Window, config: Distance) -> Sample:
    """Makes the sample of `windows.validation_sample` with its map, clipped, instead of t."""
    selections = frame_selections(window)
    triple = _triple(selections, validation_selection(selections))
    sample = _sample(record, window, dataclasses.replace(config, clip=True), triple, fill=True)
    return {**sample, "t": np.clip(of_crop(sample["t"][..., 0], config), 0, 1)[..., None]}


def _triple(selections: FrameSelections, index: int) -> tuple[int, int, int]:
    start, end = map(int, selections.inputs[index])
    return start, int(selections.target[index]), end


def _sample(
    record: Mapping[str, Any], window: Window, config: Distance, triple: tuple[int, int, int], *, fill: bool
) -> Sample:
    frames, (start, target, end) = record["frames"], triple
    if len(frames) != window.frames:
        raise UserError(f"{record['name']} has {len(frames)} frames; data.window.frames says {window.frames}")
    return {
        "frames": frames[[start, end]],
        "target": frames[target],
        "t": _distance(record, config, triple, fill=fill),
        **{name: record[name] for name in ("name", "damaged") if name in record},
    }


def _distance(
    record: Mapping[str, Any], config: Distance, triple: tuple[int, int, int], *, fill: bool
) -> Float[np.ndarray, "h w 1"]:
    """The map of three frames, or their time; the middle one may be one of the others."""
    start, index, end = triple
    time, maps, size = np.float32((index - start) / (end - start)), record.get(FIELD), record["frames"].shape[1:3]
    if not config.maps:
        return time.reshape(1, 1, 1)
    if maps is None or index in (start, end):
        return np.full((*size, 1), time)
    half = maps.read(start, index, end)
    if fill:
        half = np.where(np.isfinite(half), half, time)
    return of_frame(half, size, config)[..., None]
