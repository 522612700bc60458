"""Validation of a run's weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vfi_jax.data.windows import REGION_FIELD
from vfi_jax.errors import NotFiniteError, one_line
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
      replaced: how many of them stand for others that cannot be used.
      samples: the first ones of this process: inputs, prediction and target of each, uint8.
    """

    psnr: float
    error: float
    frames: int
    capped: int
    replaced: int
    samples: list[tuple[np.ndarray, ...]]


class Part(NamedTuple):
    """One process's part of a validation: figures of each frame, the replaced frames, and the first samples."""

    scores: list[float]
    errors: list[float]
    replaced: int
    samples: list[tuple[np.ndarray, ...]]


def attempt(run: Run, state: State, step: int) -> Validation | None:
    """Compares rounded predictions with the validation set, by the rule of `eval.py`; every process calls it.

    Returns None where that fails in any process, and logs a warning with the reason.
    """
    part, problem = Part([], [], 0, []), ""
    try:
        part = _part(run, state)
    except Exception as error:  # whatever it is, the run can go on without this validation
        problem = one_line(error)
    capped = sum(score >= MAX_PSNR for score in part.scores)
    counts = [len(part.scores), capped, part.replaced, bool(problem)]
    sums = np.array([np.sum(part.scores), np.sum(part.errors), *counts])
    psnr_sum, error_sum, count, capped, replaced, failed = distributed.allgather(sums).sum(0)
    if failed or not count:
        reason = problem or ("another process failed" if failed else "there are no samples")
        run.log(f"warning: step {step} could not be validated: {reason}; the run goes on without")
        return None
    means = float(psnr_sum / count), float(error_sum / count)
    return Validation(*means, int(count), int(capped), int(replaced), part.samples)


def _part(run: Run, state: State) -> Part:
    """Validates this process's samples."""
    interpolate = Interpolator(run.model, distributed.local(state.best), precision=run.recipe.precision)
    scores, errors, samples, broken = [], [], [], 0
    batches = run.data.validation()
    for batch in batches:
        frames = np.moveaxis(batch["frames"], 1, 0)
        inputs = {name: batch[name].astype(np.float32) for name in interpolate.spec.inputs if name in batch}
        try:
            prediction = interpolate(*frames, t=batch["t"], regions=batch.get(REGION_FIELD), **inputs)
        except NotFiniteError:  # such a frame counts as black
            prediction, broken = np.zeros_like(batch["target"]), broken + len(batch["target"])
        scores += list(psnr(prediction, batch["target"]))
        errors += list(interpolation_error(prediction, batch["target"]) / 255)
        samples += list(zip(*frames, prediction, batch["target"], strict=True))[: SHOWN - len(samples)]
    if broken:
        run.log(f"warning: {broken} predictions of the validation hold NaN or infinity; they count as black frames")
    return Part(scores, errors, batches.damaged, samples)
