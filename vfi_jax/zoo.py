"""The public calls over MODELS: make, import, export and load a model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

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


def shapes(name: str, **fields: Any) -> dict[str, Any]:
    """Variables of a variant, training-only ones included, as `jax.ShapeDtypeStruct`s; nothing is computed."""
    return torch_import.shapes(spec_of(name), build(name, **fields))


def create(name: str, seed: int = 0, **fields: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model with fresh weights, training-only parameters included.

    Args:
      name: in MODELS.
      seed: of the weights; the same on every machine and number of devices.
      **fields: of the module, in the place of the variant's.

    Returns:
      The module and its variables (`{"params": ...}` and what else it has, NumPy arrays).

    Raises:
      UsageError: no such model or field.
    """
    model, spec = build(name, **fields), spec_of(name)
    declared = torch_import.shapes(spec, model)
    return model, {collection: initialise(tree, spec.init_rules, seed) for collection, tree in declared.items()}


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


def load(
    name: str, path: str | Path | None = None, *, step: int | str | None = None, **fields: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """A model with the weights of a file or of a training run.

    Args:
      name: in MODELS.
      path: `.safetensors` of ours, a published `.pth`, `.pkl` or `.pt`, or a run's folder (its averaged weights, where
        it keeps them); None: the weights shipped with the package, else those in the user's weights folder.
      step: of a run: a number or "best" (by validation); None: the newest.
      **fields: of the module, in the place of the variant's and the file's.

    Returns:
      The module, whose `channel_order` and `any_time` are those of the weights, and its variables.

    Raises:
      UserError: no weights installed (says how to get them), no such file or step, not a weights file, damaged.
      UsageError: no such model or field, weights of another model, a step of a file.
    """
    spec = spec_of(name)
    build(name, **fields)
    path = Path(path) if path else weights.installed(name)
    if path.is_dir():
        return _load_run(name, path, step, fields)
    if step is not None:
        raise UsageError(f"{path} is a file, which has no steps: leave step = {step!r} out")
    state, metadata = checkpoint.read_weights(path)
    _check_model(path, metadata.get("model", name), name)
    known = {
        "channel_order": metadata.get("channel_order", spec.published_channel_order),
        "any_time": metadata.get("any_time", str(spec.any_time and _sees_time(spec, state))) == "True",
    }
    return build(name, **{**known, **fields}), torch_import.from_torch(spec, name, state)


def _sees_time(spec: ModelSpec, state: Mapping[str, Any]) -> bool:
    kernel = torch_import.strip_prefix(state).get(spec.time_kernel)
    return kernel is None or bool(np.any(np.asarray(kernel)[:, -1]))


def _load_run(
    name: str, folder: Path, step: int | str | None, fields: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    from vfi_jax import runs  # Orbax, which files of weights do without

    config = runs.read_config(folder)
    _check_model(folder, config.model, name)
    params, known = runs.read_params(folder, step, shapes(name, **config.fields)["params"])
    return build(name, **{**config.fields, **known, **fields}), {"params": params}


def _check_model(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise UsageError(f"{path} holds weights of {found}, not of {wanted}: pass --model {found}")


def average(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean of several variables of one model, computed in float64, float32.

    Runs that started from the same weights mostly have a better mean than each is ("Model soups", Wortsman et al., ICML
    2022).
    """
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0, dtype=np.float64).astype(np.float32), *several)


def save(
    path: str | Path, model: nn.Module, variables: Mapping[str, Any], *, source: str = "", half: bool = False
) -> None:
    """Writes weights as safetensors with the reference's names, without those that only training needs.

    Args:
      path: `.safetensors`; appears when it is whole.
      model: as `create` and `load` give it.
      variables: its variables.
      source: where they come from, for the file's metadata.
      half: as float16, which halves the file; `load` gives float32 again.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    spec = spec_of(model.variant)
    state = {
        name: array.astype(np.float16 if half else np.float32)
        for name, array in torch_import.to_torch(spec, variables).items()
        if not any(re.search(pattern, name) for pattern in spec.training_only)
    }
    metadata = {
        "model": model.variant,
        "channel_order": model.channel_order,
        "any_time": str(model.any_time),
        "source": source,
        "sha256": checkpoint.fingerprint(variables),
    }
    checkpoint.write_weights(Path(path), state, metadata)
