"""A run's log: `metrics.jsonl`, the sample sheets beside it, and TensorBoard's files."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import strict_json
from vfi_jax.system.files import AnyPath, is_remote, upload, written_whole
from vfi_jax.viz.sheets import save_png

METRICS, SAMPLES = "metrics.jsonl", "samples"
MAX_NUMBER = 1e300  # beyond which plots overflow
UPLOAD_EVERY = 30  # seconds; object stores take at most one write of an object per second


class Log:
    """`metrics.jsonl`, one row per line, each with `step`. On resuming, rows after the restored step are removed."""

    def __init__(self, folder: AnyPath, step: int, *, tensorboard: bool = False) -> None:
        """Opens the log of a run's folder and removes the rows after `step`.

        Raises:
          UsageError: TensorBoard files in an object store.
          UserError: tensorboardX is not installed.
        """
        self._folder = folder
        self._board = _tensorboard(folder) if tensorboard else None
        self._path = folder / METRICS
        rows = [row for row in read_log(folder) if _belongs(row, step)] if self._path.is_file() else []
        with written_whole(self._path) as partial:
            partial.write_text("".join(strict_json.dumps(row) + "\n" for row in rows))
        self._uploaded = time.monotonic()
        self._copy = None
        if is_remote(self._path):  # objects cannot be appended to: a local file is, and uploaded now and then
            self._copy = tempfile.NamedTemporaryFile("w", suffix=METRICS)  # noqa: SIM115
            self._copy.write(self._path.read_text())
        self._file = self._copy or self._path.open("a")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row and flushes it.

        Raises:
          UserError: the disk is full; the next call tries again to write the rest.
        """
        try:
            self._file.write(strict_json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None
        if time.monotonic() - self._uploaded > UPLOAD_EVERY:
            self.flush()
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        """Makes sure that all rows are in the run's folder.

        Raises:
          UserError: an object store refuses them.
        """
        self._uploaded = time.monotonic()
        if self._copy:
            self._copy.flush()
            upload(Path(self._copy.name), self._path)

    def picture(self, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Writes a sheet of samples, `samples/STEP.png`."""
        folder = self._folder / SAMPLES
        folder.mkdir(exist_ok=True)
        save_png(folder / f"{step:07d}.png", image)
        if self._board:
            self._board.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        """Flushes and closes the file.

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


def read_log(folder: AnyPath) -> list[dict[str, Any]]:
    """Returns the rows of a run's log: names and finite numbers, `step` among them.

    Lines that are something else, such as a half-written last one, are left out, and so are values that are no numbers.
    """
    rows = (_row(line) for line in (folder / METRICS).read_bytes().splitlines())
    return [row for row in rows if row]


def _row(line: bytes) -> dict[str, Any]:
    """The row that a line holds; empty if it holds none."""
    try:
        content = json.loads(line.decode())
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict) or not _is_step(content.get("step")):
        return {}
    return {name: value for name, value in content.items() if _is_number(value)}


def _is_step(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < MAX_NUMBER  # false for NaN


def _belongs(row: Mapping[str, Any], step: int) -> bool:
    """Whether a row is part of the history of a step; a rollback to that step comes after it."""
    return row["step"] < step or (row["step"] == step and "rollback" not in row)


def _tensorboard(folder: AnyPath) -> Any:
    if is_remote(folder):
        raise UsageError("--config.tensorboard writes files only to a local --workdir")
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("tensorboard needs tensorboardX: pip install 'vfi_jax[logging]', or turn it off") from None
    return SummaryWriter(str(folder / "tensorboard"))
