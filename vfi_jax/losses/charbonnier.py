"""The smooth L1 distance."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.types import Array

EPSILON = 1e-3  # IFRNet and AMT


def charbonnier_loss(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], epsilon: float = EPSILON
) -> Float[Array, ""]:
    """`mean sqrt((a - b)^2 + epsilon^2)`: L1 for differences far above `epsilon`, which is also its least value."""
    return jnp.sqrt((a - b) ** 2 + epsilon**2).mean()
