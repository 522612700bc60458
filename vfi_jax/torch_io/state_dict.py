"""Variables from a PyTorch state dict, and back: one engine for every model, by the rules in its `ModelSpec`.

An import is a bijection between the names given and the model's own, except for names that the spec declares as
droppable or as needed by training only; anything else is one error that lists every name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax import traverse_util

from vfi_jax.errors import UserError
from vfi_jax.models.registry import FROZEN, module_shapes
from vfi_jax.models.spec import ModelSpec, TorchRules
from vfi_jax.nn import initialize
from vfi_jax.torch_io.values import to_float32

LISTED = 12  # names in an error, before `...`
# What DataParallel, torch.compile, Lightning and other trainers write before every name.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "generator.", "netG.", "flownet.")

Names = dict[str, tuple[tuple[str, ...], tuple[int, ...]]]  # the reference's name to our path and its shape


class Layout(NamedTuple):
    """How an array is converted from the reference's layout to ours, and back."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


LAYOUTS = {
    "conv": Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1)),  # OIHW
    "conv_transpose": Layout(lambda a: a.transpose(2, 3, 0, 1), lambda a: a.transpose(2, 3, 0, 1)),  # IOHW
    "conv3d": Layout(lambda a: a.transpose(2, 3, 4, 1, 0), lambda a: a.transpose(4, 3, 0, 1, 2)),  # OITHW
    "conv_transpose3d": Layout(lambda a: a.transpose(2, 3, 4, 0, 1), lambda a: a.transpose(3, 4, 0, 1, 2)),  # IOTHW
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


def torch_names(spec: ModelSpec, model: nn.Module, rules: TorchRules) -> Names:
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


class MismatchError(UserError):
    """Names or shapes that are not those of the model."""


class Imported(NamedTuple):
    """Result of `import_state`.

    Attributes:
      variables: `{"params": ...}` and the model's other collections, float32.
      state: the names that the model knows, without prefixes, and their arrays as given.
      notes: lines on what was chosen where the state leaves a choice.
    """

    variables: dict[str, Any]
    state: dict[str, Any]
    notes: list[str]


def from_torch(model: nn.Module, state: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Returns variables from a state dict with the reference's own names and layouts; see `import_state`."""
    return import_state(model, state, spec).variables


def import_state(model: nn.Module, state: Mapping[str, Any], spec: ModelSpec) -> Imported:
    """Checks a state dict with the reference's own names and layouts, and converts it to variables.

    Args:
      model: the module, its field `variant` set.
      state: name to NumPy array or tensor; `PREFIXES` are removed.
      spec: of the model.

    Returns:
      Variables, in which what only training needs may be absent where the state lacks it, and what changes nothing at
      the start has its initial values then; with state and notes.

    Raises:
      MismatchError: names are missing, unknown or of another shape; the one line lists them.
      UserError: an array holds whole numbers, NaN, infinity or numbers beyond float32.
    """
    candidates = _candidates(spec, model)
    own = {name for _, names in candidates for name in names}
    unprefixed, notes = strip_prefixes(state, own)
    state = {key: value for key, value in unprefixed.items() if not matches(key, spec.droppable)}
    rules, names = max(candidates, key=lambda pair: len(pair[1].keys() & state.keys()))
    if message := _difference(model.variant, *_compared(names, state, spec)):
        raise MismatchError(message)
    flat = {
        path: np.ascontiguousarray(_layout(key, rules).ours(to_float32(key, state[key])))
        for key, (path, _) in names.items()
        if key in state
    }
    neutral = {path for key, (path, _) in names.items() if matches(key, spec.neutral)}
    flat |= _neutral(spec, model, neutral - flat.keys())
    return Imported(traverse_util.unflatten_dict(flat), state, notes)


def _neutral(spec: ModelSpec, model: nn.Module, absent: Collection[tuple[str, ...]]) -> dict[tuple[str, ...], Any]:
    """Initial values, which change nothing, of the parameters at paths that the state lacks."""
    if not absent:
        return {}
    fresh = initialize(module_shapes(spec, model)["params"], spec.init_rules, 0)
    return {path: value for path, value in traverse_util.flatten_dict({"params": fresh}).items() if path in absent}


def fits(spec: ModelSpec, model: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names and shapes of a model."""
    candidates = _candidates(spec, model)
    unprefixed, _ = strip_prefixes(state, {name for _, names in candidates for name in names})
    state = {key: value for key, value in unprefixed.items() if not matches(key, spec.droppable)}
    return any(not any(_compared(names, state, spec)) for _, names in candidates)


def strip_prefixes(state: Mapping[str, Any], own: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    """Removes the prefixes that trainers write before every name, also several of them.

    Where some names have a prefix, the others are kept only if they are the model's own and stand nowhere else; the
    published loaders leave out such names too.

    Args:
      state: name to array.
      own: names of the model, whose beginnings are no prefixes.

    Returns:
      The state dict, and lines on what was left out or mixed.
    """
    notes: list[str] = []
    state = dict(state)
    while prefix := next((p for p in PREFIXES if _has(state, p) and not _has(own, p)), ""):
        inside = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        outside = {name: value for name, value in state.items() if not name.startswith(prefix)}
        twice = outside.keys() & inside.keys()
        kept = {name: value for name, value in outside.items() if name in own and name not in inside}
        if twice:
            notes.append(f"{len(twice)} names stand there with and without {prefix!r}: those with it are taken")
        if kept:
            notes.append(f"{len(inside)} names begin with {prefix!r} and {len(kept)} do not: all are taken")
        if left := len(outside) - len(twice) - len(kept):
            notes.append(f"{left} names without {prefix!r} are left out")
        state = {**kept, **inside}
    return state, notes


def _has(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _candidates(spec: ModelSpec, model: nn.Module) -> list[tuple[TorchRules, Names]]:
    """The rules that files of a model follow, the reference's own first, each with all its names."""
    return [(rules, torch_names(spec, model, rules)) for rules in (spec.torch_rules, *spec.other_torch_rules)]


def _compared(names: Names, state: Mapping[str, Any], spec: ModelSpec) -> tuple[list[str], list[str], list[str]]:
    """Names that are missing, unknown, and of another shape."""
    optional = (*spec.training_only, *spec.neutral)
    missing = sorted(key for key in names.keys() - state.keys() if not matches(key, optional))
    misshapen = [
        f"{key} {tuple(np.shape(state[key]))} instead of {names[key][1]}"
        for key in sorted(names.keys() & state.keys())
        if tuple(np.shape(state[key])) != names[key][1]
    ]
    return missing, sorted(state.keys() - names.keys()), misshapen


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


def _difference(model: str, missing: list[str], unknown: list[str], misshapen: list[str]) -> str:
    parts = []
    if not (missing or unknown or misshapen):
        return ""
    for sign, title, names in (("-", "missing", missing), ("+", "unknown", unknown), ("!", "misshapen", misshapen)):
        if names:
            listed = ", ".join(sign + n for n in names[:LISTED]) + (", ..." if len(names) > LISTED else "")
            parts.append(f"{len(names)} {title} ({listed})")
    return f"these weights do not fit {model}: " + "; ".join(parts) + "; is it another version of the model?"
