"""Models with the weights of a file or of a run, and files written of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vfi_jax import weights
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import MODELS
from vfi_jax.models.registry import FROZEN, build, create, flow_network_of, shapes, spec_of
from vfi_jax.models.spec import ModelSpec
from vfi_jax.system.files import AnyPath, path_of
from vfi_jax.torch_io import state_dict as torch_import
from vfi_jax.weights import files as weight_files
from vfi_jax.weights.flow_network import _apart, _joined


def from_torch(
    name: str, state_dict: Mapping[str, Any], frozen: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Variables from a PyTorch state dict of the reference implementation.

    Args:
      name: in MODELS.
      state_dict: the reference's names to NumPy arrays or tensors in its layout; a `module.` prefix is taken off.
      frozen: state dicts of frozen flow networks by their names in MODELS, such as "raft" for DBVI.

    Raises:
      UserError: anything missing, unknown or misshapen, all of it in one line.
      UsageError: no such model, or a flow_network that it does not have.
    """
    flows = [
        flow_network for flow_network, spec in MODELS.items() if spec.kind == "flow" and spec_of(name).flow_network
    ]
    _check_frozen(name, frozen or {}, flows)
    variables = torch_import.from_torch(build(name), state_dict, spec_of(name))
    flow_networks = {flow_network: from_torch(flow_network, state) for flow_network, state in (frozen or {}).items()}
    return {**variables, FROZEN: flow_networks} if flow_networks else variables


def _check_frozen(name: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for flow_network in given:
        if flow_network not in known:
            raise UsageError(f"{name} has no frozen {flow_network!r}; it takes: {', '.join(known) or 'none'}")


def to_torch(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `from_torch`: canonical names, NumPy float32 arrays in the reference's layout; no flow_networks."""
    return torch_import.to_torch(spec_of(name), variables)


def load(
    name: str,
    path: str | Path | None = None,
    frozen: Mapping[str, str | Path] | None = None,
    *,
    step: int | str | None = None,
    **fields: Any,
) -> tuple[nn.Module, dict[str, Any]]:
    """A model with the weights of a file or of a training run.

    Args:
      name: in MODELS.
      path: `.safetensors` of ours, a published `.pth`, `.pkl` or `.pt`, or a run's folder (its averaged weights, where
        it keeps them); None: the weights shipped with the package, else those in the user's weights folder.
      frozen: weights files of frozen flow networks by their names in MODELS, in the place of those in `path`; a flow_network that
        neither names is taken from the user's weights folder, and is missing where it is not there either.
      step: of a run: a number or "best" (by validation); None: the newest.
      **fields: of the module, in the place of the variant's and the file's.

    Returns:
      The module, whose `channel_order` and `any_time` are those of the weights, and its variables.

    Raises:
      UserError: no weights installed (says how to get them), no such file or step, not a weights file, damaged.
      UsageError: no such model, field or flow_network, weights of another model, a step of a file.
    """
    build(name, **fields)
    if path is None and not spec_of(name).params:
        return create(name, **fields)
    path = path_of(path) if path else weights.installed(name)
    if path.is_dir():
        model, variables, flow_networks = _load_run(name, path, step, fields)
    elif step is not None:
        raise UsageError(f"{path} is a file, which has no steps: leave step = {step!r} out")
    else:
        model, variables, flow_networks = _load_file(name, path, fields)
    flow_network = flow_network_of(model)
    _check_frozen(name, frozen or {}, [flow_network] if flow_network else [])
    if flow_network:
        variables |= read_flow_network(flow_network, (frozen or {}).get(flow_network), flow_networks)
    return model, variables


def read_flow_network(flow_network: str, path: str | Path | None, states: Mapping[str, Any]) -> dict[str, Any]:
    """`{"frozen": {flow_network: variables}}` from a file, else from one of several states, else as installed; else `{}`."""
    if path is None and flow_network in states:
        return {FROZEN: {flow_network: from_torch(flow_network, states[flow_network])}}
    if path is None and not weights.path_of(flow_network).exists():
        return {}
    return {FROZEN: {flow_network: load(flow_network, path)[1]}}


def _load_file(name: str, path: Path, fields: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """Module, variables, and the flow_networks' states that are in the file."""
    spec = spec_of(name)
    whole, metadata = weight_files.read_weights(path)
    state, flow_networks = _apart(whole)
    _check_model(path, metadata.get("model", name), name)
    known = {
        "channel_order": metadata.get("channel_order", spec.published_channel_order),
        "any_time": metadata.get("any_time", str(spec.any_time and _sees_time(spec, state))) == "True",
    }
    model = build(name, **{**known, **_kept_fields(path, metadata), **fields})
    return model, torch_import.from_torch(model, state, spec), flow_networks


def _kept_fields(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the module that a file of ours was written with, where they are not the variant's own."""
    try:
        kept = json.loads(metadata.get("fields", "{}"))
        return {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path}: its metadata is damaged (fields: {metadata['fields'][:60]})") from None


def _sees_time(spec: ModelSpec, state: Mapping[str, Any]) -> bool:
    kernel = torch_import.strip_prefix(state).get(spec.time_kernel)
    return kernel is None or bool(np.any(np.asarray(kernel)[:, -1]))


def _load_run(
    name: str, folder: AnyPath, step: int | str | None, fields: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any], dict[str, Any]]:
    """Module, variables, and the flow_networks' states that the run keeps."""
    from vfi_jax.runs import folder as run_folder  # Orbax, which files of weights do without

    config = run_folder.read_config(folder)
    _check_model(folder, config.model, name)
    params, known = run_folder.read_params(folder, step, shapes(name, **config.fields)["params"])
    kept = run_folder.frozen_path(folder)
    flow_networks = _apart(weight_files.read_weights(kept)[0])[1] if kept.exists() else {}
    return build(name, **{**config.fields, **known, **fields}), {"params": params}, flow_networks


def load_frozen(path: AnyPath) -> dict[str, Any]:
    """`{"frozen": {flow_network: variables}}` of a file that `save_frozen` wrote."""
    states = _apart(weight_files.read_weights(path)[0])[1]
    return {FROZEN: {flow_network: from_torch(flow_network, state) for flow_network, state in states.items()}}


def _check_model(path: AnyPath, found: str, wanted: str) -> None:
    if found != wanted:
        raise UsageError(f"{path} holds weights of {found}, not of {wanted}: pass --model {found}")


def average(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of several variables of one model, computed in float64, float32.

    Runs that started from the same weights mostly have a better mean than each is ("Model soups", Wortsman et al., ICML
    2022).

    Raises:
      UsageError: frozen flow networks or statistics differ.
    """
    first, *rest = several
    constants = {name: tree for name, tree in first.items() if name != "params"}
    for other in rest:
        if weight_files.fingerprint(
            {name: other[name] for name in other if name != "params"}
        ) != weight_files.fingerprint(constants):
            raise UsageError("these weights differ in what is not trained (frozen flow networks, statistics): no mean")
    params = [variables["params"] for variables in several]
    mean = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0, dtype=np.float64).astype(np.float32), *params)
    return {"params": mean, **constants}


def save(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    source: str = "",
    sha256: str = "",
    half: bool = False,
) -> None:
    """Writes weights as safetensors with the reference's names, frozen flow networks too, without what only training needs.

    Args:
      path: `.safetensors`; appears when it is whole.
      model: as `create` and `load` give it.
      variables: its variables.
      source: where they come from, for the file's metadata.
      sha256: of the file they come from; "": that of the variables.
      half: as float16, which halves the file; `load` gives float32 again.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    spec = spec_of(model.variant)
    every = {**torch_import.to_torch(spec, variables), **_joined(variables.get(FROZEN, {}))}
    state = {
        name: array.astype(np.float16 if half else np.float32)
        for name, array in every.items()
        if not any(re.search(pattern, name) for pattern in spec.training_only)
    }
    metadata = {
        "model": model.variant,
        "channel_order": model.channel_order,
        "any_time": str(model.any_time),
        "source": source,
        "sha256": sha256 or weight_files.fingerprint(variables),
        "fields": json.dumps(own_fields(model)),
    }
    weight_files.write_weights(Path(path), state, metadata)


def own_fields(model: nn.Module) -> dict[str, Any]:
    """Fields in which a module differs from its variant, those that a file says otherwise left out."""
    plain = build(model.variant)
    names = model.__dataclass_fields__.keys() - {"name", "parent", "variant", "dtype", "channel_order", "any_time"}
    return {name: getattr(model, name) for name in sorted(names) if getattr(model, name) != getattr(plain, name)}
