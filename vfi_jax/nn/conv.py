"""Convolutions with PyTorch's padding and parameters, in the forms that XLA runs fastest.

Parameters are `weight`, `bias` (and PReLU's slopes, `weight` too), as in PyTorch's modules. Layouts: convolutions
`[k, k, in, out]`; transposed ones `[k, k, in, out]`, not flipped; linear layers `[in, out]`. `dtype` is the compute
dtype: inputs and parameters are cast to it and the result keeps it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn import conv_cpu
from vfi_jax.nn.conv_cpu import Sides
from vfi_jax.nn.initializers import placeholder
from vfi_jax.types import Array

NHWC = ("NHWC", "HWIO", "NHWC")


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
        weight = self.param("weight", placeholder, (*sides, x.shape[-1], self.features))
        padding = tuple((side // 2, side // 2) for side in sides)
        if self.padding != "constant":
            x = jnp.pad(x, ((0, 0), *padding, (0, 0)), mode=self.padding)
            padding = ((0, 0), (0, 0))
        out = convolved(x.astype(self.dtype), weight.astype(self.dtype), self.stride, padding)
        return out + self.param("bias", placeholder, (self.features,)).astype(self.dtype) if self.bias else out


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolved(x: Array, kernel: Array, stride: int, padding: Sides) -> Array:
    """Convolves; on CPUs, value and gradients are computed in the forms of `conv_cpu` where those are faster.

    Args:
      x: `[b, h, w, i]`.
      kernel: `[kh, kw, i, o]`, of the same dtype.
      stride: in both axes.
      padding: pixels of zeros before and after, for each axis.
    """
    plain = functools.partial(_plain, stride=stride, padding=padding)
    return _faster_on_cpu(conv_cpu.convolution(x, kernel, stride, padding), plain, x, kernel)


def _faster_on_cpu(form: Callable[..., Array] | None, plain: Callable[..., Array], *args: Array) -> Array:
    return lax.platform_dependent(*args, cpu=form, default=plain) if form else plain(*args)


def _plain(x: Array, kernel: Array, stride: int, padding: Sides) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=NHWC)


def _gradients(stride: int, padding: Sides, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def by_input(cotangent: Array, kernel: Array) -> Array:
        return jax.linear_transpose(lambda x: _plain(x, kernel, stride, padding), x)(cotangent)[0]

    def by_kernel(cotangent: Array, x: Array) -> Array:
        return jax.linear_transpose(lambda kernel: _plain(x, kernel, stride, padding), kernel)(cotangent)[0]

    return (
        _faster_on_cpu(conv_cpu.gradient_by_input(x, kernel, stride, padding), by_input, cotangent, kernel),
        _faster_on_cpu(conv_cpu.gradient_by_kernel(x, kernel, stride, padding), by_kernel, cotangent, x),
    )


convolved.defvjp(lambda x, kernel, stride, padding: (convolved(x, kernel, stride, padding), (x, kernel)), _gradients)


class ConvTranspose(nn.Module):
    """Transposed convolution, kernel 4, stride 2, padding 1: doubles both sides."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `2h`, `2w`."""
        weight = self.param("weight", placeholder, (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", placeholder, (self.features,))
        return doubled(x.astype(self.dtype), weight.astype(self.dtype)[::-1, ::-1]) + bias.astype(self.dtype)


class ConvTranspose3x3(nn.Module):
    """Transposed 3x3 convolution of images, padding 1, stride 2; the kernel, not flipped, is `[3, 3, in, out]`."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"], size: tuple[int, int]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `size`, of which each is twice that of the input or one less."""
        weight = self.param("weight", placeholder, (3, 3, x.shape[-1], self.features)).astype(self.dtype)
        bias = self.param("bias", placeholder, (self.features,)).astype(self.dtype)
        return doubled(x.astype(self.dtype), doubling_kernel(weight))[:, : size[0], : size[1]] + bias


class DepthwiseConv(nn.Module):
    """3x3 convolution of each channel by itself, padding 1: nine shifted products, which become one loop."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape."""
        weight = self.param("weight", placeholder, (3, 3, 1, x.shape[-1])).astype(self.dtype)
        bias = self.param("bias", placeholder, (x.shape[-1],)).astype(self.dtype)
        return depthwise(x.astype(self.dtype), weight[:, :, 0]) + bias


@jax.custom_vjp
def depthwise(x: Array, kernel: Array) -> Array:
    """`out[y, x] = sum_{r, s} kernel[r, s] padded[y + r, x + s]` for each channel; kernel `[3, 3, c]`, padding 1."""
    return sum(  # pyright: ignore[reportReturnType]
        part * weight for part, weight in zip(_nine_shifts(x), kernel.reshape(9, -1), strict=True)
    )


def _nine_shifts(x: Array) -> list[Array]:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return [padded[:, row : row + height, column : column + width] for row, column in np.ndindex(3, 3)]


def _depthwise_gradients(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    x, kernel = saved
    # Computed by itself: fused into the products that follow, it takes them pixel by pixel.
    by_input = lax.optimization_barrier(depthwise(cotangent, kernel[::-1, ::-1]))
    by_kernel = jnp.stack([(part * cotangent).sum((0, 1, 2)) for part in _nine_shifts(x)])
    return by_input, by_kernel.reshape(kernel.shape)


depthwise.defvjp(lambda x, kernel: (depthwise(x, kernel), (x, kernel)), _depthwise_gradients)


class UpConv(nn.Module):
    """Nearest-neighbor enlargement by 2, then a 3x3 convolution without a bias.

    Computed as a transposed convolution whose kernel is the 3x3 one spread over 2x2: 4/9 of the products.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `2h`, `2w`."""
        kernel = self.param("weight", placeholder, (3, 3, x.shape[-1], self.features))
        for axis in (0, 1):
            before, after = [[(0, 0)] * 4, [(0, 0)] * 4]
            before[axis], after[axis] = (1, 0), (0, 1)
            kernel = jnp.pad(kernel, after) + jnp.pad(kernel, before)
        return doubled(x.astype(self.dtype), kernel.astype(self.dtype))


@jax.custom_vjp
def doubled(x: Array, kernel: Array) -> Array:
    """`out[2y + a, 2x + b] = sum_{r, s} kernel[2r + a, 2s + b] x[y + a + r - 1, x + b + s - 1]`; kernel `[4, 4, i, o]`.

    One 2x2 convolution to 4 * o channels (o for each phase (a, b)) on the input padded by 1, and four shifted slices
    of it, interleaved. Faster everywhere than dilating the input. XLA's gradients of 2x2 convolutions are slow on CPUs,
    so the gradients have forms of their own.
    """
    form = conv_cpu.doubled if conv_cpu.kernel_dominates(x, kernel) else None
    return _faster_on_cpu(form, _doubled_by_phases, x, kernel)


def _doubled_by_phases(x: Array, kernel: Array) -> Array:
    out = lax.conv_general_dilated(x, _by_phase(kernel), (1, 1), [(1, 1), (1, 1)], dimension_numbers=NHWC)
    return _interleaved(out)


def doubling_kernel(weight: Float[Array, "3 3 i o"]) -> Float[Array, "4 4 i o"]:
    """A transposed convolution's kernel of 3x3 in the form that `doubled` takes: flipped, with zeros before it."""
    return jnp.pad(weight[::-1, ::-1], ((1, 0), (1, 0), (0, 0), (0, 0)))


def _doubled_gradients(saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    """By the input: a convolution with stride 2. By the kernel: a matrix product for each of the 2x2 offsets."""
    x, kernel = saved
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    by_input = lax.conv_general_dilated(cotangent, turned, (2, 2), [(1, 1), (1, 1)], dimension_numbers=NHWC)
    (height, width), (channels, features) = x.shape[1:3], kernel.shape[2:]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    phases = _phases(cotangent).reshape(-1, 4 * features)
    products = [
        padded[:, r : r + height + 1, s : s + width + 1].reshape(-1, channels).T @ phases
        for r, s in np.ndindex(2, 2)
    ]  # fmt: skip
    by_phase = jnp.stack(products).reshape(2, 2, channels, 2, 2, features)
    return by_input, by_phase.transpose(0, 3, 1, 4, 2, 5).reshape(kernel.shape)


doubled.defvjp(lambda x, kernel: (doubled(x, kernel), (x, kernel)), _doubled_gradients)


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


def _phases(doubled: Array) -> Array:
    """The transpose of `_interleaved`: `[b, 2h, 2w, o]` to `[b, h + 1, w + 1, 4 o]`, with zeros around each phase."""
    parts = [
        jnp.pad(doubled[:, a::2, b::2], ((0, 0), (a, 1 - a), (b, 1 - b), (0, 0)))
        for a, b in np.ndindex(2, 2)
    ]  # fmt: skip
    return jnp.concatenate(parts, -1)
