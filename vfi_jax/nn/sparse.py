"""Chains of 3x3 convolutions that are zero where a mask keeps nothing, computed whole or in active blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn.active import ActiveBlocks, active_blocks, fold_convolution, to_blocks
from vfi_jax.nn.basic import PReLU
from vfi_jax.nn.conv import Conv, ConvTranspose, convolved
from vfi_jax.nn.initializers import placeholder
from vfi_jax.ops.kinks import leaky_relu
from vfi_jax.ops.resize import resize
from vfi_jax.types import Array


class Conv3x3(nn.Module):
    """3x3 convolution of as many channels as it returns.

    Attributes:
      features: channels in and out.
      bias: whether one is added.
      dtype: compute dtype.
    """

    features: int
    bias: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the parameters as the import rules expect them."""
        self.weight = self.param("weight", placeholder, (3, 3, self.features, self.features))
        self.shift = self.param("bias", placeholder, (self.features,)) if self.bias else None

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape, in the compute dtype."""
        out = convolved(x.astype(self.dtype), self.weight.astype(self.dtype), 1, ((1, 1), (1, 1)))
        return out if self.shift is None else out + self.shift.astype(self.dtype)


class Slopes(nn.Module):
    """PReLU whose slopes can be read.

    Attributes:
      features: channels.
    """

    features: int

    def setup(self) -> None:
        """Names the parameter as the import rules expect it."""
        self.weight = self.param("weight", placeholder, (self.features,))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the input's shape and dtype."""
        return leaky_relu(x, self.weight.astype(x.dtype))


class Pointwise(nn.Module):
    """1x1 convolution of parts, as if they were concatenated along the channels; they never are.

    Attributes:
      width: channels of a part.
      parts: number of parts.
      features: channels out.
      dtype: compute dtype; sums are float32.
    """

    width: int
    parts: int
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the parameters as the import rules expect them."""
        self.weight = self.param("weight", placeholder, (1, 1, self.width * self.parts, self.features))
        self.bias = self.param("bias", placeholder, (self.features,))

    def __call__(self, parts: Iterable[Float[Array, "b h w i"]]) -> Float[Array, "b h w o"]:
        """Returns `features` channels, float32."""
        total = self.bias.astype(jnp.float32)
        for part, weight in zip(parts, self.kernels(), strict=True):
            total += jnp.matmul(part.astype(self.dtype), weight, preferred_element_type=jnp.float32)
        return total

    def kernels(self) -> Float[Array, "parts i o"]:
        """Returns the kernel of each part."""
        return self.weight[0, 0].reshape(self.parts, self.width, self.features).astype(self.dtype)


class SparseBlock(nn.Module):
    """A chain of 3x3 convolutions of equal width, zero where nothing is kept, and a 1x1 convolution of all of them.

    Attributes:
      width: channels in, and of every 3x3 convolution.
      features: channels out, float32.
      layers: number of 3x3 convolutions after the first.
      bias: whether 3x3 convolutions have one; where pixels are pruned they have none.
      masks: whether the block has a convolution for the next level's keep mask.
      final: whether the 1x1 convolution is followed by a PReLU and a transposed convolution to 8 channels.
      dtype: compute dtype.
    """

    width: int
    features: int
    layers: int = 5
    bias: bool = False
    masks: bool = True
    final: bool = False
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        self.conv_head = [Conv3x3(self.width, self.bias, self.dtype), Slopes(self.width)]
        self.convblock_l = [Conv3x3(self.width, self.bias, self.dtype) for _ in range(self.layers)]
        self.prelu_l = [Slopes(self.width) for _ in range(self.layers)]
        # Flows are float32.
        dtype = self.dtype if self.final else jnp.float32
        self.conv_last = Pointwise(self.width, self.layers + 1, self.features, dtype)
        if self.masks:
            self.conv_mask = Conv(2)
        if self.final:
            self.prelu_last, self.dconv_last = PReLU(), ConvTranspose(8)

    def __call__(self, x: Float[Array, "b h w i"], keep: Float[Array, "b h w 1"] | None = None) -> Array:
        """Returns the 1x1 convolution's channels; where nothing is kept, its bias."""
        return self.conv_last(self._hidden(x, keep))

    def in_blocks(self, x: Float[Array, "b h w i"], keep: Float[Array, "b h w 1"]) -> Float[Array, "b h w o"]:
        """Returns what `__call__` returns, computed in the blocks of 2x2 pixels of which `keep`, 0 or 1, keeps any."""
        active = active_blocks(keep)
        layers = [self.conv_head, *zip(self.convblock_l, self.prelu_l, strict=True)]
        total = jnp.broadcast_to(self.conv_last.bias.astype(jnp.float32), (len(active.keep), 4, self.features))
        blocks = to_blocks(x.astype(self.dtype))
        for (conv, prelu), last in zip(layers, self.conv_last.kernels(), strict=True):
            blocks, total = _layer_in_blocks(blocks, total, active, conv.weight, prelu.weight, last)
        return active.image(total)

    def _hidden(self, x: Array, keep: Array | None) -> Iterator[Array]:
        """Yields the result of each 3x3 convolution."""
        for conv, prelu in [self.conv_head, *zip(self.convblock_l, self.prelu_l, strict=True)]:
            # The mask comes first or last: PReLU of 0 is 0.
            yield (x := prelu(_masked(conv(x), keep)))

    def logits(self, feature: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 2"]:
        """Returns two logits per pixel of the next level, from this block's feature before it is enlarged."""
        return resize(self.conv_mask(feature), 2)

    def enlarge(self, x: Float[Array, "b h w o"]) -> Float[Array, "b h2 w2 8"]:
        """Returns flow, mask logit and residual at twice the sides, of a `final` block's output."""
        return self.dconv_last(self.prelu_last(x))


def _masked(x: Array, keep: Array | None) -> Array:
    return x if keep is None else x * keep.astype(x.dtype)


def _layer_in_blocks(
    blocks: Array, total: Array, active: ActiveBlocks, kernel: Array, slopes: Array, last: Array
) -> tuple[Array, Array]:
    """Returns the blocks of the masked convolution, and the sums of the 1x1 convolution with its part."""

    def update(state: tuple[Array, Array], places: Array, pixels: Array) -> tuple[Array, Array]:
        blocks, total = state
        pixels = leaky_relu(pixels * active.keep[places], slopes).astype(blocks.dtype)
        part = jnp.matmul(pixels.astype(last.dtype), last, preferred_element_type=jnp.float32)
        return blocks.at[places].set(pixels), total.at[places].add(part)

    return fold_convolution(update, (jnp.zeros_like(blocks), total), blocks, kernel, active)
