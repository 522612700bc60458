"""Weights in the form in which a model's own PyTorch code loads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
from flax import traverse_util

from vfi_jax.errors import UsageError
from vfi_jax.models.registry import create, spec_of
from vfi_jax.torch_io.state_dict import other_channel_order, to_torch
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.weights import table
from vfi_jax.weights.metadata import changed_fields

ENDINGS = (".pth", ".pkl", ".pt")
# Fields that change how a network is run, not which function its parameters stand for.
RUN_FIELDS = frozenset(
    {"scale", "ensemble", "iterations", "correlation", "pad_multiple", "remat", "flow_network"} | {"keep_bias", "skips"}
)


def published_state(
    model: nn.Module, variables: Mapping[str, Any], log: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Returns a state dict with which the published code gives the same frames; without frozen flow networks.

    Args:
      model: the module.
      variables: its variables.
      log: called with a line for whatever had to be changed.

    Raises:
      UsageError: the published code has no such network, or takes frames in another channel order.
    """
    _check_published(model, variables)
    name, spec = model.variant, spec_of(model.variant)
    state = to_torch(spec, variables)
    if model.channel_order != spec.published_channel_order:
        state = other_channel_order(spec, state)
        log(f"converted from {model.channel_order} to the published code's {spec.published_channel_order}")
    state = {**state, **(spec.buffers(model) if spec.buffers else {})}
    if not spec.training_only:
        return state
    fresh = to_torch(spec, create(name)[1])
    absent = {key: value for key, value in fresh.items() if key not in state}
    if absent:
        log(f"{len(absent)} arrays that only training needs ({_common(absent)}) were absent and are fresh ones")
    return {**state, **absent}


def _check_published(model: nn.Module, variables: Mapping[str, Any]) -> None:
    name, spec = model.variant, spec_of(model.variant)
    if table.source_of(name) is table.UNPUBLISHED:
        raise UsageError(f"no code of {name} is published: --to-torch cannot write it")
    changed = {field: value for field, value in changed_fields(model).items() if field not in RUN_FIELDS}
    if changed:
        listed = ", ".join(f"{field} = {value}" for field, value in changed.items())
        raise UsageError(f"the published code of {name} has no network with {listed}: --to-torch cannot write it")
    paths = traverse_util.flatten_dict(variables["params"], sep="/")
    added = {path.partition("/")[0] for path in paths for rule in spec.additions if re.search(rule, path)}
    if added:
        raise UsageError(f"no published code has what {name} adds ({', '.join(added)}): --to-torch cannot write it")
    if model.channel_order != spec.published_channel_order and not spec.frame_channels:
        raise UsageError(
            f"these weights of {name} are for {model.channel_order} frames, the published code gives them "
            f"{spec.published_channel_order}: --to-torch cannot write them"
        )


def _common(names: Iterable[str]) -> str:
    return ", ".join(sorted({f"{name.partition('.')[0]}.*" for name in names}))


def write_published(path: Path, name: str, state: Mapping[str, np.ndarray], *, half: bool) -> None:
    """Writes a state dict under the names and keys that the model's own loader reads.

    Args:
      path: the file.
      name: the model.
      state: what `published_state` returns.
      half: write float16.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    source, dtype = table.source_of(name), np.float16 if half else np.float32
    whole = {key for key, value in state.items() if np.issubdtype(value.dtype, np.integer)}
    named = {f"{source.prefix}{key}": value.astype(np.int64 if key in whole else dtype) for key, value in state.items()}
    write_torch(path, named, key=source.key, numbers=dict.fromkeys(source.numbers, 0))
