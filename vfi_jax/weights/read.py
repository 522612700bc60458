"""Reads a model with its own weights from a file or a training run, leaving its frozen flow network aside."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import build, shapes, spec_of
from vfi_jax.models.spec import ModelSpec
from vfi_jax.system.files import AnyPath
from vfi_jax.torch_io.state_dict import Imported, MismatchError, import_state
from vfi_jax.torch_io.values import casts, check_finite, to_numpy
from vfi_jax.weights import metadata, table
from vfi_jax.weights.files import read_file, split_frozen
from vfi_jax.weights.identify import fitting_models

HALF = ("float16",)  # files of ours may be written so; it widens exactly


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
    """Reads and checks a model's weights; see `load`. All ways to weights lead here.

    Args:
      name: the model.
      path: a weights file or a run's folder.
      step: of a run: a number, "best" by validation, or "newest"; None is "best".
      fields: of the module, instead of the variant's and the file's.

    Raises:
      UserError: the weights cannot be read, hold whole numbers, NaN, infinity or numbers beyond float32, or carry
        metadata that says nothing possible; names or shapes that no model has.
      UsageError: weights of another model.
    """
    if path.is_dir():
        return _read_run(name, path, step, fields)
    if step is not None:
        raise UsageError(f"{path} is a file, which has no steps: leave step = {step!r} out")
    return _read_file(name, path, fields)


def _read_file(name: str, path: AnyPath, fields: Mapping[str, Any]) -> Loaded:
    spec, file = spec_of(name), read_file(path)
    written = metadata.parse(path, file.metadata)
    if written.model:
        _check_model(path, written.model, name)
    if file.key and file.key != table.source_of(name).key:
        note(path, f"the weights are those under {file.key[:80]!r}")
    state, flow_networks = split_frozen(file.state)
    imported = import_checked(name, path, state, {**written.fields, **fields})
    if cast := casts(imported.state.values(), silent=HALF if written.model else ()):
        note(path, cast)
    any_time = written.any_time
    if any_time is None:
        not_midpoint = path.name not in table.source_of(name).midpoint
        any_time = spec.any_time and not_midpoint and _sees_time(spec, imported.state)
    order = written.channel_order or spec.published_channel_order
    of_weights = {"channel_order": order, "any_time": any_time, **fields}
    model = build(name, **{**written.fields, **of_weights})
    return Loaded(model, imported.variables, flow_networks)


def import_checked(name: str, path: AnyPath, state: Mapping[str, Any], fields: Mapping[str, Any]) -> Imported:
    """Imports a state dict of a file; prints on standard error what was chosen.

    Args:
      name: the model.
      path: of the file, for the messages.
      state: the model's own, without frozen flow networks.
      fields: of the module.

    Raises:
      UserError: see `import_state`; the message names the file.
      UsageError: a state dict that fits other models.
    """
    try:
        imported = import_state(build(name, **fields), state, spec_of(name))
    except UserError as error:
        others = fitting_models(state) if isinstance(error, MismatchError) else []
        if others:
            advice = f"pass --model {others[0]}" if len(others) == 1 else "pass one of these as --model"
            raise UsageError(f"{path} holds weights of {' or '.join(others)}, not of {name}: {advice}") from None
        raise UserError(f"{path}: {error}") from None
    for line in imported.notes:
        note(path, line)
    return imported


def note(path: AnyPath, line: str) -> None:
    """Prints what was chosen where a file leaves a choice."""
    print(f"note: {path}: {line}", file=sys.stderr, flush=True)


def _read_run(name: str, folder: AnyPath, step: int | str | None, fields: Mapping[str, Any]) -> Loaded:
    from vfi_jax.runs import folder as run_folder  # Orbax, which files of weights do without

    config = run_folder.read_config(folder)
    _check_model(folder, config.model, name)
    params, of_weights = run_folder.read_params(folder, step, shapes(name, **config.fields)["params"])
    for keys, leaf in jax.tree.leaves_with_path(params):
        check_finite(f"{folder}: {jax.tree_util.keystr(keys, simple=True, separator='/')}", leaf)
    frozen = run_folder.frozen_path(folder)
    flow_networks = split_frozen(read_file(frozen).state)[1] if frozen.exists() else {}
    return Loaded(build(name, **{**config.fields, **of_weights, **fields}), {"params": params}, flow_networks)


def _sees_time(spec: ModelSpec, state: Mapping[str, Any]) -> bool:
    """Whether the weights of the time channel differ from zero."""
    kernel = state.get(spec.time_kernel)
    return kernel is None or bool(np.any(to_numpy(kernel)[:, -1]))


def _check_model(path: AnyPath, of_weights: str, name: str) -> None:
    if of_weights != name:
        raise UsageError(f"{path} holds weights of {of_weights}, not of {name}: pass --model {of_weights}")
