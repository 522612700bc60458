"""Reading region maps with windows: those beside the pictures of a set, in its records, or of synthetic scenes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import UInt8

from vfi_jax.config import Regions
from vfi_jax.data import region_maps
from vfi_jax.data.images import images_in
from vfi_jax.data.parts import SourceWrapper
from vfi_jax.data.records import Records
from vfi_jax.data.sources import Source, Synthetic, WindowFolders
from vfi_jax.data.windows import REGION_FIELD
from vfi_jax.errors import UsageError, UserError

DELETED = 1 / 3  # of the numbers of a map with noise
SHIFT = 2  # farthest shift of a map with noise, pixels of the map


@dataclasses.dataclass(frozen=True)
class RegionSource(SourceWrapper):
    """A source of folders whose windows carry `regions`, uint8 `[n, ceil(h / 2), ceil(w / 2)]`.

    Attributes:
      source: the windows.
    """

    source: WindowFolders

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Reads a window with the maps of its frames; those that are missing are zeros.

        Raises:
          DamagedError: as the source; or a map cannot be used.
        """
        window = self.source[index]
        size = window["frames"].shape[1:3]
        maps = [region_maps.map_of(file) for file in self.source.files(window["name"])]
        read = [region_maps.read_map(path, size) if path.is_file() else region_maps.zeros(*size) for path in maps]
        return {**window, REGION_FIELD: np.stack(read)}


def with_regions(source: Source, path: str | Path, log: Callable[[str], None] = print) -> Source:
    """Adds region maps to a source, as it was opened.

    Args:
      source: the set at `path`.
      path: its folder.
      log: prints a line on maps that are missing.

    Raises:
      UserError: no maps, at least half of them missing, numbers that are not matched, or records without them.
      UsageError: a source of another package that gives none.
    """
    if isinstance(source, Synthetic):
        return dataclasses.replace(source, regions=True)
    if isinstance(source, Records):
        if not source.has_regions:
            raise UserError(f"{path}: no region maps in these records: `vfi-jax prepare records --regions` adds them")
        return dataclasses.replace(source, regions=True)
    if not isinstance(source, WindowFolders):
        if REGION_FIELD not in source[0]:
            raise UsageError(f"{path}: this source of another package gives no {REGION_FIELD}")
        return source
    region_maps.require_about(Path(path))
    list_images = functools.cache(images_in)
    files = {file for name in source.names for file in source.files(name, list_images)}
    missing = sum(not region_maps.map_of(file).is_file() for file in files)
    if line := region_maps.note_missing(Path(path), missing, len(files)):
        log(f"warning: {line}")
    return RegionSource(source)


def disturbed(
    regions: UInt8[np.ndarray, "k h w"], config: Regions, rng: np.random.Generator
) -> UInt8[np.ndarray, "k h w"]:
    """Drops maps by chance, and adds noise to them: numbers deleted, neighbors merged, boundaries shifted.

    Args:
      regions: the maps of a sample.
      config: probabilities.
      rng: source of the draws.
    """
    if rng.random() < config.drop:
        return np.zeros_like(regions)
    out = regions.copy()
    if rng.random() < config.drop_one:
        out[rng.integers(len(out))] = 0
    if rng.random() < config.noise:
        numbers = np.unique(out[out > 0])
        gone = rng.permutation(numbers)[: round(DELETED * len(numbers))]
        out[np.isin(out, gone)] = 0
    if rng.random() < config.noise:
        index = int(rng.integers(len(out)))
        out[index] = _merged(out[index], rng)
    if rng.random() < config.noise:
        out = np.stack([_shifted(each, *rng.integers(-SHIFT, SHIFT + 1, 2).tolist()) for each in out])
    return out


def _merged(labels: region_maps.Map, rng: np.random.Generator) -> region_maps.Map:
    """Gives one of two neighboring regions the other's number."""
    pairs = [
        np.stack([first[different], second[different]], -1)
        for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1]))
        for different in [(first != second) & (first > 0) & (second > 0)]
    ]
    neighbors = np.unique(np.concatenate(pairs), axis=0)
    if not len(neighbors):
        return labels
    kept, lost = neighbors[rng.integers(len(neighbors))]
    return np.where(labels == lost, kept, labels)


def _shifted(labels: region_maps.Map, down: int, right: int) -> region_maps.Map:
    """Moves a map by whole pixels; its edges repeat."""
    rows = np.clip(np.arange(labels.shape[0]) - down, 0, labels.shape[0] - 1)
    columns = np.clip(np.arange(labels.shape[1]) - right, 0, labels.shape[1] - 1)
    return labels[rows][:, columns]
