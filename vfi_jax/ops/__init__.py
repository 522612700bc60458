"""Operators on images and flows, NHWC."""

from vfi_jax.ops.correlation import correlate, correlation_volume, look_up
from vfi_jax.ops.join import join
from vfi_jax.ops.pad import crop, pad, pad_amounts
from vfi_jax.ops.resize import resize, resize_corners, resize_to
from vfi_jax.ops.splat import splat_average, splat_linear, splat_softmax, splat_sum
from vfi_jax.ops.timestep import time_map
from vfi_jax.ops.warp import cubic_correction, second_differences, warp, warp_inside, warp_resized

__all__ = [
    "correlate",
    "correlation_volume",
    "crop",
    "cubic_correction",
    "join",
    "look_up",
    "pad",
    "pad_amounts",
    "resize",
    "resize_corners",
    "resize_to",
    "second_differences",
    "splat_average",
    "splat_linear",
    "splat_softmax",
    "splat_sum",
    "time_map",
    "warp",
    "warp_inside",
    "warp_resized",
]
