"""The four pixels around a point, which sampling reads and splatting writes."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
from jaxtyping import Float, Int

from vfi_jax.types import Array


def corners(flow: Float[Array, "h w 2"]) -> Iterator[tuple[Int[Array, "h w"], Float[Array, "h w"]]]:
    """Yields each of the four pixels q around `p + flow[p]` as `(index, weight)`.

    Weight is `(1 - |x|)(1 - |y|)` of the distance from q; index is `q_y w + q_x`, and `h w` where q lies outside. At
    whole pixels the weights' derivatives are those of the cell to the right and below.
    """
    height, width = flow.shape[:2]
    x, y = jnp.arange(width) + flow[..., 0], jnp.arange(height)[:, None] + flow[..., 1]
    left, top = jnp.floor(x), jnp.floor(y)
    for across, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
        weight = _weight(x - left - across, across) * _weight(y - top - down, down)
        column, row = left + across, top + down
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        # Whole numbers before they are multiplied: float32 ends at 2^24 pixels; far ones are not in its range.
        near = [jnp.where(inside, side, 0).astype(jnp.int32) for side in (row, column)]
        yield jnp.where(inside, near[0] * width + near[1], height * width), weight


def _weight(distance: Array, side: int) -> Array:
    """`1 - |distance|`; a distance is 0 or more from the pixel before (side 0), 0 or less from the one after (1)."""
    return 1 + distance if side else 1 - distance
