"""A run's folder: `config.json`, `checkpoints/STEP/`, `metrics.jsonl`, `curves.png`, `samples/`."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import UInt8
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from vfi_jax import config
from vfi_jax.files import written_whole
from vfi_jax.picture import save_png
from vfi_jax.types import UsageError, UserError

CONFIG, CHECKPOINTS, METRICS, SAMPLES = "config.json", "checkpoints", "metrics.jsonl", "samples"
HELPERS = "frozen.safetensors"
KEPT = 2  # newest steps
RESUMABLE = ("steps", "epochs", "log_every", "checkpoint_every", "validate_every", "validation_samples", "tensorboard")


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    return (path / CONFIG).is_file()


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has saved a step."""
    return any((folder / CHECKPOINTS).glob("[0-9]*"))


def helpers_of(folder: Path) -> Path:
    """Where a run keeps the weights of its model's frozen helpers, if it has any."""
    return folder / HELPERS


def read_config(folder: Path) -> config.Train:
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


def open_run(folder: Path, wanted: config.Train) -> None:
    """Makes the folder of a run, or checks that the one there is of the same run; one without a checkpoint may change.

    Raises:
      UsageError: it holds a run with another config; says what differs.
      UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}; choose another --workdir") from None
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
    with written_whole(folder / CONFIG) as partial:
        partial.write_text(text)


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."


class Checkpoints:
    """The saved steps of a run: the two newest, and the one with the best validation score.

    A step holds `params`, `ema` where it is kept, `optimiser`, and `position` (step and place in the data).
    """

    def __init__(self, folder: Path) -> None:
        newest = LatestN(KEPT)
        best = BestN(get_metric_fn=lambda scores: scores["psnr"], n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            best_fn=lambda scores: scores["psnr"],
            preservation_policy=AnyPreservationPolicy([newest, best]),
            cleanup_tmp_directories=False,
        )
        self._folder = folder / CHECKPOINTS
        _drop_empty_steps(self._folder)
        self._manager = ocp.CheckpointManager(self._folder.resolve(), options=options)

    def steps(self) -> list[int]:
        """Saved steps, rising."""
        return sorted(self._manager.all_steps())

    def chosen(self, step: int | str | None) -> int:
        """The number of a step: itself, that of the "best" by validation, or the newest for None.

        Raises:
          UserError: there is none.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self._folder.parent} has no checkpoint yet")
        best = self._manager.best_step()
        found = {None: steps[-1], "best": steps[-1] if best is None else best}.get(step, step)
        if found not in steps:
            raise UserError(f"{self._folder.parent} has no step {found}; it has: {', '.join(map(str, steps))}")
        return int(found)

    def save(self, step: int, items: Mapping[str, Any], position: Mapping[str, Any], psnr: float | None) -> None:
        """Saves in the background; `psnr` is the validation score, where there is one.

        Raises:
          UserError: the disk is full or the folder cannot be written.
        """
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items))
        free = shutil.disk_usage(self._folder.parent).free
        # Orbax fails in the background, in many words: better not to begin.
        if free < needed:
            raise UserError(
                f"{self._folder} cannot be written: the disk is full ({free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB "
                "needed): free some space and run the same command again; what was saved stays"
            )
        parts = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        args = ocp.args.Composite(**parts, position=ocp.args.JsonSave(dict(position)))
        with self._told():
            saved = self._manager.save(step, args=args, metrics=None if psnr is None else {"psnr": psnr})
        if not saved:
            raise UserError(f"{self._folder} took no step {step}: is another run writing there?")

    def restore(self, step: int, items: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Items as they are in `items` (arrays or `ShapeDtypeStruct`s with shardings), and the position.

        Raises:
          UserError: the step is damaged or of another model.
        """
        like = {name: ocp.args.StandardRestore(jax.tree.map(_abstract, item)) for name, item in items.items()}
        try:
            found = self._manager.restore(step, args=ocp.args.Composite(**like, position=ocp.args.JsonRestore()))
        except Exception as error:  # damaged data is a plain Exception to Orbax
            line = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(f"{self._folder / str(step)} cannot be restored: {line}") from None
        return {name: found[name] for name in items}, found["position"]

    def close(self) -> None:
        """Waits until what is being saved is on the disk, and lets go of the folder.

        Raises:
          UserError: see `save`.
        """
        with self._told():
            self._manager.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What Orbax says in many words, of this step or of the one before, in one line."""
        try:
            yield
        except (OSError, ValueError) as error:
            full = "No space left" in str(error)
            why = "the disk is full: free some space and" if full else f"{str(error).splitlines()[0][:200]};"
            raise UserError(
                f"{self._folder} cannot be written: {why} run the same command again; what was saved stays"
            ) from None


def _drop_empty_steps(folder: Path) -> None:
    """Takes away what a crash may leave: Orbax would count it as the newest step and save nothing before it."""
    for step in folder.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # not empty
            step.rmdir()


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf


def read_params(folder: Path, step: int | str | None, like: Any) -> tuple[Any, dict[str, Any]]:
    """Parameters of a run as NumPy arrays, the averaged ones where they were kept, and the model's fields they imply.

    Args:
      folder: of the run.
      step: a number, "best" (by validation), or None: the newest.
      like: the parameters' tree, for their shapes.

    Raises:
      UserError: no such step, nothing saved yet, damaged.
    """
    if not (folder / CHECKPOINTS).is_dir():
        raise UserError(f"{folder} has no checkpoint yet")
    checkpoints = Checkpoints(folder)
    try:
        chosen = checkpoints.chosen(step)
        name = "ema" if (folder / CHECKPOINTS / str(chosen) / "ema").is_dir() else "params"
        items, position = checkpoints.restore(chosen, {name: like})
        return jax.tree.map(np.asarray, items[name]), position.get("model", {})
    finally:
        checkpoints.close()


class Log:
    """`metrics.jsonl`: one row a line, each with `step`; on resuming, rows after the restored step are taken off."""

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = False) -> None:
        self._folder = folder
        self._board = _tensorboard(folder) if tensorboard else None
        self._path = folder / METRICS
        rows = [row for row in read_log(folder) if row["step"] <= step] if self._path.exists() else []
        with written_whole(self._path) as partial:
            partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._file = self._path.open("a")

    def write(self, row: Mapping[str, Any]) -> None:
        """Appends a row and flushes it.

        Raises:
          UserError: the disk is full.
        """
        try:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror}") from None
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(name, value, row["step"])

    def picture(self, step: int, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Keeps a sheet of samples as `samples/STEP.png`."""
        folder = self._folder / SAMPLES
        folder.mkdir(exist_ok=True)
        save_png(folder / f"{step:07d}.png", image)
        if self._board:
            self._board.add_image("samples", image, step, dataformats="HWC")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        if self._board:
            self._board.close()


def _tensorboard(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("tensorboard needs tensorboardX: pip install 'vfi_jax[logging]', or leave it off") from None
    return SummaryWriter(str(folder / "tensorboard"))


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log; a half-written last line is left out."""
    rows = []
    for line in (folder / METRICS).read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows
