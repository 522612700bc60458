"""Reads a model with its own weights from a file or a training run, leaving its frozen flow network aside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import build, shapes, spec_of
from vfi_jax.models.spec import ModelSpec
from vfi_jax.system.files import AnyPath
from vfi_jax.torch_io.state_dict import from_torch, strip_prefix
from vfi_jax.weights.files import read_weights, split_frozen


class Loaded(NamedTuple):
    """Contents of a weights file or of a run.

    Attributes:
      model: the module, whose `channel_order` and `any_time` are those of the weights.
      variables: of the model itself.
      flow_networks: state dicts of the frozen flow networks in the same place, by name.
    """

    model: nn.Module
    variables: dict[str, Any]
    flow_networks: dict[str, dict[str, Any]]


def read(name: str, path: AnyPath, step: int | str | None, fields: Mapping[str, Any]) -> Loaded:
    """Reads a model's weights; see `load`.

    Args:
      name: the model.
      path: a weights file or a run's folder.
      step: of a run: a number, "best" by validation, or "newest"; None is "best".
      fields: of the module, instead of the variant's and the file's.
    """
    if path.is_dir():
        return _read_run(name, path, step, fields)
    if step is not None:
        raise UsageError(f"{path} is a file, which has no steps: leave step = {step!r} out")
    return _read_file(name, path, fields)


def _read_file(name: str, path: AnyPath, fields: Mapping[str, Any]) -> Loaded:
    spec = spec_of(name)
    everything, metadata = read_weights(path)
    state, flow_networks = split_frozen(everything)
    _check_model(path, metadata.get("model", name), name)
    of_weights = {
        "channel_order": metadata.get("channel_order", spec.published_channel_order),
        "any_time": metadata.get("any_time", str(spec.any_time and _sees_time(spec, state))) == "True",
    }
    model = build(name, **{**of_weights, **_written_fields(path, metadata), **fields})
    return Loaded(model, from_torch(model, state, spec), flow_networks)


def _read_run(name: str, folder: AnyPath, step: int | str | None, fields: Mapping[str, Any]) -> Loaded:
    from vfi_jax.runs import folder as run_folder  # Orbax, which files of weights do without

    config = run_folder.read_config(folder)
    _check_model(folder, config.model, name)
    params, of_weights = run_folder.read_params(folder, step, shapes(name, **config.fields)["params"])
    frozen = run_folder.frozen_path(folder)
    flow_networks = split_frozen(read_weights(frozen)[0])[1] if frozen.exists() else {}
    return Loaded(build(name, **{**config.fields, **of_weights, **fields}), {"params": params}, flow_networks)


def _written_fields(path: AnyPath, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the module that a file of ours names because they differ from the variant's."""
    try:
        fields = json.loads(metadata.get("fields", "{}"))
        return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    except (ValueError, AttributeError):
        raise UserError(f"{path}: its metadata is damaged (fields: {metadata['fields'][:60]})") from None


def _sees_time(spec: ModelSpec, state: Mapping[str, Any]) -> bool:
    """Whether the weights of the time channel differ from zero."""
    kernel = strip_prefix(state).get(spec.time_kernel)
    return kernel is None or bool(np.any(np.asarray(kernel)[:, -1]))


def _check_model(path: AnyPath, of_weights: str, name: str) -> None:
    if of_weights != name:
        raise UsageError(f"{path} holds weights of {of_weights}, not of {name}: pass --model {of_weights}")
