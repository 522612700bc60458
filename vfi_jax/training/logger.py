"""The log of a run: rows, pictures and curves in its folder, lines on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax

from vfi_jax.config import as_dict
from vfi_jax.errors import one_line
from vfi_jax.metrics import MAX_PSNR
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.log import Log, read_log
from vfi_jax.runs.validations import CAPPED, COUNT, ERROR, SCORE
from vfi_jax.system import distributed
from vfi_jax.training.run import Run
from vfi_jax.training.validate import Validation
from vfi_jax.types import Array
from vfi_jax.viz.curves import save_curves
from vfi_jax.viz.strips import sample_strips

NO_ROWS = -1  # the step that all rows come after


class Logger:
    """Context manager: writes the run's log; the main process alone does.

    Whatever cannot be written or drawn is a warning, as the run can go on without it.
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

    def attempt(self, action: Callable[[], None]) -> None:
        """Does something without which the run can go on: a failure is a warning with its reason."""
        try:
            action()
        except Exception as error:
            self._run.log(f"warning: {one_line(error)}")

    def _attempt(self, action: Callable[[], None]) -> None:
        if distributed.is_main():
            self.attempt(action)

    def _write(self, row: Mapping[str, Any]) -> None:
        self._attempt(lambda: self._log.write(row))

    def step(
        self, step: int, metrics: Mapping[str, Array], values: Mapping[str, float], *, skipped: bool = False
    ) -> None:
        """Logs a step.

        Args:
          step: its number.
          metrics: of the step, which this waits for; those that are not finite are left out.
          values: other values: those of `Meter.lap`, and `skipped`, the number of steps skipped so far.
          skipped: whether this step was skipped.
        """
        numbers = {name: float(value) for name, value in jax.device_get(metrics).items()}
        row = {"step": step, **{name: value for name, value in numbers.items() if math.isfinite(value)}, **values}
        self._write(row)
        loss = f"{row['loss']:.5f}" if "loss" in row else "not finite"
        loss += ", skipped" * skipped + f" ({values['skipped']} skipped so far)" * bool(values["skipped"])
        self._run.log(f"step {step}/{self._run.steps}  loss {loss}{_rates(row, self._run.steps - step)}")

    def validation(self, step: int, outcome: Validation) -> None:
        """Logs a validation."""
        scores = _scores(outcome.psnr, outcome.error, outcome.frames, outcome.capped)
        self._write({"step": step, **scores})
        capped = f", {outcome.capped} of them at {MAX_PSNR:g} dB" if outcome.capped else ""
        replaced = f", {outcome.replaced} of them replaced" if outcome.replaced else ""
        self._run.log(
            f"step {step}: validation PSNR {outcome.psnr:.3f} dB over {outcome.frames} frames{capped}{replaced}"
        )
        self._attempt(lambda: self._log.picture(step, sample_strips(outcome.samples)))

    def complete(self, step: int, outcome: Mapping[str, Any] | None) -> None:
        """Writes the row of a step's validation where the log lacks it: the run was killed before it was written."""

        def write() -> None:
            rows = read_log(self._run.folder)
            if not any(row["step"] == step and "validation_psnr" in row for row in rows):
                self._log.write({"step": step, **_scores(*(outcome[name] for name in (SCORE, ERROR, COUNT, CAPPED)))})

        if outcome and outcome[SCORE] is not None:
            self._attempt(write)

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


def _scores(psnr: float, error: float, frames: int, capped: int) -> dict[str, float]:
    scores = {"validation_psnr": psnr, "validation_l1": error}
    return {**scores, "validation_samples": frames, "validation_capped": capped}


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
