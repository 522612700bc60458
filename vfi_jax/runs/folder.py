"""A run's folder: `config.json`, `environment.txt`, `checkpoints/STEP/`, and what `log` writes."""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vfi_jax import config
from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs.checkpoints import CHECKPOINTS, Checkpoints
from vfi_jax.system import distributed, machine
from vfi_jax.system.files import AnyPath, written_whole

CONFIG, ENVIRONMENT = "config.json", "environment.txt"
CURVES = "curves.png"
FROZEN_FILE = "frozen.safetensors"
RESUMABLE = (  # fields of the recipe that a resumed run may change
    "steps",
    "epochs",
    "log_every",
    "checkpoint_every",
    "validate_every",
    "validation_samples",
    "tensorboard",
    "guard",
    "accumulate",
)


def is_run(path: AnyPath) -> bool:
    """Whether a folder is a run's."""
    return (path / CONFIG).is_file()


def has_checkpoint(folder: AnyPath) -> bool:
    """Whether a run has saved a step."""
    return any((folder / CHECKPOINTS).glob("[0-9]*"))


def frozen_path(folder: AnyPath) -> AnyPath:
    """Returns the file in a run's folder that holds the weights of the model's frozen flow network."""
    return folder / FROZEN_FILE


def read_config(folder: AnyPath) -> config.Train:
    """Reads the recipe of a run.

    Raises:
      UserError: it is missing or damaged.
    """
    if not is_run(folder):
        raise UserError(f"{folder} is a folder, but not that of a run: name a weights file in it")
    try:
        return config.parse(config.Train, json.loads((folder / CONFIG).read_text()), str(folder / CONFIG))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} is damaged: {error}") from None


def open_run(folder: AnyPath, wanted: config.Train) -> None:
    """Makes the folder of a run, or checks that it belongs to the same run; without a checkpoint the recipe may change.

    Raises:
      UsageError: it holds a run with another recipe; the message names a field that differs.
      UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{jax.process_index()}.{os.getpid()}.probe"
        probe.write_text("")
        probe.unlink()
    except Exception as error:  # packages of object stores have exceptions of their own
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{folder} cannot be written: {why}; choose another --workdir") from None
    text = json.dumps(config.as_dict(wanted), indent=2)
    if is_run(folder) and has_checkpoint(folder):
        before, now = config.as_dict(read_config(folder)), json.loads(text)
        differing = [
            name for name in now if now[name] != json.loads(json.dumps(before[name])) and name not in RESUMABLE
        ]
        if differing:
            name = differing[0]
            raise UsageError(
                f"{folder} holds a run with another config ({name}: {_brief(before[name])}, now {_brief(now[name])}): "
                "choose another --workdir"
            )
    distributed.barrier("configs are compared")
    if distributed.is_main():
        for name, content in ((CONFIG, text), (ENVIRONMENT, machine.as_text(machine.environment()))):
            with written_whole(folder / name) as partial:
                partial.write_text(content)
    distributed.barrier("the config is written")


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."


def read_params(
    folder: AnyPath, step: int | str | None, like: Any, warn: Callable[[str], None] | None = None
) -> tuple[Any, dict[str, Any]]:
    """Reads the parameters of a run as NumPy arrays, the averaged ones where there are some.

    Args:
      folder: of the run.
      step: a number, "newest", or "best" by validation, which None stands for; the newest where none was validated.
        A damaged step is replaced by the newest good one, unless it was given by its number.
      like: the tree of the parameters, for their shapes.
      warn: prints a line about a damaged step; None: to standard error.

    Returns:
      The parameters, and the fields of the model that go with them.

    Raises:
      UserError: there is no such step, nothing is saved, or the step or all of them are damaged.
    """
    if not (folder / CHECKPOINTS).is_dir():
        raise UserError(f"{folder} has no checkpoint yet")
    warn = warn or functools.partial(print, file=sys.stderr)
    checkpoints = Checkpoints(folder)
    try:
        first = checkpoints.chosen(step)
        others = [] if isinstance(step, int) else [other for other in reversed(checkpoints.steps()) if other != first]
        for chosen, following in itertools.pairwise([first, *others, None]):
            name = "ema" if (folder / CHECKPOINTS / str(chosen) / "ema").is_dir() else "params"
            try:
                items, position = checkpoints.restore(chosen, {name: like})
                break
            except UserError as error:
                if following is None:
                    raise
                warn(f"warning: {error}; trying step {following} instead")
        return jax.tree.map(np.asarray, items[name]), position["model"]
    finally:
        checkpoints.close()
