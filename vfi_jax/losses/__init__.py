"""Losses: pure functions of arrays; weights and schedules live in a model's objective.

`RECONSTRUCTION` names those that compare a predicted frame with the true one, `[b, h, w, 3]` in 0..1, and need no more.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from vfi_jax.losses.charbonnier import charbonnier_loss, l1_loss
from vfi_jax.losses.laplacian import laplacian_loss, laplacian_pyramid
from vfi_jax.types import Array

RECONSTRUCTION: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"charbonnier": charbonnier_loss, "l1": l1_loss, "laplacian": partial(laplacian_loss, levels=5)}
)

__all__ = ["RECONSTRUCTION", "charbonnier_loss", "l1_loss", "laplacian_loss", "laplacian_pyramid"]
