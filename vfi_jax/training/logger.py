"""The log of a run: rows, pictures and curves in its folder, lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vfi_jax.config import as_dict
from vfi_jax.errors import UserError
from vfi_jax.metrics import MAX_PSNR
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.log import Log, read_log
from vfi_jax.system import distributed
from vfi_jax.training.run import Run
from vfi_jax.training.validate import Validation
from vfi_jax.types import Array
from vfi_jax.viz.curves import save_curves
from vfi_jax.viz.strips import sample_strips

NO_ROWS = -1  # the step that all rows come after


class Logger:
    """Context manager: writes the run's log; the main process alone does.

    A file that cannot be written is a warning, as the run can go on without it.
    """

    def __init__(self, run: Run, step: int) -> None:
        """Opens the log of a run that continues after a step; later rows are removed, and all where it begins at 0."""
        self._run = run
        self._open(step or NO_ROWS)

    def _open(self, step: int) -> None:
        if distributed.is_main():
            recipe = self._run.recipe
            options = {"tensorboard": recipe.tensorboard, "wandb": recipe.wandb, "config": as_dict(recipe)}
            self._log = Log(self._run.folder, step, **options)

    def _close(self) -> None:
        if distributed.is_main():
            self._log.close()

    def __enter__(self) -> Logger:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _attempt(self, action: Callable[[], None]) -> None:
        if distributed.is_main():
            try:
                action()
            except (UserError, OSError) as error:
                self._run.log(f"warning: {error}")

    def _write(self, row: Mapping[str, Any]) -> None:
        self._attempt(lambda: self._log.write(row))

    def step(self, step: int, metrics: Mapping[str, Array], values: Mapping[str, float]) -> None:
        """Logs a step: its finite metrics, which this waits for, and other values, those of `Meter.lap` among them."""
        numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
        row = {"step": step, **{name: value for name, value in numbers.items() if math.isfinite(value)}, **values}
        self._write(row)
        loss = f"{row['loss']:.5f}" if "loss" in row else "not finite, skipped"
        self._run.log(f"step {step}/{self._run.steps}  loss {loss}{_rates(row, self._run.steps - step)}")

    def validation(self, step: int, outcome: Validation) -> None:
        """Logs a validation."""
        scores = {"validation_psnr": outcome.psnr, "validation_l1": outcome.error}
        self._write({"step": step, **scores, "validation_samples": outcome.frames, "validation_capped": outcome.capped})
        self._attempt(lambda: self._log.picture(step, sample_strips(outcome.samples)))
        capped = f", {outcome.capped} of them at {MAX_PSNR:g} dB" if outcome.capped else ""
        self._run.log(f"step {step}: validation PSNR {outcome.psnr:.3f} dB over {outcome.frames} frames{capped}")

    def rollback(self, step: int, number: int, from_step: int) -> None:
        """Removes the rows after a step to which the run has returned, and logs that."""
        self._close()
        self._open(step)
        self._write({"step": step, "rollback": number, "from_step": from_step})

    def flush(self) -> None:
        """Brings all rows to the run's folder: a run that is resumed from the next checkpoint has its history."""
        self._attempt(lambda: self._log.flush())

    def curves(self) -> None:
        """Draws the curves of all rows so far."""
        self._attempt(lambda: save_curves(self._run.folder / run_folder.CURVES, read_log(self._run.folder)))


def _rates(row: Mapping[str, float], steps_left: int) -> str:
    if "samples_per_s" not in row:
        return ""
    left = steps_left * (row["wait_s"] + row["compute_s"])
    return (
        f"  {row['samples_per_s']:.1f} samples/s  (per step: {row['wait_s']:.3f} s waiting, {row['compute_s']:.3f} s "
        f"computing)  {_duration(left)} left"
    )


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
