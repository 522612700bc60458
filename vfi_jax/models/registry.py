"""The table of models, built-in and of other packages; making one of them."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vfi_jax.errors import UsageError
from vfi_jax.models import cain, classical, dbvi, ifrnet, raft, rife, rife_lap, rife_v4
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn import initialize
from vfi_jax.system.plugins import Registry

FAMILIES = (rife, rife_v4, rife_lap, ifrnet, cain, dbvi, raft, classical)
BUILT_IN: MappingProxyType[str, ModelSpec] = MappingProxyType(
    {name: spec for family in FAMILIES for name, spec in family.SPECS.items()}
)
# With the models that installed packages register under the entry point group `vfi_jax.models`.
MODELS: Registry[ModelSpec] = Registry(BUILT_IN, "vfi_jax.models", ModelSpec, "model")

TRACED_SIDE = 256  # legal for every model

FROZEN = "frozen"  # the collection of flow_networks' variables


def module_shapes(spec: ModelSpec, model: nn.Module) -> dict[str, Any]:
    """Variables of a model as `jax.ShapeDtypeStruct`s, training-only ones included; nothing is computed."""
    if "channel_order" in model.__dataclass_fields__:
        model = model.clone(channel_order="rgb")  # one trace for both
    found = _traced(model, spec.num_frames, spec.kind == "interpolation")
    return {"params": {}, **jax.tree.map(lambda leaf: leaf, found)}


@functools.cache
def _traced(model: nn.Module, num_frames: int, takes_time: bool) -> dict[str, Any]:
    """Once for each module: the trace of a deep network takes seconds."""
    frames = jax.ShapeDtypeStruct((1, num_frames, TRACED_SIDE, TRACED_SIDE, 3), jnp.float32)
    times = [jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32)] if takes_time else []
    key = jax.eval_shape(lambda: jax.random.key(0))
    # A model with training-only parameters has a method that touches everything.
    method = "initialize" if hasattr(model, "initialize") else None
    return jax.eval_shape(lambda key, *inputs: model.init(key, *inputs, method=method), key, frames, *times)


def spec_of(name: str) -> ModelSpec:
    """Returns the description of a model.

    Args:
      name: a built-in name, one from the entry point group `vfi_jax.models`, or `package.module:NAME`, a `ModelSpec`.

    Raises:
      UsageError: no such model, or a plugin that cannot be used.
    """
    return MODELS.find(name)


def check_kind(name: str, kind: str) -> None:
    """Raises UsageError where a model is not of a kind: "interpolation" or "flow"; or there is no such model."""
    if (own := spec_of(name).kind) != kind:
        raise UsageError(f"{name} is made for {own}, not for {kind}: choose another of `vfi-jax models`")


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
    """Variables of a variant, training-only and frozen ones too, as `jax.ShapeDtypeStruct`s; nothing is computed."""
    model = build(name, **fields)
    own, flow_network = module_shapes(spec_of(name), model), flow_network_of(model)
    return {**own, FROZEN: {flow_network: shapes(flow_network)}} if flow_network else own


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
    flow_network = flow_network_of(model)
    declared = module_shapes(spec, model)
    variables = {collection: initialize(tree, spec.init_rules, seed) for collection, tree in declared.items()}
    if flow_network:
        variables[FROZEN] = {flow_network: create(flow_network, seed)[1]}
    return model, variables


def flow_network_of(model: nn.Module) -> str:
    """The name in MODELS of a model's frozen flow network; "" where it has none.

    Raises:
      UsageError: the model's field names no flow network.
    """
    field = spec_of(model.variant).flow_network
    flow_network = getattr(model, field) if field else ""
    if flow_network and (flow_network not in MODELS or spec_of(flow_network).kind != "flow"):
        known = ", ".join(name for name, spec in MODELS.items() if spec.kind == "flow")
        raise UsageError(f"{model.variant}: {field} is {flow_network!r}, which is no flow network; there are: {known}")
    return flow_network
