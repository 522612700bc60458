"""What a model costs, measured in a process of its own: `python -m vfi_jax.evaluation.speed REQUEST` (JSON in, JSON out)."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.evaluation import evaluate as evaluate_
from vfi_jax.inference import Interpolator, flip_ensemble
from vfi_jax.ops import pad
from vfi_jax.system import flops, machine

WARM, LEAST, SECONDS = 1, 3, 3.0  # runs before, timed runs at least, seconds at least


def measured(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measures in a subprocess, so that the peak of memory is the model's own.

    Args:
      request: `given`, `weights`, `frozen`, `step`, `precision`, `tta` as in `evaluation.subject`; `size`, "1280x720"; and
        `batch_size`.

    Returns:
      `size`; `seconds` a frame at batch 1 (median); `fps` at the batch size; `peak_gb`: 10^9 bytes, of the process on a
      CPU (Python and compilation included), of the device elsewhere; `gmac`: 10^9 multiply-adds a frame; `params_m`:
      10^6 parameters.

    Raises:
      UserError: it failed; with the last line that it said.
    """
    command = [sys.executable, "-m", "vfi_jax.evaluation.speed", json.dumps(dict(request))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"speed of {request['given']}: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """The same in this process; see `measured`."""
    width, height = (int(side) for side in request["size"].split("x"))
    batch = request["batch_size"]
    wanted = ("given", "weights", "frozen", "step", "precision", "tta")
    given = {name: request[name] for name in wanted if name in request}
    one = evaluate_.subject(given.pop("given"), **given)
    model = flip_ensemble(one.model) if one.tta else one.model
    interpolate = Interpolator(model, one.variables, precision=one.precision)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (interpolate.spec.num_frames, 1, height, width, 3), np.uint8)
    with one.scope():
        seconds = _median(interpolate, frames)
        memory = machine.used()
        fps = batch / (_median(interpolate, frames.repeat(batch, 1)) if batch > 1 else seconds)
        shape = np.moveaxis(pad(frames, interpolate.spec.padding, getattr(model, "scale", 1.0)), 0, 1).shape
        times = np.full((1, 1, 1, 1), 0.5, np.float32)
        struct = jax.ShapeDtypeStruct(shape, np.float32)
        macs = flops.multiply_adds(lambda v, x: model.apply(v, x, times).frame, one.variables, struct)
    params = sum(leaf.size for leaf in jax.tree.leaves(one.variables))
    return {
        "size": request["size"],
        "seconds": seconds,
        "fps": fps,
        "peak_gb": memory.get("device_gb", memory.get("host_gb")),
        "gmac": macs / 1e9,
        "params_m": params / 1e6,
        "device": jax.devices()[0].device_kind,
    }


def _median(interpolate: Interpolator, frames: np.ndarray) -> float:
    for _ in range(WARM):
        interpolate(*frames)
    taken: list[float] = []
    while len(taken) < LEAST or sum(taken) < SECONDS:
        start = time.perf_counter()
        interpolate(*frames)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


if __name__ == "__main__":
    try:
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    except (UserError, OSError, MemoryError) as error:
        sys.exit(f"{error}")
