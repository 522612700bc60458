"""Rollback of a run whose steps are not finite."""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vfi_jax.errors import UserError
from vfi_jax.system import sharding
from vfi_jax.system.files import AnyPath, written_whole
from vfi_jax.training import saving
from vfi_jax.training.logger import Logger
from vfi_jax.training.run import Run
from vfi_jax.training.state import Skips, State

BAD_SAMPLES = "bad_samples{}.txt"  # in the run's folder


class Rollback:
    """Returns a run to its last good checkpoint, and remembers the samples of the bad steps.

    Attributes:
      count: rollbacks of the run so far.
    """

    def __init__(self, run: Run) -> None:
        self._run, self.count = run, 0
        interval = max(run.recipe.log_every, run.recipe.checkpoint_every)
        self._recent = collections.deque(maxlen=run.recipe.guard.bad_steps + interval)
        self._offending: list[tuple[int, Any]] = []

    def remember(self, step: int, samples: Any) -> None:
        """Remembers the samples of a step: their names, or the place in the data before its batch."""
        self._recent.append((step, samples))

    def back(self, step: int, skips: Skips, logger: Logger) -> tuple[State, int]:
        """Returns the state and step of the last good checkpoint, or of the start; the data go on from where they are.

        Args:
          step: the newest step.
          skips: the counts after it.
          logger: of the run.

        Raises:
          UserError: the run has had all the rollbacks that `guard` allows.
        """
        bad = int(skips.in_row)
        reason = f"loss or gradient was not finite in the last {bad} steps"
        self._offending += [remembered for remembered in self._recent if remembered[0] > step - bad]
        self._recent.clear()
        if self.count >= self._run.recipe.guard.rollbacks:
            self._give_up(reason)
        restored = saving.restore(self._run)
        state, target = (restored[0], restored[1]["step"]) if restored else (self._run.init_state(), 0)
        self.count += 1
        logger.rollback(target, self.count, step)
        self._run.log(f"warning: {reason} up to {step}: back to step {target}, and on with the data that follow")
        return sharding.replicate(state.replace(skips=Skips(jnp.int32(0), jnp.int32(skips.total)))), target

    def _give_up(self, reason: str) -> None:
        saved = self._run.checkpoints.steps()
        raise UserError(
            f"{reason}, after {self.count} rollbacks: lower --config.optimizer.rate or set "
            f"--config.optimizer.clip_norm, and look at the samples listed in {self._list_samples()}; "
            + (f"step {saved[-1]} is kept" if saved else "nothing is saved")
        )

    def _list_samples(self) -> AnyPath:
        """Writes this process's samples of the bad steps before each rollback, `STEP NAME` per line."""
        process = f".{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self._run.folder / BAD_SAMPLES.format(process)
        with written_whole(path) as partial, partial.open("w") as file:
            for step, samples in self._offending:
                names = self._run.data.batches.names(samples) if isinstance(samples, Mapping) else samples
                file.writelines(f"{step} {name}\n" for name in names)
        return path
