"""Wrappers that are called like a model: test-time augmentation, recursion from a midpoint model, many devices.

For example:

    Interpolator(flip_ensemble(model), variables)  # test-time augmentation
    Interpolator(recursive(model), variables)  # t = k / 2^n from a model that supports t = 0.5 only
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.ops import time_array
from vfi_jax.types import MIDPOINT, Array, Model, Output

SMALLEST_INTERVAL = 2.0**-16  # of time, below which `recursive` does not divide


class _Wrapper:
    """Gives the properties of the wrapped model."""

    model: Model

    @property
    def variant(self) -> str:
        """Name in MODELS."""
        return self.model.variant

    @property
    def channel_order(self) -> str:
        """Channel order of the weights."""
        return self.model.channel_order

    @property
    def any_time(self) -> bool:
        """Whether the weights support other times than 0.5."""
        return self.model.any_time

    @property
    def scale(self) -> float:
        """The model's `scale`, on which padding depends."""
        return getattr(self.model, "scale", 1.0)


@dataclasses.dataclass(frozen=True)
class FlipEnsemble(_Wrapper):
    """See `flip_ensemble`."""

    model: Any  # Model

    def apply(self, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: ArrayLike) -> Output:
        """Returns the mean frame only: flows and masks of the two passes cannot be averaged."""
        t = time_array(t, frames)
        rotated = self.model.apply(variables, frames[..., ::-1, ::-1, :], t[:, ::-1, ::-1])
        return Output((self.model.apply(variables, frames, t).frame + rotated.frame[:, ::-1, ::-1]) / 2)


def flip_ensemble(model: Model | nn.Module) -> FlipEnsemble:
    """Averages the prediction with that from frames rotated by 180 degrees: test-time augmentation, RIFE's "2T"."""
    return FlipEnsemble(model)


@dataclasses.dataclass(frozen=True)
class Recursive(_Wrapper):
    """See `recursive`."""

    model: Any  # Model

    def apply(self, variables: Mapping[str, Any], frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns the frame only; t is k / 2^n, in a map too, whose pixels are those of the frames at their times.

        A map takes as many recursions as it has different times.
        """
        t = time_array(t, frames)
        if t.shape[1:3] == (1, 1):
            return Output(self._at(variables, frames, t))

        def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
            frame, left = state
            earliest = left.min((1, 2, 3), keepdims=True)
            now = self._at(variables, frames, jnp.where(jnp.isinf(earliest), MIDPOINT, earliest))
            return jnp.where(left == earliest, now, frame), jnp.where(left == earliest, jnp.inf, left)

        def unfinished(state: tuple[Array, Array]) -> Array:
            return ~jnp.isinf(state[1]).all()

        start = jnp.zeros_like(frames[:, 0]), jnp.where(jnp.isnan(t), jnp.inf, t)
        return Output(jax.lax.while_loop(unfinished, step, start)[0])

    def _at(self, variables: Mapping[str, Any], frames: Array, target: Array) -> Array:
        """Returns the frame of each sample at its time, `[b, 1, 1, 1]`."""
        batch = len(frames)

        def middle(pair: Array) -> Array:
            return self.model.apply(variables, pair, jnp.full((batch, 1, 1, 1), MIDPOINT)).frame

        def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            pair, frame, time, width = state
            earlier = target < time
            inner = jnp.where(earlier[:, None], jnp.stack([pair[:, 0], frame], 1), jnp.stack([frame, pair[:, 1]], 1))
            moved = jnp.where(target == time, time, jnp.where(earlier, time - width / 4, time + width / 4))
            # Samples whose time is reached keep their frame.
            return inner, jnp.where(target == time, frame, middle(inner)), moved, width / 2

        def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
            return jnp.any(state[2] != target) & (state[3] > SMALLEST_INTERVAL)

        start = (frames, middle(frames), jnp.full((batch, 1, 1, 1), MIDPOINT), jnp.float32(1))
        return jax.lax.while_loop(unfinished, step, start)[1]


def with_dtype(model: Any, dtype: DTypeLike) -> Any:
    """Returns the model, or its wrapper, computing in another dtype; a model without that field stays as it is."""
    if isinstance(model, FlipEnsemble | Recursive | DataParallel):
        return dataclasses.replace(model, model=with_dtype(model.model, dtype))
    return model.clone(dtype=dtype) if hasattr(model, "dtype") else model


def recursive(model: Model | nn.Module) -> Recursive:
    """Gives a midpoint model other times: halves the interval until t = k / 2^n is reached, in n runs."""
    return Recursive(model)


@dataclasses.dataclass(frozen=True)
class DataParallel(_Wrapper):
    """See `data_parallel`."""

    model: Model
    split: NamedSharding

    def apply(self, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: ArrayLike) -> Output:
        """Returns the frame only."""
        frames, t = (jax.lax.with_sharding_constraint(x, self.split) for x in (frames, time_array(t, frames)))
        return Output(self.model.apply(variables, frames, t).frame)


def data_parallel(model: Model, mesh: Mesh) -> DataParallel:
    """Splits every batch over the mesh's axis `data`; batches are multiples of its size."""
    return DataParallel(model, NamedSharding(mesh, PartitionSpec("data")))
