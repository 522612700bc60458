"""The frozen flow network that a model may carry: its weights in files and on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import FROZEN, flow_network_of, spec_of
from vfi_jax.system.files import AnyPath
from vfi_jax.torch_io import state_dict as torch_import
from vfi_jax.weights import files as weight_files


def require_flow_network(model: nn.Module, variables: Mapping[str, Any]) -> None:
    """Raises UserError where a model's frozen flow network is missing; says how to give it."""
    flow_network = flow_network_of(model)
    if flow_network and flow_network not in variables.get(FROZEN, {}):
        raise UserError(f"{model.variant} needs the weights of {flow_network}: --frozen {flow_network}=FILE")


def frozen_files(given: Sequence[str]) -> dict[str, Path]:
    """What `load` takes as `frozen`, from the shell's `HELPER=FILE`.

    Raises:
      UsageError: one that does not read so.
    """
    pairs = [text.partition("=")[::2] for text in given]
    for (flow_network, file), text in zip(pairs, given, strict=True):
        if not flow_network or not file:
            raise UsageError(f"--frozen {text}: HELPER=FILE is needed, such as raft=raft-things.pth")
    return {flow_network: Path(file) for flow_network, file in pairs}


def _apart(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A model's own names, and those under `frozen.HELPER.` by flow_network."""
    own, flow_networks = {}, {}
    for name, value in state.items():
        kind, _, rest = name.partition(".")
        if kind == FROZEN:
            flow_network, _, inner = rest.partition(".")
            flow_networks.setdefault(flow_network, {})[inner] = value
        else:
            own[name] = value
    return own, flow_networks


def _joined(flow_networks: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Helpers' variables under the names that `_apart` reads."""
    return {
        f"{FROZEN}.{flow_network}.{name}": value
        for flow_network, variables in flow_networks.items()
        for name, value in torch_import.to_torch(spec_of(flow_network), variables).items()
    }


def save_frozen(path: AnyPath, variables: Mapping[str, Any]) -> None:
    """Writes the frozen flow networks among `variables`, which a run keeps beside its checkpoints.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    weight_files.write_weights(path, _joined(variables[FROZEN]), {})
