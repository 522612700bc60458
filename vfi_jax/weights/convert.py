"""`vfi-jax convert`: published files or runs of ours as one checked file, in our form or in the published one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import spec_of
from vfi_jax.weights import published, table
from vfi_jax.weights.average import load_average
from vfi_jax.weights.check import check
from vfi_jax.weights.save import save


def convert(
    name: str,
    paths: Sequence[Path],
    output: Path | None = None,
    *,
    frozen: Mapping[str, Path] | None = None,
    step: int | str | None = None,
    half: bool = False,
    to_torch: bool = False,
    accepted: str = "",
    log: Callable[[str], None] = print,
) -> Path:
    """Reads weights, checks them with a forward pass, and writes one file; several weights are averaged.

    Args:
      name: in MODELS, or `package.module:NAME`.
      paths: published files, files of ours, or runs' folders (their averaged weights, if they have them).
      output: the file; with `to_torch` a folder too, in which it gets its published name. None: the user's weights
        folder, where `load` and `--model` find it.
      frozen: files of frozen flow networks by name.
      step: of runs: a number, "best" by validation (the newest where none was validated), or "newest"; None is "best".
      half: write float16.
      to_torch: write what the model's own PyTorch loader reads.
      accepted: the license that the user accepts, where the published weights are for non-commercial use.
      log: called with lines for the user.

    Returns:
      The file.

    Raises:
      UsageError: no such model, flow network or step, a model without parameters, a license to be accepted, another
        ending, weights of another model, weights that the published form cannot hold.
      UserError: a file is missing or damaged, the flow network is missing, the check fails, writing fails.
    """
    if not spec_of(name).params:
        raise UsageError(f"{name} has no parameters: there is nothing to convert")
    _check_licence(name, paths, accepted)
    target = _target(name, output, to_torch, [*paths, *(frozen or {}).values()])
    model, variables, origins = load_average(name, paths, frozen or {}, step, log)
    if half:
        variables = _rounded(variables)
    state = published.published_state(model, variables, log) if to_torch else {}
    log(check(model, variables))
    if output is None:
        _make_folder(target.parent)
    if to_torch:
        published.write_published(target, name, state, half=half)
    else:
        source, sha256 = (" + ".join(getattr(origin, part) for origin in origins) for part in ("words", "sha256"))
        save(target, model, variables, source=source, sha256=sha256, half=half)
    log(_summary(name, target, installed=output is None))
    return target


def _summary(name: str, target: Path, *, installed: bool) -> str:
    line = f"{target}: {name}, {target.stat().st_size / 1e6:.1f} MB"
    return f"installed as {line}; --model {name} and vfi_jax.load({name!r}) find it" if installed else line


def _check_licence(name: str, paths: Sequence[Path], accepted: str) -> None:
    """Runs belong to whoever trained them; files are assumed to be the published ones."""
    licence = table.source_of(name).non_commercial
    if licence and accepted != licence and not all(path.is_dir() for path in paths):
        raise UsageError(
            f"the published weights of {name} are for non-commercial use only ({licence}): "
            f"to accept that, add --accept-licence {licence}"
        )


def _target(name: str, output: Path | None, to_torch: bool, inputs: Sequence[Path]) -> Path:
    """The file to write, checked before anything is computed."""
    endings = published.ENDINGS if to_torch else (".safetensors",)
    if output is None:
        return _installed_target(name, to_torch)
    target = output / table.source_of(name).file if to_torch and output.is_dir() else output
    if target.is_dir():
        raise UserError(f"{target} is a folder: name a file in it")
    if target.suffix not in endings:
        advice = "" if to_torch else " (see --to-torch)"
        raise UsageError(f"{target}: weights are written as {' or '.join(endings)}{advice}")
    if not target.parent.is_dir():
        raise UserError(f"{target.parent}: no such folder; create it first")
    if target.exists() and any(path.exists() and path.samefile(target) for path in inputs):
        raise UsageError(f"{target} would be overwritten: name another file with -o")
    return target


def _installed_target(name: str, to_torch: bool) -> Path:
    if to_torch:
        raise UsageError(
            f"--to-torch needs -o: a folder (the file in it is then called {table.source_of(name).file}), "
            f"or a {' or '.join(published.ENDINGS)} file"
        )
    if table.shipped(name).exists():
        raise UsageError(f"{name} is part of this package, which comes before the weights folder: name a file with -o")
    return table.path_of(name)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the weights folder cannot be created: {error.strerror or error}") from None


def _rounded(variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables as float16 holds them, in float32."""
    with np.errstate(over="ignore"):
        rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), dict(variables))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rounded)):
        raise UserError("these weights reach beyond float16 (65504): leave --half out")
    return rounded
