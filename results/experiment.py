"""Parts that small experiments of training share: recipes, figures kept between calls, and files of rows."""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vfi_jax import __version__, config
from vfi_jax.config import NO_AUGMENTATION
from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole
from vfi_jax.system.machine import processor
from vfi_jax.training import fit

Rows = list[dict[str, Any]]


def recipe(*, steps: int, rate: float, crop: int, data: Mapping[str, Any], **values: Any) -> config.Train:
    """The recipe of a short run on batches of eight crops, with all reversals.

    Args:
      steps: of the run.
      rate: first learning rate; the last is a fiftieth of it.
      crop: side, pixels.
      data: further fields of `data`.
      **values: further fields of the recipe.
    """
    defaults = {
        "steps": steps, "batch_size": 8, "log_every": 100, "checkpoint_every": 200, "validate_every": steps,
        "validate_at_start": False,
        "data": {
            "augment": {
                **NO_AUGMENTATION, "crop": crop, "reverse_channels": 0.5, "flip_rows": 0.5, "flip_columns": 0.5,
                "transpose": 0.5, "reverse_time": 0.5,
            },
        },
        "optimizer": {
            "rate": rate, "final_rate": 0.02 * rate, "warmup": 50, "weight_decay": 1e-6, "clip_norm": 0.1,
        },
    }  # fmt: skip
    return config.parse(config.Train, config.merged(defaults, {"data": data}, values))


def train(run: config.Train, folder: Path) -> None:
    """Trains a run, or what is left of it; ends this process if it was stopped before the last step."""
    fit.fit(run, folder)
    newest = max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())
    if newest < run.steps:
        sys.exit(f"stopped at step {newest} of {run.steps} of {folder.name}: the same command continues")


def about(command: str) -> dict[str, str]:
    """When, how and with what figures are measured: columns of every row."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": f"vfi_jax {__version__}, jax {jax.__version__}",
        "machine": f"{processor()} ({os.cpu_count()} cores), Python {platform.python_version()}",
        "command": command,
    }


def kept(file: Path, measure: Callable[[], Rows]) -> Rows:
    """Returns the rows in a file; if there is none, measures them and writes it."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = measure()
        with written_whole(file) as partial:
            partial.write_text(strict_json.dumps(rows))
    return json.loads(file.read_text())


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV whose columns are the names in the first row."""
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
