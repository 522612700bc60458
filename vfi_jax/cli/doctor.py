"""Whether a machine has what the project needs, as rows of a table."""

from __future__ import annotations

from pathlib import Path

import av
import jax
import jax.numpy as jnp
import numpy as np

from vfi_jax import weights
from vfi_jax.benchmarks import BENCHMARKS
from vfi_jax.errors import UserError
from vfi_jax.models import MODELS
from vfi_jax.system import machine
from vfi_jax.video.encode import CONTAINERS

SIDE = 256  # of the product that every device is tried with
WELL, BAD = "ok", "BAD"


def examine(data: Path | None) -> tuple[list[tuple[str, str]], list[str]]:
    """What there is, by name, and what is wrong, in words.

    Args:
      data: the folder that holds benchmark sets, if there is one to look at.
    """
    found, wrong = machine.environment(), []
    for device in jax.local_devices():
        fine = _computes(device)
        found[f"{device}"] = WELL if fine else BAD
        if not fine:
            wrong.append(f"{device} multiplies wrongly")
    for name, encoder in {kind.codec: kind for _, kind in CONTAINERS.values()}.items():
        there = name in av.codecs_available
        found[f"encoder {name}"] = WELL if there else BAD
        if not there:
            files = ", ".join(suffix for suffix, (_, kind) in CONTAINERS.items() if kind == encoder)
            wrong.append(f"FFmpeg has no {name}, which {files} need: pip install av")
    installed = [name for name in MODELS if weights.path_of(name).exists()]
    found["weights"] = f"{weights.folder()}: {', '.join(installed) or 'none installed'}"
    if data is not None:
        found |= _sets(data, wrong)
    return list(found.items()), wrong


def _computes(device: jax.Device) -> bool:
    """Whether a matrix product comes out as on the host; bfloat16 products, which TPUs make, are near enough."""
    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    product = np.asarray(jnp.dot(*jax.device_put((values, values), device)))
    wanted = values.astype(np.float64) @ values
    return bool(np.abs(product - wanted).max() < 0.02 * np.abs(wanted).max())


def _sets(data: Path, wrong: list[str]) -> dict[str, str]:
    if not data.is_dir():
        wrong.append(f"{data}: no such folder")
        return {}
    found = {}
    for name, benchmark in BENCHMARKS.items():
        try:
            found[f"data {name}"] = f"{len(benchmark.find(data))} samples"
        except UserError as error:
            found[f"data {name}"] = f"not there: {error}"
    return found
