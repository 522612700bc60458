"""Backward warping: bilinear, and its cubic correction."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from vfi_jax.ops.bilinear import corners
from vfi_jax.ops.join import join
from vfi_jax.ops.resize import read_by_shrinking, resize
from vfi_jax.types import Array

MIN_INSIDE = 0.9999  # bilinear weight inside the image that a sample needs to count
LANES = 128  # of a TPU's registers


def warp(image: Float[Array, "*b h w c"], flow: Float[Array, "*b h w 2"]) -> Float[Array, "*b h w c"]:
    """Samples `image` where `flow` points: `out[y, x] = bilinear(image, x + flow_x, y + flow_y)`.

    Coordinates are clamped to `[0, w-1]` and `[0, h-1]` (edge pixels repeat outside the frame).
    Taps are gathered image by image, vmapped, so that batches may be spread over devices. Images and features that
    share a flow are best concatenated along c: the cost is the gather of four taps, whatever c is. On TPUs one gather
    brings all four.

    Follows `grid_sample(padding_mode="border", align_corners=True)` as RIFE calls it, gradients included: coordinates
    take the way through the normalized grid -1..1, whose float32 rounding decides which slope the flow's gradient
    has at whole pixels, and that gradient is 0 at and beyond the border.

    Args:
      image: any channels, any float dtype.
      flow: (x, y) in pixels of `image`; computed in float32.

    Returns:
      The samples, in the image's dtype.
    """
    return _sampled(image, *_positions(flow.astype(jnp.float32)))


def warp_resized(
    image: Float[Array, "*b h w c"], flow: Float[Array, "*b h w 2"], scale: float
) -> Float[Array, "*b h2 w2 c"]:
    """`resize(warp(image, flow), scale)`; where that reads few of the warped pixels, only those are sampled."""
    factor = round(1 / scale)
    if factor <= 2 or factor * scale != 1 or any(side % factor for side in image.shape[-3:-1]):
        return resize(warp(image, flow), scale)
    x, y = (read_by_shrinking(at[..., None], factor)[..., 0] for at in _positions(flow.astype(jnp.float32)))
    return resize(_sampled(image, x, y), 1 if factor % 2 else 1 / 2)


def warp_inside(
    image: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w 1"]]:
    """Samples `image` where `flow` points, and returns zero where that lies outside.

    `out[p] = mask[p] sum_q k(p + flow[p] - q) image[q]` over the pixels q of the image, k the bilinear kernel
    `(1 - |x|)(1 - |y|)` where both are below 1. Float32.

    Returns:
      The samples, and the mask: 1 where the kernel's weights add up to 0.9999 or more, else 0; without gradient.
    """
    return jax.vmap(_warp_inside_one)(image, flow)


def sample_inside(
    image: Float[Array, "*b h w c"], x: Float[Array, "*b h2 w2"], y: Float[Array, "*b h2 w2"]
) -> Float[Array, "*b h2 w2 c"]:
    """Samples `image` bilinearly at positions p, as if zeros were around it: `sum_q k(p - q) image[q]`.

    k is the kernel of `warp_inside`. The derivative by a position is that of the cell to the right and below, and 0
    where no pixel is nearer than 1.

    Args:
      image: any channels, any float dtype.
      x: columns, in pixels of `image`, float32.
      y: rows.

    Returns:
      The samples, in the image's dtype.
    """
    image = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)])
    height, width = image.shape[-3:-1]
    return _sampled(image, _clamp(x + 1, width), _clamp(y + 1, height))


def second_differences(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c2"]:
    """Second differences of an image, for `cubic_correction`: `I[p - 1] - 2 I[p] + I[p + 1]`, edge pixels repeated.

    Returns:
      Along x, then along y: 2 c channels.
    """
    padded = jnp.pad(image, [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)], mode="edge")
    rows, columns = padded[..., :, 1:-1, :], padded[..., 1:-1, :, :]
    across = columns[..., :-2, :] - 2 * image + columns[..., 2:, :]
    down = rows[..., :-2, :, :] - 2 * image + rows[..., 2:, :, :]
    return join(across, down)


def cubic_correction(
    differences: Float[Array, "*b h w c2"], flow: Float[Array, "*b h w 2"]
) -> Float[Array, "*b h w c"]:
    """Correction from bilinear to cubic sampling: `warp(image, flow) + correction` is sharper.

    `g_x D_x + g_y D_y` with `g = -f (1 - f) / 2`, f the fraction of the position along the axis and
    D = `warp(second_differences(image), flow)`. Along an axis, cubic convolution (R. Keys, 1981, a = -1/2, the
    Catmull-Rom spline) is linear interpolation of the pixels plus g times that of their second differences: the gather
    of four taps that is made anyway serves instead of sixteen. Left out is `g_x g_y D_xy`, of fourth order.

    Args:
      differences: D.
      flow: that of `warp`.
    """
    across, down = jnp.split(differences, 2, -1)
    x, y = ((at - lax.stop_gradient(jnp.floor(at)))[..., None] for at in _positions(flow.astype(jnp.float32)))
    return -x * (1 - x) / 2 * across - y * (1 - y) / 2 * down


def _warp_inside_one(image: Array, flow: Array) -> tuple[Array, Array]:
    height, width, channels = image.shape
    pixels = jnp.asarray(image).reshape(height * width, channels)
    out, covered = jnp.zeros((height, width, channels)), jnp.zeros((height, width))
    for index, weight in corners(flow):
        out += weight[..., None] * pixels.at[index].get(mode="fill", fill_value=0)
        covered += jnp.where(index < height * width, weight, 0)
    mask = (covered >= MIN_INSIDE).astype(jnp.float32)[..., None]
    return out * mask, mask


def _sampled(image: Array, x: Array, y: Array) -> Array:
    """`[*b, h2, w2, c]`: bilinear samples of `[*b, h, w, c]` at positions `[*b, h2, w2]` inside it."""
    leading = image.shape[:-3]
    image, x, y = (a.reshape(-1, *a.shape[len(leading) :]) for a in (image, x, y))
    out = lax.platform_dependent(
        jnp.asarray(image), x, y, cpu=_on_cpu, tpu=_weighed(_packed_neighbors), default=_weighed(_neighbors)
    )
    return out.reshape(*leading, *out.shape[1:])


def _weighed(neighbors: Callable[..., tuple[Array, Array, Array, Array]]) -> Callable[[Array, Array, Array], Array]:
    """Bilinear samples of images `[b, h, w, c]` at positions `[b, h2, w2]`, from what brings the taps of one."""

    def sampled(image: Array, x: Array, y: Array) -> Array:
        x0, y0 = jnp.floor(x), jnp.floor(y)
        right, down = (x - x0)[..., None], (y - y0)[..., None]
        rows, columns = y0.astype(jnp.int32), x0.astype(jnp.int32)
        top_left, top_right, bottom_left, bottom_right = jax.vmap(neighbors)(image, rows, columns)
        out = (
            top_left * ((1 - right) * (1 - down))
            + top_right * (right * (1 - down))
            + bottom_left * ((1 - right) * down)
            + bottom_right * (right * down)
        )
        return out.astype(image.dtype)

    return sampled


def _on_cpu(image: Array, x: Array, y: Array) -> Array:
    """With a barrier, without which the taps would be weighed again for each use of a sample (from jax 0.12 on)."""
    return lax.optimization_barrier(_weighed(_neighbors)(image, x, y))


def _neighbors(image: Array, row: Array, column: Array) -> tuple[Array, Array, Array, Array]:
    """The 2x2 pixels right of and below each position, edge pixels repeated: a gather for each of the four."""
    height, width, channels = image.shape
    pixels = image.reshape(height * width, channels)
    right, below = jnp.minimum(column + 1, width - 1), jnp.minimum(row + 1, height - 1)

    def tap(row: Array, column: Array) -> Array:
        return pixels.at[row * width + column].get(mode="promise_in_bounds")

    return tap(row, column), tap(row, right), tap(below, column), tap(below, right)


def _packed_neighbors(image: Array, row: Array, column: Array) -> tuple[Array, Array, Array, Array]:
    """The same from one gather, of an image whose pixels hold their neighbors too, in rows of whole lanes.

    TPUs are slow to gather and scatter-add narrower rows: by their compiler's cost model a warp of 8 images of
    256x448x3 and its gradients access 245 and 729 GB with four gathers, 7.6 and 10.7 GB like this
    (results/warp_tpu.csv). Without the barriers the compiler would make the rows narrow again.
    """
    height, width, channels = image.shape
    pairs = jnp.concatenate([image, jnp.concatenate([image[:, 1:], image[:, -1:]], 1)], -1)
    packed = jnp.concatenate([pairs, jnp.concatenate([pairs[1:], pairs[-1:]], 0)], -1)
    pixels = packed.reshape(height * width, 4 * channels)
    pixels = lax.optimization_barrier(jnp.pad(pixels, ((0, 0), (0, -4 * channels % LANES))))
    taken = lax.optimization_barrier(pixels.at[row * width + column].get(mode="promise_in_bounds"))
    return tuple(jnp.split(taken[..., : 4 * channels], 4, -1))


def _positions(flow: Array) -> tuple[Array, Array]:
    """Columns and rows that `flow`, `[*b, h, w, 2]`, points to, inside the image."""
    height, width = flow.shape[-3:-1]
    x = _clamp(_unnormalized(_linspace(width)[None, :], flow[..., 0], width), width)
    y = _clamp(_unnormalized(_linspace(height)[:, None], flow[..., 1], height), height)
    return x, y


def _linspace(size: int) -> np.ndarray:
    """-1..1 in `size` steps, rounded as PyTorch rounds it: each half counts from its own end."""
    xp = np if isinstance(size, int) else jnp
    last = xp.float32(max(size - 1, 1))
    step = np.float32(2) / last
    index = xp.arange(size, dtype=np.float32)
    return xp.where(index < (last + 1) / 2, -1 + step * index, 1 - step * (last - index)).astype(np.float32)


def _unnormalized(grid: np.ndarray, flow: Array, size: int) -> Array:
    last = (np if isinstance(size, int) else jnp).float32(max(size - 1, 1))
    return (grid + flow / (last / 2) + 1) / 2 * (size - 1)


def _clamp(value: Array, size: int) -> Array:
    # `jnp.clip` has half a slope at the limits; the reference has none.
    return jnp.where(value <= 0, 0.0, jnp.where(value >= size - 1, jnp.float32(size - 1), value))
