"""Speed and memory of a model, measured in a process of its own: `python -m vfi_jax.evaluation.speed REQUEST`."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from vfi_jax import errors
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation.evaluate import load_model
from vfi_jax.inference import MIDPOINT, Interpolator, flip_ensemble
from vfi_jax.ops import pad
from vfi_jax.system import aborts, flops, machine, strict_json

WARMUP_RUNS = 1
MIN_RUNS, MIN_SECONDS = 3, 3.0  # of timing
MODEL_OPTIONS = ("weights", "frozen", "step", "precision", "tta")


def measure(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measures a model in a subprocess, so that peak memory is the model's alone.

    Args:
      request: `given`, and the options of `load_model`; `size`, such as "1280x720"; `batch_size`.

    Returns:
      `size`; `seconds` per frame at batch size 1 (median); `fps` at the batch size; `peak_gb`: 10^9 bytes, of the
      process on a CPU (Python and compilation included), of the device elsewhere; `gmac`: 10^9 multiply-adds per frame;
      `params_m`: 10^6 parameters; `device`.

    Raises:
      UserError: the process failed; with the last line of its stderr.
    """
    command = [sys.executable, "-m", "vfi_jax.evaluation.speed", strict_json.dumps(dict(request))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["killed"])[-1].removeprefix("speed: ")
        raise UserError(f"speed of {request['given']}: {reason}")
    return strict_json.parse_object(done.stdout.splitlines()[-1])


def measure_here(request: Mapping[str, Any]) -> dict[str, Any]:
    """Measures a model in this process; see `measure`."""
    width, height = parse_size(request["size"])
    batch = request["batch_size"]
    one = load_model(request["given"], **{name: request[name] for name in MODEL_OPTIONS if name in request})
    model = flip_ensemble(one.model) if one.tta else one.model
    interpolate = Interpolator(model, one.variables, precision=one.precision)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (interpolate.spec.num_frames, 1, height, width, 3), np.uint8)
    seconds = _median_seconds(interpolate, frames)
    memory = machine.peak_memory()
    fps = batch / (_median_seconds(interpolate, frames.repeat(batch, 1)) if batch > 1 else seconds)
    shape = np.moveaxis(pad(frames, interpolate.spec.padding, getattr(model, "scale", 1.0)), 0, 1).shape
    times = np.full((1, 1, 1, 1), MIDPOINT, np.float32)
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


def parse_size(text: str) -> tuple[int, int]:
    """Reads `WIDTHxHEIGHT`.

    Raises:
      UsageError: anything else.
    """
    if not re.fullmatch("[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise UsageError(f"size {text[:50]!r} must read WIDTHxHEIGHT, such as 1280x720")
    width, _, height = text.partition("x")
    return int(width), int(height)


def _median_seconds(interpolate: Interpolator, frames: UInt8[np.ndarray, "n b h w 3"]) -> float:
    """Median time of a call; frames are numpy arrays, so that a call ends when its result is on the host."""
    for _ in range(WARMUP_RUNS):
        interpolate(*frames)
    taken: list[float] = []
    while len(taken) < MIN_RUNS or sum(taken) < MIN_SECONDS:
        start = time.perf_counter()
        interpolate(*frames)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


if __name__ == "__main__":
    aborts.catch("speed")
    try:
        print(strict_json.dumps(measure_here(strict_json.parse_object(sys.argv[1]))))
    except errors.ANY as error:
        sys.exit(errors.report("speed", error))
