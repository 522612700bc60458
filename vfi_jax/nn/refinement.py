"""Encoder, residual block and decoder of flow refinement from coarse to fine, as IFRNet and AMT have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn.basic import ConvPReLU, PReLU
from vfi_jax.nn.conv import Conv, ConvTranspose
from vfi_jax.ops.join import join
from vfi_jax.types import Array


class PyramidEncoder(nn.Module):
    """Pyramid of features: level k has 1 / 2^k of the sides, by two convolutions, the first with stride 2.

    Attributes:
      widths: channels of each level.
      first_kernel: of the first convolution.
      dtype: compute dtype; the features are float32.
    """

    widths: tuple[int, ...]
    first_kernel: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        for level, width in enumerate(self.widths, 1):
            kernel = self.first_kernel if level == 1 else 3
            layers = [ConvPReLU(width, 2, self.dtype, kernel), ConvPReLU(width, dtype=self.dtype)]
            setattr(self, f"pyramid{level}", layers)

    def __call__(
        self, x: Float[Array, "b h w c"], guides: Sequence[Callable[[Array], Array]] = ()
    ) -> list[Float[Array, "b _ _ _"]]:
        """Returns the features from level 1 on.

        Args:
          x: the images.
          guides: one for each level, or none; it changes the level's features, and so those of the levels below.
        """
        features = []
        for level in range(1, len(self.widths) + 1):
            for layer in getattr(self, f"pyramid{level}"):
                x = layer(x)
            x = guides[level - 1](x) if guides else x
            features.append(x.astype(jnp.float32))
        return features


class ResBlock(nn.Module):
    """Residual block of five convolutions; the second and the fourth work on the last `side` channels only.

    Attributes:
      features: channels in and out.
      side: channels of the second and the fourth convolution.
      dtype: compute dtype.
    """

    features: int
    side: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        for index in (1, 3):
            setattr(self, f"conv{index}", ConvPReLU(self.features, dtype=self.dtype))
            setattr(self, f"conv{index + 1}", ConvPReLU(self.side, dtype=self.dtype))
        self.conv5 = Conv(self.features, dtype=self.dtype)
        self.prelu = PReLU()

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape."""
        y = self._side(self.conv1(x), self.conv2)
        y = self._side(self.conv3(y), self.conv4)
        return self.prelu(x + self.conv5(y))

    def _side(self, y: Array, layer: ConvPReLU) -> Array:
        start = self.features - self.side
        # In place, where a concatenation would copy all channels.
        return lax.dynamic_update_slice_in_dim(y, layer(y[..., start:]), start, axis=-1)


class ResBlockDecoder(nn.Module):
    """Convolution, `ResBlock` and transposed convolution: twice the sides of its input.

    Attributes:
      width: channels of the block.
      side: see `ResBlock`.
      features: channels out, float32.
      dtype: compute dtype.
    """

    width: int
    side: int
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        self.convblock = [
            ConvPReLU(self.width, dtype=self.dtype),
            ResBlock(self.width, self.side, self.dtype),
            ConvTranspose(self.features),  # float32: flows, and what is added to the frame
        ]

    def __call__(self, *parts: Float[Array, "b h w _"]) -> Float[Array, "b h2 w2 o"]:
        """Takes the input in parts, which it concatenates along the channels."""
        x = join(*parts)
        for layer in self.convblock:
            x = layer(x)
        return x
