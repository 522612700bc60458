"""The training and validation batches of a run, opened from its recipe."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from vfi_jax.config import Train, Window
from vfi_jax.data import packed, parts, pipeline, sources
from vfi_jax.data.labels import with_labels
from vfi_jax.data.records import is_records
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.records import write_records
from vfi_jax.system import distributed, sharding
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.training import device_batches

SEEN, DAMAGED = "seen", "damaged"  # counts of samples
MIN_SEEN = 100  # samples of which `data.damaged` is a fraction, at least


@runtime_checkable
class Batches(Protocol):
    """An endless, resumable iterator of batches."""

    def __next__(self) -> dict[str, Any]:
        """Returns this process's share of the next batch."""

    def get_state(self) -> dict[str, Any]:
        """Returns the place in the data, ready for JSON."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a place that `get_state` returned."""

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Returns the names of the samples of the batch at a place; needed only where batches have no `name`."""

    def close(self) -> None:
        """Releases workers and memory."""


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run, this process's share.

    Attributes:
      batches: of training.
      steps_per_epoch: number of batches per pass over the training set.
      validation: starts over the iterator of validation batches.
      training: names of the windows of `data.path` that are trained on.
      held_out: names of the validation set's windows.
    """

    batches: Batches
    steps_per_epoch: int
    validation: Callable[[], Iterator[dict[str, Any]]]
    training: Sequence[str] = ()
    held_out: Sequence[str] = ()


class DamageGuard:
    """Batch iterator that logs and counts replaced samples and raises if there are too many."""

    def __init__(self, batches: Batches, fraction: float, log: Callable[[str], None]) -> None:
        """Takes the maximum fraction of replaced samples, and what prints a line; each reason is logged once."""
        self._batches, self._fraction, self._log = batches, fraction, log
        self._seen, self._damaged, self._reasons = 0, 0, set[str]()

    def __next__(self) -> dict[str, Any]:
        """Returns the next batch.

        Raises:
          UserError: more than the maximum fraction of samples cannot be read.
        """
        batch = next(self._batches)
        reasons = [str(reason) for reason in batch.pop("damaged", ()) if reason]
        self._seen += len(batch["target"])
        self._damaged += len(reasons)
        for reason in sorted(set(reasons) - self._reasons):
            self._log(f"replaced ({self._damaged} of {self._seen} samples so far): {reason}")
        self._reasons |= set(reasons)
        if reasons and self._damaged > self._fraction * max(self._seen, MIN_SEEN):
            raise UserError(
                f"{self._damaged} of {self._seen} samples cannot be read, more than "
                f"--config.data.damaged={self._fraction:g} allows: repair the set, or allow more; "
                f"the last: {reasons[-1]}"
            )
        return batch

    def get_state(self) -> dict[str, Any]:
        """Returns the place in the data and the counts of this process."""
        return {**self._batches.get_state(), SEEN: self._seen, DAMAGED: self._damaged}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a place; each process takes over a share of the counts."""
        place = dict(state)
        self._seen, self._damaged = (_share(place.pop(name, 0)) for name in (SEEN, DAMAGED))
        self._batches.set_state(place)

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Returns the names of the samples of the batch at a place."""
        return self._batches.names(state)

    def close(self) -> None:
        """Releases workers and memory."""
        self._batches.close()


def summed(place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a place in the data with the counts of all processes added up."""
    names = [name for name in (SEEN, DAMAGED) if name in place]
    counts = distributed.allgather(np.array([place[name] for name in names], np.float64)).sum(0)
    return {**place, **{name: int(count) for name, count in zip(names, counts, strict=True)}}


def _share(count: int) -> int:
    """Returns the part of a count that this process takes over."""
    return len(range(jax.process_index(), count, jax.process_count()))


def open_data(
    recipe: Train, folder: AnyPath, *, labeled_validation: bool, log: Callable[[str], None] = print
) -> RunData:
    """Opens the training and validation sets of a run.

    Videos are first cut into records in the run's folder, which continues where it was interrupted. Training samples
    that cannot be read are replaced.

    Args:
      recipe: the config.
      folder: the run's.
      labeled_validation: whether validation needs flow labels, as a model without its flow network does.
      log: prints a line for each reason why samples of this process were replaced.

    Raises:
      UserError: see `data.sources.open_source`, `packed.read`, `prepare.records.write_records`.
    """
    if Path(recipe.data.path).suffix == ".safetensors":
        return _packed_sets(recipe)
    path = _with_records(recipe, folder)
    source, *mixed = [_training_source(recipe, each) for each in (path, *recipe.data.shares)]
    if recipe.data.validation:
        train, held_out = source, _validation_source(recipe, labeled=labeled_validation)
    else:
        train, held_out = parts.split(source, recipe.data.holdout)
    names = train.names
    if train.by_clip:
        train = parts.balanced(train)
    batches = pipeline.GrainBatches(
        [parts.Tolerant(source) for source in (train, *mixed)],
        recipe.data,
        recipe.batch_size,
        recipe.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    samples = round(recipe.batch_size * (1 - sum(recipe.data.shares.values())))
    guarded = DamageGuard(batches, recipe.data.damaged, log)
    validation = functools.partial(_from_source, held_out, recipe)
    return RunData(guarded, len(train) // max(samples, 1), validation, names, held_out.names)


def _training_source(recipe: Train, path: str) -> sources.Source:
    source = sources.open_source(path, recipe.data.window.frames, step=recipe.data.footage.step)
    return with_labels(source, path, recipe.data.labels, recipe.data.window) if recipe.data.labels else source


def _with_records(recipe: Train, folder: AnyPath) -> str:
    """Returns `data.path`, or the records in the run's folder where it names videos."""
    if is_remote(folder):
        if sources.is_footage(recipe.data.path):
            raise UserError(
                f"{recipe.data.path} holds videos: make records first (`vfi-jax prepare records`), and name them"
            )
        return recipe.data.path
    records = folder / "records"
    if sources.is_footage(recipe.data.path) or is_records(records):
        return str(_recorded(recipe, records))
    return recipe.data.path


def _recorded(recipe: Train, folder: Path) -> Path:
    """Returns the records of the run's videos; the main process writes them while the others wait."""
    if distributed.is_main():
        cut = dataclasses.replace(recipe.data.footage, frames=recipe.data.window.frames)
        write_records(recipe.data.path, folder, cut, smallest=recipe.data.augment.crop)
    distributed.barrier("records")
    return folder


def _packed_sets(recipe: Train) -> RunData:
    if recipe.data.labels:
        raise UsageError("--config.data.labels: a packed set has no flow labels; make records instead")
    frames, about = packed.read(Path(recipe.data.path))
    others = {path: packed.read(Path(path)) for path in recipe.data.shares}
    at = len(frames) if recipe.data.validation else parts.first_held_out(about["names"], recipe.data.holdout)
    sets = {recipe.data.path: frames[:at], **{path: other for path, (other, _) in others.items()}}
    names = {recipe.data.path: about["names"][:at], **{path: of["names"] for path, (_, of) in others.items()}}
    batches = device_batches.PackedBatches(
        sets, recipe.data, recipe.batch_size, recipe.seed, sharding.data_mesh(), names=names
    )
    held_out = (
        _validation_source(recipe, labeled=False)
        if recipe.data.validation
        else packed.PackedWindows(frames[at:], about["names"][at:])
    )
    return RunData(
        batches,
        at // device_batches.samples_of(recipe.data, recipe.batch_size)[recipe.data.path],
        functools.partial(_from_source, held_out, recipe),
        names[recipe.data.path],
        held_out.names,
    )


def _validation_source(recipe: Train, *, labeled: bool) -> sources.Source:
    path, data = recipe.data.validation, recipe.data
    source = sources.open_source(path, data.window.frames, step=data.footage.step, listed="test")
    return with_labels(source, path, data.labels, data.window, "test") if labeled else source


def _from_source(source: Any, recipe: Train) -> Iterator[dict[str, Any]]:
    window = recipe.data.window
    length = len(source[0]["frames"])
    if length != window.frames and len(window.inputs) < 4:  # windows of another length: their middle
        window = Window(frames=length)
    return pipeline.validation_batches(
        source,
        window,
        recipe.batch_size,
        recipe.validation_samples,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
