"""A run's folder: `config.json`, `environment.txt`, `checkpoints/STEP/`, `metrics.jsonl`, `curves.png`, `samples/`."""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from vfi_jax import config
from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs.checkpoints import CHECKPOINTS, Checkpoints
from vfi_jax.system import distributed, machine
from vfi_jax.system.files import AnyPath, is_remote, upload, written_whole
from vfi_jax.viz.sheets import save_png

CONFIG, ENVIRONMENT, METRICS, SAMPLES = "config.json", "environment.txt", "metrics.jsonl", "samples"
CURVES = "curves.png"
FROZEN_FILE = "frozen.safetensors"
SENT_EVERY = 30  # seconds, to an object store, which takes no more than a write of one object a second
RESUMABLE = (
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
    """Whether a folder is that of a run."""
    return (path / CONFIG).is_file()


def has_checkpoint(folder: AnyPath) -> bool:
    """Whether a run has saved a step."""
    return any((folder / CHECKPOINTS).glob("[0-9]*"))


def frozen_path(folder: AnyPath) -> AnyPath:
    """Where a run keeps the weights of its model's frozen flow networks, if it has any."""
    return folder / FROZEN_FILE


def read_config(folder: AnyPath) -> config.Train:
    """The config that a run was started with.

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
    """Makes the folder of a run, or checks that the one there is of the same run; one without a checkpoint may change.

    Raises:
      UsageError: it holds a run with another config; says what differs.
      UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{jax.process_index()}.{os.getpid()}.probe"
        probe.write_text("")
        probe.unlink()
    except Exception as error:  # an object store's package has kinds of its own
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
    """Parameters of a run as NumPy arrays, the averaged ones where they were kept, and the model's fields they imply.

    Args:
      folder: of the run.
      step: a number, "best" (by validation), or None: the newest.
      like: the parameters' tree, for their shapes.
      warn: told of a damaged step, in whose place the newest good one is used; by default standard error is.

    Raises:
      UserError: no such step, nothing saved yet; the step of that number is damaged, or all are.
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
                warn(f"warning: {error}; trying step {following} in its place")
        return jax.tree.map(np.asarray, items[name]), position.get("model", {})
    finally:
        checkpoints.close()


class Log:
    """`metrics.jsonl`: one row a line, each with `step`; on resuming, rows after the restored step are taken off."""

    def __init__(self, folder: AnyPath, step: int, *, tensorboard: bool = False) -> None:
        self._folder = folder
        self._board = _tensorboard(folder) if tensorboard else None
        self._path = folder / METRICS
        rows = [row for row in read_log(folder) if _stays(row, step)] if self._path.exists() else []
        with written_whole(self._path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._begun = time.monotonic()
        self._copy = None
        if is_remote(self._path):  # objects do not grow: the file does, elsewhere, and is sent now and then
            self._copy = tempfile.NamedTemporaryFile("w", suffix=METRICS)  # noqa: SIM115
            self._copy.write(self._path.read_text())
        self._file = self._copy or self._path.open("a")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row and flushes it.

        Raises:
          UserError: the disk is full; the next call tries again to write what is left of it.
        """
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None
        if time.monotonic() - self._begun > SENT_EVERY:
            self.flush()
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        """Makes sure that every row so far is where the run is.

        Raises:
          UserError: an object store does not take it.
        """
        self._begun = time.monotonic()
        if self._copy:
            self._copy.flush()
            upload(Path(self._copy.name), self._path)

    def picture(self, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keeps a sheet of samples as `samples/STEP.png`."""
        folder = self._folder / SAMPLES
        folder.mkdir(exist_ok=True)
        save_png(folder / f"{step:07d}.png", image)
        if self._board:
            self._board.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        """Closes the file.

        Raises:
          UserError: the disk is full.
        """
        try:
            self.flush()
            self._file.close()
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None
        if self._board:
            self._board.close()


def _stays(row: Mapping[str, Any], step: int) -> bool:
    """Whether a row is of what led to the step; a rollback to it is of what came after."""
    return row["step"] < step or (row["step"] == step and "rollback" not in row)


def _tensorboard(folder: AnyPath) -> Any:
    if is_remote(folder):
        raise UsageError("config.tensorboard: its files can only be in a local --workdir")
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("tensorboard needs tensorboardX: pip install 'vfi_jax[logging]', or leave it off") from None
    return SummaryWriter(str(folder / "tensorboard"))


def read_log(folder: AnyPath) -> list[dict[str, Any]]:
    """The rows of a run's log; a half-written last line is left out."""
    rows = []
    for line in (folder / METRICS).read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
