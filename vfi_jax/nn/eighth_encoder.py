"""Residual encoder to 1/8 of the sides, as RAFT and AMT have it before their correlations."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn.conv import Conv
from vfi_jax.nn.norm import FrozenBatchNorm, instance_norm
from vfi_jax.types import Array


def _norm(kind: str) -> Any:
    """Returns the normalization of a kind: "instance", "batch" or "none"."""
    if kind == "batch":
        return FrozenBatchNorm()
    return instance_norm if kind == "instance" else lambda x: x


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, or with `bottleneck` 1x1, 3x3 and 1x1, added to the input.

    Attributes:
      features: channels out.
      stride: of the block.
      norm: "instance", "batch" (frozen) or "none".
      bottleneck: which of the two forms.
      dtype: compute dtype.
    """

    features: int
    stride: int
    norm: str
    bottleneck: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        inner = self.features // 4 if self.bottleneck else self.features
        widths, kernels = ((inner, inner, self.features), (1, 3, 1)) if self.bottleneck else ((inner, inner), (3, 3))
        strided = 1 if self.bottleneck else 0
        self.layers = range(1, len(kernels) + 1)
        for index, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            stride = self.stride if index == strided else 1
            setattr(self, f"conv{index + 1}", Conv(width, kernel, stride, self.dtype))
            setattr(self, f"norm{index + 1}", _norm(self.norm))
        if self.stride > 1:
            self.downsample_0 = Conv(self.features, 1, self.stride, self.dtype)
            self.downsample_1 = _norm(self.norm)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `ceil(h / stride)`, `ceil(w / stride)`."""
        y = x
        for index in self.layers:
            y = nn.relu(getattr(self, f"norm{index}")(getattr(self, f"conv{index}")(y)))
        if self.stride > 1:
            x = self.downsample_1(self.downsample_0(x))
        return nn.relu(x + y)


class EighthEncoder(nn.Module):
    """Encodes images into features at 1/8 of the sides.

    Attributes:
      widths: channels of each layer of two blocks; the second and the third layer halve the sides.
      features: channels out, float32.
      norm: see `ResidualBlock`.
      bottleneck: see `ResidualBlock`.
      dtype: compute dtype.
    """

    widths: tuple[int, ...]
    features: int
    norm: str
    bottleneck: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Names the layers as the import rules expect them."""
        self.conv1 = Conv(self.widths[0], 7, 2, self.dtype)
        self.norm1 = _norm(self.norm)
        for index, width in enumerate(self.widths):
            block = functools.partial(
                ResidualBlock, width, norm=self.norm, bottleneck=self.bottleneck, dtype=self.dtype
            )
            setattr(self, f"layer{index + 1}", [block(stride=2 if index in (1, 2) else 1), block(stride=1)])
        self.conv2 = Conv(self.features, 1, dtype=self.dtype)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h8 w8 o"]:
        """Returns the features; sides must be multiples of 8."""
        x = nn.relu(self.norm1(self.conv1(x)))
        for index in range(len(self.widths)):
            for block in getattr(self, f"layer{index + 1}"):
                x = block(x)
        return self.conv2(x).astype(jnp.float32)
