"""Absolute differences, sharp and rounded off at zero."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.types import Array


def l1_loss(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """`mean |a - b|`."""
    return jnp.abs(a - b).mean()


def charbonnier_loss(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"], epsilon: float = 1e-3) -> Float[Array, ""]:
    """`mean sqrt((a - b)^2 + epsilon^2)`; IFRNet's epsilon."""
    return jnp.sqrt((a - b) ** 2 + epsilon**2).mean()
