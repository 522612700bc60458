"""Wrappers that are called like a model: test-time augmentation, recursion, iteration by reference, many devices.

For example:

    Interpolator(flip_ensemble(model), variables)  # test-time augmentation
    Interpolator(recursive(model), variables)  # t = k / 2^n from a model that supports t = 0.5 only
    Interpolator(iterate_reference(model, 3), variables)  # t in three steps, with a model that sees a reference frame
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

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import spec_of
from vfi_jax.ops import reference_of, time_array
from vfi_jax.types import MIDPOINT, Array, Model, Output

REFERENCE_STEPS = 2  # of `iterate_reference`, as published for pictures, video and benchmark
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
    columns: bool = True

    def apply(self, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: ArrayLike) -> Output:
        """Returns the mean frame only: flows and masks of the two passes cannot be averaged."""
        t, across = time_array(t, frames), -1 if self.columns else 1
        flipped = self.model.apply(variables, frames[..., ::-1, ::across, :], t[:, ::-1, ::across])
        return Output((self.model.apply(variables, frames, t).frame + flipped.frame[:, ::-1, ::across]) / 2)


def flip_ensemble(model: Model | nn.Module, *, columns: bool = True) -> FlipEnsemble:
    """Averages the prediction with that from flipped frames: test-time augmentation.

    Args:
      model: a module, or a wrapper around one.
      columns: True: frames are rotated by 180 degrees, RIFE's "2T"; False: only the order of their rows is reversed.
    """
    return FlipEnsemble(model, columns)


@dataclasses.dataclass(frozen=True)
class Recursive(_Wrapper):
    """See `recursive`."""

    model: Any  # Model

    def apply(self, variables: Mapping[str, Any], frames: Float[Array, "b n h w 3"], t: ArrayLike) -> Output:
        """Returns the frame only; t is k / 2^n, in a map too, whose pixels are those of the frames at their times.

        A map takes as many recursions as it has different times.

        Raises:
          UserError: more than two frames: those around the halves are not known.
        """
        if frames.shape[1] != 2:
            raise UserError(f"recursion takes two frames, not {frames.shape[1]}: {self.variant} predicts t = 0.5 only")
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


@dataclasses.dataclass(frozen=True)
class IterateReference(_Wrapper):
    """See `iterate_reference`."""

    model: Any  # Model
    steps: int = REFERENCE_STEPS

    def apply(
        self,
        variables: Mapping[str, Any],
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> Output:
        """Returns the output of the last step.

        Args:
          variables: of the model.
          frames: the inputs.
          t: time or distance map.
          reference: the frame to start from, in the model's channel order; None: frame 0.
          reference_t: its time or distance map.
        """
        reference, start = reference_of(frames, reference, reference_t)
        t, start = time_array(t, frames), time_array(start, frames)

        def at(step: ArrayLike) -> Array:
            return t * (step / self.steps) + start * ((self.steps - step) / self.steps)

        def advance(step: ArrayLike, reference: Array) -> Array:
            return self.model.apply(variables, frames, at(step + 1), reference=reference, reference_t=at(step)).frame

        if self.steps > 1:
            reference = jax.lax.fori_loop(0, self.steps - 1, advance, reference)
        return self.model.apply(variables, frames, t, reference=reference, reference_t=at(self.steps - 1))


def iterate_reference(model: Model | nn.Module, steps: int = REFERENCE_STEPS) -> IterateReference:
    """Approaches t in equal steps, each of which sees the frame before as its reference (InterpAny-Clearer's [D,R]).

    Step i of n predicts the frame at `t i / n + t_0 (n - i) / n` from the inputs, the frame of step i - 1 and that
    frame's map. It starts from frame 0 at t_0 = 0, or from any frame whose map is known. `Interpolator` does this by
    itself, with two steps. Source: section 3.3 of the paper, and the published code.

    Args:
      model: one that sees a reference frame (`dr_rife` and others).
      steps: number of runs.

    Raises:
      UsageError: the model sees no reference, or fewer than one step.
    """
    if not spec_of(model.variant).sees_reference:
        raise UsageError(f"{model.variant} sees no reference frame: iterate_reference is for models that do (dr_rife)")
    if steps < 1:
        raise UsageError(f"steps is {steps}: 1 or more is needed")
    return IterateReference(model, steps)


def with_reference(model: Any) -> Any:
    """Returns the model, or its wrapper, with `iterate_reference` where the network sees a reference frame."""
    if isinstance(model, IterateReference):
        return model
    if isinstance(model, FlipEnsemble | Recursive | DataParallel):
        return dataclasses.replace(model, model=with_reference(model.model))
    return IterateReference(model) if spec_of(model.variant).sees_reference else model


def with_dtype(model: Any, dtype: DTypeLike) -> Any:
    """Returns the model, or its wrapper, computing in another dtype; a model without that field stays as it is."""
    if isinstance(model, FlipEnsemble | Recursive | DataParallel | IterateReference):
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
