"""The public calls over MODELS: create, import, export, load, save and average a model."""

from vfi_jax.models.registry import MODELS, build, check_kind, create, shapes, spec_of
from vfi_jax.weights.average import average
from vfi_jax.weights.load import from_torch, load, to_torch
from vfi_jax.weights.save import save

__all__ = [
    "MODELS",
    "average",
    "build",
    "check_kind",
    "create",
    "from_torch",
    "load",
    "save",
    "shapes",
    "spec_of",
    "to_torch",
]
