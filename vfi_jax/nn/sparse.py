"""Chains of 3x3 convolutions that are zero where a mask keeps nothing, computed whole or in active tiles."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn import tiles
from vfi_jax.nn.basic import PReLU
from vfi_jax.nn.conv import Conv, ConvTranspose, convolved
from vfi_jax.nn.initializers import placeholder
from vfi_jax.ops.resize import resize
from vfi_jax.types import Array


class Conv3x3(nn.Module):
    """3x3 convolution whose padding is an argument.

    Attributes:
      features: channels out.
      bias: whether one is added.
      dtype: compute dtype.
    """

    features: int
    bias: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], pad: int = 1) -> Float[Array, "b h2 w2 o"]:
        """Returns the input's sides, less 2 where `pad` is 0."""
        weight = self.param("weight", placeholder, (3, 3, x.shape[-1], self.features)).astype(self.dtype)
        out = convolved(x.astype(self.dtype), weight, 1, ((pad, pad), (pad, pad)))
        return out + self.param("bias", placeholder, (self.features,)).astype(self.dtype) if self.bias else out


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
        weights = self.weight[0, 0].reshape(self.parts, self.width, self.features).astype(self.dtype)
        total = self.bias.astype(jnp.float32)
        for part, weight in zip(parts, weights, strict=True):
            total += jnp.matmul(part.astype(self.dtype), weight, preferred_element_type=jnp.float32)
        return total


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
        self.conv_head = [Conv3x3(self.width, self.bias, self.dtype), PReLU()]
        self.convblock_l = [Conv3x3(self.width, self.bias, self.dtype) for _ in range(self.layers)]
        self.prelu_l = [PReLU() for _ in range(self.layers)]
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

    def in_tiles(
        self, x: Float[Array, "b h w i"], keep: Float[Array, "b h w 1"], capacities: tuple[float, ...], side: int
    ) -> Float[Array, "b h w o"]:
        """Returns what `__call__` returns, computed in tiles that have a kept pixel.

        Args:
          x: the input.
          keep: mask of 0 and 1.
          capacities: fractions of the tiles; the least of them that is enough is used, and where none is, all pixels
            are computed.
          side: of a tile, pixels.
        """
        active = tiles.active_tiles(keep, side)
        counts = tiles.capacities_in_tiles(capacities, active.size)
        forms = [functools.partial(SparseBlock.of_tiles, side=side, capacity=count) for count in counts]
        index = (active.sum() > jnp.array(counts)).sum()
        return nn.switch(index, [*forms, SparseBlock.__call__], self, x, keep)

    def of_tiles(
        self, x: Float[Array, "b h w i"], keep: Float[Array, "b h w 1"], side: int, capacity: int
    ) -> Float[Array, "b h w o"]:
        """Returns what `__call__` returns, of at most `capacity` tiles with a kept pixel."""
        plan = tiles.tile_plan(keep, side, capacity)
        hidden = self._hidden(tiles.gather(x, plan, 1), tiles.gather(keep, plan), plan)
        return tiles.scatter(self.conv_last(hidden), plan, self.conv_last.bias)

    def _hidden(self, x: Array, keep: Array | None, plan: tiles.TilePlan | None = None) -> Iterator[Array]:
        """Yields the result of each 3x3 convolution; with a plan, of its tiles, `x` having one pixel around them."""
        pad = 0 if plan else 1
        conv, prelu = self.conv_head
        yield (x := _masked(prelu(conv(x, pad)), keep))
        for conv, prelu in zip(self.convblock_l, self.prelu_l, strict=True):
            x = tiles.with_halo(x, plan) if plan else x
            yield (x := prelu(_masked(conv(x, pad), keep)))

    def logits(self, feature: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 2"]:
        """Returns two logits per pixel of the next level, from this block's feature before it is enlarged."""
        return resize(self.conv_mask(feature), 2)

    def enlarge(self, x: Float[Array, "b h w o"]) -> Float[Array, "b h2 w2 8"]:
        """Returns flow, mask logit and residual at twice the sides, of a `final` block's output."""
        return self.dconv_last(self.prelu_last(x))


def _masked(x: Array, keep: Array | None) -> Array:
    return x if keep is None else x * keep.astype(x.dtype)
