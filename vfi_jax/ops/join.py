"""Concatenation of channels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.types import Array

# Older compilers for CPUs look through barriers, and would compute what is joined once for each channel of the result.
KEEPS_BARRIERS = jax.__version_info__ >= (0, 12)


def join(*arrays: Float[Array, "*b h w _"]) -> Float[Array, "*b h w c"]:
    """`jnp.concatenate(arrays, -1)`.

    On CPUs, from jax 0.12 on, as a sum of padded arrays, which becomes one parallel loop: a third of the time or less
    of copying a few numbers at a time. Zeros lose their signs there.
    """
    if not KEEPS_BARRIERS:
        return _concatenated(*arrays)
    return lax.platform_dependent(*arrays, cpu=_summed, default=_concatenated)


def _concatenated(*arrays: Array) -> Array:
    return jnp.concatenate(arrays, -1)


def _summed(*arrays: Array) -> Array:
    arrays = lax.optimization_barrier(arrays)
    channels, start, padded = sum(array.shape[-1] for array in arrays), 0, []
    for array in arrays:
        around = (start, channels - start - array.shape[-1])
        padded.append(jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [around]))
        start += array.shape[-1]
    return lax.optimization_barrier(sum(padded[1:], padded[0]))
