"""The frozen flow network of a model, such as DBVI's RAFT: where its weights come from, and how a run keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import FROZEN, flow_network_of, spec_of
from vfi_jax.system.files import AnyPath, path_of
from vfi_jax.torch_io.state_dict import to_torch
from vfi_jax.weights import table
from vfi_jax.weights.files import join_frozen, read_file, split_frozen, write_weights
from vfi_jax.weights.read import import_checked, read


def read_frozen(
    name: str, file: str | Path | None, states: Mapping[str, Mapping[str, Any]], place: AnyPath | None = None
) -> dict[str, Any]:
    """Returns the variables of a flow network: of a given file, else of the model's file, else those installed.

    Args:
      name: of the flow network.
      file: a weights file or a run's folder that the user names.
      states: the state dicts that the model's file or run holds, by name.
      place: that file or run, for messages; needed where it holds any.

    Returns:
      `{"frozen": {name: variables}}`, or `{}` where there are none.

    Raises:
      UserError, UsageError: the file cannot be read or has weights of another model.
    """
    if file is None and name in states:
        return {FROZEN: {name: import_checked(name, place, states[name], {}).variables}}
    path = path_of(file) if file is not None else table.path_of(name)
    if file is None and not path.exists():
        return {}
    return {FROZEN: {name: read(name, path, None, {}).variables}}


def require(model: nn.Module, variables: Mapping[str, Any]) -> None:
    """Raises UserError where a model's frozen flow network is missing; the message says how to give it."""
    network = flow_network_of(model)
    if network and network not in variables.get(FROZEN, {}):
        raise UserError(f"{model.variant} needs the weights of {network}: --frozen {network}=FILE")


def frozen_files(given: Sequence[str]) -> dict[str, Path]:
    """Returns the files by flow network, from the shell's `--frozen NAME=FILE`.

    Raises:
      UsageError: one that does not read so.
    """
    pairs = [text.partition("=")[::2] for text in given]
    for (name, file), text in zip(pairs, given, strict=True):
        if not name or not file:
            raise UsageError(f"--frozen {text}: NAME=FILE is needed, such as raft=raft-things.pth")
    return {name: Path(file) for name, file in pairs}


def state_of(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the flow networks among a model's variables as part of its state dict, each name after `frozen.NAME.`."""
    networks = variables.get(FROZEN, {})
    return join_frozen({name: to_torch(spec_of(name), tree) for name, tree in networks.items()})


def save_frozen(path: AnyPath, variables: Mapping[str, Any]) -> None:
    """Writes the frozen flow networks among `variables`, which a run keeps beside its checkpoints.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    write_weights(path, state_of(variables), {})


def load_frozen(path: AnyPath) -> dict[str, Any]:
    """Returns `{"frozen": {name: variables}}` from a file that `save_frozen` wrote.

    Raises:
      UserError: no such file, or a damaged one.
    """
    states = split_frozen(read_file(path).state)[1]
    return {FROZEN: {name: import_checked(name, path, state, {}).variables for name, state in states.items()}}
