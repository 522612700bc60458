"""The optimizer of a recipe, put together from optax's parts, and what those lack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vfi_jax.config import Optimizer, Plateau
from vfi_jax.errors import UsageError
from vfi_jax.types import Array

LEAST_GAIN = 1e-4  # share by which a loss must fall below the best to count as better; PyTorch's default


def schedule(config: Optimizer, steps: int, epoch: int) -> optax.Schedule:
    """Learning rate at step s (from 0) of `steps`, but for the plateau's factor; `epoch` is the steps of a pass.

    `rate * s / warmup` before `warmup`, then `final + (rate - final) * (0.5 + 0.5 cos(pi (s - warmup) / (steps -
    warmup)))`: RIFE's published code. Times the milestones' factor for each that has begun. The rate never depends on
    the number of devices.
    """
    warm = optax.linear_schedule(0.0, config.rate, config.warmup)
    cosine = optax.cosine_decay_schedule(
        config.rate, max(1, steps - config.warmup), config.final_rate / config.rate if config.rate else 0.0
    )
    smooth = optax.join_schedules([warm, cosine], [config.warmup]) if config.warmup else cosine
    if not config.milestones.epochs:
        return smooth
    falls = {epoch * milestone: config.milestones.factor for milestone in config.milestones.epochs}
    drops = optax.piecewise_constant_schedule(1.0, falls)
    return lambda step: smooth(step) * drops(step)


def optimizer(config: Optimizer, steps: int, epoch: int) -> optax.GradientTransformationExtraArgs:
    """AdamW (0.9, beta2, 1e-8) with decay on every parameter, under `schedule`, after clipping where asked for.

    `update` takes the loss as `value`, which `skip_above` looks at. The plateau's factor and the first loss are part of
    the state. What a config leaves out is no part of it.
    """
    moments = [optax.scale_by_adam(b2=config.beta2), optax.add_decayed_weights(config.weight_decay)]
    if config.skip_above:
        moments = [_skipping(optax.chain(*moments), config.skip_above)]
    parts = [*moments, optax.scale_by_learning_rate(schedule(config, steps, epoch))]
    if config.rate_factors:
        parts.append(_scaling(config.rate_factors))
    if config.plateau.factor != 1:
        parts.append(_on_plateaus())
    clipping = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(*clipping, optax.chain(*parts)) if clipping else optax.chain(*parts)


class SkipState(NamedTuple):
    """The first loss of the run (NaN before it is known), steps skipped in a row, and the state of what is skipped."""

    first: Array
    in_row: Array
    inner: optax.OptState


def _skipping(inner: optax.GradientTransformationExtraArgs, times: float) -> optax.GradientTransformationExtraArgs:
    """`inner`, left as it is by a step whose loss is above `times` the first; the update of that step is zero."""

    def init(params: Any) -> SkipState:
        return SkipState(jnp.float32(jnp.nan), jnp.int32(0), inner.init(params))

    def update(updates: Any, state: SkipState, params: Any, *, value: Array, **_: Any) -> tuple[Any, SkipState]:
        first = jnp.where(jnp.isnan(state.first), value, state.first)
        made, after = inner.update(updates, state.inner, params)
        skipped = value > times * first
        made = jax.tree.map(lambda new: jnp.where(skipped, 0, new), made)
        kept = jax.tree.map(lambda old, new: jnp.where(skipped, old, new), state.inner, after)
        return made, SkipState(first, jnp.where(skipped, state.in_row + 1, 0), kept)

    return optax.GradientTransformationExtraArgs(init, update)


def _scaling(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Updates times the factor of the first name that is part of the parameter's path, `a/b/kernel`."""

    def init(params: Any) -> optax.EmptyState:
        paths = [_path(keys) for keys, _ in jax.tree.leaves_with_path(params)]
        for name in factors:
            if not any(name in path for path in paths):
                raise UsageError(f"config.optimizer.rate_factors: no parameter's path has {name!r} in it")
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, _: Any) -> tuple[Any, optax.EmptyState]:
        def scaled(keys: Any, update: Array) -> Array:
            return next((factor * update for name, factor in factors.items() if name in _path(keys)), update)

        return jax.tree.map_with_path(scaled, updates), state

    return optax.GradientTransformation(init, update)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


class PlateauState(NamedTuple):
    """Factor of the rate, the best validation loss, and the number of validations since that were no better."""

    factor: Array
    best: Array
    waited: Array


def _on_plateaus() -> optax.GradientTransformation:
    """Updates times the factor that `observe` keeps."""

    def init(_: Any) -> PlateauState:
        return PlateauState(jnp.float32(1), jnp.float32(jnp.inf), jnp.int32(0))

    def update(updates: Any, state: PlateauState, _: Any) -> tuple[Any, PlateauState]:
        return jax.tree.map(lambda update: state.factor * update, updates), state

    return optax.GradientTransformation(init, update)


def observe(state: optax.OptState, loss: float, config: Plateau) -> optax.OptState:
    """The optimizer's state after a validation, by the rule of PyTorch's `ReduceLROnPlateau` (mode "min").

    After more than `patience` validations without a better loss the rate falls and the count begins again. A state
    without a plateau is returned as it is.
    """

    def after(part: Any) -> Any:
        if not isinstance(part, PlateauState):
            return part
        better = loss < part.best * (1 - LEAST_GAIN)
        waited = jnp.where(better, 0, part.waited + 1)
        falls = waited > config.patience
        factor = jnp.where(falls, config.factor * part.factor, part.factor)
        return PlateauState(factor, jnp.where(better, loss, part.best), jnp.where(falls, 0, waited))

    return jax.tree.map(after, state, is_leaf=lambda part: isinstance(part, PlateauState))


def unless(bad: Array, before: Any, after: Any) -> Any:
    """`before` where the step was bad, else `after`: parameters or states, of which only the rate's count goes on.

    `optax.apply_if_finite` looks at the updates alone, holds the schedule back, and lets the parameters go after all
    once it has seen too many: here a checkpoint is better.
    """

    def chosen(old: Any, new: Any) -> Any:
        return new if isinstance(new, optax.ScaleByScheduleState) else jnp.where(bad, old, new)

    return jax.tree.map(chosen, before, after, is_leaf=lambda part: isinstance(part, optax.ScaleByScheduleState))


def plateau_factor(state: optax.OptState) -> float:
    """What the rate of `schedule` is multiplied by."""
    return next((float(part.factor) for part in _parts(state, PlateauState)), 1.0)


def skipped_in_row(state: optax.OptState) -> int:
    """Steps that were skipped since the last that was not."""
    return next((int(part.in_row) for part in _parts(state, SkipState)), 0)


def _parts(state: optax.OptState, kind: type) -> list[Any]:
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return [part for part in parts if isinstance(part, kind)]
