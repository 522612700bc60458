"""PSNR as a loss."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.types import Array

FLOOR = 1e-6  # mean square error of 60 dB


def psnr_loss(frame: Float[Array, "b h w c"], target: Float[Array, "b h w c"]) -> Float[Array, ""]:
    """`mean_b 10 log10(1 + mse_b / 1e-6)`, dB: 60 less the PSNR of each sample, as long as that is far below 60.

    L1 and squared errors are dominated by hard samples; here a decibel counts the same in every sample.
    """
    error = ((frame - target) ** 2).mean((1, 2, 3))
    return 10 * jnp.log10(1 + error / FLOOR).mean()
