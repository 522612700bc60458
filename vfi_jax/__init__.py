"""Video frame interpolation in JAX and Flax: published models at parity, real video in one command."""

from vfi_jax import weights, zoo
from vfi_jax.inference import Interpolator
from vfi_jax.models import MODELS
from vfi_jax.models.registry import create
from vfi_jax.weights.load import from_torch, load, to_torch

__version__ = "0.1.0"
__all__ = ["MODELS", "Interpolator", "create", "from_torch", "load", "to_torch", "weights", "zoo"]
