"""Checkpoints of the training state: saving one, validating what is saved, and restoring the newest good one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from vfi_jax.runs.validations import CAPPED, COUNT, ERROR, SCORE
from vfi_jax.system import sharding
from vfi_jax.training.data import summed
from vfi_jax.training.logger import Logger
from vfi_jax.training.optimizer import observe
from vfi_jax.training.run import Run
from vfi_jax.training.state import Skips, State, items
from vfi_jax.training.validate import attempt

ATTEMPTS = 2  # at a validation that kills the process, before the run goes on without it


def save(run: Run, state: State, step: int, rollbacks: int, *, last: bool) -> bool:
    """Saves in the background; returns whether that began. A failure is logged, and the run goes on.

    Args:
      run: the run.
      state: after the step.
      step: its number.
      rollbacks: number of rollbacks so far.
      last: whether this is the last chance: a failure then ends the run.

    Raises:
      UserError: the second failure in a row, or one at the last chance.
    """
    position = {
        "step": step,
        "data": summed(run.data.batches.get_state()),
        "model": {"channel_order": run.model.channel_order, "any_time": run.model.any_time},
        "skipped": {"in_row": int(state.skips.in_row), "total": int(state.skips.total)},
        "rollbacks": rollbacks,
    }
    return run.checkpoints.save(step, items(state), position, run.log, last=last)


def validate_saved(run: Run, state: State, step: int, logger: Logger) -> State:
    """Validates a saved step and keeps the outcome beside it; returns the state, whose plateau has seen the outcome.

    A validation never ends the run: one that fails is a warning, and one that ended the process `ATTEMPTS` times is
    left out. A step that has its outcome already is not validated again.
    """
    validations = run.checkpoints.validations
    if validations.outcome(step) is None:
        begun, outcome = validations.begun(step), None
        if begun >= ATTEMPTS:
            run.log(f"warning: the validation of step {step} ended the run {begun} times: it is left out")
        else:
            logger.attempt(lambda: validations.begin(step))
            outcome = attempt(run, state, step)
        figures = (outcome.psnr, outcome.error, outcome.frames, outcome.capped) if outcome else (None, None, 0, 0)
        names = (SCORE, ERROR, COUNT, CAPPED)
        logger.attempt(lambda: validations.finish(step, dict(zip(names, figures, strict=True))))
        if outcome:
            logger.validation(step, outcome)
            logger.flush()
    return _observed(run, state, step)


def _observed(run: Run, state: State, step: int) -> State:
    """Returns the state after the plateau has seen the validation of a step, if that has an outcome."""
    error = (run.checkpoints.validations.outcome(step) or {}).get(ERROR)
    if error is None:
        return state
    return state.replace(optimizer=observe(state.optimizer, error, run.recipe.optimizer.plateau))


def restore(run: Run) -> tuple[State, Mapping[str, Any]] | None:
    """Returns state and position of the newest good checkpoint; None where nothing is saved.

    The position holds `step`, `data` (the place in the training set) and `rollbacks`, as `save` writes them.

    Raises:
      UserError: there are checkpoints, and all are damaged.
    """
    state = run.init_state()
    newest = run.checkpoints.newest_good(items(state), run.log)
    if newest is None:
        return None
    step, arrays, position = newest
    skips = Skips(*(jnp.int32(position["skipped"][name]) for name in ("in_row", "total")))
    state = sharding.replicate(state.replace(step=jnp.int32(step), skips=skips, **arrays))
    return _observed(run, state, step), position
