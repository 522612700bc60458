"""A dry run: everything that a run does before and around its first step."""

from __future__ import annotations

import jax

from vfi_jax.system import machine, sharding
from vfi_jax.training import summary
from vfi_jax.training.meter import Meter
from vfi_jax.training.run import Run
from vfi_jax.training.validate import attempt


def dry_run(run: Run) -> None:
    """Prints the summary, validates, reads a batch, and compiles and does one step, whose result is thrown away.

    Nothing is logged or saved in the run's folder, which holds its config afterwards, and the records of its videos.

    Raises:
      UserError: see `fit.fit`.
    """
    for line in summary.lines(run):
        run.log(line)
    state, step = run.init_state(), run.make_step()
    if outcome := attempt(run, state, 0):
        run.log(f"validation of the weights to start from: PSNR {outcome.psnr:.3f} dB over {outcome.frames} frames")
    batch = next(run.data.batches)
    batch.pop("name", None)
    with Meter(run.recipe.batch_size).compiling(run.log):
        _, metrics = jax.block_until_ready(step(state, sharding.shard_batch(batch, run.mesh)))
    memory = ", ".join(f"{name} {value:.2f}" for name, value in machine.peak_memory().items())
    run.log(f"loss of the first step {float(metrics['loss']):.5f}; peak memory: {memory}")
    saved = run.checkpoints.steps()
    after = f"a run continues from step {saved[-1]}" if saved else "a run starts from step 0"
    run.log(f"dry run: nothing was trained or saved; {after}")
