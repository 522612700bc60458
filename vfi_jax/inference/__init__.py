"""From a model to frames: `Interpolator`, wrappers that are called like a model, `FlowEstimator`."""

from vfi_jax.inference.interpolator import Interpolator, as_float, intermediate_flows, stacked
from vfi_jax.inference.wrappers import MIDPOINT, Model, data_parallel, flip_ensemble, order_of, recursive, with_dtype

__all__ = [
    "Interpolator",
    "MIDPOINT",
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
