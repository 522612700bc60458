"""From a model to frames: `Interpolator`, and wrappers that are called like a model."""

from vfi_jax.inference.interpolator import Interpolator, as_float, intermediate_flows, stack_frames
from vfi_jax.inference.wrappers import (
    DataParallel,
    FlipEnsemble,
    IterateReference,
    Recursive,
    data_parallel,
    flip_ensemble,
    iterate_reference,
    recursive,
    with_dtype,
)
from vfi_jax.types import MIDPOINT, Model

__all__ = [
    "MIDPOINT",
    "DataParallel",
    "FlipEnsemble",
    "Interpolator",
    "IterateReference",
    "Model",
    "Recursive",
    "as_float",
    "data_parallel",
    "flip_ensemble",
    "intermediate_flows",
    "iterate_reference",
    "recursive",
    "stack_frames",
    "with_dtype",
]
