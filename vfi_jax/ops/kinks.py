"""Functions with kinks, whose derivative there is a convention: PyTorch's, with which the published models train.

| function | kink | derivative | where |
|---|---|---|---|
| absolute value | 0 | 0 | `absolute`: all L1 and Laplacian distances; `jnp.abs` gives 1 |
| ReLU | 0 | 0 | `jax.nn.relu`: CAIN's attention, RAFT, the networks of LPIPS |
| leaky ReLU, PReLU | 0 | the slope; by the slope 0 | `leaky_relu`; `jax.nn.leaky_relu` gives 1 |
| clipping | the limits | 1 | `clamp`: RIFE's and IFRNet's frame; `jnp.clip` gives 1/2 |
| square root of a squared length | 0 | 0 | `root`: RIFE's distillation, `endpoint_error` |
| bilinear weights | whole pixels | that of the cell to the right and below | warping, splatting, RAFT's look-up |
| offsets truncated towards zero | whole pixels | that of the cell to the right and below | `sample_taps`: VFIT |
| clamped coordinates | the border | 0 | `warp` |
| division by splatted weights | nothing falls on a pixel | 0 | `splat_linear`, `splat_average` |
| maximum of two | equal values | 1/2 for each | `jnp.maximum`; no model has one |
| maximum over an axis | equal values | equal shares, as `torch.amax` | `jnp.max`; no model has one |
| maximum of a pooling window | equal values | 1 for the first | the networks of LPIPS |

One differs from the published code on purpose: RIFE takes the plain root of the squared distance of two flows, whose
derivative is NaN where they are equal; `root` gives the 0 of `torch.linalg.vector_norm`.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.types import Array


@jax.custom_jvp
def absolute(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`|x|`; the derivative is the sign of x, 0 at 0: what equals its target already is not moved."""
    return jnp.abs(x)


@absolute.defjvp
def _absolute_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return absolute(primals[0]), tangents[0] * jnp.sign(primals[0])


def leaky_relu(x: Float[Array, "*b c"], slope: ArrayLike) -> Float[Array, "*b c"]:
    """`max(0, x) + slope * min(0, x)`; the derivative at 0 is `slope`.

    Args:
      x: any float dtype.
      slope: a number, or one per channel in the dtype of `x`.
    """
    return jnp.where(x > 0, x, slope * x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def clamp(x: Float[Array, "*shape"], low: float, high: float) -> Float[Array, "*shape"]:
    """`min(max(x, low), high)`; the derivative is 1 from `low` to `high`, both included, else 0."""
    return jnp.clip(x, low, high)


@clamp.defjvp
def _clamp_jvp(low: float, high: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return clamp(x, low, high), jnp.where((x >= low) & (x <= high), tangent, 0)


def root(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`sqrt(x)`; the derivative at 0 is 0, not infinite."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))
