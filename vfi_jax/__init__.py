"""Video frame interpolation in JAX and Flax: published models at parity, real video in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vfi_jax import weights
from vfi_jax.inference import Interpolator
from vfi_jax.zoo import MODELS, create, from_torch, load, save, to_torch

if TYPE_CHECKING:
    from vfi_jax.inference.flow import FlowEstimator

__version__ = "0.1.0"
__all__ = [
    "MODELS",
    "FlowEstimator",
    "Interpolator",
    "create",
    "from_torch",
    "load",
    "save",
    "to_torch",
    "weights",
]


def __getattr__(name: str) -> Any:
    """Imports `FlowEstimator`, which brings OpenCV, when it is asked for."""
    if name == "FlowEstimator":
        from vfi_jax.inference.flow import FlowEstimator

        return FlowEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
