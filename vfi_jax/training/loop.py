"""The training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from vfi_jax.errors import UserError
from vfi_jax.system import machine, sharding
from vfi_jax.training import early_stopping, saving, summary
from vfi_jax.training.logger import Logger
from vfi_jax.training.meter import Meter
from vfi_jax.training.optimizer import plateau_factor, skipped_in_row
from vfi_jax.training.profiler import Profiler
from vfi_jax.training.rollback import Rollback
from vfi_jax.training.run import Run
from vfi_jax.training.state import State
from vfi_jax.training.stop import StopSignal
from vfi_jax.training.validate import attempt
from vfi_jax.types import Batch

SKIPPED_STEPS = 10  # skipped in a row, at least, for a run to count as stuck
MAX_SKIPPED = 0.5  # fraction of the steps; a run that skips more has failed


def train(run: Run, *, profile: int = 0) -> None:
    """Trains from the newest good checkpoint to the last step, or until SIGTERM or early stopping ends the run.

    Raises:
      UserError: see `fit.fit`.
    """
    recipe, step, rollback = run.recipe, run.make_step(), Rollback(run)
    state, done = _resume(run, rollback)
    with Logger(run, done) as logger:
        state = _catch_up(run, state, done, logger) if done else _begin(run, state, logger)
        early = _early_end(run, done)
        profiler = Profiler(run.folder, profile, run.log)
        with StopSignal() as stop, Meter(recipe.batch_size) as meter, profiler:
            while done < run.steps and not early and not stop.requested():
                batch = _next_batch(run, done, meter, rollback, stop)
                if batch is None:
                    break
                profiler.before_step()
                state, metrics = _step(run, step, state, batch, done, meter)
                done += 1
                log_due, save_due = run.due(done, recipe.log_every), run.due(done, recipe.checkpoint_every)
                if not (log_due or save_due):
                    continue
                skips = jax.device_get(state.skips)
                if skips.in_row >= recipe.guard.bad_steps:
                    state, done = rollback.back(done, skips, logger)
                    meter.start()
                    continue
                if log_due:
                    rate = float(run.learning_rate(done - 1)) * plateau_factor(state.optimizer)
                    values = {"skipped": int(skips.total), "rate": rate, **meter.lap()}
                    logger.step(done, metrics, values, skipped=bool(skips.in_row or skipped_in_row(state.optimizer)))
                if save_due:
                    state = _save(run, state, done, rollback, logger)
                    early = _early_end(run, done)
                    meter.start()
        if done < run.steps:
            _stop(run, state, done, rollback, logger, early)
    _report_skips(run, state, done, rollback.count, ended=bool(early) or done >= run.steps)


def _early_end(run: Run, done: int) -> str:
    """Returns why the run ends after a step that is not its last one; "" if it goes on."""
    if not run.due(done, run.recipe.validate_every) or done >= run.steps:
        return ""
    return early_stopping.reason(run.recipe.early_stopping, run.checkpoints.validations.scores(done))


def _resume(run: Run, rollback: Rollback) -> tuple[State, int]:
    """Returns the state and step to continue from, with the data at their place."""
    restored = saving.restore(run)
    if restored is None:
        return run.init_state(), 0
    state, position = restored
    run.data.batches.set_state(position["data"])
    rollback.count = position["rollbacks"]
    if position["step"] < run.steps and not _early_end(run, position["step"]):
        run.log(f"continuing from step {position['step']}")
    elif position["step"] >= run.steps:
        length = "--config.steps" if run.recipe.steps else "--config.epochs"
        run.log(f"complete: step {position['step']} of {run.steps} is saved; raise {length} to train further")
    return state, position["step"]


def _begin(run: Run, state: State, logger: Logger) -> State:
    """Prints the summary of a new run and validates the weights that it starts from; returns the state."""
    for line in summary.lines(run):
        run.log(line)
    if run.recipe.validate_at_start and (outcome := attempt(run, state, 0)):
        logger.validation(0, outcome)
    return state


def _catch_up(run: Run, state: State, done: int, logger: Logger) -> State:
    """Validates the step from which the run continues where that was due and did not end, or writes its row."""
    outcome = run.checkpoints.validations.outcome(done)
    if outcome is None and run.due(done, run.recipe.validate_every):
        return saving.validate_saved(run, state, done, logger)
    logger.complete(done, outcome)
    return state


def _next_batch(run: Run, done: int, meter: Meter, rollback: Rollback, stop: StopSignal) -> Batch | None:
    """Returns the next batch; None where SIGTERM has ended the worker processes that make it."""
    place = run.data.batches.get_state()
    try:
        with meter.waiting():
            batch = next(run.data.batches)
    except Exception:
        if stop.received:
            return None
        raise
    rollback.remember(done + 1, batch.pop("name", place))
    return sharding.shard_batch(batch, run.mesh)


def _step(run: Run, step: Callable, state: State, batch: Batch, done: int, meter: Meter) -> tuple[State, Any]:
    """Does a step; logs a warning if it compiles, which only the first should."""
    before = meter.compiles
    if meter.first and machine.peak_of(jax.devices()[0].device_kind):
        meter.flops = run.step_flops(state, batch)
    if meter.first:
        with meter.compiling(run.log), meter.stepping():
            return jax.block_until_ready(step(state, batch))
    with meter.stepping():
        state, metrics = step(state, batch)
    if meter.compiles > before:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
        run.log(f"warning: step {done + 1} compiled the program anew, which costs time; its batch: {shapes}")
    return state, metrics


def _save(run: Run, state: State, done: int, rollback: Rollback, logger: Logger) -> State:
    """Saves, then validates where that is due; returns the state, whose plateau has seen the validation."""
    _check_skipped(run, state)
    logger.flush()
    saving.save(run, state, done, rollback.count, last=done == run.steps)
    if run.due(done, run.recipe.validate_every):
        run.checkpoints.finish(run.log)  # whatever a validation does, the step is on the disk
        state = saving.validate_saved(run, state, done, logger)
    logger.curves()
    return state


def _check_skipped(run: Run, state: State) -> None:
    """Ends a run that has stopped learning: while all steps are skipped the loss stays too high."""
    skipped = skipped_in_row(state.optimizer)
    if skipped >= max(SKIPPED_STEPS, run.recipe.checkpoint_every):
        raise UserError(
            f"the last {skipped} steps were skipped because their loss was more than "
            f"{run.recipe.optimizer.skip_above:g} times the first: lower --config.optimizer.rate or set "
            "--config.optimizer.warmup; the last checkpoint is kept"
        )


def _report_skips(run: Run, state: State, done: int, rollbacks: int, *, ended: bool) -> None:
    """Logs how many steps of the run were skipped.

    Raises:
      UserError: the run has ended, and most steps were skipped. Steps before a rollback do not count.
    """
    skipped = int(state.skips.total)
    if skipped:
        run.log(f"{skipped} steps were skipped up to step {done}")
    skipped -= rollbacks * run.recipe.guard.bad_steps
    if ended and skipped > MAX_SKIPPED * done:
        raise UserError(
            f"{skipped} of {done} steps were skipped, because their loss, gradient or new weights were not finite or "
            "their loss was too high, so that the weights are hardly trained: lower --config.optimizer.rate or set "
            "--config.optimizer.warmup, and start anew with another --workdir"
        )


def _stop(run: Run, state: State, done: int, rollback: Rollback, logger: Logger, early: str) -> None:
    """Saves the last step unless that is done, waits for it, and logs why the run ends before its last step."""
    if done and done not in run.checkpoints.steps():
        logger.flush()
        saving.save(run, state, done, rollback.count, last=True)
    run.checkpoints.settle()
    if early:
        run.log(
            f"complete: stopped early at step {done} of {run.steps}, because {early}; to train further raise "
            "--config.early_stopping.patience"
        )
    else:
        run.log(f"stopped at step {done}; the same command continues")
