"""Layers with PyTorch's padding, parameters and initialization, in the forms that XLA runs fastest."""

from vfi_jax.nn.basic import ConvPReLU, Linear, PReLU, pixel_shuffle, pixel_unshuffle
from vfi_jax.nn.conv import Conv, ConvTranspose, ConvTranspose3x3, DepthwiseConv, UpConv, convolved
from vfi_jax.nn.conv3d import Conv3d, ConvTranspose3d
from vfi_jax.nn.eighth_encoder import EighthEncoder
from vfi_jax.nn.initializers import (
    Initializer,
    constant,
    initialize,
    kaiming_fan_out,
    kaiming_normal,
    kaiming_uniform,
    normal,
    orthogonal,
    placeholder,
    scaled,
    torch_default,
    torch_default_transposed,
)
from vfi_jax.nn.norm import FrozenBatchNorm, GroupNorm, LayerNorm, instance_norm
from vfi_jax.nn.refinement import PyramidEncoder, ResBlock, ResBlockDecoder
from vfi_jax.nn.sparse import SparseBlock
from vfi_jax.nn.window import attention, window_attention, zones
from vfi_jax.ops.kinks import leaky_relu

__all__ = [
    "Conv",
    "Conv3d",
    "ConvPReLU",
    "ConvTranspose",
    "ConvTranspose3d",
    "ConvTranspose3x3",
    "DepthwiseConv",
    "EighthEncoder",
    "FrozenBatchNorm",
    "GroupNorm",
    "Initializer",
    "LayerNorm",
    "Linear",
    "PReLU",
    "PyramidEncoder",
    "ResBlock",
    "ResBlockDecoder",
    "SparseBlock",
    "UpConv",
    "attention",
    "constant",
    "convolved",
    "initialize",
    "instance_norm",
    "kaiming_fan_out",
    "kaiming_normal",
    "kaiming_uniform",
    "leaky_relu",
    "normal",
    "orthogonal",
    "pixel_shuffle",
    "pixel_unshuffle",
    "placeholder",
    "scaled",
    "torch_default",
    "torch_default_transposed",
    "window_attention",
    "zones",
]
