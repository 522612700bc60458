"""Whether training steps have the same bits in every run: `python results/deterministic.py [MODEL]`, for GPUs.

For each set of XLA's flags two processes compile the step anew, and each takes the same steps twice. Told: seconds a
step, whether the repetition has the bits of the first time, whether the second process has those of the first, and the
parameters that differ after one step: those name the operation. The last set finds the choices of kernels that the
first left in a cache: XLA takes those before it looks at the flags.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import gpu
import jax
import numpy as np

from vfi_jax.models import registry
from vfi_jax.nn.precision import PRECISIONS
from vfi_jax.system import sharding

EXCLUDED = "--xla_gpu_deterministic_ops=true --xla_gpu_exclude_nondeterministic_ops=true"  # `train.py --deterministic`
CASES = (  # flags, and whether choices are kept from one process to the next
    ("", True),
    ("--xla_gpu_deterministic_ops=true", False),
    (EXCLUDED, False),
    (f"{EXCLUDED} --xla_gpu_enable_command_buffer=", False),
    (EXCLUDED, True),
)
MODEL, SIDE, STEPS = "rife_lap_s", 128, 5


def main(name: str) -> None:
    """A paragraph a set of flags."""
    with tempfile.TemporaryDirectory() as folder:
        for flags, kept in CASES:
            first, second = (_in_a_process(name, flags, folder if kept else "") for _ in range(2))
            print(f"{flags or 'no flags'}{', choices kept' if kept else ''}: {first['seconds']:.4f} s a step")
            print(f"  again in a process: {_told(*first['runs'])}")
            print(f"  in another process: {_told(first['runs'][0], second['runs'][0])}", flush=True)


def _told(one: list[dict[str, str]], other: list[dict[str, str]]) -> str:
    same = [a == b for a, b in zip(one, other, strict=True)]
    if all(same):
        return f"the same bits after {len(same)} steps"
    at = same.index(False)
    apart = [leaf for leaf in one[at] if one[at][leaf] != other[at][leaf]]
    return f"other bits in {len(apart)} of {len(one[at])} parameters after step {at + 1}: {', '.join(apart[:12])}"


def _in_a_process(name: str, flags: str, kept: str) -> dict[str, Any]:
    cache = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    if kept:  # choices, not whole programs
        cache = {"JAX_COMPILATION_CACHE_DIR": kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}
    environment = {**os.environ, "XLA_FLAGS": flags, **cache}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str) -> dict[str, Any]:
    """Hashes of the parameters after each step, of two runs; seconds of the later steps, the median."""
    step, begin = gpu.step_of(name, *registry.create(name), PRECISIONS["float32"])
    batch = sharding.shard_batch(gpu.batch_of(name, 8, SIDE), sharding.data_mesh())
    runs, seconds = [], []
    for _ in range(2):
        state, hashes = begin(), []
        for _ in range(STEPS):
            begun = time.perf_counter()
            state, metrics = step(state, batch)
            jax.block_until_ready(metrics)
            seconds.append(time.perf_counter() - begun)
            leaves = jax.tree.leaves_with_path(state.params)
            hashes.append(
                {jax.tree_util.keystr(path): hashlib.sha256(np.asarray(leaf)).hexdigest() for path, leaf in leaves}
            )
        runs.append(hashes)
    return {"seconds": statistics.median(seconds[1:]), "runs": runs}


if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(json.dumps(measure(sys.argv[-1])))
    else:
        main(sys.argv[1] if sys.argv[1:] else MODEL)
