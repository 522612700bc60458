"""Bitwise reproducibility of training steps on GPUs: `python results/deterministic.py [MODEL]`.

For each set of XLA flags two processes compile the step anew, and each does the same steps twice. Prints the seconds
per step, whether a repetition in the same process and in the other process gives the same bits, and the parameters that
differ after the first step that does not, which point to the operation. In the last case XLA finds the choices of
kernels that the first case left in a cache; it uses them whatever the flags are.
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
CASES = (  # flags, and whether choices of kernels are cached between processes
    ("", True),
    ("--xla_gpu_deterministic_ops=true", False),
    (EXCLUDED, False),
    (f"{EXCLUDED} --xla_gpu_enable_command_buffer=", False),
    (EXCLUDED, True),
)
MODEL, SIDE, STEPS = "rife_lap_s", 128, 5


def main(name: str) -> None:
    """Prints a paragraph per set of flags."""
    with tempfile.TemporaryDirectory() as folder:
        for flags, kept in CASES:
            first, second = (_in_a_process(name, flags, folder if kept else "") for _ in range(2))
            print(f"{flags or 'no flags'}{', choices cached' if kept else ''}: {first['seconds']:.4f} s per step")
            print(f"  same process: {_comparison(*first['runs'])}")
            print(f"  other process: {_comparison(first['runs'][0], second['runs'][0])}", flush=True)


def _comparison(one: list[dict[str, str]], other: list[dict[str, str]]) -> str:
    same = [a == b for a, b in zip(one, other, strict=True)]
    if all(same):
        return f"same bits after {len(same)} steps"
    at = same.index(False)
    differing = [leaf for leaf in one[at] if one[at][leaf] != other[at][leaf]]
    names = ", ".join(differing[:12])
    return f"different bits in {len(differing)} of {len(one[at])} parameters after step {at + 1}: {names}"


def _in_a_process(name: str, flags: str, kept: str) -> dict[str, Any]:
    cache = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    if kept:  # the choices, not whole programs
        cache = {"JAX_COMPILATION_CACHE_DIR": kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}
    environment = {**os.environ, "XLA_FLAGS": flags, **cache}
    command = [sys.executable, __file__, "--measure", name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str) -> dict[str, Any]:
    """Returns hashes of the parameters after each step of two runs, and the median seconds of the later steps."""
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
