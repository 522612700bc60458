"""Two frames, or two flows, as one batch: what both take part in alike runs once, on twice the batch."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.types import Array


def stack_pair(frames: Float[Array, "b 2 h w c"]) -> Float[Array, "b2 h w c"]:
    """Stacks two frames along the batch: all of index 0, then all of index 1; `split_pair` is the inverse."""
    return jnp.concatenate([frames[:, 0], frames[:, 1]])


def stack_halves(x: Float[Array, "b h w c"]) -> Float[Array, "b2 h w c2"]:
    """Stacks the two halves of the channels along the batch, such as the two flows of a pair of frames."""
    return jnp.concatenate(jnp.split(x, 2, -1))


def split_pair(stacked: Float[Array, "b2 h w c"]) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """Splits a batch that `stack_pair` or `stack_halves` stacked: index 0, then index 1."""
    first, second = jnp.split(stacked, 2)
    return first, second
