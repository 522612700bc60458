"""Variables from a PyTorch state dict, and back: one engine for every model, by the rules in its `ModelSpec`.

An import is a bijection between the names given and the model's own, except for names that the spec declares as
droppable or as needed by training only; anything else is one error that lists every name.
"""

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

LISTED = 12  # names in an error, before `...`


class Layout(NamedTuple):
    """How an array is converted from the reference's layout to ours, and back."""

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
    """Returns the reference's name of the variable at `path` ("block0/conv0_0/weight"), without its collection."""
    for pattern, replacement in rules.names:
        path = re.sub(pattern, replacement, path)
    return path.replace("/", ".")


def _layout(name: str, rules: TorchRules) -> Layout:
    key = next((layout for pattern, layout in rules.layouts if re.search(pattern, name)), None)
    return LAYOUTS[key] if key else AS_IS


def torch_names(
    spec: ModelSpec, model: nn.Module, rules: TorchRules
) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Returns every name of the reference's state dict with its path in our variables and its shape there.

    Args:
      spec: of the model.
      model: the module.
      rules: names and layouts.

    Returns:
      Name to (path, the collection first; the reference's shape).
    """
    flat = traverse_util.flatten_dict(module_shapes(spec, model))
    names = {}
    for path, leaf in flat.items():
        name = torch_name("/".join(path[1:]), rules)
        theirs = _layout(name, rules).theirs(np.broadcast_to(np.float32(0), leaf.shape))
        names[name] = (path, theirs.shape)
    return names


def _known_names(spec: ModelSpec, model: nn.Module, state: Mapping[str, Any]) -> tuple[TorchRules, dict[str, Any]]:
    """The rules that most names of the state follow, with all their names; the reference's own if none do."""
    candidates = [(rules, torch_names(spec, model, rules)) for rules in (spec.torch_rules, *spec.other_torch_rules)]
    return max(candidates, key=lambda pair: len(pair[1].keys() & state.keys()))


def strip_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """Removes the prefix `module.`, which DataParallel writes, from every name.

    Where some names have it, only those are kept, as the published loaders do.
    """
    prefixed = {name: value for name, value in state.items() if name.startswith("module.")}
    return {name.removeprefix("module."): value for name, value in (prefixed or state).items()}


def from_torch(model: nn.Module, state: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Returns variables from a state dict with the reference's own names and layouts.

    Args:
      model: the module, its field `variant` set.
      state: name to NumPy array or tensor; a prefix `module.` is removed.
      spec: of the model.

    Returns:
      `{"params": ...}` and the model's other collections, float32; what only training needs may be absent from the
      state, and is absent here then.

    Raises:
      UserError: names are missing, unknown or of another shape; the one line lists them.
    """
    state = {key: value for key, value in strip_prefix(state).items() if not matches(key, spec.droppable)}
    rules, names = _known_names(spec, model, state)
    missing = sorted(key for key in names.keys() - state.keys() if not matches(key, spec.training_only))
    unknown = sorted(state.keys() - names.keys())
    misshapen = [
        f"{key} {tuple(np.shape(state[key]))} instead of {names[key][1]}"
        for key in sorted(names.keys() & state.keys())
        if tuple(np.shape(state[key])) != names[key][1]
    ]
    if missing or unknown or misshapen:
        raise UserError(_difference(model.variant, missing, unknown, misshapen))
    flat = {
        path: np.ascontiguousarray(_layout(key, rules).ours(_to_numpy(state[key])), np.float32)
        for key, (path, _) in names.items()
        if key in state
    }
    return traverse_util.unflatten_dict(flat)


def to_torch(spec: ModelSpec, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns the state dict of variables: the inverse of `from_torch`.

    Args:
      spec: of the model.
      variables: the model's; frozen flow networks among them are left out.

    Returns:
      The reference's names, duplicates included, and layouts, float32.
    """
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
    """Converts a network to frames in the other channel order.

    Args:
      spec: of the model; `frame_channels` says which channels of which convolutions are those of frames.
      state: the reference's names and layouts.

    Returns:
      A state dict whose network gives the same frames, with red and blue exchanged in its inputs and outputs.
    """
    converted = dict(state)
    for pattern, axis, starts in spec.frame_channels:
        for name in (name for name in state if re.search(pattern, name)):
            order = np.arange(state[name].shape[axis])
            for start in starts:
                order[start : start + 3] = order[start : start + 3][::-1].copy()
            converted[name] = np.take(state[name], order, axis)
    return converted


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns is found in a name."""
    return any(re.search(pattern, name) for pattern in patterns)


def _to_numpy(value: Any) -> np.ndarray:
    # A tensor has `numpy()` only when it is detached from gradients and devices.
    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


def _difference(model: str, missing: list[str], unknown: list[str], misshapen: list[str]) -> str:
    parts = []
    for sign, title, names in (("-", "missing", missing), ("+", "unknown", unknown), ("!", "misshapen", misshapen)):
        if names:
            listed = ", ".join(sign + n for n in names[:LISTED]) + (", ..." if len(names) > LISTED else "")
            parts.append(f"{len(names)} {title} ({listed})")
    return f"these weights do not fit {model}: " + "; ".join(parts) + "; is it another version of the model?"
