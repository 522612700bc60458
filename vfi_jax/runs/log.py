"""A run's log: `metrics.jsonl`, the sample sheets beside it, and TensorBoard's files."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
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
WANDB_ID = "wandb_id.txt"  # in a run's folder
UPLOAD_EVERY = 30  # seconds; object stores take at most one write of an object per second


class Log:
    """`metrics.jsonl`, one row per line, each with `step`. On resuming, rows after the restored step are removed."""

    def __init__(
        self,
        folder: AnyPath,
        step: int,
        *,
        tensorboard: bool = False,
        wandb: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> None:
        """Opens the log of a run's folder and removes the rows after `step`.

        Args:
          folder: of the run.
          step: the last one whose rows stay; below 0 none do.
          tensorboard: whether to write TensorBoard files as well.
          wandb: project of Weights & Biases to log to as well; "": none.
          config: of the run, for Weights & Biases.

        Raises:
          UsageError: TensorBoard files in an object store.
          UserError: tensorboardX or wandb is not installed, or wandb does not start.
        """
        self._folder = folder
        self._boards: list[Any] = [_TensorBoard(folder)] if tensorboard else []
        if wandb:
            self._boards.append(_Wandb(folder, wandb, config or {}, fresh=step < 0))
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
        for board in self._boards:
            board.write(row)

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
        for board in self._boards:
            board.picture(step, image)

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
        for board in self._boards:
            board.close()


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


class _TensorBoard:
    """TensorBoard's files in a run's folder."""

    def __init__(self, folder: AnyPath) -> None:
        if is_remote(folder):
            raise UsageError("--config.tensorboard writes files only to a local --workdir")
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UserError("tensorboard needs tensorboardX: pip install 'vfi_jax[logging]', or turn it off") from None
        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, row["step"])

    def picture(self, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        self._writer.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases, which a run that is continued continues; rows of steps that it has are left out."""

    def __init__(self, folder: AnyPath, project: str, config: Mapping[str, Any], *, fresh: bool) -> None:
        try:
            import wandb
        except ImportError:
            raise UserError("--config.wandb needs wandb: pip install 'vfi_jax[logging]', or leave it empty") from None
        self._image, name = wandb.Image, folder / WANDB_ID
        if fresh or not name.exists():
            name.write_text(uuid.uuid4().hex)
        options = {} if is_remote(folder) else {"dir": str(folder)}
        with _one_line():
            self._run = wandb.init(
                project=project, name=folder.name, id=name.read_text(), resume="allow", config=dict(config), **options
            )

    def write(self, row: Mapping[str, Any]) -> None:
        with _one_line():
            self._run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def picture(self, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        with _one_line():
            self._run.log({"samples": self._image(image)}, step=step)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # of the network; wandb keeps what it has not sent
            self._run.finish()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Re-raises what wandb raises, which has exceptions of its own and those of the network, as a UserError."""
    try:
        yield
    except Exception as error:
        raise UserError(f"wandb: {(str(error).splitlines() or [type(error).__name__])[0]}") from None
