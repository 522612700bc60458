"""Validation of a run's weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vfi_jax.errors import NotFiniteError, UserError
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import MAX_PSNR, interpolation_error, psnr
from vfi_jax.system import distributed
from vfi_jax.training.run import Run
from vfi_jax.training.state import State

SHOWN = 4  # samples


class Validation(NamedTuple):
    """The outcome of a validation.

    Attributes:
      psnr: mean over all frames, dB.
      error: mean absolute error, 0..1.
      frames: their number, over all processes.
      capped: number of frames, over all processes, whose PSNR is `metrics.MAX_PSNR`: those that equal their truth.
      samples: the first ones of this process: inputs, prediction and target of each, uint8.
    """

    psnr: float
    error: float
    frames: int
    capped: int
    samples: list[tuple[np.ndarray, ...]]


def validate(run: Run, state: State) -> Validation:
    """Compares rounded predictions with the validation set, by the rule of `eval.py`; every process calls it.

    Raises:
      UserError: the validation set is empty.
    """
    interpolate = Interpolator(run.model, distributed.local(state.best), precision=run.recipe.precision)
    scores, errors, samples, broken = [], [], [], 0
    for batch in run.data.validation():
        frames = np.moveaxis(batch["frames"], 1, 0)
        inputs = {name: batch[name].astype(np.float32) for name in interpolate.spec.inputs if name in batch}
        try:
            prediction = interpolate(*frames, t=batch["t"], **inputs)
        except NotFiniteError:  # one process must not leave the others; such a frame counts as black
            prediction, broken = np.zeros_like(batch["target"]), broken + len(batch["target"])
        scores += list(psnr(prediction, batch["target"]))
        errors += list(interpolation_error(prediction, batch["target"]) / 255)
        samples += list(zip(*frames, prediction, batch["target"], strict=True))[: SHOWN - len(samples)]
    if broken:
        run.log(f"warning: {broken} predictions of the validation hold NaN or infinity; they count as black frames")
    capped = sum(score >= MAX_PSNR for score in scores)
    sums = np.array([len(scores), np.sum(scores), np.sum(errors), capped])
    count, total_psnr, total_error, capped = distributed.allgather(sums).sum(0)
    if not count:
        raise UserError(
            "no validation samples: raise --config.data.holdout, or name a set with --config.data.validation"
        )
    return Validation(float(total_psnr / count), float(total_error / count), int(count), int(capped), samples)
