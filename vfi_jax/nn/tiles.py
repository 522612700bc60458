"""Convolutions over active tiles: what a mask makes zero is computed only in tiles in which it keeps a pixel.

Shapes are static: a plan has room for a number of tiles, its capacity, and must not be used where more are active. A
chain of masked 3x3 convolutions stays in tiles: `gather` reads the dense input once, `with_halo` gives each tile the
edges of its neighbors before every further convolution, and `scatter` writes the result. Outside of active tiles all
values are zero, so that the edges of inactive neighbors are zeros, as at the border of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from vfi_jax.errors import UsageError
from vfi_jax.types import Array

# Of the eight neighbors and the tile itself, in rows.
AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]


@flax.struct.dataclass
class TilePlan:
    """Which tile each of k slots holds, and where its neighbors are.

    Attributes:
      tiles: `[k]`, index of the tile in (batch, row, column), or their number for an empty slot.
      neighbors: `[k, 9]`, slots of `AROUND`; k for a tile that is not active or not there.
      size: batch, height and width of the image.
      side: of a tile, pixels.
    """

    tiles: Int[Array, "k"]
    neighbors: Int[Array, "k 9"]
    size: tuple[int, int, int] = flax.struct.field(pytree_node=False)
    side: int = flax.struct.field(pytree_node=False)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Batch, rows and columns of tiles; the last ones may reach beyond the image."""
        batch, height, width = self.size
        return batch, -(-height // self.side), -(-width // self.side)


def active_tiles(keep: Float[Array, "b h w 1"], side: int) -> Bool[Array, "b rows columns"]:
    """Returns whether a mask keeps any pixel of each tile."""
    height, width = keep.shape[1:3]
    padded = jnp.pad(keep[..., 0] > 0, ((0, 0), (0, -height % side), (0, -width % side)))
    rows, columns = padded.shape[1] // side, padded.shape[2] // side
    return padded.reshape(-1, rows, side, columns, side).any((2, 4))


def capacities_in_tiles(capacities: Sequence[float], count: int) -> list[int]:
    """Returns the numbers of tiles that fractions of all of them stand for.

    Raises:
      UsageError: fractions that are not above 0, below 1 and rising.
    """
    if list(capacities) != sorted({*capacities}) or any(not 0 < fraction < 1 for fraction in capacities):
        raise UsageError(
            f"capacities are {tuple(capacities)}: rising fractions of the tiles, above 0 and below 1, are needed"
        )
    return [max(1, round(fraction * count)) for fraction in capacities]


def tile_plan(keep: Float[Array, "b h w 1"], side: int, capacity: int) -> TilePlan:
    """Plans the tiles of a mask, the first `capacity` of those that are active."""
    active = active_tiles(keep, side)
    batch, rows, columns = active.shape
    count = active.size
    tiles = jnp.nonzero(active.reshape(-1), size=capacity, fill_value=count)[0]
    slots = jnp.full(count + 1, capacity).at[tiles].set(jnp.arange(capacity)).at[count].set(capacity)
    around = jnp.pad(slots[:-1].reshape(active.shape), ((0, 0), (1, 1), (1, 1)), constant_values=capacity)
    shifted = [around[:, 1 + y : 1 + y + rows, 1 + x : 1 + x + columns].reshape(-1) for y, x in AROUND]
    neighbors = jnp.stack(shifted, -1)[jnp.minimum(tiles, count - 1)]
    return TilePlan(tiles, neighbors, (batch, *keep.shape[1:3]), side)


def gather(x: Float[Array, "b h w c"], plan: TilePlan, halo: int = 0) -> Float[Array, "k s s c"]:
    """Returns the plan's tiles of an image with `halo` pixels around each; zeros beyond the image."""
    batch, rows, columns = plan.grid
    side, (_, height, width) = plan.side, plan.size
    below, right = rows * side - height + halo, columns * side - width + halo
    x = jnp.pad(x, ((0, 0), (halo, below), (halo, right), (0, 0)))
    image, row, column = jnp.unravel_index(jnp.minimum(plan.tiles, batch * rows * columns - 1), plan.grid)
    size = (1, side + 2 * halo, side + 2 * halo, x.shape[-1])
    return jax.vmap(lambda i, y, x0: lax.dynamic_slice(x, (i, y * side, x0 * side, 0), size)[0])(image, row, column)


def with_halo(tiles: Float[Array, "k s s c"], plan: TilePlan) -> Float[Array, "k s2 s2 c"]:
    """Adds to each tile one pixel around it, of its neighbors."""
    edges = {-1: slice(-1, None), 0: slice(None), 1: slice(0, 1)}
    rows = []
    for y in (-1, 0, 1):
        parts = []
        for x in (-1, 0, 1):
            if (y, x) == (0, 0):
                parts.append(tiles)
                continue
            edge = jnp.pad(tiles[:, edges[y], edges[x]], ((0, 1), (0, 0), (0, 0), (0, 0)))
            parts.append(edge[plan.neighbors[:, AROUND.index((y, x))]])
        rows.append(jnp.concatenate(parts, 2))
    return jnp.concatenate(rows, 1)


def scatter(tiles: Float[Array, "k s s c"], plan: TilePlan, fill: Float[Array, "c"]) -> Float[Array, "b h w c"]:
    """Returns the image of the plan's tiles, `fill` in all others."""
    batch, rows, columns = plan.grid
    side, channels = plan.side, tiles.shape[-1]
    empty = jnp.broadcast_to(fill.astype(tiles.dtype), (batch * rows * columns, side, side, channels))
    image = empty.at[plan.tiles].set(tiles, mode="drop").reshape(batch, rows, columns, side, side, channels)
    image = image.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * side, columns * side, channels)
    return image[:, : plan.size[1], : plan.size[2]]
