"""The public calls over MODELS: make, import, export and load a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn

from vfi_jax import checkpoint, torch_import, weights
from vfi_jax.models import MODELS
from vfi_jax.nn import initialise
from vfi_jax.types import ModelSpec, UsageError


def spec_of(name: str) -> ModelSpec:
    """The row of MODELS.

    Raises:
      UsageError: no such model.
    """
    if name not in MODELS:
        raise UsageError(f"no model is called {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def build(name: str, **fields: Any) -> nn.Module:
    """The Linen module of a variant, without weights; `fields` override the variant's own.

    Raises:
      UsageError: no such model, or no such field of it.
    """
    spec = spec_of(name)
    known = spec.module.__dataclass_fields__.keys() - {"name", "parent", "variant"}
    for field in fields:
        if field not in known:
            raise UsageError(f"{name} has no field {field!r}; it has: {', '.join(sorted(known))}")
    return spec.module(**{**spec.config, "any_time": spec.any_time, "variant": name, **fields})


def shapes(name: str) -> dict[str, Any]:
    """Variables of a variant, training-only ones included, as `jax.ShapeDtypeStruct`s; nothing is computed."""
    return torch_import.shapes(spec_of(name), build(name))


def create(name: str, seed: int = 0, **fields: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model with fresh weights, training-only parameters included.

    Args:
      name: in MODELS.
      seed: of the weights; the same on every machine and number of devices.
      **fields: of the module, in the place of the variant's.

    Returns:
      The module and its variables (`{"params": ...}`, NumPy arrays).

    Raises:
      UsageError: no such model or field.
    """
    model, spec = build(name, **fields), spec_of(name)
    return model, {"params": initialise(torch_import.shapes(spec, model)["params"], spec.init_rules, seed)}


def from_torch(name: str, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Variables from a PyTorch state dict of the reference implementation.

    Args:
      name: in MODELS.
      state_dict: the reference's names to NumPy arrays or tensors in its layout; a `module.` prefix is taken off.

    Raises:
      UserError: anything missing, unknown or misshapen, all of it in one line.
    """
    return torch_import.from_torch(spec_of(name), name, state_dict)


def to_torch(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `from_torch`: canonical names, NumPy float32 arrays in the reference's layout."""
    return torch_import.to_torch(spec_of(name), variables)


def load(name: str, path: str | Path | None = None, **fields: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model with the weights of a file.

    Args:
      name: in MODELS.
      path: `.safetensors` of ours, or a published `.pth`, `.pkl` or `.pt`; None: the user's weights folder.
      **fields: of the module, in the place of the variant's and the file's.

    Returns:
      The module, whose `channel_order` and `any_time` are those of the weights, and its variables.

    Raises:
      UserError: no weights installed (says how to get them), no such file, not a weights file, another model's.
      UsageError: no such model or field.
    """
    spec = spec_of(name)
    build(name, **fields)
    state, metadata = checkpoint.read_weights(Path(path) if path else weights.installed(name))
    model_in_file = metadata.get("model", name)
    if model_in_file != name:
        raise UsageError(f"{path} holds weights of {model_in_file}, not of {name}: pass --model {model_in_file}")
    known = {
        "channel_order": metadata.get("channel_order", spec.published_channel_order),
        "any_time": metadata.get("any_time", str(spec.any_time)) == "True",
    }
    return build(name, **{**known, **fields}), torch_import.from_torch(spec, name, state)
