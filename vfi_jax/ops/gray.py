"""Gray images and their gradients."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Shaped

from vfi_jax.types import Array

GRAY = np.float32([0.299, 0.587, 0.114])  # Rec. 601, as in OpenCV and in scikit-image's YUV


def rgb_to_gray(images: Shaped[Array, "*b h w 3"]) -> Float32[Array, "*b h w"]:
    """Luma of Rec. 601: `0.299 R + 0.587 G + 0.114 B`, in float32 on the scale of the images."""
    return jnp.einsum("...c,c->...", images.astype(jnp.float32), GRAY, precision="highest")


def sobel(gray: Float[Array, "b h w"]) -> tuple[Float[Array, "b h-2 w-2"], Float[Array, "b h-2 w-2"]]:
    """Sobel gradients along x and y where the 3x3 kernel fits: `[1, 2, 1]^T [-1, 0, 1]` and its transpose.

    An eighth of them is the gradient per pixel.
    """
    rows = gray[:, :-2] + 2 * gray[:, 1:-1] + gray[:, 2:]
    columns = gray[..., :-2] + 2 * gray[..., 1:-1] + gray[..., 2:]
    return rows[..., 2:] - rows[..., :-2], columns[:, 2:] - columns[:, :-2]
