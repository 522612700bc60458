"""The optimiser of a recipe, put together from optax's parts."""

from __future__ import annotations

import optax

from vfi_jax.config import Optimiser


def schedule(config: Optimiser, steps: int) -> optax.Schedule:
    """Learning rate at step s (from 0) of `steps`.

    `rate * s / warmup` before `warmup`, then `final + (rate - final) * (0.5 + 0.5 cos(pi (s - warmup) / (steps -
    warmup)))`: RIFE's published code. The rate never depends on the number of devices.
    """
    warm = optax.linear_schedule(0.0, config.rate, config.warmup)
    cosine = optax.cosine_decay_schedule(
        config.rate, max(1, steps - config.warmup), config.final_rate / config.rate if config.rate else 0.0
    )
    return optax.join_schedules([warm, cosine], [config.warmup]) if config.warmup else cosine


def optimiser(config: Optimiser, steps: int) -> optax.GradientTransformation:
    """AdamW (0.9, 0.999, 1e-8) with decay on every parameter, under `schedule`, after clipping where asked for."""
    adamw = optax.adamw(schedule(config, steps), weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), adamw) if config.clip_norm else adamw
