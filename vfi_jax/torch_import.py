"""Variables from a PyTorch state dict, and back: one engine for every model, by the rules in its `ModelSpec`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vfi_jax.types import ModelSpec, UserError

TRACED_SIDE = 256  # legal for every model
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


def shapes(spec: ModelSpec, model: nn.Module) -> dict[str, Any]:
    """Variables of a model as `jax.ShapeDtypeStruct`s, training-only ones included; nothing is computed."""
    frames = jax.ShapeDtypeStruct((1, spec.num_frames, TRACED_SIDE, TRACED_SIDE, 3), jnp.float32)
    t = jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    # A model with training-only parameters has a method that touches everything.
    method = "initialise" if hasattr(model, "initialise") else None
    return jax.eval_shape(lambda key, frames, t: model.init(key, frames, t, method=method), key, frames, t)


def torch_name(path: str, spec: ModelSpec) -> str:
    """The reference's name of the parameter at `path` ("block0/conv0_0/weight")."""
    for pattern, replacement in spec.torch_rules.names:
        path = re.sub(pattern, replacement, path)
    return path.replace("/", ".")


def _layout(name: str, spec: ModelSpec) -> Layout:
    key = next((layout for pattern, layout in spec.torch_rules.layouts if re.search(pattern, name)), None)
    return LAYOUTS[key] if key else AS_IS


def _table(spec: ModelSpec) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The reference's name -> (path here, shape there)."""
    flat = traverse_util.flatten_dict(shapes(spec, spec.module(**spec.config))["params"], sep="/")
    table = {}
    for path, leaf in flat.items():
        name = torch_name(path, spec)
        there = _layout(name, spec).theirs(np.broadcast_to(np.float32(0), leaf.shape))
        table[name] = (path, there.shape)
    return table


def strip_prefix(state: Mapping[str, Any]) -> dict[str, Any]:
    """Takes `module.`, which DataParallel writes, off every name.

    A published file that has it somewhere keeps only the names that carry it, as the published loaders do.
    """
    prefixed = {name: value for name, value in state.items() if name.startswith("module.")}
    return {name.removeprefix("module."): value for name, value in (prefixed or state).items()}


def from_torch(spec: ModelSpec, name: str, state: Mapping[str, Any]) -> dict[str, Any]:
    """Variables from a state dict with the reference's own names and layouts.

    Args:
      spec: of the model.
      name: the model's, for the error.
      state: name to NumPy array or tensor; a `module.` prefix is taken off.

    Returns:
      `{"params": ...}`, float32; names under `spec.training_only` may be absent and then are absent here.

    Raises:
      UserError: anything missing, unknown or misshapen, all of it in one line.
    """
    table = _table(spec)
    state = {key: value for key, value in strip_prefix(state).items() if not _matches(key, spec.droppable)}
    missing = sorted(key for key in table.keys() - state.keys() if not _matches(key, spec.training_only))
    unknown = sorted(state.keys() - table.keys())
    wrong = [
        f"{key} {tuple(np.shape(state[key]))} instead of {table[key][1]}"
        for key in sorted(table.keys() & state.keys())
        if tuple(np.shape(state[key])) != table[key][1]
    ]
    if missing or unknown or wrong:
        raise UserError(_difference(name, missing, unknown, wrong))
    flat = {
        path: np.ascontiguousarray(_layout(key, spec).ours(_to_numpy(state[key])), np.float32)
        for key, (path, _) in table.items()
        if key in state
    }
    return {"params": traverse_util.unflatten_dict(flat, sep="/")}


def to_torch(spec: ModelSpec, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`: the reference's names and layouts, float32."""
    flat = traverse_util.flatten_dict(variables["params"], sep="/")
    names = {torch_name(path, spec): value for path, value in flat.items()}
    return {
        name: np.ascontiguousarray(_layout(name, spec).theirs(np.asarray(value, np.float32)))
        for name, value in names.items()
    }


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
