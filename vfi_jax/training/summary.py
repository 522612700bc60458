"""Summary of a run before its first step: sets, steps, model, devices and schedule."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import jax
from flax import traverse_util

from vfi_jax.config import Optimizer
from vfi_jax.data.parts import clip_of
from vfi_jax.models.registry import FROZEN
from vfi_jax.training import early_stopping
from vfi_jax.training.run import Run

SHOWN = 3  # held-out clips that are named


def lines(run: Run) -> Iterator[str]:
    """Yields the summary of a run, line by line; a warning where the warm-up is longer than the run."""
    recipe, data = run.recipe, run.data
    mixed = "".join(f", {share:.0%} of the samples from {path}" for path, share in recipe.data.shares.items())
    yield f"training set: {recipe.data.path}, {_windows(data.training)}{mixed}"
    place = f"{recipe.data.validation}, " if recipe.data.validation else "held out, "
    yield f"validation: {place}{_windows(data.held_out)}: {_named(data.held_out)}"
    devices = jax.device_count()
    parts = f", in {recipe.accumulate} parts" if recipe.accumulate > 1 else ""
    epochs = (
        f", {run.steps / data.steps_per_epoch:.1f} epochs of {data.steps_per_epoch}" if data.steps_per_epoch else ""
    )
    yield (
        f"steps: {run.steps}{epochs}; batch {recipe.batch_size} on {_count(devices, jax.devices()[0].device_kind)}"
        f" ({recipe.batch_size / devices:g} each{parts}), {_count(jax.process_count(), 'process')}"
    )
    yield f"model: {recipe.model}, {_parameters(run)}; {recipe.precision}; {_start(run)}"
    if recipe.optimizer.freeze:
        yield f"frozen: {_frozen(run)}"
    yield f"learning rate: {schedule(recipe.optimizer, run.steps)}"
    if recipe.early_stopping.patience:
        yield f"early stopping: {early_stopping.describe(recipe.early_stopping)}"
    if recipe.optimizer.warmup > run.steps:
        peak = float(run.learning_rate(run.steps - 1))
        yield (
            f"warning: the warm-up of {recipe.optimizer.warmup} steps is longer than the run of {run.steps}: the "
            f"learning rate never exceeds {peak:.2g}; lower --config.optimizer.warmup"
        )


def schedule(optimizer: Optimizer, steps: int) -> str:
    """Describes the learning rate over the steps of a run."""
    rate, final = optimizer.rate, optimizer.final_rate
    warm = f"a warm-up of {_count(optimizer.warmup, 'step')}, then " if optimizer.warmup else ""
    after = f"{rate:g}" if rate == final else f"a cosine from {rate:g} to {final:g} at step {steps}"
    drops, plateau = optimizer.milestones, optimizer.plateau
    by = ", ".join(f"{factor:g}" for factor in drops.factors or (drops.factor,))
    at = f", times {by} after epochs {', '.join(map(str, drops.epochs))}" if drops.epochs else ""
    falls = f", times {plateau.factor:g} on plateaus" if plateau.factor != 1 else ""
    return f"{warm}{after}{at}{falls}"


def _windows(names: Sequence[str]) -> str:
    return f"{_count(len(names), 'window')} of {_count(len(_clips(names)), 'clip')}"


def _named(names: Sequence[str]) -> str:
    clips = _clips(names)
    more = f" and {len(clips) - SHOWN} more" if len(clips) > SHOWN else ""
    return ", ".join(clips[:SHOWN]) + more


def _clips(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(map(clip_of, names)))


def _count(number: int, thing: str) -> str:
    plural = "es" if thing.endswith("s") else "s"
    return f"{number:,} {thing}{'' if number == 1 else plural}"


def _parameters(run: Run) -> str:
    trained, frozen = (
        sum(leaf.size for leaf in jax.tree.leaves(run.variables.get(name, {}))) for name in ("params", FROZEN)
    )
    return f"{trained:,} parameters" + (f" and {frozen:,} of its frozen flow network" if frozen else "")


def _frozen(run: Run) -> str:
    params = traverse_util.flatten_dict(run.variables["params"], sep="/")
    patterns = run.recipe.optimizer.freeze
    sizes = [leaf.size for path, leaf in params.items() if any(re.search(pattern, path) for pattern in patterns)]
    return f"{sum(sizes):,} parameters in {_count(len(sizes), 'array')}"


def _start(run: Run) -> str:
    start = run.recipe.init_from
    if not start.model:
        return f"fresh weights (seed {run.recipe.seed})"
    parts = f", only {', '.join(start.only)}" if start.only else ""
    parts += f", without {', '.join(start.skip)}" if start.skip else ""
    return f"weights of {start.model}" + (f" in {start.weights}" if start.weights else "") + parts
