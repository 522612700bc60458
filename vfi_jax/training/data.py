"""The data of a run, opened from its config: training batches, and validation batches anew each time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from vfi_jax import config
from vfi_jax.data import packed, parts, pipeline, sources
from vfi_jax.data.labels import with_labels
from vfi_jax.data.records import is_records
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.records import write_records
from vfi_jax.system import distributed, sharding
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.training import device_batches

SEEN, LOST = "seen", "damaged"  # samples counted
JUDGED = 100  # samples, at least, of which the unreadable ones are a share


@runtime_checkable
class Batches(Protocol):
    """An endless iterator of batches that knows its place."""

    def __next__(self) -> dict[str, Any]:
        """The next batch, of this process."""

    def get_state(self) -> dict[str, Any]:
        """The place in the data, ready for JSON."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes there."""

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Of the samples that come next at a place; asked only where batches have no `name`."""

    def close(self) -> None:
        """Ends it."""


@dataclasses.dataclass(frozen=True)
class RunData:
    """The data of a run: training batches, their number an epoch, and what gives the validation batches anew.

    Both are this process's share.
    """

    batches: Batches
    steps_per_epoch: int
    validation: Callable[[], Iterator[dict[str, Any]]]


class DamageGuard:
    """Batches whose replaced samples are told, counted, and too many of which end the run."""

    def __init__(self, batches: Batches, share: float, say: Callable[[str], None]) -> None:
        """`share` of the samples may have been replaced; each reason is told once to `say`."""
        self._batches, self._share, self._say = batches, share, say
        self._seen, self._damaged, self._told = 0, 0, set[str]()

    def __next__(self) -> dict[str, Any]:
        """The next batch.

        Raises:
          UserError: more than the share cannot be read.
        """
        batch = next(self._batches)
        reasons = [str(reason) for reason in batch.pop("damaged", ()) if reason]
        self._seen += len(batch["target"])
        self._damaged += len(reasons)
        for reason in sorted(set(reasons) - self._told):
            self._say(f"replaced ({self._damaged} of {self._seen} samples so far): {reason}")
        self._told |= set(reasons)
        if reasons and self._damaged > self._share * max(self._seen, JUDGED):
            raise UserError(
                f"{self._damaged} of {self._seen} samples cannot be read, more than data.damaged = {self._share:g}: "
                f"mend the set, or allow more; the last: {reasons[-1]}"
            )
        return batch

    def get_state(self) -> dict[str, Any]:
        """The place in the data and what this process counted."""
        return {**self._batches.get_state(), SEEN: self._seen, LOST: self._damaged}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes there; of what was counted each process goes on with a share."""
        place = dict(state)
        self._seen, self._damaged = (_share(place.pop(name, 0)) for name in (SEEN, LOST))
        self._batches.set_state(place)

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """See `Batches`."""
        return self._batches.names(state)

    def close(self) -> None:
        """Ends it."""
        self._batches.close()


def summed(place: Mapping[str, Any]) -> dict[str, Any]:
    """A place in the data with what all processes counted."""
    names = [name for name in (SEEN, LOST) if name in place]
    counts = distributed.allgather(np.array([place[name] for name in names], np.float64)).sum(0)
    return {**place, **{name: int(count) for name, count in zip(names, counts, strict=True)}}


def _share(count: int) -> int:
    """Of a number, the part of this process."""
    return len(range(jax.process_index(), count, jax.process_count()))


def open_data(
    run: config.Train, folder: AnyPath, *, labeled_validation: bool, say: Callable[[str], None] = print
) -> RunData:
    """Opens the training and validation sets of a run; the latter with labels where the model cannot do without.

    A training sample that cannot be read is replaced, and told to `say`.

    A folder of video files is first made into records, in the run's folder; where that was begun it continues.

    Raises:
      UserError: see `data.sources.open_source`, `packed.read`, `prepare.records.write_records`.
    """
    if Path(run.data.path).suffix == ".safetensors":
        return _packed_sets(run)
    path = _with_records(run, folder)
    source, *mixed = [_training_source(run, each) for each in (path, *run.data.shares)]
    if run.data.validation:
        train, held_out = source, _validation_source(run, labeled=labeled_validation)
    else:
        train, held_out = parts.split(source, run.data.holdout)
    if train.by_clip:
        train = parts.balanced(train)
    batches = pipeline.GrainBatches(
        [parts.Tolerant(source) for source in (train, *mixed)],
        run.data,
        run.batch_size,
        run.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    own = round(run.batch_size * (1 - sum(run.data.shares.values())))
    watched = DamageGuard(batches, run.data.damaged, say)
    return RunData(watched, len(train) // max(own, 1), lambda: _from_source(held_out, run))


def _training_source(run: config.Train, path: str) -> sources.Source:
    source = sources.open_source(path, run.data.window.frames, step=run.data.footage.step)
    return with_labels(source, path, run.data.labels, run.data.window) if run.data.labels else source


def _with_records(run: config.Train, folder: AnyPath) -> str:
    """`data.path`, or where it names videos the records of them in the run's folder."""
    if is_remote(folder):
        if sources.is_footage(run.data.path):
            raise UserError(
                f"{run.data.path} holds videos: make records first (`vfi-jax prepare records`), and name them"
            )
        return run.data.path
    recorded = folder / "records"
    return str(_recorded(run, recorded)) if sources.is_footage(run.data.path) or is_records(recorded) else run.data.path


def _recorded(run: config.Train, folder: Path) -> Path:
    """The records of the run's videos, made by the first process while the others wait."""
    if distributed.is_main():
        cut = dataclasses.replace(run.data.footage, frames=run.data.window.frames)
        write_records(run.data.path, folder, cut, smallest=run.data.augment.crop)
    distributed.barrier("records")
    return folder


def _packed_sets(run: config.Train) -> RunData:
    if run.data.labels:
        raise UsageError("config.data.labels: a packed set has none; make records to use them")
    frames, about = packed.read(Path(run.data.path))
    others = {path: packed.read(Path(path)) for path in run.data.shares}
    at = len(frames) if run.data.validation else parts.first_held_out(about["names"], run.data.holdout)
    sets = {run.data.path: frames[:at], **{path: other for path, (other, _) in others.items()}}
    names = {run.data.path: about["names"][:at], **{path: of["names"] for path, (_, of) in others.items()}}
    batches = device_batches.PackedBatches(sets, run.data, run.batch_size, run.seed, sharding.data_mesh(), names=names)
    held_out = (
        _validation_source(run, labeled=False)
        if run.data.validation
        else packed.PackedWindows(frames[at:], about["names"][at:])
    )
    return RunData(
        batches,
        at // device_batches.samples_of(run.data, run.batch_size)[run.data.path],
        lambda: _from_source(held_out, run),
    )


def _validation_source(run: config.Train, *, labeled: bool) -> sources.Source:
    path, data = run.data.validation, run.data
    source = sources.open_source(path, data.window.frames, step=data.footage.step, listed="test")
    return with_labels(source, path, data.labels, data.window, "test") if labeled else source


def _from_source(source: Any, run: config.Train) -> Iterator[dict[str, Any]]:
    window = run.data.window
    length = len(source[0]["frames"])
    if length != window.frames and len(window.inputs) < 4:  # a set of another length is judged in its middle
        window = config.Window(frames=length)
    return pipeline.validation_batches(
        source,
        window,
        run.batch_size,
        run.validation_samples,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
