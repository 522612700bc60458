"""Bandwidth and throughput on a GPU: `python results/gpu.py [MODEL...]`, with jax for CUDA. Writes `gpu.csv`.

Bandwidth of a copy of 1 GB (read and written once) and of the warp (image, flow and result count once each). Seconds of
the forward pass and the training step of models on 8 crops as large as in their recipes, in both precisions, and the
fraction of the device's dense bfloat16 peak that their multiply-adds reach. `vfi-jax compare --device cuda --precision
bfloat16 --backward` compares with PyTorch. It also runs without a GPU, then without fractions.
"""

import csv
import datetime
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tpu_compile

from vfi_jax.config import Optimizer
from vfi_jax.models import MODELS, registry
from vfi_jax.nn.precision import PRECISIONS
from vfi_jax.ops import warp
from vfi_jax.system import flops, machine, sharding
from vfi_jax.training import state
from vfi_jax.training.optimizer import make_optimizer
from vfi_jax.training.step import make_step

NAMES = ("rife", "rife_v4_25", "rife_lap", "rife_lap_s", "ifrnet_s", "ifrnet", "ifrnet_l", "cain", "dbvi_2x")
MEASURED = ("float32", "bfloat16")
COPIED = 2**27  # float32s
WARPED = (8, 720, 1280)
CHANNELS = (3, 16, 64)
BATCH, RUNS = 8, 5
QUEUED = 10  # calls in flight at once, as in a training loop
STEP_OVER_FORWARD = 3  # multiply-adds of a training step over those of the forward pass


def main() -> None:
    """Measures, and writes each row at once."""
    environment, command = machine.environment(), " ".join(["python results/gpu.py", *sys.argv[1:]])
    with (Path(__file__).parent / "gpu.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("what", "precision", "seconds", "GB/s", "share of the copy", "TFLOP/s", "share of the peak"))
        for row in itertools.chain(bandwidths(), *map(speeds, sys.argv[1:] or NAMES)):
            rows.writerow([f"{cell:.4g}" if isinstance(cell, float) else cell for cell in row])
            file.flush()
        rows.writerow((f"{datetime.date.today()}; jax {environment['jax']}; {environment['devices']}; {command}",))


def bandwidths() -> Iterator[tuple[Any, ...]]:
    """Measures the copy, and warps and their gradients."""
    rng = np.random.default_rng(0)
    copied = timed(jax.jit(lambda a: a + 1), jnp.zeros(COPIED, jnp.float32))
    best = 8 * COPIED / copied / 1e9
    yield "copy", "float32", copied, best, 1.0
    flow = jnp.asarray(rng.normal(0, 8, (*WARPED, 2)), jnp.float32)
    for channels in CHANNELS:
        image = jnp.asarray(rng.random((*WARPED, channels), np.float32))
        forward = timed(jax.jit(warp), image, flow)
        backward = timed(jax.jit(lambda image, flow: jax.vjp(warp, image, flow)[1](image)), image, flow)
        for what, seconds, size in (
            ("warp", forward, 2 * image.nbytes + flow.nbytes),
            ("gradients", backward, 3 * image.nbytes + 2 * flow.nbytes),  # the gradients of image and flow are written
        ):
            reached = size / seconds / 1e9
            yield f"{what}, {channels} channels", "float32", seconds, reached, reached / best


def speeds(name: str) -> Iterator[tuple[Any, ...]]:
    """Measures the forward pass and the training step of a model."""
    side = tpu_compile.recipe(name)[0]
    batch = batch_of(name, BATCH, side)
    peak = machine.peak_of(jax.devices()[0].device_kind)
    for label in MEASURED:
        precision = PRECISIONS[label]
        model, variables = registry.create(name, dtype=precision.dtype)

        def forward(variables: Any, frames: Any, model: Any = model, precision: Any = precision) -> Any:
            with precision.scope():
                return model.apply(variables, frames.astype(jnp.float32) / 255, 0.5).frame

        products = flops.multiply_adds(forward, variables, batch["frames"])
        for what, seconds, times in (
            ("forward", timed(jax.jit(forward), variables, batch["frames"]), 1),
            ("train", timed(stepped(name, model, variables, precision, batch)), STEP_OVER_FORWARD),
        ):
            reached = 2 * times * products / seconds
            share = reached / peak if peak else ""
            yield f"{name}, {what}, {BATCH} x {side}x{side}", label, seconds, "", "", reached / 1e12, share


def batch_of(name: str, size: int, side: int) -> dict[str, Any]:
    """Returns a batch for a model's training step, of random frames."""
    shapes, rng = tpu_compile.batch_shapes(name, size, side), np.random.default_rng(0)
    batch = jax.tree.map(lambda shape: np.ones(shape.shape, shape.dtype), shapes)
    return batch | {what: rng.integers(0, 256, batch[what].shape, np.uint8) for what in ("frames", "target")}


def step_of(name: str, model: Any, variables: Any, precision: Any) -> tuple[Callable[..., Any], Callable[[], Any]]:
    """Returns a training step, and a function that makes the initial state."""
    spec, transform = MODELS[name], make_optimizer(Optimizer(rate=1e-4), 1000, 100)
    chosen = {"loss_config": spec.loss_config, "extra_losses": {}, "ema": 0.998, "seed": 0}
    step = make_step(spec, model, transform, sharding.data_mesh(), precision=precision, **chosen)
    return step, lambda: sharding.replicate(state.init_state(variables, transform, ema=True))


def stepped(name: str, model: Any, variables: Any, precision: Any, batch: dict[str, Any]) -> Callable[[], Any]:
    """Returns a function that does a training step from the last state on."""
    step, begin = step_of(name, model, variables, precision)
    batch, held = sharding.shard_batch(batch, sharding.data_mesh()), [begin()]

    def once() -> Any:
        held[0], metrics = step(held[0], batch)
        return metrics

    return once


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the median seconds per call, with several calls in flight."""
    jax.block_until_ready(function(*arguments))
    taken = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        jax.block_until_ready([function(*arguments) for _ in range(QUEUED)])
        taken.append((time.perf_counter() - begun) / QUEUED)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
