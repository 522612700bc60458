"""Distances between flows, in pixels."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.ops.kinks import root
from vfi_jax.ops.resize import resize_flow
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


def flow_distillation(
    flows: list[Float[Array, "b _ _ _"]], label: Float[Array, "b h w 4"], distrust: float
) -> Float[Array, ""]:
    """`sum adaptive_flow_loss(flow_k enlarged - label, w)` over all levels but the final one, and both directions.

    `w = exp(-distrust max_f |final flow of field f - label|)` is a constant for the gradient. Source: IFRNet (CVPR
    2022), section 3.4, whose final level has one field, and AMT (CVPR 2023), whose final level has several.

    Args:
      flows: coarse to fine, each of half the sides of the next; the final level has 4 channels for each field.
      label: pixels.
      distrust: per pixel.
    """
    total, levels = jnp.float32(0), len(flows) - 1
    for index in (0, 2):
        wanted = label[..., index : index + 2]
        finals = [flows[-1][..., start : start + 2] for start in range(index, flows[-1].shape[-1], 4)]
        error = jnp.stack([endpoint_error(final, wanted) for final in finals]).max(0)
        trust = lax.stop_gradient(jnp.exp(-distrust * error))
        for level, flow in enumerate(flows[:-1]):
            enlarged = resize_flow(flow[..., index : index + 2], 2 ** (levels - level))
            total += adaptive_flow_loss(enlarged - wanted, trust)
    return total
