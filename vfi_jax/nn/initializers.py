"""Initialization on the host, from a seed and each parameter's path."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vfi_jax.types import Array


def placeholder(key: Any, shape: tuple[int, ...]) -> Array:
    """Initializer that Linen asks for: zeros, which `initialize` replaces."""
    return jnp.zeros(shape, jnp.float32)


# (generator, shape of the parameter, shape of its layer's weight) -> values
Initializer = Callable[[np.random.Generator, tuple[int, ...], tuple[int, ...]], np.ndarray]


def torch_default(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """PyTorch's default for convolutions and their biases: uniform in +-1 / sqrt(fan_in)."""
    return rng.uniform(-1, 1, shape) / np.sqrt(np.prod(weight[:-1]))


def torch_default_transposed(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """PyTorch's default for transposed convolutions, whose fan-in it takes from the output channels."""
    return rng.uniform(-1, 1, shape) / np.sqrt(np.prod(weight) / weight[-2])


def kaiming_fan_out(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """Normal with deviation `sqrt(2 / fan_out)`: PyTorch's `kaiming_normal_(mode="fan_out")` for ReLU."""
    return rng.normal(0, np.sqrt(2 * weight[-2] / np.prod(weight)), shape)


def kaiming_normal(slope: float) -> Initializer:
    """Normal with deviation `sqrt(2 / ((1 + slope^2) fan_in))`: keeps the size of signals through leaky ReLUs."""

    def fill(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
        return rng.normal(0, np.sqrt(2 / ((1 + slope**2) * np.prod(weight[:-1]))), shape)

    return fill


def kaiming_uniform(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """Uniform in `+-sqrt(6 / fan_in)`: PyTorch's `kaiming_uniform_` for ReLU."""
    return rng.uniform(-1, 1, shape) * np.sqrt(6 / np.prod(weight[:-1]))


def scaled(fill: Initializer, factor: float) -> Initializer:
    """The values of another initializer times a factor."""
    return lambda rng, shape, weight: factor * fill(rng, shape, weight)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...], weight: tuple[int, ...]) -> np.ndarray:
    """Q of the QR decomposition of a square matrix of normal entries."""
    return np.linalg.qr(rng.normal(size=shape))[0]


def normal(deviation: float) -> Initializer:
    """Normal with that deviation."""
    return lambda rng, shape, weight: rng.normal(0, deviation, shape)


def constant(value: float) -> Initializer:
    """Every entry is `value`."""
    return lambda rng, shape, weight: np.full(shape, value)


def initialize(shapes: dict[str, Any], rules: Sequence[tuple[str, Initializer]], seed: int) -> dict[str, Any]:
    """Fills a tree of shapes with float32 values, computed on the host from `seed` and each parameter's path alone.

    Independent of device count and of the order of layers, and far quicker to start than a compiled `init`.

    Args:
      shapes: nested dict of anything with a `shape`, as `jax.eval_shape` gives it.
      rules: (pattern, initializer) pairs; the first pattern found in the path decides, else `torch_default`.
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
