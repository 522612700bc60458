"""`vfi-jax doctor`: whether a machine has what the project needs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vfi_jax.cli import common
from vfi_jax.errors import UserError

if TYPE_CHECKING:
    import jax

SIDE = 256  # of the matrices that every device multiplies
TOLERANCE = 0.02  # of the largest product: bfloat16 products, which TPUs compute by default, pass


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `doctor` to the commands of the shell."""
    command = commands.add_parser("doctor", help="check whether this machine has what is needed")
    command.add_argument("--data", type=common.local_path, metavar="DIR", help="a folder of benchmark sets to look for")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Prints what the machine has.

    Raises:
      UserError: something is wrong.
    """
    from vfi_jax.system.markdown import markdown

    rows, problems = examine(options.data)
    print(markdown([("what", "found"), *rows]))
    if problems:
        raise UserError("; ".join(problems))


def examine(data: Path | None) -> tuple[list[tuple[str, str]], list[str]]:
    """Examines devices, encoders, weights and sets.

    Args:
      data: the folder that holds benchmark sets, if there is one to look at.

    Returns:
      Rows (what, state), and the problems in words.
    """
    import av
    import jax

    from vfi_jax.system import machine
    from vfi_jax.video.coding.encoders import CONTAINERS

    rows, problems = machine.environment(), []
    for device in jax.local_devices():
        correct = multiplies_correctly(device)
        rows[f"{device}"] = "ok" if correct else "BAD"
        if not correct:
            problems.append(f"{device} multiplies wrongly")
    for name in dict.fromkeys(container.encoder for container in CONTAINERS.values()):
        available = name in av.codecs_available
        rows[f"encoder {name}"] = "ok" if available else "BAD"
        if not available:
            files = ", ".join(suffix for suffix, container in CONTAINERS.items() if container.encoder == name)
            problems.append(f"FFmpeg has no {name}, which {files} need: pip install av")
    rows["weights"] = _weights()
    if data is not None and not data.is_dir():
        problems.append(f"{data}: no such folder")
    elif data is not None:
        rows |= _sets(data)
    return list(rows.items()), problems


def multiplies_correctly(device: jax.Device) -> bool:
    """Whether a matrix product on a device agrees with the host's."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    values = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    product = np.asarray(jnp.dot(*jax.device_put((values, values), device)))
    expected = values.astype(np.float64) @ values
    return bool(np.abs(product - expected).max() < TOLERANCE * np.abs(expected).max())


def _weights() -> str:
    from vfi_jax import weights
    from vfi_jax.models import MODELS

    try:
        installed = [name for name in MODELS if weights.path_of(name).exists()]
        return f"{weights.folder()}: {', '.join(installed) or 'none installed'}"
    except UserError as error:  # a user without a home; what is part of the package works
        return f"none installed: {error}"


def _sets(data: Path) -> dict[str, str]:
    from vfi_jax.benchmarks import BENCHMARKS

    rows = {}
    for name, benchmark in BENCHMARKS.items():
        try:
            rows[f"data {name}"] = f"{len(benchmark.find(data))} samples"
        except UserError as error:
            rows[f"data {name}"] = f"not there: {error}"
    return rows
