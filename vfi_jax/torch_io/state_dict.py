"""Variables from a PyTorch state dict, and back: one engine for every model, by the rules in its `ModelSpec`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax import traverse_util

from vfi_jax.errors import UserError
from vfi_jax.models.registry import FROZEN, module_shapes
from vfi_jax.models.spec import ModelSpec, TorchRules

LISTED = 12  # names in an error, before it says `...`


class Layout(NamedTuple):
    """How an array of the reference becomes ours, and back."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


LAYOUTS = {
    "conv": Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),  # OIHW
    "conv_transpose": Layout(lambda a: a.transpose(2, 3, 0, 1), lambda a: a.transpose(2, 3, 0, 1)),  # IOHW
    "linear": Layout(lambda a: a.T, lambda a: a.T),  # OI
    "channel": Layout(lambda a: a.reshape(-1), lambda a: a.reshape(1, -1, 1, 1)),  # 1C11
}
AS_IS = Layout(lambda a: a, lambda a: a)


def torch_name(path: str, rules: TorchRules) -> str:
    """The reference's name of the variable at `path` ("block0/conv0_0/weight"), its collection left out."""
    for pattern, replacement in rules.names:
        path = re.sub(pattern, replacement, path)
    return path.replace("/", ".")


def _layout(name: str, rules: TorchRules) -> Layout:
    key = next((layout for pattern, layout in rules.layouts if re.search(pattern, name)), None)
    return LAYOUTS[key] if key else AS_IS


def _table(spec: ModelSpec, model: nn.Module, rules: TorchRules) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """The reference's name -> (path here, the collection first; shape there)."""
    flat = traverse_util.flatten_dict(module_shapes(spec, model))
    table = {}
    for path, leaf in flat.items():
        name = torch_name("/".join(path[1:]), rules)
        there = _layout(name, rules).theirs(np.broadcast_to(np.float32(0), leaf.shape))
        table[name] = (path, there.shape)
    return table


def _known_names(spec: ModelSpec, model: nn.Module, state: Mapping[str, Any]) -> tuple[TorchRules, dict[str, Any]]:
    """The rules whose names the state has most of, with their table."""
    every = [(rules, _table(spec, model, rules)) for rules in (spec.torch_rules, *spec.other_torch_rules)]
    return max(every, key=lambda pair: len(pair[1].keys() & state.keys()))  # the reference's own where none is


def strip_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """Takes `module.`, which DataParallel writes, off every name.

    A published file that has it somewhere keeps only the names that carry it, as the published loaders do.
    """
    prefixed = {name: value for name, value in state.items() if name.startswith("module.")}
    return {name.removeprefix("module."): value for name, value in (prefixed or state).items()}


def from_torch(model: nn.Module, state: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Variables from a state dict with the reference's own names and layouts.

    Args:
      model: the module, its field `variant` set.
      state: name to NumPy array or tensor; a `module.` prefix is taken off.
      spec: of the model.

    Returns:
      `{"params": ...}` and the model's other collections, float32; names under
      `spec.training_only` may be absent and then are absent here.

    Raises:
      UserError: anything missing, unknown or misshapen, all of it in one line.
    """
    state = {key: value for key, value in strip_prefix(state).items() if not _matches(key, spec.droppable)}
    rules, table = _known_names(spec, model, state)
    missing = sorted(key for key in table.keys() - state.keys() if not _matches(key, spec.training_only))
    unknown = sorted(state.keys() - table.keys())
    wrong = [
        f"{key} {tuple(np.shape(state[key]))} instead of {table[key][1]}"
        for key in sorted(table.keys() & state.keys())
        if tuple(np.shape(state[key])) != table[key][1]
    ]
    if missing or unknown or wrong:
        raise UserError(_difference(model.variant, missing, unknown, wrong))
    flat = {
        path: np.ascontiguousarray(_layout(key, rules).ours(_to_numpy(state[key])), np.float32)
        for key, (path, _) in table.items()
        if key in state
    }
    return traverse_util.unflatten_dict(flat)


def to_torch(spec: ModelSpec, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: the reference's names, duplicates too, and layouts, float32; no frozen flow networks."""
    flat = traverse_util.flatten_dict({name: tree for name, tree in variables.items() if name != FROZEN})
    rules = spec.torch_rules
    names = {torch_name("/".join(path[1:]), rules): value for path, value in flat.items()}
    state = {
        name: np.ascontiguousarray(_layout(name, rules).theirs(np.asarray(value, np.float32)))
        for name, value in names.items()
    }
    copies = {
        re.sub(pattern, other, name): value
        for pattern, other in spec.duplicates
        for name, value in state.items()
        if re.search(pattern, name)
    }
    return {**state, **copies}


def other_channel_order(spec: ModelSpec, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same network for frames in the other channel order; `state` has the reference's names and layouts."""
    turned = dict(state)
    for pattern, axis, starts in spec.frame_channels:
        for name in (name for name in state if re.search(pattern, name)):
            order = np.arange(state[name].shape[axis])
            for start in starts:
                order[start : start + 3] = order[start : start + 3][::-1].copy()
            turned[name] = np.take(state[name], order, axis)
    return turned


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _to_numpy(value: Any) -> np.ndarray:
    # Tensors know `numpy` only when detached from gradients and devices.
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _difference(model: str, missing: list[str], unknown: list[str], wrong: list[str]) -> str:
    parts = []
    for sign, title, names in (("-", "missing", missing), ("+", "unknown", unknown), ("!", "misshapen", wrong)):
        if names:
            listed = ", ".join(sign + n for n in names[:LISTED]) + (", ..." if len(names) > LISTED else "")
            parts.append(f"{len(names)} {title} ({listed})")
    return f"these weights do not fit {model}: " + "; ".join(parts) + "; is it another version of the model?"
