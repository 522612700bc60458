"""Checksums of saved arrays: a position-weighted sum of their bits, the same for every sharding."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding

from vfi_jax.system import sharding, strict_json
from vfi_jax.types import Array

WORD = 4  # bytes


def checksums(tree: Any) -> dict[str, int]:
    """Returns the checksum of each leaf by its path, `a/b/0`: `sum_i (2 i + 1) w_i mod 2^32` over its words in C order.

    A word is the bits of an element as an unsigned number; elements of 64 bits are two words, the lower first. All
    weights are odd, so that any single flipped bit changes the sum. It is computed on the leaf's devices; with several
    processes all of them must call this, and all get the same numbers.
    """
    leaves = jax.tree.leaves_with_path(tree)
    sums = jax.device_get([_checksum(leaf) for _, leaf in leaves])
    return {_path(keys): int(value) for (keys, _), value in zip(leaves, sums, strict=True)}


def differing(tree: Any, recorded: Mapping[str, int]) -> list[str]:
    """Returns the paths of leaves whose checksum differs from the recorded one, or that only one side has."""
    present = checksums(tree)
    return [path for path in sorted({*present, *recorded}) if present.get(path) != recorded.get(path)]


def seal(text: Mapping[str, Any]) -> int:
    """Returns a checksum of the content of a JSON file."""
    return zlib.crc32(strict_json.dumps(text, sort_keys=True).encode())


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _checksum(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        mesh = leaf.sharding.mesh if isinstance(leaf.sharding, NamedSharding) else None
        return _summed(mesh)(leaf)
    leaf = np.asarray(leaf)
    # JAX would narrow 64 bits down to 32.
    words = leaf.reshape(-1).view(np.uint32) if leaf.dtype.itemsize > WORD else leaf
    return _summed(None)(words)


@functools.cache
def _summed(mesh: Any) -> Any:
    """Returns the jitted sum, whose result is on every device of the mesh."""
    return jax.jit(_sum, out_shardings=None if mesh is None else sharding.replicated(mesh))


def _sum(values: Array) -> Array:
    words = _words(values)
    # A reshape would gather a sharded leaf.
    steps = [math.prod(words.shape[axis + 1 :]) for axis in range(words.ndim)]
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis, step in enumerate(steps):
        place += lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(step % 2**32)
    return jnp.sum(words * (2 * place + 1), dtype=jnp.uint32)


def _words(values: Array) -> Array:
    size = values.dtype.itemsize
    if values.dtype == jnp.bool:
        return values.astype(jnp.uint32)
    if size >= WORD:
        return lax.bitcast_convert_type(values, jnp.uint32)
    return lax.bitcast_convert_type(values, {1: jnp.uint8, 2: jnp.uint16}[size]).astype(jnp.uint32)
