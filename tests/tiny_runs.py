"""A run of a few steps with a small network, and the command that trains it.

Runs of one process share their compiled steps, as far as those are the same program.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vfi_jax import config
from vfi_jax.config import Augment, Data, Optimizer, Train, Window
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.folder import read_config
from vfi_jax.runs.log import read_log
from vfi_jax.training import fit
from vfi_jax.training.optimizer import make_optimizer
from vfi_jax.training.run import Run
from vfi_jax.training.state import Skips, init_state

ROOT = Path(__file__).parent.parent
TINY = {"widths": (16, 16), "level_scales": (2, 1), "encoder": None, "features": 0, "refinement": None}
RUN = Train(
    model="rife_lap",
    fields=TINY,
    steps=4,
    batch_size=2,
    ema=0.9,
    data=Data(path="synthetic:12", holdout=0.2, window=Window(3, (0, 2), 1), augment=Augment(crop=64)),
    optimizer=Optimizer(rate=1e-3, warmup=1, clip_norm=1.0),
    log_every=1,
    checkpoint_every=2,
    validate_every=4,
    validate_at_start=False,
    validation_samples=2,
)


make_step, steps = Run.make_step, {}


def shared_step(run):
    """Returns the step of `Run.make_step`, compiled once for each program."""
    recipe = run.recipe
    if recipe.teacher.model or recipe.optimizer.milestones.epochs:
        return make_step(run)
    parts = (run.model, run.loss_config, recipe.extra_losses, recipe.ema, recipe.seed, recipe.precision)
    key = repr((recipe.model, *parts, recipe.accumulate, recipe.optimizer, run.steps))
    if key not in steps:
        steps[key] = make_step(run)
    return steps[key]


Run.make_step = shared_step


def idle_step(skipped):
    """Makes `Run.make_step` for tests of all but the training: a step that counts itself, perhaps as skipped."""

    @jax.jit
    def step(state, _):
        skips = Skips(*(count + skipped for count in (state.skips.in_row, state.skips.total)))
        return state.replace(step=state.step + 1, skips=skips), {"loss": jnp.float32(0.5)}

    return lambda run: step


def quiet(_):
    pass


def random_batch():
    """A batch of the shape that `RUN` has."""
    rng = np.random.default_rng(0)
    return {
        "frames": rng.integers(0, 256, (2, 2, 64, 64, 3), np.uint8),
        "target": rng.integers(0, 256, (2, 64, 64, 3), np.uint8),
        "t": np.full((2, 1, 1, 1), 0.5, np.float32),
    }


def losses(folder):
    return [row["loss"] for row in read_log(folder) if "loss" in row]


def newest(folder):
    """Everything saved at the newest step, by path."""
    checkpoints = Checkpoints(folder)
    step = checkpoints.steps()[-1]
    run = read_config(folder)
    _, _, variables, _ = fit.build(run, folder)
    state = init_state(variables, make_optimizer(run.optimizer, run.steps, 1), ema=True)
    wanted = {"params": state.params, "optimizer": state.optimizer, "ema": state.ema}
    items, position = checkpoints.restore(step, wanted)
    checkpoints.close()
    return {"step": step, "position": position, **items}


RECIPE = """
from ml_collections import ConfigDict
def get_config():
    return ConfigDict({values!r})
"""


class Command:
    """`train.py` in a folder."""

    def __init__(self, run, recipe, folder, **environment):
        recipe.write_text(RECIPE.format(values=config.as_dict(run)))
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache/jax"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        self.options = {"cwd": ROOT, "env": {**os.environ, **cache, **environment}, "text": True}
        self.arguments = [sys.executable, "train.py", f"--config={recipe}", f"--workdir={folder}"]

    def whole(self):
        done = subprocess.run(self.arguments, capture_output=True, **self.options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, pattern, number):
        """Sends a signal as soon as a line is printed; exit status, later output, seconds that it took."""
        process = subprocess.Popen(
            self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **self.options
        )
        for line in process.stdout:
            if re.match(pattern, line):
                break
        process.send_signal(number)
        begun = time.monotonic()
        process.wait()
        seconds = time.monotonic() - begun
        with contextlib.suppress(ProcessLookupError):  # workers of one that could not end them hold its pipes
            os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, process.communicate()[0], seconds
