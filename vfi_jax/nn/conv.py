"""Layers with PyTorch's padding, parameters and initialization, in the forms that XLA runs fastest.

Parameters are `weight`, `bias` (and PReLU's slopes, `weight` too), as in PyTorch's modules. Layouts: convolutions
`[k, k, in, out]`; transposed ones `[k, k, in, out]`, not flipped; linear layers `[in, out]`. `dtype` is the compute
dtype: inputs and parameters are cast to it and the result keeps it.
"""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn import conv_cpu
from vfi_jax.nn.initializers import declared
from vfi_jax.types import Array

NHWC = ("NHWC", "HWIO", "NHWC")
MANY = 48  # channels from which products are the faster form of a gradient on CPUs


class Conv(nn.Module):
    """Convolution with padding of (kernel - 1) / 2 on each side.

    Attributes:
      features: channels out.
      kernel: odd side of the kernel, or (height, width).
      stride: the same in both axes.
      dtype: compute dtype.
      padding: "constant" (zeros) or "reflect".
      bias: whether one is added.
    """

    features: int
    kernel: int | tuple[int, int] = 3
    stride: int = 1
    dtype: DTypeLike = jnp.float32
    padding: str = "constant"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `ceil(h / stride)`, `ceil(w / stride)`."""
        sides = self.kernel if isinstance(self.kernel, tuple) else (self.kernel, self.kernel)
        weight = self.param("weight", declared, (*sides, x.shape[-1], self.features))
        borders = [(side // 2, side // 2) for side in sides]
        if self.padding != "constant":
            x = jnp.pad(x, ((0, 0), *borders, (0, 0)), mode=self.padding)
            borders = [(0, 0), (0, 0)]
        out = convolved(x.astype(self.dtype), weight.astype(self.dtype), self.stride, tuple(borders))
        return out + self.param("bias", declared, (self.features,)).astype(self.dtype) if self.bias else out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolved(x: Array, kernel: Array, stride: int, borders: conv_cpu.Borders) -> Array:
    """XLA's convolution; on CPUs, where that is faster, by tiles, and the kernel's gradient as products.

    Args:
      x: `[b, h, w, i]`.
      kernel: `[kh, kw, i, o]`, of the same dtype.
      stride: in both axes.
      borders: pixels of zeros before and after, for each axis.
    """
    plain = functools.partial(_plain, stride=stride, borders=borders)
    if stride > 1 or not conv_cpu.saves_products(x, kernel):
        return plain(x, kernel)
    by_tiles = functools.partial(conv_cpu.convolve, borders=borders)
    return lax.platform_dependent(x, kernel, cpu=by_tiles, default=plain)


def _plain(x: Array, kernel: Array, stride: int, borders: conv_cpu.Borders) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), borders, dimension_numbers=NHWC)


def _convolved_pulled(
    stride: int, borders: conv_cpu.Borders, saved: tuple[Array, Array], pulled: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    by_tiles = stride == 1 and conv_cpu.saves_products(x, kernel)
    as_products = stride == 1 and min(kernel.shape[2:]) >= MANY

    def to_x(pulled: Array, kernel: Array) -> Array:
        return jax.linear_transpose(lambda x: _plain(x, kernel, stride, borders), x)(pulled)[0]

    def to_kernel(pulled: Array, x: Array) -> Array:
        return jax.linear_transpose(lambda kernel: _plain(x, kernel, stride, borders), kernel)(pulled)[0]

    def to_x_by_tiles(pulled: Array, kernel: Array) -> Array:
        pulled, kernel = lax.optimization_barrier((pulled, kernel))  # else the kernel is turned long before
        outside = tuple((2 - low, 2 - high) for low, high in borders)
        return conv_cpu.convolve(pulled, kernel[::-1, ::-1].swapaxes(2, 3), outside)

    def to_kernel_on_cpu(pulled: Array, x: Array) -> Array:
        if by_tiles:
            return conv_cpu.kernel_gradient(x, pulled, borders)
        return _kernel_gradient(x, pulled, kernel.shape[:2], borders) if as_products else to_kernel(pulled, x)

    return (
        lax.platform_dependent(pulled, kernel, cpu=to_x_by_tiles if by_tiles else to_x, default=to_x),
        lax.platform_dependent(pulled, x, cpu=to_kernel_on_cpu, default=to_kernel),
    )


def _kernel_gradient(x: Array, pulled: Array, sides: tuple[int, int], borders: conv_cpu.Borders) -> Array:
    """`sum_p x[p + offset] pulled[p]^T` for each of the kernel's offsets, a product each."""
    padded, flat = jnp.pad(x, ((0, 0), *borders, (0, 0))), pulled.reshape(-1, pulled.shape[-1])
    size = (*pulled.shape[:3], x.shape[-1])

    def product(offset: Array) -> Array:
        seen = lax.dynamic_slice(padded, (0, offset[0], offset[1], 0), size)
        return seen.reshape(-1, size[-1]).T @ flat

    # One after the other: each holds a copy of the input.
    offsets = np.array(list(np.ndindex(*sides)), np.int32)
    return lax.map(product, jnp.asarray(offsets)).reshape(*sides, size[-1], pulled.shape[-1])


convolved.defvjp(
    lambda x, kernel, stride, borders: (convolved(x, kernel, stride, borders), (x, kernel)), _convolved_pulled
)


class ConvTranspose(nn.Module):
    """Transposed convolution, kernel 4, stride 2, padding 1: doubles both sides."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `2h`, `2w`."""
        weight = self.param("weight", declared, (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", declared, (self.features,))
        return _doubled(x.astype(self.dtype), weight.astype(self.dtype)[::-1, ::-1]) + bias.astype(self.dtype)


class UpConv(nn.Module):
    """Doubles both sides, every pixel four times, then a 3x3 convolution without a bias.

    As the transposed convolution whose kernel is the 3x3 one, spread over 2x2: 4/9 of the products.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `2h`, `2w`."""
        kernel = self.param("weight", declared, (3, 3, x.shape[-1], self.features))
        for axis in (0, 1):
            rims = [[(0, 0)] * 4, [(0, 0)] * 4]
            rims[0][axis], rims[1][axis] = (0, 1), (1, 0)
            kernel = jnp.pad(kernel, rims[0]) + jnp.pad(kernel, rims[1])
        return _doubled(x.astype(self.dtype), kernel.astype(self.dtype))


@jax.custom_vjp
def _doubled(x: Array, kernel: Array) -> Array:
    """`out[2y + a, 2x + b] = sum_{r, s} kernel[2r + a, 2s + b] x[y + a + r - 1, x + b + s - 1]`; kernel `[4, 4, i, o]`.

    One 2x2 convolution to 4 * o channels (one group a phase (a, b)) on the input padded by 1, and four shifted slices
    of it, interleaved. Faster everywhere than dilating the input. XLA's gradients of 2x2 convolutions are slow on CPUs:
    those are taken of `_doubled_as_product`.
    """
    out = lax.conv_general_dilated(x, _by_phase(kernel), (1, 1), [(1, 1), (1, 1)], dimension_numbers=NHWC)
    return _interleaved(out)


def _doubled_as_product(x: Array, kernel: Array) -> Array:
    """The same: the 2x2 convolution as a matrix product of four shifted slices."""
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = [padded[:, a : a + height + 1, b : b + width + 1] for a in (0, 1) for b in (0, 1)]
    kernel = _by_phase(kernel)
    return _interleaved(jnp.concatenate(seen, -1) @ kernel.reshape(-1, kernel.shape[-1]))


_doubled.defvjp(
    lambda x, kernel: (_doubled(x, kernel), (x, kernel)),
    lambda saved, pulled: jax.vjp(_doubled_as_product, *saved)[1](pulled),
)


def _by_phase(kernel: Array) -> Array:
    """`[4, 4, i, o]` to `[2, 2, i, 4 o]`: a 2x2 kernel for each of the phases."""
    return jnp.concatenate([kernel[a::2, b::2] for a in (0, 1) for b in (0, 1)], -1)


def _interleaved(phases: Array) -> Array:
    """`[b, h + 1, w + 1, 4 o]` to `[b, 2h, 2w, o]`: phase (a, b) starts at (a, b)."""
    batch, height, width, features = phases.shape
    height, width, features = height - 1, width - 1, features // 4
    phases = phases.reshape(batch, height + 1, width + 1, 2, 2, features)
    rows = [
        jnp.concatenate([phases[:, a : a + height, b : b + width, a, b] for b in (0, 1)], -1)
        .reshape(batch, height, 2 * width, features)
        for a in (0, 1)
    ]  # fmt: skip
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)
