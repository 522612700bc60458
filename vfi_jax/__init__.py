"""Video frame interpolation in JAX and Flax: published models at parity, real video in one command."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than the rest of this file
if TYPE_CHECKING:
    from typing import Any

    from vfi_jax import weights
    from vfi_jax.inference import Interpolator
    from vfi_jax.inference.export import load_exported
    from vfi_jax.inference.flow import FlowEstimator
    from vfi_jax.zoo import MODELS, create, from_torch, load, save, to_torch

__version__ = "0.1.0"
__all__ = [
    "MODELS",
    "FlowEstimator",
    "Interpolator",
    "create",
    "from_torch",
    "load",
    "load_exported",
    "save",
    "to_torch",
    "weights",
]
_HOMES = {
    "FlowEstimator": "vfi_jax.inference.flow",
    "Interpolator": "vfi_jax.inference",
    "load_exported": "vfi_jax.inference.export",
}


def __getattr__(name: str) -> Any:
    """Imports a public name, and JAX with it, when it is asked for; `import vfi_jax` alone takes no time."""
    if name == "weights":
        return importlib.import_module("vfi_jax.weights")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "vfi_jax.zoo")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
