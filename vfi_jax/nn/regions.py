"""Region priors: label maps of two frames as random codes, and the normalization of features that they guide.

In the spirit of Chunming Han et al., "Video Frame Interpolation with Region-Distinguishable Priors from SAM", arXiv
2312.15868, whose code is not published. The codes, the form of `RegionNorm` and its places are this project's choice.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float, UInt8

from vfi_jax.nn.conv import Conv
from vfi_jax.nn.initializers import placeholder
from vfi_jax.nn.norm import EPSILON
from vfi_jax.ops.kinks import leaky_relu
from vfi_jax.ops.pair import split_pair, stack_halves
from vfi_jax.ops.resize import resize_flow, resize_to
from vfi_jax.ops.warp import warp
from vfi_jax.types import Array

NUMBERS = 256  # of regions in a map; 0 is no region
CODES = 8  # channels of a region's random code
WITH_POSITIONS = CODES + 3  # channels where the position inside the region follows
HIDDEN = 32  # channels inside `RegionNorm`
FARTHEST = 3.0  # standard deviations from the middle of a region


def region_codes(regions: UInt8[Array, "b n h w"], channels: int, seed: ArrayLike) -> Float[Array, "b n h w r"]:
    """Returns `E[L(p)]` for each pixel p of label maps L, E a table of random codes, normal, with E[0] = 0.

    Both frames share the table, so that equality of codes is all that the numbers tell. With `WITH_POSITIONS` channels
    three more follow, see `positions`.

    Args:
      regions: numbers 1 to 255 of regions, the same in all frames; 0: no region.
      channels: `CODES` or `WITH_POSITIONS`.
      seed: a number, of one table for all samples; or a key, which gives each sample a table of its own.
    """
    batch = len(regions)
    if jnp.issubdtype(jnp.asarray(seed).dtype, jax.dtypes.prng_key):
        tables = jax.vmap(_table)(jax.random.split(jnp.asarray(seed), batch))
    else:
        tables = jnp.broadcast_to(_table(jax.random.key(seed)), (batch, NUMBERS, CODES))
    codes = jax.vmap(lambda table, maps: table[maps.astype(jnp.int32)])(tables, regions)
    if channels == CODES:
        return codes
    return jnp.concatenate([codes, jax.vmap(jax.vmap(positions))(regions)], -1)


def _table(key: Array) -> Float[Array, "m r"]:
    return jax.random.normal(key, (NUMBERS, CODES)).at[0].set(0)


def positions(labels: UInt8[Array, "h w"]) -> Float[Array, "h w 3"]:
    """Returns `u = A^-1 (p - m)`, clipped to +-3, and `exp(-|u|^2 / 2)` for each pixel p; 0 where no region is.

    m and `A A^T - I` are mean and covariance (x, y) of the pixels of p's region, A is lower triangular. Where a region
    is moved, or scaled along the axes, its points keep their u.
    """
    height, width = labels.shape
    number = labels.reshape(-1).astype(jnp.int32)
    place = jnp.stack(jnp.meshgrid(jnp.arange(width), jnp.arange(height)), -1).reshape(-1, 2).astype(jnp.float32)
    count = jnp.maximum(jnp.zeros(NUMBERS).at[number].add(1), 1)[:, None]

    def mean(values: Array) -> Array:
        return jnp.zeros((NUMBERS, values.shape[-1])).at[number].add(values) / count

    x, y = jnp.moveaxis(place - mean(place)[number], -1, 0)
    xx, xy, yy = jnp.moveaxis(mean(jnp.stack([x * x, x * y, y * y], -1)) + jnp.array([1.0, 0.0, 1.0]), -1, 0)
    a = jnp.sqrt(xx)
    b = xy / a
    c = jnp.sqrt(yy - b * b)
    first = x / a[number]
    second = (y - b[number] * first) / c[number]
    u = jnp.clip(jnp.stack([first, second], -1), -FARTHEST, FARTHEST)
    out = jnp.concatenate([u, jnp.exp(-(u**2).sum(-1, keepdims=True) / 2)], -1) * (number > 0)[:, None]
    return out.reshape(height, width, 3)


def sampled_prior(
    prior: Float[Array, "b2 h2 w2 r"], flow: Float[Array, "b h w 4"] | None
) -> Float[Array, "b h2 w2 r2"]:
    """Returns the codes of both frames side by side, sampled where flows of twice their size point, if any."""
    if flow is not None:
        prior = warp(prior, resize_flow(stack_halves(flow), 0.5))
    return jnp.concatenate(split_pair(prior), -1)


class RegionNorm(nn.Module):
    """`f + gamma * n + beta`: n is f normalized per sample and channel, gamma and beta follow the codes.

    They are 3x3 convolutions of `s = PReLU(conv3x3(P))`, P the codes at f's size. Both are zero at the start, in weight
    and bias, so that the result is f in every bit.

    Attributes:
      dtype: compute dtype of the convolutions; statistics are float32.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], prior: Float[Array, "b _ _ r"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype; the codes are reduced to its size, by means where that is exact."""
        slope = self.param("slope", placeholder, (HIDDEN,))
        shared = Conv(HIDDEN, dtype=self.dtype, name="shared")(_reduced(prior, x.shape[1:3]))
        shared = leaky_relu(shared, slope.astype(shared.dtype))
        gamma, beta = (
            Conv(x.shape[-1], dtype=self.dtype, name=name)(shared).astype(jnp.float32) for name in ("gamma", "beta")
        )
        wide = x.astype(jnp.float32)
        centered = wide - wide.mean((1, 2), keepdims=True)
        normalized = centered * lax.rsqrt((centered**2).mean((1, 2), keepdims=True) + EPSILON)
        return (wide + gamma * normalized + beta).astype(x.dtype)


def _reduced(prior: Array, size: tuple[int, int]) -> Array:
    """Means over squares where they fit, which repeated means of 2x2 pixels are; else bilinear."""
    batch, height, width, channels = prior.shape
    factor = height // size[0]
    if not factor or (size[0] * factor, size[1] * factor) != (height, width):
        return resize_to(prior, size)
    return prior.reshape(batch, size[0], factor, size[1], factor, channels).mean((2, 4))
