"""Parts of UGSP's objectives: soft keep masks, keep rate, distance from label masks, and the likelihood of an error."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.ops.kinks import absolute
from vfi_jax.types import Array


def soft_keep(
    logits: Float[Array, "b h w 2"], uniform: Float[Array, "b h w 2"], temperature: ArrayLike
) -> Float[Array, "b h w 1"]:
    """Channel 0 of `softmax((logits - log(-log(uniform))) / temperature)`: a relaxed draw from two classes.

    Source: the Gumbel softmax (ICLR 2017), as UGSP (ACM MM 2023) uses it, without a straight-through estimate.

    Args:
      logits: of keeping and of pruning.
      uniform: independent draws between 0 and 1, both excluded.
      temperature: towards 0 the result becomes 0 or 1.
    """
    gumbel = -jnp.log(-jnp.log(uniform))
    return jax.nn.softmax((logits + gumbel) / temperature, -1)[..., :1]


def keep_rate(keep: Sequence[Float[Array, "b _ _ 1"]], channels: Sequence[int]) -> Float[Array, ""]:
    """Mean of keep masks of levels 3, 2, 1, each weighted by channels times area; level 4 counts as kept.

    Source: UGSP's published code.

    Args:
      keep: masks, coarse to fine.
      channels: of the blocks at levels 4, 3, 2, 1.
    """
    weights = [count / 4**level for count, level in zip(channels, (4, 3, 2, 1), strict=True)]
    kept = sum(weight * mask.mean() for weight, mask in zip(weights[1:], keep, strict=True))
    return (weights[0] + kept) / sum(weights)


def label_distance(keep: Sequence[Float[Array, "b _ _ 1"]], labels: Float[Array, "b h w k"]) -> Float[Array, ""]:
    """`1/10 sum_k mean |label_k - keep_k|`, label k being the top left pixel of each block. Source: UGSP's code.

    Args:
      keep: k masks.
      labels: 0 or 1, k channels at the frame's size.
    """
    total = jnp.float32(0)
    for index, mask in enumerate(keep):
        step = labels.shape[1] // mask.shape[1]
        total += absolute(labels[:, ::step, ::step, index : index + 1] - mask).mean()
    return total / 10


def laplace_likelihood(
    frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"], log_scale: Float[Array, "b h w 3"]
) -> Float[Array, ""]:
    """`mean(exp(-U) |target - frame| + 2 U)`, U the logarithm of the error's scale.

    The negative logarithm of a Laplace likelihood, with Jeffreys' prior of the scale. Source: UGSP (ACM MM 2023).
    """
    return (jnp.exp(-log_scale) * absolute(target - frame) + 2 * log_scale).mean()
