"""Checkpoints of the training state: saving one, and restoring the newest good one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from vfi_jax.system import sharding
from vfi_jax.training.data import summed
from vfi_jax.training.run import Run
from vfi_jax.training.state import Skips, State, items


def save(run: Run, state: State, step: int, psnr: float | None, rollbacks: int, *, last: bool) -> bool:
    """Saves in the background; returns whether that began. A failure is logged, and the run goes on.

    Args:
      run: the run.
      state: after the step.
      step: its number.
      psnr: its validation score, where it was validated.
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
    return run.checkpoints.save(step, items(state), position, psnr, run.log, last=last)


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
    return sharding.replicate(state.replace(step=jnp.int32(step), skips=skips, **arrays)), position
