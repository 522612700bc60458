"""Geometry loss: distance of the local structure of feature maps."""

from __future__ import annotations

from jaxtyping import Float

from vfi_jax.losses.census import census_map
from vfi_jax.types import Array


def geometry_loss(a: Float[Array, "b h w c"], b: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """Mean of the 3x3 soft census map of each channel separately, its outermost pixels zero.

    The gradient reaches both arguments. Source: IFRNet (CVPR 2022) and AMT.
    """
    return census_map(a, b, patch=3, border=1).mean()
