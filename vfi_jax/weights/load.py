"""Models from files, runs and state dicts: `load`, `from_torch` and its inverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn

from vfi_jax.errors import UsageError
from vfi_jax.models import MODELS
from vfi_jax.models.registry import FROZEN, build, create, flow_network_of, spec_of
from vfi_jax.system.files import path_of
from vfi_jax.torch_io import state_dict as names
from vfi_jax.weights import flow_network, table
from vfi_jax.weights.read import read


def load(
    name: str,
    path: str | Path | None = None,
    frozen: Mapping[str, str | Path] | None = None,
    *,
    step: int | str | None = None,
    **fields: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """Returns a model with the weights of a file or of a training run.

    Args:
      name: in MODELS, or `package.module:NAME`.
      path: safetensors of ours, a published PyTorch file (the content tells which, whatever its name), or a run's
        folder (its averaged weights, if it has them); None: the weights shipped with the package, else those in the
        user's weights folder.
      frozen: weights files of frozen flow networks by name, instead of those in `path`; a flow network that neither
        holds is taken from the user's weights folder, and is missing if it is not there either.
      step: of a run: a number, "best" by validation (the newest where none was validated), or "newest"; None is "best".
      **fields: of the module, instead of the variant's and the file's.

    Returns:
      The module, whose `channel_order` and `any_time` are those of the weights, and its variables.

    Raises:
      UserError: no weights installed (the message says how to get them), no such file or step, not a weights file,
        a damaged one, or weights that hold whole numbers, NaN, infinity or numbers beyond float32.
      UsageError: no such model, field or flow network, weights of another model, a step of a file.
    """
    build(name, **fields)
    if path is None and not spec_of(name).params:
        return create(name, **fields)
    place = path_of(path) if path else table.installed(name)
    loaded = read(name, place, step, fields)
    network, given = flow_network_of(loaded.model), frozen or {}
    _check_frozen(name, given, [network] if network else [])
    if not network:
        return loaded.model, loaded.variables
    frozen_variables = flow_network.read_frozen(network, given.get(network), loaded.flow_networks, place)
    return loaded.model, {**loaded.variables, **frozen_variables}


def from_torch(
    name: str, state_dict: Mapping[str, Any], frozen: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Returns variables from a PyTorch state dict of the reference implementation.

    Args:
      name: in MODELS, or `package.module:NAME`.
      state_dict: the reference's names to NumPy arrays or tensors in its layout; prefixes such as `module.`, which
        trainers write before every name, are removed.
      frozen: state dicts of frozen flow networks by name, such as "raft" for DBVI.

    Raises:
      UserError: names are missing, unknown or of another shape (the one line lists them), or arrays that are refused.
      UsageError: no such model, or a flow network that it does not have.
    """
    given = frozen or {}
    takes_one = bool(spec_of(name).flow_network)
    _check_frozen(name, given, [other for other, spec in MODELS.items() if takes_one and spec.kind == "flow"])
    variables = names.from_torch(build(name), state_dict, spec_of(name))
    frozen_variables = {network: from_torch(network, state) for network, state in given.items()}
    return {**variables, FROZEN: frozen_variables} if frozen_variables else variables


def to_torch(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state dict of variables: the inverse of `from_torch`, without frozen flow networks.

    Args:
      name: in MODELS, or `package.module:NAME`.
      variables: as `create`, `load` and `from_torch` return them.

    Returns:
      Canonical names, NumPy float32 arrays in the reference's layout.
    """
    return names.to_torch(spec_of(name), variables)


def _check_frozen(name: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for network in given:
        if network not in known:
            raise UsageError(f"{name} has no frozen {network!r}; it takes: {', '.join(known) or 'none'}")
