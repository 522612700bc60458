"""All-pairs correlation of two feature maps and its look-up around moving centers, as in RAFT.

Z. Teed and J. Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020. Two forms of one
function, equal up to rounding; h, w are the sides of the feature maps (1/8 of the frame's):

- `correlation_volume` + `look_up`: products once, look-ups cheap. Memory `4 (h w)^2 * 4/3` bytes a pair: 0.25 GB for
  1280x720 frames, 5.7 GB for 1920x1080, 92 GB for 3840x2160.
- `correlate`: the products that a look-up needs, made when it needs them. Memory `4 w (2 r + 2)^2 c` bytes at a time,
  for one row of the frame: 25 MB for 1920x1080, 49 MB for 3840x2160, with r = 4, c = 256.

On TPUs, which are slow to gather, `correlator` looks up by products with bilinear weights instead: `look_up_densely`
reads the whole volume, `correlate_densely` makes the products of a row with all pixels, which is memory of
`4 w (h w) * 4/3` bytes, 0.33 GB for 3840x2160. What that saves stands in results/correlation_tpu.csv.

Centers are (x, y) in pixels of the maps. Products are float32 at the highest precision: less drifts over iterations.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.types import Array

LEVELS = 4
PRECISION = lax.Precision.HIGHEST
FORMS = ("volume", "on_demand", "auto")
VOLUME_BYTES = 1e9  # of the finest level of one direction, above which "auto" chooses "on_demand"


def correlation_volume(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"]
) -> list[Float[Array, "b h w _ _"]]:
    """`<first[i, j], second[k, l]> / sqrt(c)`, averaged over 1x1, 2x2, 4x4, 8x8 pixels of (k, l), odd rests dropped.

    Raises:
      ValueError: sides below 8, which the coarsest level does not have.
    """
    # Means of products are products with means: what is pooled is small, and no second volume is made on the way.
    return [jnp.einsum("bijc,bklc->bijkl", _scaled(first), level, precision=PRECISION) for level in _pyramid(second)]


def look_up(
    volume: list[Float[Array, "b h w _ _"]], centers: Float[Array, "b h w 2"], radius: int
) -> Float[Array, "b h w n"]:
    """Correlations around each pixel's center: `volume[level]` sampled at `center / 2^level + (a, b)`, a, b in -r..r.

    Bilinear, zero outside. Channel `level (2r + 1)^2 + (a + r)(2r + 1) + (b + r)`: the slow index moves x.
    """

    def level(maps: Array, position: Array) -> Array:
        index, inside = _taps(position, radius, maps.shape[-2:])
        flat = maps.reshape(*maps.shape[:-2], -1)
        taps = jnp.take_along_axis(flat, index.reshape(*index.shape[:-2], -1), -1, mode="clip").reshape(index.shape)
        return _between(jnp.where(inside, taps, 0), position)

    return jnp.concatenate([level(maps, centers / 2**i) for i, maps in enumerate(volume)], -1)


def correlate(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"], centers: Float[Array, "b h w 2"], radius: int
) -> Float[Array, "b h w n"]:
    """`look_up(correlation_volume(first, second), centers, radius)` without the volume, a row at a time.

    Raises:
      ValueError: sides below 8.
    """
    return _row_by_row(_row_level, first, second, centers, radius)


def look_up_densely(
    volume: list[Float[Array, "b h w _ _"]], centers: Float[Array, "b h w 2"], radius: int
) -> Float[Array, "b h w n"]:
    """`look_up(volume, centers, radius)` by products of every map with bilinear weights, mostly zeros: no gather."""
    levels = [_sampled_densely(maps, centers / 2**i, radius) for i, maps in enumerate(volume)]
    return jnp.concatenate(levels, -1)


def correlate_densely(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"], centers: Float[Array, "b h w 2"], radius: int
) -> Float[Array, "b h w n"]:
    """`correlate(first, second, centers, radius)` by products of a row with all pixels, and no gather.

    Raises:
      ValueError: sides below 8.
    """

    def row_level(query: Array, position: Array, features: Array, radius: int) -> Array:
        maps = jnp.einsum("wc,klc->wkl", query, features, precision=PRECISION)
        return _sampled_densely(maps, position, radius)

    return _row_by_row(row_level, first, second, centers, radius)


def correlator(
    first: Float[Array, "b h w c"], second: Float[Array, "b h w c"], radius: int, form: str = "auto"
) -> Callable[[Float[Array, "b h w 2"], Float[Array, "b h w 2"]], Float[Array, "b h w n"]]:
    """Returns a function of centers in `second` and of centers in `first` that gives the correlations around both.

    They are those of `first` with `second`, then those of `second` with `first`.

    Args:
      first: features.
      second: features.
      radius: of the look-ups.
      form: a key of FORMS: "volume", "on_demand", or "auto", which takes the volume up to `VOLUME_BYTES`.

    Raises:
      UserError: no such form.
    """
    if form not in FORMS:
        raise UserError(f"correlation is {form!r}: one of {', '.join(FORMS)}")
    height, width = first.shape[1:3]
    if form == "auto":
        form = "volume" if 4 * (height * width) ** 2 <= VOLUME_BYTES else "on_demand"
    pairs = ((first, second), (second, first))
    if form == "on_demand":
        inputs, forms = list(pairs), {"default": correlate, "tpu": correlate_densely}
    else:
        inputs = [(correlation_volume(*pair),) for pair in pairs]
        forms = {"default": look_up, "tpu": look_up_densely}
    forms = {platform: functools.partial(of, radius=radius) for platform, of in forms.items()}

    def around(*centers: Array) -> Array:
        both = [lax.platform_dependent(*given, at, **forms) for given, at in zip(inputs, centers, strict=True)]
        return jnp.concatenate(both, -1)

    return around


def _row_by_row(
    row_level: Callable[[Array, Array, Array, int], Array], first: Array, second: Array, centers: Array, radius: int
) -> Array:
    """`[b, h, w, n]`: what `row_level` makes of `[w, c]`, `[w, 2]` and each level's `[h_l, w_l, c]`."""

    def row(query: Array, positions: Array, maps: list[Array]) -> Array:
        return jnp.concatenate([row_level(query, positions / 2**i, m, radius) for i, m in enumerate(maps)], -1)

    def image(inputs: tuple[Array, Array, list[Array]]) -> Array:
        queries, positions, maps = inputs
        return lax.map(lambda both: row(*both, maps), (queries, positions))

    return lax.map(image, (_scaled(first), centers, _pyramid(second)))


def _row_level(query: Array, position: Array, features: Array, radius: int) -> Array:
    """`[w, c]` queries at `[w, 2]` positions of a `[h_l, w_l, c]` map: `[w, (2r + 1)^2]`."""
    index, inside = _taps(position, radius, features.shape[:2])
    seen = features.reshape(-1, features.shape[-1]).at[index].get(mode="clip")
    products = jnp.einsum("wc,wyxc->wyx", query, seen, precision=PRECISION)
    return _between(jnp.where(inside, products, 0), position)


def _scaled(features: Array) -> Array:
    return features.astype(jnp.float32) / jnp.sqrt(features.shape[-1])


def _pyramid(features: Array) -> list[Array]:
    """`[b, h, w, c]` averaged over 2x2 pixels, again and again."""
    levels = [features.astype(jnp.float32)]
    for _ in range(LEVELS - 1):
        height, width = (side // 2 for side in levels[-1].shape[1:3])
        if not height or not width:
            shown = f"{features.shape[2]}x{features.shape[1]}"
            raise ValueError(f"feature maps of {shown} have no {LEVELS} levels: 8x8 at least")
        cut = levels[-1][:, : 2 * height, : 2 * width]
        levels.append(cut.reshape(len(cut), height, 2, width, 2, -1).mean((2, 4)))
    return levels


def _taps(position: Array, radius: int, size: tuple[int, int]) -> tuple[Array, Array]:
    """Indices of the (2r + 2)^2 whole pixels (y, x) around positions, and which of them lie inside."""
    height, width = size
    offset = jnp.arange(-radius, radius + 2)
    near = _whole(position, radius, size)
    x, y = near[..., 0, None, None] + offset, near[..., 1, None, None] + offset[:, None]
    return y * width + x, (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _whole(position: Array, radius: int, size: tuple[int, int]) -> Array:
    """The whole pixels left of and above positions; far positions see nothing, however far, and come nearer."""
    height, width = size
    # Whole numbers of 32 bits end.
    return jnp.clip(jnp.floor(position), -radius - 2, jnp.array([width, height]) + radius + 1).astype(jnp.int32)


def _sampled_densely(maps: Array, position: Array, radius: int) -> Array:
    """Bilinear samples `[..., (2r + 1)^2]`, x slow, of maps `[..., h, w]` around positions `[..., 2]`."""
    height, width = maps.shape[-2:]
    near, fraction = _whole(position, radius, (height, width)), position - jnp.floor(position)

    def weights(axis: int, size: int) -> Array:
        # Of tap k for the sample at offset a: `1 - fraction` where k is the pixel before it, `fraction` after it.
        distance = near[..., axis, None, None] + (np.arange(-radius, radius + 1)[:, None] - np.arange(size))
        after = fraction[..., axis, None, None]
        return jnp.where(distance == 0, 1 - after, jnp.where(distance == -1, after, 0))

    columns = jnp.einsum("...kl,...al->...ka", maps, weights(0, width), precision=PRECISION)
    samples = jnp.einsum("...ka,...bk->...ab", columns, weights(1, height), precision=PRECISION)
    return samples.reshape(*samples.shape[:-2], -1)


def _between(taps: Array, position: Array) -> Array:
    """Bilinear samples `[..., (2r + 1)^2]`, x slow, of whole-pixel taps `[..., 2r + 2, 2r + 2]` (y, x)."""
    right, down = jnp.moveaxis(position - jnp.floor(position), -1, 0)[..., None, None]
    rows = taps[..., :-1] * (1 - right) + taps[..., 1:] * right
    samples = rows[..., :-1, :] * (1 - down) + rows[..., 1:, :] * down
    return samples.swapaxes(-1, -2).reshape(*samples.shape[:-2], -1)
