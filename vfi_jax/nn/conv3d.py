"""Convolutions over frames, rows and columns of a short clip, as two-dimensional ones.

Every frame is convolved together with the frame before and the one after, whose channels stand side by side: a kernel
of 3x3x3 over c channels is one of 3x3 over 3 c. Outside of the clip frames are zero. Clips are `[b, n, h, w, c]`.
Parameters are `weight` and `bias` as in PyTorch's modules, `[3, 3, 3, in, out]`: frames, rows, columns.
"""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float

from vfi_jax.nn.conv import convolved, doubled, doubling_kernel
from vfi_jax.nn.initializers import placeholder
from vfi_jax.types import Array

AT_ONCE = 2**29  # bytes of a clip's frames with their neighbors above which it is convolved frame by frame


class Conv3d(nn.Module):
    """3x3x3 convolution, padding 1 on all sides.

    Attributes:
      features: channels out.
      stride: in rows and columns; 1 over frames.
      dtype: compute dtype.
    """

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n h w i"]) -> Float[Array, "b n h2 w2 o"]:
        """Returns sides `ceil(h / stride)`, `ceil(w / stride)`."""
        weight = self.param("weight", placeholder, (3, 3, 3, x.shape[-1], self.features)).astype(self.dtype)
        bias = self.param("bias", placeholder, (self.features,)).astype(self.dtype)
        kernel = _side_by_side(weight)
        convolve = lambda image: convolved(image, kernel, self.stride, ((1, 1), (1, 1))) + bias  # noqa: E731
        return _frame_by_frame(convolve, x.astype(self.dtype))


class ConvTranspose3d(nn.Module):
    """Transposed 3x3x3 convolution, padding 1, stride 2 in rows and columns: output `2 i - 1 + u` gets kernel entry u.

    The kernel, not flipped, is `[3, 3, 3, in, out]`.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n h w i"], size: tuple[int, int]) -> Float[Array, "b n h2 w2 o"]:
        """Returns sides `size`, of which each is twice that of the input or one less."""
        weight = self.param("weight", placeholder, (3, 3, 3, x.shape[-1], self.features)).astype(self.dtype)
        bias = self.param("bias", placeholder, (self.features,)).astype(self.dtype)
        kernel = doubling_kernel(_side_by_side(weight[::-1]))
        double = lambda image: doubled(image, kernel)[:, : size[0], : size[1]] + bias  # noqa: E731
        return _frame_by_frame(double, x.astype(self.dtype))


def _side_by_side(weight: Array) -> Array:
    """`[3, 3, 3, i, o]` to `[3, 3, 3 i, o]`: the channels of the three frames one after the other."""
    return jnp.moveaxis(weight, 0, 2).reshape(3, 3, -1, weight.shape[-1])


def _frame_by_frame(convolve: Callable[[Array], Array], x: Array) -> Array:
    """Convolves every frame with its neighbors, all frames together unless that takes too much memory."""
    batch, frames, *rest, channels = x.shape
    if 3 * x.size * x.dtype.itemsize <= AT_ONCE:
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
        around = jnp.concatenate([padded[:, offset : offset + frames] for offset in range(3)], -1)
        out = convolve(around.reshape(batch * frames, *rest, 3 * channels))
        return out.reshape(batch, frames, *out.shape[1:])

    def neighbor(number: Array) -> Array:
        image = lax.dynamic_index_in_dim(x, jnp.clip(number, 0, frames - 1), 1, keepdims=False)
        return jnp.where((number >= 0) & (number < frames), image, 0)

    def step(number: Array, out: Array) -> Array:
        image = convolve(jnp.concatenate([neighbor(number + offset) for offset in (-1, 0, 1)], -1))
        return lax.dynamic_update_index_in_dim(out, image, number, 1)

    around = jax.ShapeDtypeStruct((batch, *rest, 3 * channels), x.dtype)
    shape = jax.eval_shape(convolve, around).shape
    # Depends on x, because XLA's CPU compiler would hold a constant from the program's start.
    empty = jnp.broadcast_to(x[:, :1, :1, :1, :1] * 0, (batch, frames, *shape[1:]))
    return lax.fori_loop(0, frames, step, empty)
