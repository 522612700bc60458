"""Layers with PyTorch's padding, parameters and initialisation, in the forms that XLA runs fastest.

Parameters are `weight`, `bias` (and PReLU's slopes, `weight` too), as in PyTorch's modules. Layouts: convolutions
`[k, k, in, out]`; transposed ones `[k, k, in, out]`, not flipped; linear layers `[in, out]`. `dtype` is the compute
dtype: inputs and parameters are cast to it and the result keeps it.
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.ops import winograd
from vfi_jax.types import Array

NHWC = ("NHWC", "HWIO", "NHWC")
EPSILON = 1e-5  # added to variances
MANY = 48  # channels from which products are the faster form of a gradient on CPUs


def declared(key: Any, shape: tuple[int, ...]) -> Array:
    """Zeros: Linen asks for an initialiser; the values come from `initialise`."""
    return jnp.zeros(shape, jnp.float32)


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
def convolved(x: Array, kernel: Array, stride: int, borders: winograd.Borders) -> Array:
    """XLA's convolution; on CPUs, where that is faster, by tiles, and the kernel's gradient as products.

    Args:
      x: `[b, h, w, i]`.
      kernel: `[kh, kw, i, o]`, of the same dtype.
      stride: in both axes.
      borders: pixels of zeros before and after, for each axis.
    """
    plain = functools.partial(_plain, stride=stride, borders=borders)
    if stride > 1 or not winograd.saves_products(x, kernel):
        return plain(x, kernel)
    by_tiles = functools.partial(winograd.convolve, borders=borders)
    return lax.platform_dependent(x, kernel, cpu=by_tiles, default=plain)


def _plain(x: Array, kernel: Array, stride: int, borders: winograd.Borders) -> Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), borders, dimension_numbers=NHWC)


def _convolved_pulled(
    stride: int, borders: winograd.Borders, saved: tuple[Array, Array], pulled: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    by_tiles = stride == 1 and winograd.saves_products(x, kernel)
    as_products = stride == 1 and min(kernel.shape[2:]) >= MANY

    def to_x(pulled: Array, kernel: Array) -> Array:
        return jax.linear_transpose(lambda x: _plain(x, kernel, stride, borders), x)(pulled)[0]

    def to_kernel(pulled: Array, x: Array) -> Array:
        return jax.linear_transpose(lambda kernel: _plain(x, kernel, stride, borders), kernel)(pulled)[0]

    def to_x_by_tiles(pulled: Array, kernel: Array) -> Array:
        pulled, kernel = lax.optimization_barrier((pulled, kernel))  # else the kernel is turned long before
        outside = tuple((2 - low, 2 - high) for low, high in borders)
        return winograd.convolve(pulled, kernel[::-1, ::-1].swapaxes(2, 3), outside)

    def to_kernel_on_cpu(pulled: Array, x: Array) -> Array:
        if by_tiles:
            return winograd.kernel_gradient(x, pulled, borders)
        return _kernel_gradient(x, pulled, kernel.shape[:2], borders) if as_products else to_kernel(pulled, x)

    return (
        lax.platform_dependent(pulled, kernel, cpu=to_x_by_tiles if by_tiles else to_x, default=to_x),
        lax.platform_dependent(pulled, x, cpu=to_kernel_on_cpu, default=to_kernel),
    )


def _kernel_gradient(x: Array, pulled: Array, sides: tuple[int, int], borders: winograd.Borders) -> Array:
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


class Linear(nn.Module):
    """`x @ weight + bias` over the last axis."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        """Returns `features` channels."""
        weight = self.param("weight", declared, (x.shape[-1], self.features))
        bias = self.param("bias", declared, (self.features,))
        return x.astype(self.dtype) @ weight.astype(self.dtype) + bias.astype(self.dtype)


class GroupNorm(nn.Module):
    """`(x - mean) / sqrt(var + 1e-5) * weight + bias`; mean and biased variance of a group of channels, all pixels.

    Statistics are float32 whatever the input's dtype.
    """

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype; `groups` must divide its channels."""
        weight = self.param("weight", declared, (x.shape[-1],))
        bias = self.param("bias", declared, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        centred = wide - _group_mean(wide, self.groups)
        variance = _group_mean(centred**2, self.groups)
        return (centred * (weight * lax.rsqrt(variance + EPSILON)) + bias).astype(x.dtype)


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`(x - mean) / sqrt(var + 1e-5)`; mean and biased variance of each channel over its pixels, float32 inside."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean((1, 2), keepdims=True)
    return (centred * lax.rsqrt((centred**2).mean((1, 2), keepdims=True) + EPSILON)).astype(x.dtype)


def _group_mean(x: Array, groups: int) -> Array:
    """`[b, 1, 1, c]`: over pixels first, so that nothing large has five axes."""
    means = x.mean((1, 2)).reshape(x.shape[0], groups, -1).mean(-1)
    return jnp.repeat(means, x.shape[-1] // groups, axis=-1)[:, None, None]


class PReLU(nn.Module):
    """`max(0, x) + slope * min(0, x)` with one slope a channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype."""
        slope = self.param("weight", declared, (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


class FrozenBatchNorm(nn.Module):
    """`(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias`, by statistics that training does not change.

    They are variables of the collection `batch_stats`. In float32; the result has the input's dtype.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype."""
        weight, bias = (self.param(name, declared, (x.shape[-1],)) for name in ("weight", "bias"))
        statistic = lambda name: self.variable("batch_stats", name, jnp.zeros, (x.shape[-1],)).value  # noqa: E731
        gain = weight * lax.rsqrt(statistic("running_var") + EPSILON)
        return ((x - statistic("running_mean")) * gain + bias).astype(x.dtype)


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
        """Layers by the names that import rules turn into the reference's."""
        self.conv = Conv(self.features, self.kernel, self.stride, self.dtype)
        self.prelu = PReLU()

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        """Returns sides `ceil(h / stride)`, `ceil(w / stride)`."""
        return self.prelu(self.conv(x))


def leaky_relu(x: Float[Array, "*b c"], slope: float) -> Float[Array, "*b c"]:
    """`max(0, x) + slope * min(0, x)`."""
    return jnp.where(x >= 0, x, slope * x)


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


# (generator, shape of the parameter, shape of its layer's weight) -> values
Initialiser = Callable[[np.random.Generator, tuple[int, ...], tuple[int, ...]], np.ndarray]


def torch_default(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """PyTorch's default for convolutions and their biases: uniform in +-1 / sqrt(fan_in)."""
    return rng.uniform(-1, 1, shape) / np.sqrt(np.prod(weight[:-1]))


def torch_default_transposed(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """The same for transposed convolutions, whose fan-in PyTorch takes from the channels out."""
    return rng.uniform(-1, 1, shape) / np.sqrt(weight[0] * weight[1] * weight[3])


def kaiming_fan_out(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation `sqrt(2 / fan_out)`: PyTorch's `kaiming_normal_(mode="fan_out")` for ReLU."""
    return rng.normal(0, np.sqrt(2 * weight[-2] / np.prod(weight)), shape)


def kaiming_normal(slope: float) -> Initialiser:
    """Normal with deviation `sqrt(2 / ((1 + slope^2) fan_in))`: keeps the size of signals through leaky ReLUs."""

    def fill(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / ((1 + slope**2) * np.prod(weight[:-1]))), shape)

    return fill


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """Q of the QR decomposition of a square matrix of normal entries."""
    return np.linalg.qr(rng.normal(size=shape))[0]


def constant(value: float) -> Initialiser:
    """Every entry is `value`."""
    return lambda rng, shape, weight: np.full(shape, value)


def initialise(shapes: dict[str, Any], rules: Sequence[tuple[str, Initialiser]], seed: int) -> dict[str, Any]:
    """Fills a tree of shapes with float32 values made on the host, each from `seed` and the parameter's path alone.

    Independent of device count and of the order of layers, and far quicker to start than a compiled `init`.

    Args:
      shapes: nested dict of anything with a `shape`, as `jax.eval_shape` gives it.
      rules: (pattern, initialiser): the first whose pattern is found in the path decides, else `torch_default`.
      seed: of the whole tree.
    """
    flat = traverse_util.flatten_dict(shapes, sep="/")
    filled = {}
    for path, leaf in flat.items():
        rule = next((rule for pattern, rule in rules if re.search(pattern, path)), torch_default)
        sibling = flat.get(path.rpartition("/")[0] + "/weight", leaf)
        rng = np.random.default_rng((seed, zlib.crc32(path.encode())))
        filled[path] = rule(rng, leaf.shape, sibling.shape).astype(np.float32)
    return traverse_util.unflatten_dict(filled, sep="/")
