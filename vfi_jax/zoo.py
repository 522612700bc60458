"""The public calls over MODELS: create, import, export, load and save a model."""

from vfi_jax.models.registry import MODELS, build, check_kind, create, shapes, spec_of
from vfi_jax.weights.load import average, from_torch, load, save, to_torch

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
