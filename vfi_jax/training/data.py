"""The training and validation batches of a run, opened from its recipe."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from vfi_jax.config import Train, Window
from vfi_jax.data import listed, packed, parts, pipeline, sources
from vfi_jax.data.distances import with_maps
from vfi_jax.data.fitness import Requirement
from vfi_jax.data.labels import with_labels
from vfi_jax.data.masks import with_masks
from vfi_jax.data.records import is_records, read_about
from vfi_jax.data.regions import with_regions
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.records import write_records
from vfi_jax.system import distributed, sharding
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.training import device_batches

SEEN, DAMAGED, EXPECTED = COUNTS = ("seen", "damaged", "expected")  # samples: all, replaced, replaced as foreseen
MIN_SEEN = 100  # samples of which `data.damaged` is a fraction, at least
SHOWN = 5  # unfit windows that are logged before the first step


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
      sets: field of the recipe that names a set, to words that stand for its content.
    """

    batches: Batches
    steps_per_epoch: int
    validation: Callable[[], DamageGuard]
    training: Sequence[str] = ()
    held_out: Sequence[str] = ()
    sets: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Reasons:
    """Why samples are replaced: what was found before the first step, and what was logged since."""

    known: frozenset[str] = frozenset()
    logged: set[str] = dataclasses.field(default_factory=set)


class DamageGuard:
    """Batch iterator that logs and counts replaced samples and raises if there are too many.

    Samples that were found unfit before the first step are counted, but do not end the run: there were few enough.

    Attributes:
      damaged: number of replaced samples.
    """

    def __init__(
        self,
        batches: Batches | Iterator[dict[str, Any]],
        fraction: float,
        log: Callable[[str], None],
        reasons: Reasons | None = None,
    ) -> None:
        """Takes the maximum fraction of replaced samples, and what prints a line; each reason is logged once."""
        self._batches, self._fraction, self._log = batches, fraction, log
        self._seen, self.damaged, self._expected, self._reasons = 0, 0, 0, reasons or Reasons()

    def __iter__(self) -> DamageGuard:
        return self

    def __next__(self) -> dict[str, Any]:
        """Returns the next batch.

        Raises:
          UserError: more than the maximum fraction of samples cannot be used.
        """
        batch = next(self._batches)
        reasons = [str(reason) for reason in batch.pop("damaged", ()) if reason]
        self._seen += len(batch["target"])
        self.damaged += len(reasons)
        self._expected += sum(reason in self._reasons.known for reason in reasons)
        for reason in sorted(set(reasons) - self._reasons.logged):
            self._log(f"replaced ({self.damaged} of {self._seen} samples so far): {reason}")
        self._reasons.logged |= set(reasons)
        if reasons and self.damaged - self._expected > self._fraction * max(self._seen, MIN_SEEN):
            raise UserError(
                f"{self.damaged} of {self._seen} samples cannot be used, more than "
                f"--config.data.damaged={self._fraction:g} allows: repair the set, or allow more; "
                f"the last: {reasons[-1]}"
            )
        return batch

    def get_state(self) -> dict[str, Any]:
        """Returns the place in the data and the counts of this process."""
        return {**self._batches.get_state(), SEEN: self._seen, DAMAGED: self.damaged, EXPECTED: self._expected}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a place; each process takes over a share of the counts."""
        place = dict(state)
        self._seen, self.damaged, self._expected = (_share(place.pop(name, 0)) for name in COUNTS)
        self._batches.set_state(place)

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Returns the names of the samples of the batch at a place."""
        return self._batches.names(state)

    def close(self) -> None:
        """Releases workers and memory."""
        self._batches.close()


def summed(place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a place in the data with the counts of all processes added up."""
    names = [name for name in COUNTS if name in place]
    counts = distributed.allgather(np.array([place[name] for name in names], np.float64)).sum(0)
    return {**place, **{name: int(count) for name, count in zip(names, counts, strict=True)}}


def _share(count: int) -> int:
    """Returns the part of a count that this process takes over."""
    return len(range(jax.process_index(), count, jax.process_count()))


def open_data(
    recipe: Train, folder: AnyPath, *, labeled_validation: bool, log: Callable[[str], None] = print
) -> RunData:
    """Opens the training and validation sets of a run.

    Videos are first cut into records in the run's folder, which continues where it was interrupted. All windows that
    folders list are looked at. Samples that cannot be read or are unfit are replaced.

    Args:
      recipe: the config.
      folder: the run's.
      labeled_validation: whether validation needs flow labels, as a model without its flow network does.
      log: prints a line for each reason why samples of this process were replaced.

    Raises:
      UserError: more than the fraction `data.damaged` of a set is unfit; see also `data.sources.open_source`,
        `packed.read`, `prepare.records.write_records`.
    """
    if Path(recipe.data.path).suffix == ".safetensors":
        return _packed_sets(recipe, log)
    path = _with_records(recipe, folder)
    source, *mixed = [_training_source(recipe, each, log) for each in (path, *recipe.data.shares)]
    sets = _contents(source.names, *(other.names for other in mixed))
    if recipe.data.validation:
        train, held_out = source, _validation_source(recipe, labeled=labeled_validation, log=log)
        sets["data.validation"] = _content(held_out.names)
    else:
        train, held_out = parts.split(source, recipe.data.holdout)
    names = train.names
    if train.by_clip:
        train = parts.balanced(train)
    required = Requirement(recipe.data.window.frames, _smallest(recipe))
    training = [
        parts.Tolerant(source, required, path)
        for source, path in zip((train, *mixed), (path, *recipe.data.shares), strict=True)
    ]
    reasons = Reasons(frozenset().union(*[_looked_at(source, recipe, log) for source in training]))
    validation = _validation(held_out, recipe, log)
    batches = pipeline.GrainBatches(
        training,
        recipe.data,
        recipe.batch_size,
        recipe.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    samples = round(recipe.batch_size * (1 - sum(recipe.data.shares.values())))
    guarded = DamageGuard(batches, recipe.data.damaged, log, reasons)
    return RunData(guarded, len(train) // max(samples, 1), validation, names, held_out.names, sets)


def _contents(*names: Sequence[str]) -> dict[str, str]:
    """Returns words that stand for the content of `data.path` and of each set of `data.mix`, by the field."""
    fields = ["data.path", *(f"data.mix.{index}.path" for index in range(len(names) - 1))]
    return {field: _content(each) for field, each in zip(fields, names, strict=True)}


def _content(names: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return f"{len(names)} windows, names {digest[:12]}"


def _smallest(recipe: Train) -> int:
    """Returns the minimum side of frames in pixels: the crop, or half of it where all samples are doubled first."""
    augment = recipe.data.augment
    return -(-augment.crop // 2) if augment.enlarge == 1 else augment.crop


def _looked_at(source: parts.Tolerant, recipe: Train, log: Callable[[str], None]) -> frozenset[str]:
    """Logs which windows of a set of folders are unfit, and returns why.

    Raises:
      UserError: there are more of them than `data.damaged` allows.
    """
    reasons = listed.unfit(source, source.required)
    if len(reasons) > recipe.data.damaged * len(source):
        raise UserError(
            f"{len(reasons)} of {len(source)} windows of {source.path} are unfit, more than "
            f"--config.data.damaged={recipe.data.damaged:g} allows: repair the set, or allow more; "
            f"the first: {reasons[0]}"
        )
    for reason in reasons[:SHOWN]:
        log(f"warning: {reason}; it will be replaced")
    if len(reasons) > SHOWN:
        log(f"warning: {len(reasons) - SHOWN} more windows of {source.path} are unfit and will be replaced")
    return frozenset(reasons)


def _training_source(recipe: Train, path: str, log: Callable[[str], None]) -> sources.Source:
    source = sources.open_source(path, recipe.data.window.frames, step=recipe.data.footage.step)
    if recipe.data.regions.maps:
        source = with_regions(source, path, log)
    if maps := recipe.data.distance.maps:
        source = with_maps(source, path, maps, recipe.data.window)
    if masks := recipe.data.masks:
        source = with_masks(source, path, masks, recipe.data.window)
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
    if distributed.is_main() and not (is_records(folder) and read_about(folder)["finished"]):
        cut = dataclasses.replace(recipe.data.footage, frames=recipe.data.window.frames)
        write_records(recipe.data.path, folder, cut, smallest=recipe.data.augment.crop)
    distributed.barrier("records")
    return folder


def _packed_sets(recipe: Train, log: Callable[[str], None]) -> RunData:
    if recipe.data.labels:
        raise UsageError("--config.data.labels: a packed set has no flow labels; make records instead")
    if recipe.data.regions.maps:
        raise UsageError("--config.data.regions: a packed set has no region maps; make records instead")
    if recipe.data.masks:
        raise UsageError("--config.data.masks: a packed set has no label masks; make records instead")
    if recipe.data.distance.maps or recipe.data.distance.reference:
        raise UsageError(
            "--config.data.distance: a packed set has neither maps nor reference frames; make records instead"
        )
    frames, about = packed.read(Path(recipe.data.path))
    others = {path: packed.read(Path(path)) for path in recipe.data.shares}
    at = len(frames) if recipe.data.validation else parts.first_held_out(about["names"], recipe.data.holdout)
    sets = {recipe.data.path: frames[:at], **{path: other for path, (other, _) in others.items()}}
    names = {recipe.data.path: about["names"][:at], **{path: of["names"] for path, (_, of) in others.items()}}
    batches = device_batches.PackedBatches(
        sets, recipe.data, recipe.batch_size, recipe.seed, sharding.data_mesh(), names=names
    )
    held_out = (
        _validation_source(recipe, labeled=False, log=log)
        if recipe.data.validation
        else packed.PackedWindows(frames[at:], about["names"][at:])
    )
    return RunData(
        batches,
        at // device_batches.samples_of(recipe.data, recipe.batch_size)[recipe.data.path],
        _validation(held_out, recipe, log),
        names[recipe.data.path],
        held_out.names,
        _contents(about["names"], *(of["names"] for _, of in others.values())),
    )


def _validation_source(recipe: Train, *, labeled: bool, log: Callable[[str], None]) -> sources.Source:
    path, data = recipe.data.validation, recipe.data
    source = sources.open_source(path, data.window.frames, step=data.footage.step, listed="test")
    if data.regions.maps:
        source = with_regions(source, path, log)
    if data.distance.validate:
        return with_maps(source, path, data.distance.maps, data.window, "test")
    return with_labels(source, path, data.labels, data.window, "test") if labeled else source


def _validation(source: sources.Source, recipe: Train, log: Callable[[str], None]) -> Callable[[], DamageGuard]:
    """Returns what starts over the validation batches of a source, after a look at all its windows.

    Windows of another length than the recipe's give their middle.

    Raises:
      UserError: the source is empty, or more than the fraction `data.damaged` of it is unfit.
    """
    window, path = recipe.data.window, recipe.data.validation or recipe.data.path
    if not len(source):
        raise UserError(
            "no validation samples: raise --config.data.holdout, or name a set with --config.data.validation"
        )
    if recipe.data.validation and len(window.inputs) < 4 and not recipe.data.distance.validate:
        length = listed.usual_length(source, window.frames)
        window = window if length == window.frames else Window(frames=length)
    tolerant = parts.Tolerant(source, Requirement(window.frames), path)
    reasons = Reasons(_looked_at(tolerant, recipe, log))

    def batches() -> DamageGuard:
        from_source = pipeline.validation_batches(
            tolerant,
            window,
            recipe.batch_size,
            recipe.validation_samples,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            distance=recipe.data.distance if recipe.data.distance.validate else None,
        )
        return DamageGuard(from_source, recipe.data.damaged, log, reasons)

    return batches
