"""MODELS, built-in and of other packages, and how one of them is built and created."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vfi_jax.errors import UsageError
from vfi_jax.models import (
    amt,
    cain,
    classical,
    cspa,
    dbvi,
    ema_vfi,
    ifrnet,
    raft,
    rife,
    rife_lap,
    rife_v4,
    ugsp,
    ugsp_uncertainty,
    vfit,
)
from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn import initialize
from vfi_jax.system.plugins import Registry

FAMILIES = (
    *(rife, rife_v4, rife_lap, ifrnet, amt, ema_vfi, ugsp_uncertainty, ugsp),
    *(cain, cspa, dbvi, vfit, raft, classical),
)
BUILT_IN: MappingProxyType[str, ModelSpec] = MappingProxyType(
    {name: spec for family in FAMILIES for name, spec in family.SPECS.items()}
)
# With the models that installed packages register under the entry point group `vfi_jax.models`.
MODELS: Registry[ModelSpec] = Registry(BUILT_IN, "vfi_jax.models", ModelSpec, "model")

TRACED_SIDE = 256  # legal for every model

FROZEN = "frozen"  # the collection of the variables of frozen flow networks


def module_shapes(spec: ModelSpec, model: nn.Module) -> dict[str, Any]:
    """Returns a model's variables as `jax.ShapeDtypeStruct`s, training-only ones included; computes nothing."""
    if "channel_order" in model.__dataclass_fields__:
        model = model.clone(channel_order="rgb")  # one trace for both
    tree = _traced(model, spec.num_frames, spec.kind == "interpolation")
    return {"params": {}, **jax.tree.map(lambda leaf: leaf, tree)}  # a copy: the cache keeps the other


@functools.cache
def _traced(model: nn.Module, num_frames: int, takes_time: bool) -> dict[str, Any]:
    """Traces each module once, because the trace of a deep network takes seconds."""
    frames = jax.ShapeDtypeStruct((1, num_frames, TRACED_SIDE, TRACED_SIDE, 3), jnp.float32)
    times = [jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32)] if takes_time else []
    key = jax.eval_shape(lambda: jax.random.key(0))
    # A model with training-only parameters has a method that uses all of them.
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
    """Raises UsageError if a model is not of a kind, "interpolation" or "flow", or if there is no such model."""
    if (actual := spec_of(name).kind) != kind:
        nouns = {"interpolation": "an interpolation model", "flow": "a flow network"}
        raise UsageError(f"{name} is {nouns[actual]}, not {nouns[kind]}: choose another of `vfi-jax models`")


def build(name: str, **fields: Any) -> nn.Module:
    """Builds the Linen module of a variant, without weights; `fields` override the variant's own.

    Raises:
      UsageError: no such model, no such field of it, or a plugin's module without the fields of `Network`.
    """
    spec = spec_of(name)
    if missing := Network.__dataclass_fields__.keys() - spec.module.__dataclass_fields__.keys():
        raise UsageError(
            f"{name}: {spec.module.__name__} lacks {', '.join(sorted(missing))}: subclass models.base.Network"
        )
    known = spec.module.__dataclass_fields__.keys() - {"name", "parent", "variant"}
    for field in fields:
        if field not in known:
            raise UsageError(f"{name} has no field {field!r}; it has: {', '.join(sorted(known))}")
    return spec.module(**{**spec.config, "any_time": spec.any_time, "variant": name, **fields})


def shapes(name: str, **fields: Any) -> dict[str, Any]:
    """Returns a variant's variables, training-only and frozen ones too, as `jax.ShapeDtypeStruct`s."""
    model = build(name, **fields)
    tree, flow_network = module_shapes(spec_of(name), model), flow_network_of(model)
    return {**tree, FROZEN: {flow_network: shapes(flow_network)}} if flow_network else tree


def create(name: str, seed: int = 0, **fields: Any) -> tuple[nn.Module, dict[str, Any]]:
    """Creates a model with fresh weights, training-only parameters included.

    Args:
      name: in MODELS.
      seed: of the weights; the same on every machine and number of devices.
      **fields: fields of the module, instead of the variant's.

    Returns:
      The module and its variables: collections such as "params", of NumPy arrays.

    Raises:
      UsageError: no such model or field.
    """
    model, spec = build(name, **fields), spec_of(name)
    flow_network = flow_network_of(model)
    variables = {
        collection: initialize(tree, spec.init_rules, seed) for collection, tree in module_shapes(spec, model).items()
    }
    if flow_network:
        variables[FROZEN] = {flow_network: create(flow_network, seed)[1]}
    return model, variables


def flow_network_of(model: nn.Module) -> str:
    """Returns the name in MODELS of a model's frozen flow network; "" if it has none.

    Raises:
      UsageError: the model's field names no flow network.
    """
    field = spec_of(model.variant).flow_network
    flow_network = getattr(model, field) if field else ""
    if flow_network and (flow_network not in MODELS or spec_of(flow_network).kind != "flow"):
        known = ", ".join(name for name, spec in MODELS.items() if spec.kind == "flow")
        raise UsageError(f"{model.variant}: {field} is {flow_network!r}, which is no flow network; there are: {known}")
    return flow_network
