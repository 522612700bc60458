"""A run's folder: `config.json`, `environment.txt`, `checkpoints/STEP/`, and what `log` writes."""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from vfi_jax import config
from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs.checkpoints import CHECKPOINTS, Checkpoints, remove_unfinished
from vfi_jax.runs.log import METRICS, SAMPLES
from vfi_jax.runs.validations import VALIDATIONS
from vfi_jax.system import distributed, lock, machine, strict_json
from vfi_jax.system.files import AnyPath, remove_partials, written_whole

CONFIG, ENVIRONMENT = "config.json", "environment.txt"
CURVES = "curves.png"
FROZEN_FILE = "frozen.safetensors"
NAMED = 3  # differing fields that a message names
SETS = "sets.json"  # which sets and teacher the run learns from, by their content
RESUMABLE = (  # fields of the recipe that a resumed run may change: those that may differ between machines, and lengths
    "steps",
    "epochs",
    "log_every",
    "checkpoint_every",
    "keep_every",
    "validate_every",
    "validate_at_start",
    "validation_samples",
    "tensorboard",
    "wandb",
    "guard.*",
    "early_stopping.*",
    "accumulate",
    "data.path",
    "data.mix.*.path",
    "data.validation",
    "data.workers",
    "data.damaged",
    "frozen.*",
    "init_from.weights",
    "teacher.weights",
)


def is_run(path: AnyPath) -> bool:
    """Whether a folder is a run's."""
    return (path / CONFIG).is_file()


def has_checkpoint(folder: AnyPath) -> bool:
    """Whether a run has saved a step."""
    return any(path.name.isdecimal() for path in (folder / CHECKPOINTS).glob("[0-9]*"))


def frozen_path(folder: AnyPath) -> AnyPath:
    """Returns the file in a run's folder that holds the weights of the model's frozen flow network."""
    return folder / FROZEN_FILE


def read_config(folder: AnyPath) -> config.Train:
    """Reads the recipe of a run.

    Raises:
      UserError: it is missing, damaged, or has fields that this version does not know.
    """
    if not is_run(folder):
        raise UserError(f"{folder} is not the folder of a run: it holds no {CONFIG}")
    try:
        values = json.loads((folder / CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG} is damaged: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{folder / CONFIG} is damaged: it holds no fields")
    if unknown := config.unknown_fields(config.Train, values):
        raise UserError(
            f"{folder / CONFIG} was written by another version of vfi_jax{_version(folder)}: this one "
            f"({machine.version_of('vfi_jax')}) does not know {', '.join(unknown)}; install that version"
        )
    try:
        return config.parse(config.Train, values, str(folder / CONFIG))
    except ValueError as error:
        raise UserError(f"{folder / CONFIG} is damaged: {error}") from None


def _version(folder: AnyPath) -> str:
    """Returns the version that wrote a run, in brackets; "" where `environment.txt` does not name it."""
    try:
        entries = (line.partition(": ") for line in (folder / ENVIRONMENT).read_text().splitlines())
        return next((f" ({version})" for name, _, version in entries if name == "vfi_jax"), "")
    except (OSError, ValueError):
        return ""


class Change(NamedTuple):
    """A field of the recipe whose value differs from that of the run in the folder, by its path `data.workers`."""

    field: str
    before: Any
    now: Any


@contextlib.contextmanager
def open_run(folder: AnyPath, log: Callable[[str], None] = print) -> Iterator[lock.Lock | None]:
    """Context manager: makes the folder of a run and owns it; what a killed process left half-written is removed.

    Args:
      folder: of the run.
      log: prints a line.

    Yields:
      The lock on the folder in the main process, None in the others.

    Raises:
      UserError: it cannot be written, or another process is writing there.
    """
    _make(folder)
    with lock.held(folder, log) as owner:
        if distributed.is_main():
            files = (CONFIG, ENVIRONMENT, SETS, VALIDATIONS, METRICS, CURVES, FROZEN_FILE)
            remove_partials(folder, *files, log=log)
            remove_partials(folder / SAMPLES, "*.png", log=log)
            remove_unfinished(folder, log)
        yield owner


def _make(folder: AnyPath) -> None:
    """Makes a folder; raises UserError where it cannot be written."""
    probe = folder / f".{jax.process_index()}.{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except Exception as error:  # packages of object stores have exceptions of their own
        why = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UserError(f"{folder} cannot be written: {why}; choose another --workdir") from None


def changes(folder: AnyPath, wanted: config.Train) -> list[Change]:
    """Returns the fields that differ from the run in a folder, all of which may; none where nothing is saved.

    Raises:
      UsageError: a field differs that shapes the result; the message names it.
    """
    if not (is_run(folder) and has_checkpoint(folder)):
        return []
    before, now = (dict(_leaves(_plain(config.as_dict(recipe)))) for recipe in (read_config(folder), wanted))
    fields = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    differing = [Change(name, before.get(name), now.get(name)) for name in fields]
    refused = [each for each in differing if not any(fnmatch.fnmatchcase(each.field, name) for name in RESUMABLE)]
    if refused:
        shown = "; ".join(f"{name}: {_brief(old)}, now {_brief(new)}" for name, old, new in refused[:NAMED])
        more = f" and {len(refused) - NAMED} more fields" if len(refused) > NAMED else ""
        name, old, _ = refused[0]
        back = f"pass --config.{name}={old if isinstance(old, str) else _brief(old)}" if old is not None else "drop it"
        raise UsageError(
            f"{folder} holds a run with another config ({shown}{more}): {back} to continue that run, or start anew "
            "with another --workdir"
        )
    return differing


def check_sets(folder: AnyPath, sets: Mapping[str, str]) -> None:
    """Checks that a run continues on the sets, and with the teacher, that it began with, wherever they lie now.

    Args:
      folder: of the run.
      sets: field of the recipe to words that stand for the content.

    Raises:
      UsageError: one is another one.
    """
    if not has_checkpoint(folder):
        return
    try:
        before = json.loads((folder / SETS).read_text())
    except (OSError, ValueError):
        return
    for field, content in sets.items() if isinstance(before, dict) else ():
        if before.get(field, content) != content:
            raise UsageError(
                f"{folder} holds a run with another {field} ({before[field]}, now {content}): name the former with "
                f"--config.{field}, or start anew with another --workdir"
            )


def write(folder: AnyPath, recipe: config.Train, sets: Mapping[str, str]) -> None:
    """Writes the recipe of a run, its environment, and what it learns from; all processes call it."""
    distributed.barrier("configs are compared")
    if distributed.is_main():
        files = {
            CONFIG: strict_json.dumps(config.as_dict(recipe), indent=2),
            ENVIRONMENT: machine.as_text({**machine.provenance(), **machine.environment()}),
            SETS: strict_json.dumps(dict(sets), indent=2),
        }
        for name, content in files.items():
            with written_whole(folder / name) as partial:
                partial.write_text(content)
    distributed.barrier("the config is written")


def _plain(values: Any) -> Any:
    """Returns values as JSON gives them back."""
    return json.loads(strict_json.dumps(values))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields path and value of every field, of keys of mappings, and of fields in lists of mappings."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        value = {str(index): item for index, item in enumerate(value)}
    if not isinstance(value, dict):
        yield path, value
        return
    for name, item in value.items():
        yield from _leaves(item, f"{path}.{name}" if path else name)


def _brief(value: Any) -> str:
    text = "none" if value is None else strict_json.dumps(value)
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
    checkpoints = Checkpoints(folder, read_only=True)
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
