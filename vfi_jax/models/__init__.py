"""The networks, a family a file, and the table of all of them."""

from vfi_jax.models.registry import MODELS
from vfi_jax.models.spec import ModelSpec

__all__ = ["MODELS", "ModelSpec"]
