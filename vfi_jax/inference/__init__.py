"""From a model to frames: `Interpolator`, wrappers that are called like a model, `FlowEstimator`."""

from vfi_jax.inference.interpolator import Interpolator, as_float, intermediate_flows, stacked
from vfi_jax.inference.wrappers import data_parallel, flip_ensemble, recursive, with_dtype
from vfi_jax.ops.channels import order_of
from vfi_jax.types import MIDPOINT, Model

__all__ = [
    "MIDPOINT",
    "Interpolator",
    "Model",
    "as_float",
    "data_parallel",
    "flip_ensemble",
    "intermediate_flows",
    "order_of",
    "recursive",
    "stacked",
    "with_dtype",
]
