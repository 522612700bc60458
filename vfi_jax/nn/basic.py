"""Linear layers, activations, and moving pixels between channels and space."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.nn.conv import Conv
from vfi_jax.nn.initializers import placeholder
from vfi_jax.ops.kinks import leaky_relu
from vfi_jax.types import Array


class Linear(nn.Module):
    """`x @ weight + bias` over the last axis."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Returns `features` channels."""
        weight = self.param("weight", placeholder, (x.shape[-1], self.features))
        bias = self.param("bias", placeholder, (self.features,))
        return x.astype(self.dtype) @ weight.astype(self.dtype) + bias.astype(self.dtype)


class PReLU(nn.Module):
    """`max(0, x) + slope * min(0, x)` with one slope per channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype."""
        slope = self.param("weight", placeholder, (x.shape[-1],))
        return leaky_relu(x, slope.astype(x.dtype))


class ConvPReLU(nn.Module):
    """Convolution with a bias, then PReLU.

    Attributes:
      features: channels out.
      stride: the same in both axes.
      dtype: compute dtype.
      kernel: odd side of the kernel.
    """

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    kernel: int = 3

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        self.conv = Conv(self.features, self.kernel, self.stride, self.dtype)
        self.prelu = PReLU()

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `ceil(h / stride)`, `ceil(w / stride)`."""
        return self.prelu(self.conv(x))


def pixel_shuffle(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c2"]:
    """Channels to space: output channel o at (f*y + i, f*x + j) is input channel `o * f * f + i * f + j`."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, channels // factor**2)


def pixel_unshuffle(x: Float[Array, "b h w c"], factor: int) -> Float[Array, "b h2 w2 c2"]:
    """Space to channels, the inverse of `pixel_shuffle`.

    Raises:
      UserError: a side that `factor` does not divide.
    """
    batch, height, width, channels = x.shape
    if height % factor or width % factor:
        raise UserError(f"sides of {width}x{height} are no multiples of {factor}")
    x = x.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // factor, width // factor, channels * factor**2)
