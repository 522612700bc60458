"""Adaptive sampling: each pixel as a weighted sum of taps around it, each of which is moved by an offset of its own."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.types import Array


def sample_taps(
    image: Float[Array, "b h w c"],
    weight: Float[Array, "b h w k"],
    vertical: Float[Array, "b h w k"],
    horizontal: Float[Array, "b h w k"],
) -> Float[Array, "b h w c"]:
    """Sums the taps of each pixel, every tap moved by its offset (a, b) and weighted.

    `out[i, j] = sum_k w_k [(1-f)(1-g) P(y, x) + f (1-g) P(y+1, x) + (1-f) g P(y, x+1) + f g P(y+1, x+1)]` with
    `y = i + row_k - r + trunc(a_k)`, `x = j + column_k - r + trunc(b_k)`, `f = a_k - trunc(a_k)`,
    `g = b_k - trunc(b_k)`, and P the image, whose edge pixels repeat outside. The k taps are a square of odd side
    2 r + 1, row by row. All is computed in float32, one tap after the other: memory does not grow with k.

    Offsets are truncated towards zero, as the published code does it and its weights were trained: between -1 and 0
    the two pixels are extrapolated (a = -0.3: `1.3 P(0) - 0.3 P(1)`), and the sample jumps where an offset passes a
    negative whole number.

    Source: the sampling of AdaCoF (H. Lee et al., CVPR 2020), in the form of VFIT (Z. Shi et al., CVPR 2022). As there,
    truncated offsets are constants in the derivative, and the image has none: its gradient is zero.

    Args:
      image: any channels.
      weight: of each tap; any sign, any sum.
      vertical: offset a of each tap in pixels, down.
      horizontal: offset b of each tap in pixels, to the right.

    Returns:
      The sums, float32.

    Raises:
      UserError: the number of taps is no square of an odd number.
    """
    taps = weight.shape[-1]
    if math.isqrt(taps) ** 2 != taps or not taps % 2:
        raise UserError(f"{taps} taps: they are a square of odd side, such as 25")
    return jax.vmap(_sampled)(*(jnp.asarray(x, jnp.float32) for x in (image, weight, vertical, horizontal)))


@jax.custom_vjp
def _sampled(image: Array, weight: Array, vertical: Array, horizontal: Array) -> Array:
    """`sample_taps` of one image."""
    pixels = _packed(image)

    def add(total: Array, tap: tuple[Array, ...]) -> tuple[Array, None]:
        weight, *place = tap
        corners, f, g = _corners(pixels, image.shape, *place)
        return total + weight[..., None] * _blend(corners, f, g), None

    return lax.scan(add, jnp.zeros_like(image), _by_tap(weight, vertical, horizontal))[0]


def _gradients(saved: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
    """Of weights and offsets, one tap after the other; the image gets zeros."""
    image, *given = saved
    pixels = _packed(image)

    def of_tap(_: None, tap: tuple[Array, ...]) -> tuple[None, tuple[Array, ...]]:
        weight, *place = tap
        corners, f, g = _corners(pixels, image.shape, *place)
        here, below, right, both = (jnp.sum(corner * cotangent, -1) for corner in corners)
        down = weight * ((1 - g) * (below - here) + g * (both - right))
        across = weight * ((1 - f) * (right - here) + f * (both - below))
        value = (1 - f) * ((1 - g) * here + g * right) + f * ((1 - g) * below + g * both)
        return None, (value, down, across)

    _, gradients = lax.scan(of_tap, None, _by_tap(*given))
    return jnp.zeros_like(image), *(jnp.moveaxis(gradient, 0, -1) for gradient in gradients)


_sampled.defvjp(lambda *given: (_sampled(*given), given), _gradients)


def _by_tap(*maps: Array) -> tuple[Array, ...]:
    """Maps `[h, w, k]` as `[k, h, w]`, with the row and column of each tap, counted from the middle."""
    taps = maps[0].shape[-1]
    side = math.isqrt(taps)
    rows, columns = jnp.divmod(jnp.arange(taps), side)
    return *(jnp.moveaxis(each, -1, 0) for each in maps), rows - side // 2, columns - side // 2


def _packed(image: Array) -> Array:
    """The 2x2 pixels at each place, 4 c channels: here, below, right, both; one row per place.

    Places begin one row above and one column left of the image, so that outside of it both pixels of an axis are those
    of the edge: a place clamped to this grid has the corners that are clamped one by one.
    """
    around = jnp.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
    parts = [around[:-1, :-1], around[1:, :-1], around[:-1, 1:], around[1:, 1:]]
    return jnp.concatenate(parts, -1).reshape(-1, 4 * image.shape[-1])


def _corners(
    pixels: Array, shape: tuple[int, ...], vertical: Array, horizontal: Array, row: Array, column: Array
) -> tuple[list[Array], Array, Array]:
    """The four pixels `[h, w, c]` of a tap, and the fractions of its offsets."""
    height, width, _ = shape
    whole = [jnp.trunc(vertical), jnp.trunc(horizontal)]
    # Clamped before they become whole numbers: far offsets are not in the range of int32.
    y = jnp.clip(jnp.arange(height)[:, None] + row + whole[0], -1, height - 1).astype(jnp.int32)
    x = jnp.clip(jnp.arange(width) + column + whole[1], -1, width - 1).astype(jnp.int32)
    taken = pixels.at[(y + 1) * (width + 1) + x + 1].get(mode="clip")
    return jnp.split(taken, 4, -1), vertical - whole[0], horizontal - whole[1]


def _blend(corners: list[Array], f: Array, g: Array) -> Array:
    """Bilinear sum of the four pixels."""
    here, below, right, both = corners
    f, g = f[..., None], g[..., None]
    return (1 - f) * ((1 - g) * here + g * right) + f * ((1 - g) * below + g * both)
