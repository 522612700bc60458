"""One model from the weights of several files or runs: their mean, and where they come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import FROZEN, flow_network_of
from vfi_jax.runs.selection import BEST
from vfi_jax.system.files import sha256_of
from vfi_jax.weights import flow_network, table
from vfi_jax.weights.files import fingerprint, read_weights
from vfi_jax.weights.load import load


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where some of the weights come from: in words, and the SHA-256 of the file (of the variables, for a run)."""

    words: str
    sha256: str


def average(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the mean of several variables of one model, computed in float64, as float32.

    The mean of runs that started from the same weights is mostly better than each of them ("Model soups", Wortsman et
    al., ICML 2022).

    Raises:
      UsageError: frozen flow networks or statistics differ.
    """
    constants = [{name: tree for name, tree in variables.items() if name != "params"} for variables in several]
    if len({fingerprint(tree) for tree in constants}) > 1:
        raise UsageError("these weights differ in what is not trained (frozen flow networks, statistics): no mean")
    params = [variables["params"] for variables in several]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0, dtype=np.float64).astype(np.float32), *params)
    return {"params": mean, **constants[0]}


def load_average(
    name: str, paths: Sequence[Path], frozen: Mapping[str, Path], step: int | str | None, log: Callable[[str], None]
) -> tuple[nn.Module, dict[str, Any], list[Origin]]:
    """Loads several files or runs as one model.

    Args:
      name: the model.
      paths: files or runs' folders.
      frozen: files of frozen flow networks by name.
      step: of runs; see `load`.
      log: called with a line per run.

    Returns:
      The module, the mean of the variables, and where they come from.

    Raises:
      UserError: weights cannot be read, are not finite, or lack the flow network.
      UsageError: weights of another model, or of models that differ in their fields.
    """
    models, several, origins = [], [], []
    for path in paths:
        model, variables, origin = _load_one(name, path, frozen, step)
        if path.is_dir():
            log(origin.words)
        models.append(model)
        several.append(variables)
        origins.append(origin)
    if len(set(models)) > 1:
        raise UsageError("these weights differ in channel order, times or fields: they have no mean")
    return models[0], average(several), origins + _flow_network_origin(models[0], paths, frozen)


def _load_one(
    name: str, path: Path, frozen: Mapping[str, Path], step: int | str | None
) -> tuple[nn.Module, dict[str, Any], Origin]:
    is_run = path.is_dir()
    number, words = _step_of_run(path, step) if is_run else (step, "")
    model, variables = load(name, path, frozen, step=number)
    flow_network.require(model, variables)
    return model, variables, Origin(f"{path}{words}", fingerprint(variables) if is_run else sha256_of(path))


def _step_of_run(folder: Path, step: int | str | None) -> tuple[int, str]:
    """The number of a run's step, and in words what it is."""
    from vfi_jax.runs import folder as run_folder  # Orbax, which files of weights do without

    run_folder.read_config(folder)
    if not run_folder.has_checkpoint(folder):
        raise UserError(f"{folder} has no checkpoint yet")
    checkpoints = run_folder.Checkpoints(folder, read_only=True)
    try:
        number = checkpoints.chosen(step)
        score = checkpoints.score(number)
    finally:
        checkpoints.close()
    parts = [f"step {number}"]
    if step in (None, BEST):
        parts.append("the newest: none was validated" if score is None else f"the best by validation: {score:.2f} dB")
    if (folder / run_folder.CHECKPOINTS / str(number) / "ema").is_dir():
        parts.append("averaged weights")
    return number, f" ({', '.join(parts)})"


def _flow_network_origin(model: nn.Module, paths: Sequence[Path], frozen: Mapping[str, Path]) -> list[Origin]:
    """Where the frozen flow network comes from, unless all the files hold it themselves."""
    network = flow_network_of(model)
    if not network or (network not in frozen and all(_holds(path, network) for path in paths)):
        return []
    path = frozen.get(network, table.path_of(network))
    return [Origin(f"{network}={path}", sha256_of(path))]


def _holds(path: Path, network: str) -> bool:
    """Whether a file or a run holds the weights of its model's flow network."""
    if path.is_dir():
        from vfi_jax.runs import folder as run_folder

        return run_folder.frozen_path(path).exists()
    return any(name.startswith(f"{FROZEN}.{network}.") for name in read_weights(path)[0])
