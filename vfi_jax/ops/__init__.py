"""Operators on images and flows, NHWC."""

from vfi_jax.ops.correlation import correlate, correlation_volume, correlator, look_up
from vfi_jax.ops.deform import deform_attend, deform_conv
from vfi_jax.ops.join import join
from vfi_jax.ops.kinks import absolute, clamp, leaky_relu, root
from vfi_jax.ops.pad import Padding, crop, pad, pad_amounts, pad_reflected
from vfi_jax.ops.pair import split_pair, stack_halves, stack_pair
from vfi_jax.ops.resize import resize, resize_corners, resize_flow, resize_flow_corners, resize_to, shrink_cubic
from vfi_jax.ops.splat import splat_average, splat_linear, splat_softmax, splat_sum
from vfi_jax.ops.taps import sample_taps
from vfi_jax.ops.timestep import reference_of, time_array, time_map
from vfi_jax.ops.warp import cubic_correction, sample_inside, second_differences, warp, warp_inside, warp_resized

__all__ = [
    "Padding",
    "absolute",
    "clamp",
    "correlate",
    "correlation_volume",
    "correlator",
    "crop",
    "cubic_correction",
    "deform_attend",
    "deform_conv",
    "join",
    "leaky_relu",
    "look_up",
    "pad",
    "pad_amounts",
    "pad_reflected",
    "reference_of",
    "resize",
    "resize_corners",
    "resize_flow",
    "resize_flow_corners",
    "resize_to",
    "root",
    "sample_inside",
    "sample_taps",
    "second_differences",
    "shrink_cubic",
    "splat_average",
    "splat_linear",
    "splat_softmax",
    "splat_sum",
    "split_pair",
    "stack_halves",
    "stack_pair",
    "time_array",
    "time_map",
    "warp",
    "warp_inside",
    "warp_resized",
]
