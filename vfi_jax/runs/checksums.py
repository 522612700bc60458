"""Checksums of what is saved: a position-weighted sum of the bits of an array, the same however it is split."""

from __future__ import annotations

import functools
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from vfi_jax.types import Array

WORD = 4  # bytes


def checksums(tree: Any) -> dict[str, int]:
    """The checksum of every leaf by its path, `a/b/0`: `sum_i (2 i + 1) w_i mod 2^32` over its words in C order.

    A word is an element's bits as an unsigned number; elements of 64 bits are two words, the lower first. All weights
    are odd, so that no single flipped bit goes unseen. Computed where the leaf lies; with several processes all of
    them have to call this, and all get the same numbers.
    """
    leaves = jax.tree.leaves_with_path(tree)
    sums = jax.device_get([_checksum(leaf) for _, leaf in leaves])
    return {_path(keys): int(value) for (keys, _), value in zip(leaves, sums, strict=True)}


def differing(tree: Any, recorded: Mapping[str, int]) -> list[str]:
    """Paths of the leaves whose checksum is not the recorded one, or that stand on one side only."""
    found = checksums(tree)
    return [path for path in sorted({*found, *recorded}) if found.get(path) != recorded.get(path)]


def seal(text: Mapping[str, Any]) -> int:
    """A checksum of what goes into a JSON file."""
    return zlib.crc32(json.dumps(text, sort_keys=True).encode())


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
    """The jitted sum, whose result is on every device of the mesh."""
    return jax.jit(_sum, out_shardings=NamedSharding(mesh, PartitionSpec()) if mesh is not None else None)


def _sum(values: Array) -> Array:
    words = _words(values)
    # No reshape: it would gather a leaf that is split.
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
