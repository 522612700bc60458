"""Input-pipeline throughput, without a model."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from vfi_jax.config import Augment, Data, Footage, Window
from vfi_jax.data import images, packed, pipeline, sources
from vfi_jax.data.records import is_records, read_about
from vfi_jax.errors import UserError
from vfi_jax.prepare import footage
from vfi_jax.system import sharding
from vfi_jax.training import device_batches

WARM_UP = 2  # batches that are not measured: workers start, programs compile


@dataclasses.dataclass(frozen=True)
class Rate:
    """The throughput of a set.

    Attributes:
      path: of the set.
      kind: of its content, in words.
      workers: number of processes that decode and augment; None where the kind has no such choice.
      samples_per_second: augmented training samples per second.
    """

    path: str
    kind: str
    workers: int | None
    samples_per_second: float


def measure(
    path: str, workers: Sequence[int], *, batch_size: int, crop: int, frames: int, seconds: float
) -> list[Rate]:
    """Measures the samples per second of a set in batches of random crops with the default augmentation.

    Args:
      path: a set as `data.path` takes it. For a folder of videos, which training cuts into records once, the measured
        samples are decoded windows.
      workers: numbers of worker processes to try.
      batch_size: samples per batch.
      crop: side of the crops, pixels.
      frames: number of frames in a window; 0: that of the set.
      seconds: duration of each measurement.

    Raises:
      UserError: see `data.sources.open_source`, `packed.read`.
    """
    if Path(path).suffix == ".safetensors":
        windows, _ = packed.read(Path(path))
        data = _data(path, windows.shape[1], crop)
        batches = device_batches.PackedBatches({path: windows}, data, batch_size, 0, sharding.data_mesh())
        return [Rate(path, "packed, on the device", None, _timed(batches, batch_size, seconds))]
    if sources.is_footage(path):
        windows = _windows(Path(path), Footage(frames=frames or Footage().frames))
        return [Rate(path, "videos, cut once", None, _timed(windows, 1, seconds))]
    source = sources.open_source(path, frames)
    data = _data(path, len(source[0]["frames"]), crop)
    rates = []
    for count in workers:
        batches = pipeline.GrainBatches([source], dataclasses.replace(data, workers=count), batch_size, 0)
        rates.append(Rate(path, _kind(path), count, _timed(batches, batch_size, seconds)))
        batches.close()
    return rates


def _data(path: str, frames: int, crop: int) -> Data:
    return Data(path=path, window=Window(frames), augment=Augment(crop=crop))


def _kind(path: str) -> str:
    if path.startswith(sources.SYNTHETIC):
        return "scenes, drawn on demand"
    if sources.is_plugin(path):
        return "plug-in"
    if not is_records(Path(path)):
        return "folders of pictures"
    return f"ArrayRecord, {read_about(Path(path))['settings']['encoding']}"


def _windows(folder: Path, cut: Footage) -> Iterator[Any]:
    """Yields windows of the folder's videos without end."""
    clips = images.videos_in(folder)
    for count in itertools.count():
        clip = footage.analyze(clips[count % len(clips)], cut)
        yield from footage.read_windows(clip, cut)
        if count == len(clips) and not clip.starts:
            raise UserError(f"{folder}: no usable window")


def _timed(batches: Iterator[Any], batch_size: int, seconds: float) -> float:
    """Returns samples per second."""
    for _ in range(WARM_UP):
        jax.block_until_ready(_arrays(next(batches)))
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        jax.block_until_ready(_arrays(next(batches)))
        count += batch_size
    return count / (time.perf_counter() - start)


def _arrays(batch: Any) -> Any:
    return batch["target"] if isinstance(batch, dict) else ()
