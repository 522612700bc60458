"""Overhead of guards and checkpoints per training step: `python results/overhead.py [PAIRS]`; writes `overhead.csv`.

Measures the step of `configs/rife_lap.py` (8 crops of 192x192) on random frames. Guards: steps with and without the
check that loss, gradient and parameters are finite, in turn, and the ratio of each pair. Checkpoints: the seconds that
the loop waits for a save to begin, including checksums, and by which steps take longer while it is written.
"""

import contextlib
import csv
import dataclasses
import datetime
import runpy
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from vfi_jax import config
from vfi_jax.nn import precision
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.system import machine, sharding
from vfi_jax.training import fit
from vfi_jax.training import step as training_step
from vfi_jax.training.optimizer import make_optimizer
from vfi_jax.training.state import init_state, items

ROOT = Path(__file__).parent.parent
BETWEEN = 4  # steps, from a save to the next


def prepared(run: config.Train):
    """Returns a function that makes the step, one that makes the initial state, and a batch."""
    spec, model, variables, loss_config = fit.build(run, Path())
    transform, mesh = make_optimizer(run.optimizer, run.steps, 1), sharding.data_mesh()
    side, draw = run.data.augment.crop, np.random.default_rng(0).integers
    batch = {
        "frames": draw(0, 256, (run.batch_size, 2, side, side, 3), np.uint8),
        "target": draw(0, 256, (run.batch_size, side, side, 3), np.uint8),
        "t": np.full((run.batch_size, 1, 1, 1), 0.5, np.float32),
    }

    def step():
        return training_step.make_step(
            spec, model, transform, mesh, loss_config=loss_config, extra_losses=run.extra_losses, ema=run.ema, seed=0,
            precision=precision.PRECISIONS[run.precision],
        )  # fmt: skip

    def begin():
        return jax.tree.map(jnp.array, sharding.replicate(init_state(variables, transform, ema=bool(run.ema))))

    return step, begin, sharding.shard_batch(batch, mesh)


def seconds(step, state, batch):
    """Returns the state after a step, and the seconds it took."""
    begun = time.perf_counter()
    state = jax.block_until_ready(step(state, batch)[0])
    return state, time.perf_counter() - begun


def main() -> None:
    """Writes two rows: guards and checkpoints."""
    pairs = int((sys.argv[1:] or ["20"])[0])
    recipe = runpy.run_path(str(ROOT / "configs/rife_lap.py"))["get_config"]()
    run = config.parse(config.Train, recipe.to_dict())
    step, begin, batch = prepared(dataclasses.replace(run, init_from=config.Pretrained()))
    each = {}
    for name in ("guarded", "bare"):
        bare = mock.patch.object(training_step, "_finite", return_value=jnp.bool_(True))
        with bare if name == "bare" else contextlib.nullcontext():
            each[name] = [step(), begin()]
            each[name][1], _ = seconds(*each[name], batch)  # compiles
    times = {name: [] for name in each}
    for pair in range(pairs):
        for name in sorted(each, reverse=bool(pair % 2)):
            each[name][1], took = seconds(*each[name], batch)
            times[name].append(took)
    ratios = np.array(times["guarded"]) / times["bare"]

    (function, state), held, during = each["guarded"], [], []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        for number in range(max(3, pairs // BETWEEN)):
            begun = time.perf_counter()
            checkpoints.save(number, items(state), {"step": number}, None, print)
            held.append(time.perf_counter() - begun)
            for _ in range(BETWEEN):
                state, took = seconds(function, state, batch)
                during.append(took)
        checkpoints.close()
    usual = float(np.median(times["guarded"]))
    a_save = float(np.median(held)) + BETWEEN * max(0.0, float(np.mean(during)) - float(np.mean(times["guarded"])))
    rows = [
        ("what", "seconds a step", "overhead, %", "lowest quarter", "highest quarter"),
        ("guards", usual, *(100 * (np.quantile(ratios, q) - 1) for q in (0.5, 0.25, 0.75))),
        (f"a checkpoint every {run.checkpoint_every} steps", a_save, 100 * a_save / usual / run.checkpoint_every),
    ]
    environment = machine.environment()
    note = f"{datetime.date.today()}; jax {environment['jax']}; {environment['system']}; {environment['devices']}"
    note += f"; python results/overhead.py {pairs}"
    with (ROOT / "results/overhead.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [[f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row] for row in rows] + [(note,)]
        )


if __name__ == "__main__":
    main()
