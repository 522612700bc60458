"""Distances between flows, in pixels."""

from __future__ import annotations

from jaxtyping import Float

from vfi_jax.ops.kinks import root
from vfi_jax.types import Array


def endpoint_error(a: Float[Array, "b h w 2"], b: Float[Array, "b h w 2"]) -> Float[Array, "b h w 1"]:
    """`sqrt(sum_xy (a - b)^2)`; its gradient is 0 where the flows are equal."""
    return root(((a - b) ** 2).sum(-1, keepdims=True))


def adaptive_flow_loss(error: Float[Array, "b h w 2"], trust: Float[Array, "b h w 1"]) -> Float[Array, ""]:
    """`mean (d^2 + e^2)^(w / 2)`, `e = 10^(-(10 w - 1) / 3)`: IFRNet's task-oriented flow distillation.

    Args:
      error: d, flow minus label, pixels.
      trust: w in 0..1; with 1 it is a Charbonnier distance, towards 0 it becomes constant.
    """
    epsilon = 10 ** (-(10 * trust - 1) / 3)
    return ((error**2 + epsilon**2) ** (trust / 2)).mean()
