"""Normalization layers, with PyTorch's parameters."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.nn.initializers import placeholder
from vfi_jax.types import Array

EPSILON = 1e-5  # added to variances


class GroupNorm(nn.Module):
    """`(x - mean) / sqrt(var + 1e-5) * weight + bias`; mean and biased variance of a group of channels, all pixels.

    Statistics are float32 whatever the input's dtype.
    """

    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype; `groups` must divide its channels."""
        weight = self.param("weight", placeholder, (x.shape[-1],))
        bias = self.param("bias", placeholder, (x.shape[-1],))
        wide = x.astype(jnp.float32)
        centered = wide - _group_mean(wide, self.groups)
        variance = _group_mean(centered**2, self.groups)
        return (centered * (weight * lax.rsqrt(variance + EPSILON)) + bias).astype(x.dtype)


def instance_norm(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`(x - mean) / sqrt(var + 1e-5)`; mean and biased variance of each channel over its pixels, float32 inside."""
    wide = x.astype(jnp.float32)
    centered = wide - wide.mean((1, 2), keepdims=True)
    return (centered * lax.rsqrt((centered**2).mean((1, 2), keepdims=True) + EPSILON)).astype(x.dtype)


def _group_mean(x: Array, groups: int) -> Array:
    """`[b, 1, 1, c]`: over pixels first, so that nothing large has five axes."""
    means = x.mean((1, 2)).reshape(x.shape[0], groups, -1).mean(-1)
    return jnp.repeat(means, x.shape[-1] // groups, axis=-1)[:, None, None]


class LayerNorm(nn.Module):
    """`(x - mean) / sqrt(var + epsilon) * weight + bias`; mean and biased variance of each pixel's channels.

    Statistics are float32 whatever the input's dtype.
    """

    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        """Returns the input's shape and dtype."""
        weight, bias = (self.param(name, placeholder, (x.shape[-1],)) for name in ("weight", "bias"))
        wide = x.astype(jnp.float32)
        centered = wide - wide.mean(-1, keepdims=True)
        variance = (centered**2).mean(-1, keepdims=True)
        return (centered * lax.rsqrt(variance + self.epsilon) * weight + bias).astype(x.dtype)


class FrozenBatchNorm(nn.Module):
    """`(x - running_mean) / sqrt(running_var + 1e-5) * weight + bias`, by statistics that training does not change.

    They are variables of the collection `batch_stats`. In float32; the result has the input's dtype.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Returns the input's shape and dtype."""
        weight, bias = (self.param(name, placeholder, (x.shape[-1],)) for name in ("weight", "bias"))
        statistic = lambda name: self.variable("batch_stats", name, jnp.zeros, (x.shape[-1],)).value  # noqa: E731
        gain = weight * lax.rsqrt(statistic("running_var") + EPSILON)
        return ((x - statistic("running_mean")) * gain + bias).astype(x.dtype)
