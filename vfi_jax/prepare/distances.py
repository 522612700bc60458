"""Writing distance maps: runs a flow method over all triples of frames of a set; `data.distances` reads the files.

If JAX runs in several processes, each of them writes its share of the files.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float16, UInt8

from vfi_jax.data.distance_maps import projected, stored, triples
from vfi_jax.data.distances import KIND, METADATA_KEY, PER_FILE
from vfi_jax.data.labels import folder_of
from vfi_jax.data.sources import open_source
from vfi_jax.errors import UsageError
from vfi_jax.models import registry
from vfi_jax.prepare import label_files
from vfi_jax.prepare.flow_labels import BATCH, DIS, FlowMethod, pairwise_method
from vfi_jax.system import strict_json

ITERATIONS = 20  # of RAFT, as published


def write_distance_maps(
    path: str,
    teacher: str,
    *,
    weights: Path | None,
    frames: int = 0,
    step: int = 1,
    listed: str = "train",
) -> dict[str, Any]:
    """Writes the distance maps of a set beside it; after an interruption the same call continues.

    For each three frames of a window, in order and reversed, the flows from the first to the two others give the
    fraction of the way that each pixel has covered: `distance_maps.projected`, then `distance_maps.stored`.

    Args:
      path: folder of the set, as `data.sources.open_source` takes it.
      teacher: "dis", or a flow network in MODELS; RAFT iterates 20 times.
      weights: of the network; None: those installed.
      frames: length of the windows that are cut out of folders with more images; 0: a folder is a window.
      step: images from the start of such a window to that of the next.
      listed: which of Vimeo90K's lists: "train" or "test".

    Returns:
      The content of `labels.json`.

    Raises:
      UsageError: the teacher is unknown or no flow method, the windows have fewer than three frames, or the folder
        holds maps with other settings.
      UserError: the weights are missing, the set is damaged, its frames are too small for the teacher, or the folder
        cannot be written.
    """
    label_files.check_set(path, frames, step)
    method, sha256 = _method(teacher, weights)
    source = open_source(path, frames, step=step, listed=listed)
    length = len(source[0]["frames"])
    if length < 3:
        raise UsageError(f"{path} has windows of {length} frames: a distance needs three")
    about = {"teacher": teacher, "weights": sha256, "frames": length, "windows": len(source)}
    folder = folder_of(path, teacher, listed, KIND)
    batch = 1 if teacher == DIS else BATCH * jax.local_device_count()
    with label_files.opened(folder, about):
        label_files.write_files(
            source,
            folder,
            functools.partial(_maps_of_windows, method=method, batch=batch),
            metadata={METADATA_KEY: strict_json.dumps(about)},
            length=length,
            per_file=PER_FILE,
            unit="distance",
        )
    return about


def _method(teacher: str, weights: Path | None) -> tuple[FlowMethod, str]:
    if teacher == DIS:
        if weights:
            raise UsageError(f"dis has no weights: leave {weights} out")
        return pairwise_method(teacher, None)
    registry.check_kind(teacher, "flow")
    fields = registry.spec_of(teacher).module.__dataclass_fields__
    return pairwise_method(teacher, weights, **({"iterations": ITERATIONS} if "iterations" in fields else {}))


def _maps_of_windows(
    windows: Iterable[dict[str, Any]], method: FlowMethod, batch: int
) -> Iterator[tuple[str, Float16[np.ndarray, "m h2 w2"]]]:
    for window in windows:
        yield window["name"], maps_of_window(window["frames"], method, batch)


def maps_of_window(
    frames: UInt8[np.ndarray, "n h w 3"], method: FlowMethod, batch: int
) -> Float16[np.ndarray, "m h2 w2"]:
    """Returns the maps of `distance_maps.triples`; flows are kept for one start frame at a time."""
    order = triples(len(frames))
    pairs = sorted({pair for start, target, end in order for pair in ((start, target), (start, end))})
    maps: dict[tuple[int, int, int], np.ndarray] = {}
    for start, group in itertools.groupby(_flows(frames, pairs, method, batch), key=lambda item: item[0][0]):
        flows = dict(group)
        for triple in (triple for triple in order if triple[0] == start):
            maps[triple] = stored(projected(flows[triple[:2]], flows[triple[0], triple[2]]))
    return np.stack([maps[triple] for triple in order])


def _flows(
    frames: np.ndarray, pairs: list[tuple[int, int]], method: FlowMethod, batch: int
) -> Iterator[tuple[tuple[int, int], Float[np.ndarray, "h w 2"]]]:
    """Yields the flow of each pair of frames, computed in batches that are filled up to one size."""
    for first in range(0, len(pairs), batch):
        group = pairs[first : first + batch]
        full = [*group, *[group[-1]] * (batch - len(group))]
        yield from zip(group, method(np.stack([frames[list(pair)] for pair in full])), strict=False)
