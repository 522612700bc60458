"""A training run from its config: data -> model -> optimiser -> loop -> checkpoints, log, curves and samples."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from vfi_jax import config, optim, report, runs, training, zoo
from vfi_jax.data import sources
from vfi_jax.data.augment import choices, times
from vfi_jax.inference import MIDPOINT, Interpolator, Model
from vfi_jax.metrics import interpolation_error, psnr
from vfi_jax.sets import Batches, Sets, open_sets
from vfi_jax.torch_import import FROZEN
from vfi_jax.types import ModelSpec, UsageError, UserError

STRIPS = 4  # validation samples shown
STUCK = 10  # steps skipped in a row, at least, by which a run is told to be stuck
MOST = 2**31 - 1
UNTRAINED = "untrained"  # in the place of a helper's weights: to try a recipe
LIMITS = (  # name, least, most
    ("batch_size", 1, MOST), ("steps", 0, MOST), ("epochs", 0, MOST), ("seed", 0, MOST - 2), ("ema", 0, 1),
    ("log_every", 1, MOST), ("checkpoint_every", 1, MOST), ("validate_every", 1, MOST), ("validation_samples", 1, MOST),
    ("data.holdout", 0, 1), ("data.workers", 0, 1000), ("data.augment.crop", 1, MOST),
    ("data.augment.enlarge", 0, 1), ("data.augment.transpose", 0, 1), ("data.augment.jitter", 0, 0.5),
    ("data.mix", 0, 1), ("data.damaged", 0, 1),
    ("data.window.sorted_share", 0, 1), ("data.window.target_step", 1, MOST),
    ("data.footage.step", 1, MOST), ("data.footage.short_side", 0, MOST), ("data.footage.per_clip", 0, MOST),
    ("optimiser.rate", 0, math.inf), ("optimiser.final_rate", 0, math.inf), ("optimiser.warmup", 0, MOST),
    ("optimiser.milestones.epochs", 1, MOST), ("optimiser.milestones.factor", 0, math.inf),
    ("optimiser.plateau.factor", 0, 1), ("optimiser.plateau.patience", 0, MOST),
    ("optimiser.rate_factors", 0, math.inf), ("optimiser.beta2", 0, 1), ("optimiser.skip_above", 0, math.inf),
    ("optimiser.weight_decay", 0, math.inf), ("optimiser.clip_norm", 0, math.inf),
)  # fmt: skip


def build(run: config.Train, folder: Path) -> tuple[ModelSpec, Model, dict[str, Any], Any]:
    """Spec, module, initial variables and loss config of a run; its frozen helpers are those that the folder keeps.

    Raises:
      UsageError: no such model, field, precision or loss field; weights of another network; no weights of a helper.
      UserError: weights to start from that cannot be read.
    """
    spec = zoo.spec_of(run.model)
    if run.precision not in ("float32", "bfloat16"):
        raise UsageError(f"config.precision is {run.precision!r}: float32 or bfloat16")
    fields = {"dtype": jnp.dtype(run.precision), **run.fields}
    start = run.init_from
    if not start.model:
        model, variables = zoo.create(run.model, run.seed, **fields)
    else:
        source, variables = zoo.load(start.model, start.weights or None)
        known = {"channel_order": source.channel_order, "any_time": source.any_time}
        model = zoo.build(run.model, **{**known, **fields})
        variables = {**variables, "params": _begun_with(variables["params"], run)}
    variables = {**variables, **_helpers(run, model, folder, given=variables if start.model else {})}
    return spec, model, variables, _loss_config(spec, run)


def _begun_with(params: Any, run: config.Train) -> Any:
    """The parameters given, and fresh ones where the model has what its spec calls additions."""
    given = traverse_util.flatten_dict(params, sep="/")
    fresh = traverse_util.flatten_dict(zoo.create(run.model, run.seed, **run.fields)[1]["params"], sep="/")
    added = {
        path: value
        for path, value in fresh.items()
        if path not in given and any(re.search(pattern, path) for pattern in zoo.spec_of(run.model).additions)
    }
    whole = {**given, **added}
    if {path: np.shape(value) for path, value in whole.items()} != {path: value.shape for path, value in fresh.items()}:
        raise UsageError(
            f"weights of {run.init_from.model} do not fit {run.model}: another network, or without its teacher"
        )
    return traverse_util.unflatten_dict(whole, sep="/")


def _helpers(run: config.Train, model: Model, folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The frozen helpers' collection: of the run's folder, else of the config, else given, else as installed."""
    helper = zoo.helper_of(model)
    for name, file in run.frozen.items():
        if file and name != helper:
            raise UsageError(f"config.frozen has {name!r}: {run.model} takes {helper or 'none'}")
    if not helper:
        return {}
    if runs.helpers_of(folder).exists() and runs.has_checkpoint(folder):
        return zoo.load_helpers(runs.helpers_of(folder))
    path = run.frozen.get(helper) or None
    if path == UNTRAINED:
        return {FROZEN: {helper: zoo.create(helper, run.seed)[1]}}
    if path is None and helper in given.get(FROZEN, {}):
        return {FROZEN: given[FROZEN]}
    found = zoo.read_helper(helper, path, {})
    if not found and not run.data.labels:
        raise UsageError(
            f"{run.model} needs the weights of {helper}: set config.frozen.{helper}=FILE, or config.data.labels to "
            "a teacher of `vfi-jax prepare flow`"
        )
    return found or {FROZEN: {}}


def _loss_config(spec: ModelSpec, run: config.Train) -> Any:
    known = {field.name for field in dataclasses.fields(spec.loss_config)}
    for name in run.loss:
        if name not in known:
            raise UsageError(f"config.loss has no {name!r} for {run.model}; it has: {', '.join(sorted(known))}")
    return dataclasses.replace(spec.loss_config, **run.loss)


def fit(run: config.Train, folder: Path, say: Callable[[str], None] = print) -> None:
    """Trains, or continues where the folder's newest checkpoint stands, until the config's last step.

    Args:
      run: the config.
      folder: the run's.
      say: told a line for every row of the log.

    Raises:
      UserError: bad data, weights or folder; a loss that is not finite, or so high that all steps are skipped (the
        last checkpoint stays).
      UsageError: a config that does not fit the model, or a folder of another run.
    """
    _check(run)
    spec, model, variables, loss_config = build(run, folder)
    runs.open_run(folder, run)
    if variables.get(FROZEN):
        zoo.save_helpers(runs.helpers_of(folder), variables)
    needs_labels = bool(zoo.helper_of(model)) and not variables[FROZEN]
    sets = open_sets(run, folder, labelled_validation=needs_labels, say=say)
    steps = run.steps or run.epochs * sets.steps_per_epoch
    transform = optim.optimiser(run.optimiser, steps, sets.steps_per_epoch)
    mesh = training.data_mesh()
    everywhere = NamedSharding(mesh, PartitionSpec())
    state = jax.device_put(training.start(variables, transform, ema=bool(run.ema)), everywhere)
    step = training.make_step(
        spec,
        model,
        transform,
        mesh,
        loss_config=loss_config,
        extra_losses=run.extra_losses,
        ema=run.ema,
        seed=run.seed,
    )
    checkpoints = runs.Checkpoints(folder)
    try:
        rate = optim.schedule(run.optimiser, steps, sets.steps_per_epoch)
        loop = _Loop(run, folder, steps, model, sets, step, rate, checkpoints, say)
        loop.run(_resumed(state, checkpoints, sets.batches, say))
    finally:
        checkpoints.close()
        sets.batches.close()


def _check(run: config.Train) -> None:
    """What can be seen to be wrong before anything is read."""
    for name, least, most in LIMITS:
        value = functools.reduce(getattr, name.split("."), run)
        several = value.values() if isinstance(value, Mapping) else np.atleast_1d(value)
        if not all(least <= number <= most for number in several):
            raise UsageError(f"config.{name} is {value}: it must lie between {least:g} and {most:g}")
    if bool(run.steps) == bool(run.epochs):
        raise UsageError("config.steps or config.epochs must be given, and not both")
    if run.batch_size % jax.device_count():
        raise UsageError(f"config.batch_size {run.batch_size} does not divide over {jax.device_count()} devices")
    if run.validate_every % run.checkpoint_every:
        raise UsageError("config.validate_every must be a multiple of config.checkpoint_every")
    training.check_losses(run.extra_losses)
    zoo.check_kind(run.model, "interpolation")
    if run.data.labels and not zoo.spec_of(run.model).needs:
        raise UsageError(f"config.data.labels is {run.data.labels!r}: {run.model} takes no flow labels")
    spec, crop = zoo.spec_of(run.model), run.data.augment.crop
    if crop % spec.padding.multiple:
        raise UsageError(f"config.data.augment.crop is {crop}: {run.model} needs a multiple of {spec.padding.multiple}")
    inputs, target, _ = choices(run.data.window)
    if inputs.shape[1] != spec.num_frames:
        raise UsageError(f"config.data.window gives {inputs.shape[1]} inputs: {run.model} takes {spec.num_frames}")
    if not spec.any_time and (times(inputs, target) != MIDPOINT).any():
        raise UsageError(
            f"config.data.window gives other times than 0.5, which {run.model} does not know: "
            "set inputs and target, or sorted_share to 0"
        )
    validation = run.data.validation
    if Path(validation).suffix == ".safetensors" or sources.is_footage(validation):
        raise UsageError(
            f"config.data.validation is {validation}: make records of it first (`vfi-jax prepare records`)"
        )


def _items(state: training.State) -> dict[str, Any]:
    items = {"params": state.params, "optimiser": state.optimiser}
    return items if state.ema is None else {**items, "ema": state.ema}


def _resumed(state: training.State, checkpoints: runs.Checkpoints, batches: Batches, say: Callable) -> training.State:
    """The state of the newest good checkpoint, and the data at its place; the given state where there is none."""
    found = checkpoints.newest_good(_items(state), say)
    if found is None:
        return state
    step, items, position = found
    batches.set_state(position["data"])
    say(f"continuing from step {step}")
    return state.replace(step=jnp.int32(step), **items)


@dataclasses.dataclass
class _Loop:
    """What the loop holds on to."""

    config: config.Train
    folder: Path
    steps: int
    model: Model
    sets: Sets
    step: Callable
    rate: Callable
    checkpoints: runs.Checkpoints
    say: Callable[[str], None]

    def run(self, state: training.State) -> None:
        """From the state's step to the last."""
        done = int(state.step)
        log = runs.Log(self.folder, done, tensorboard=self.config.tensorboard)
        clock = _Clock()
        try:
            while done < self.steps:
                with clock.waiting():
                    batch = next(self.sets.batches)
                batch.pop("name", None)
                state, metrics = self.step(state, training.on_devices(batch, training.data_mesh()))
                done += 1
                if self._due(done, self.config.log_every):
                    self._report(log, done, {**_finite(metrics, done), "rate": self._rate(done, state)}, clock)
                if self._due(done, self.config.checkpoint_every):
                    _finite(metrics, done)
                    self._check_steps(state)
                    state = self._save(log, done, state)
                    clock = _Clock()
        finally:
            log.close()

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.steps

    def _check_steps(self, state: training.State) -> None:
        """Stops a run that does not learn any more: with parameters that stay, the loss stays too high for good."""
        skipped = optim.skipped_in_row(state.optimiser)
        if skipped >= max(STUCK, self.config.checkpoint_every):
            raise UserError(
                f"the last {skipped} steps were skipped, their loss being above {self.config.optimiser.skip_above:g} "
                "times the first: lower optimiser.rate or set optimiser.warmup; the last checkpoint is kept"
            )

    def _rate(self, done: int, state: training.State) -> float:
        """That of the step just made."""
        return float(self.rate(done - 1)) * optim.plateau_factor(state.optimiser)

    def _report(self, log: runs.Log, done: int, values: Mapping[str, float], clock: _Clock) -> None:
        row = {"step": done, **values, **clock.lap(self.config.batch_size)}
        log.write(row)
        left = (self.steps - done) * (row["wait_s"] + row["compute_s"])
        self.say(
            f"step {done}/{self.steps}  loss {row['loss']:.5f}  {row['samples_per_s']:.1f} samples/s  "
            f"(waits {row['wait_s']:.3f} s, computes {row['compute_s']:.3f} s a step)  {_duration(left)} left"
        )

    def _save(self, log: runs.Log, done: int, state: training.State) -> training.State:
        """Validates where it is due, saves, and draws the curves; the state that was saved."""
        score = None
        if self._due(done, self.config.validate_every):
            score, loss = self._validate(log, done, state)
            fed = optim.observe(state.optimiser, loss, self.config.optimiser.plateau)
            state = state.replace(optimiser=fed)
        known = {"channel_order": self.model.channel_order, "any_time": self.model.any_time}
        position = {"step": done, "data": self.sets.batches.get_state(), "model": known}
        self.checkpoints.save(done, _items(state), position, score, self.say, last=done == self.steps)
        report.curves(self.folder / "curves.png", runs.read_log(self.folder))
        return state

    def _validate(self, log: runs.Log, done: int, state: training.State) -> tuple[float, float]:
        """Mean PSNR (the rule of `eval.py`) and absolute error (0..1) of rounded frames; a strip of the first."""
        interpolate = Interpolator(self.model, state.best)
        scores, errors, strips = [], [], []
        for batch in self.sets.validation():
            frames = np.moveaxis(batch["frames"], 1, 0)
            inputs = {name: batch[name].astype(np.float32) for name in interpolate.spec.inputs if name in batch}
            made = interpolate(*frames, t=batch["t"], **inputs)
            scores += list(psnr(made, batch["target"]))
            errors += list(interpolation_error(made, batch["target"]) / 255)
            shown = zip(*frames, made, batch["target"], strict=True)
            strips += list(shown)[: STRIPS - len(strips)]
        if not scores:
            raise UserError("no validation samples: raise data.holdout, or name a set with data.validation")
        mean, error = float(np.mean(scores)), float(np.mean(errors))
        log.write({"step": done, "validation_psnr": mean, "validation_l1": error, "validation_samples": len(scores)})
        picture = report.strips(strips)
        log.picture(done, picture)
        self.say(f"step {done}: validation PSNR {mean:.3f} dB over {len(scores)} frames")
        return mean, error


def _finite(metrics: Mapping[str, jax.Array], done: int) -> dict[str, float]:
    """The metrics of a step on the host; waits for it."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    if not math.isfinite(values["loss"] + values["gradient_norm"]):
        raise UserError(
            f"the loss is {values['loss']}, its gradient's norm {values['gradient_norm']} at step {done}: "
            "lower optimiser.rate or set optimiser.clip_norm; the last checkpoint is kept"
        )
    return values


class _Clock:
    """Seconds a step since the last lap, split into waiting for data and the rest."""

    def __init__(self) -> None:
        self._start, self._waited, self._laps = time.perf_counter(), 0.0, 0

    def waiting(self) -> _Clock:
        """A context whose time counts as waiting."""
        return self

    def __enter__(self) -> None:
        self._entered = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._waited += time.perf_counter() - self._entered
        self._laps += 1

    def lap(self, batch_size: int) -> dict[str, float]:
        """Rounds off and starts anew."""
        took, waited, laps = time.perf_counter() - self._start, self._waited, max(1, self._laps)
        self.__init__()
        return {
            "samples_per_s": batch_size * laps / took,
            "wait_s": waited / laps,
            "compute_s": (took - waited) / laps,
        }


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
