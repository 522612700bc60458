"""The optimizer of a recipe: a chain of optax transformations, and those that optax lacks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vfi_jax.config import Optimizer, Plateau
from vfi_jax.errors import UsageError
from vfi_jax.types import Array

MIN_IMPROVEMENT = 1e-4  # relative; PyTorch's default
METHODS: Mapping[str, Callable[..., optax.GradientTransformation]] = MappingProxyType(
    {"adam": optax.scale_by_adam, "adamax": optax.scale_by_adamax}
)


def make_schedule(config: Optimizer, steps: int, epoch: int) -> optax.Schedule:
    """Returns the learning rate over the number of the step, without the plateau's factor.

    At step s it is `rate * s / warmup` before `warmup`, then `final_rate + (rate - final_rate) * (0.5 + 0.5 cos(pi (s -
    warmup) / (steps - warmup)))`, as in RIFE's published code, times the milestones' factor for each milestone that has
    passed. It does not depend on the number of devices.

    Args:
      config: of the recipe.
      steps: number of steps of the run.
      epoch: number of steps per epoch.
    """
    warm = optax.linear_schedule(0.0, config.rate, config.warmup)
    cosine = optax.cosine_decay_schedule(
        config.rate, max(1, steps - config.warmup), config.final_rate / config.rate if config.rate else 0.0
    )
    smooth = optax.join_schedules([warm, cosine], [config.warmup]) if config.warmup else cosine
    if not config.milestones.epochs:
        return smooth
    factors = config.milestones.factors or (config.milestones.factor,) * len(config.milestones.epochs)
    falls = {epoch * milestone: by for milestone, by in zip(config.milestones.epochs, factors, strict=True)}
    drops = optax.piecewise_constant_schedule(1.0, falls)
    return lambda step: smooth(step) * drops(step)


def make_optimizer(config: Optimizer, steps: int, epoch: int) -> optax.GradientTransformationExtraArgs:
    """Returns AdamW or Adamax (0.9, beta2, 1e-8), decay on all parameters, under `make_schedule`, after clipping.

    `update` takes the loss as `value`, for `skip_above`. The state holds the plateau's factor and the first loss; parts
    that the recipe does not use are left out of the chain and of the state.

    Args:
      config: of the recipe.
      steps: number of steps of the run.
      epoch: number of steps per epoch.
    """
    moments = [METHODS[config.method](b2=config.beta2), optax.add_decayed_weights(config.weight_decay)]
    if config.skip_above:
        moments = [_skipping(optax.chain(*moments), config.skip_above)]
    parts = [*moments, optax.scale_by_learning_rate(make_schedule(config, steps, epoch))]
    if config.rate_factors:
        parts.append(_scaling(config.rate_factors))
    if config.plateau.factor != 1:
        parts.append(_on_plateaus())
    clipping = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    freezing = [_freezing(config.freeze)] if config.freeze else []
    outer = [*freezing, *clipping]
    return optax.chain(*outer, optax.chain(*parts), *freezing) if outer else optax.chain(*parts)


class SkipState(NamedTuple):
    """State of `_skipping`: first loss of the run (inf: not known yet), steps skipped in a row, the inner state."""

    first: Array
    in_row: Array
    inner: optax.OptState


def _skipping(inner: optax.GradientTransformationExtraArgs, times: float) -> optax.GradientTransformationExtraArgs:
    """Applies `inner`, except in steps whose loss is more than `times` the first: their update is zero."""

    def init(params: Any) -> SkipState:
        return SkipState(jnp.float32(jnp.inf), jnp.int32(0), inner.init(params))

    def update(updates: Any, state: SkipState, params: Any, *, value: Array, **_: Any) -> tuple[Any, SkipState]:
        # Never NaN: before a run of several processes starts, they compare their states, and NaN equals nothing.
        first = jnp.where(jnp.isinf(state.first) & ~jnp.isnan(value), value, state.first)
        update, after = inner.update(updates, state.inner, params)
        skipped = value > times * first
        update = jax.tree.map(lambda new: jnp.where(skipped, 0, new), update)
        kept = jax.tree.map(lambda old, new: jnp.where(skipped, old, new), state.inner, after)
        return update, SkipState(first, jnp.where(skipped, state.in_row + 1, 0), kept)

    return optax.GradientTransformationExtraArgs(init, update)


def _scaling(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies updates by the factor of the first name that occurs in the parameter's path, `a/b/kernel`."""

    def init(params: Any) -> optax.EmptyState:
        paths = [_path(keys) for keys, _ in jax.tree.leaves_with_path(params)]
        for name in factors:
            if not any(name in path for path in paths):
                raise UsageError(f"--config.optimizer.rate_factors: no parameter's path has {name!r} in it")
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, _: Any) -> tuple[Any, optax.EmptyState]:
        def scaled(keys: Any, update: Array) -> Array:
            return next((factor * update for name, factor in factors.items() if name in _path(keys)), update)

        return jax.tree.map_with_path(scaled, updates), state

    return optax.GradientTransformation(init, update)


def _freezing(patterns: Sequence[str]) -> optax.GradientTransformation:
    """Replaces updates by zero where a regular expression is found in the parameter's path, `a/b/kernel`."""

    def is_frozen(keys: Any) -> bool:
        return any(re.search(pattern, _path(keys)) for pattern in patterns)

    def init(params: Any) -> optax.EmptyState:
        keys = [keys for keys, _ in jax.tree.leaves_with_path(params)]
        for pattern in patterns:
            if not any(re.search(pattern, _path(each)) for each in keys):
                raise UsageError(f"--config.optimizer.freeze: no parameter's path has {pattern!r} in it")
        if all(map(is_frozen, keys)):
            raise UsageError(f"--config.optimizer.freeze is {tuple(patterns)}: no parameter is left to train")
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, _: Any = None) -> tuple[Any, optax.EmptyState]:
        def kept(keys: Any, update: Array) -> Array:
            return jnp.zeros_like(update) if is_frozen(keys) else update

        return jax.tree.map_with_path(kept, updates), state

    return optax.GradientTransformation(init, update)


def _path(keys: Any) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


class PlateauState(NamedTuple):
    """State of a plateau: factor of the learning rate, best validation loss, number of validations since then."""

    factor: Array
    best: Array
    waited: Array


def _on_plateaus() -> optax.GradientTransformation:
    """Multiplies updates by the factor that `observe` maintains."""

    def init(_: Any) -> PlateauState:
        return PlateauState(jnp.float32(1), jnp.float32(jnp.inf), jnp.int32(0))

    def update(updates: Any, state: PlateauState, _: Any) -> tuple[Any, PlateauState]:
        return jax.tree.map(lambda update: state.factor * update, updates), state

    return optax.GradientTransformation(init, update)


def observe(state: optax.OptState, loss: float, config: Plateau) -> optax.OptState:
    """Returns the optimizer's state after a validation, by the rule of PyTorch's `ReduceLROnPlateau` (mode "min").

    After more than `patience` validations in a row without improvement the learning rate drops and the count starts
    over. A state without a plateau is returned unchanged.

    Args:
      state: of `make_optimizer`.
      loss: of the validation.
      config: of the recipe.
    """

    def after(part: Any) -> Any:
        if not isinstance(part, PlateauState):
            return part
        better = loss < part.best * (1 - MIN_IMPROVEMENT)
        waited = jnp.where(better, 0, part.waited + 1)
        falls = waited > config.patience
        factor = jnp.where(falls, config.factor * part.factor, part.factor)
        return PlateauState(factor, jnp.where(better, loss, part.best), jnp.where(falls, 0, waited))

    return jax.tree.map(after, state, is_leaf=lambda part: isinstance(part, PlateauState))


def unless(bad: Array, before: Any, after: Any) -> Any:
    """Returns `before` if the step was bad, otherwise `after`; only the count of the schedule advances in both cases.

    `optax.apply_if_finite` checks only the updates, delays the schedule, and after too many bad steps applies them
    anyway, where this package returns to a checkpoint.

    Args:
      bad: boolean scalar.
      before: parameters or states before the step.
      after: the same after the step.
    """

    def chosen(old: Any, new: Any) -> Any:
        return new if isinstance(new, optax.ScaleByScheduleState) else jnp.where(bad, old, new)

    return jax.tree.map(chosen, before, after, is_leaf=lambda part: isinstance(part, optax.ScaleByScheduleState))


def plateau_factor(state: optax.OptState) -> float:
    """Returns the plateau's factor of the learning rate; 1 where there is no plateau."""
    return next((float(part.factor) for part in _parts(state, PlateauState)), 1.0)


def skipped_in_row(state: optax.OptState) -> int:
    """Returns the number of steps that `skip_above` has skipped in a row."""
    return next((int(part.in_row) for part in _parts(state, SkipState)), 0)


def is_skipped(state: optax.OptState) -> Array | bool:
    """Returns whether `skip_above` has skipped the step before this state; may be traced."""
    return next((part.in_row > 0 for part in _parts(state, SkipState)), False)


def _parts(state: optax.OptState, kind: type) -> list[Any]:
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    return [part for part in parts if isinstance(part, kind)]
