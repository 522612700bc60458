"""3x3 convolutions that are computed only around the pixels that a mask keeps, in blocks of 2x2 pixels.

A block is active if the mask keeps any of its pixels. The 4x4 pixels around each active block are gathered,
transformed, multiplied and transformed back (`conv_cpu` states the formula, with 16 products per block instead of 36);
what is not active stays 0. Blocks are taken in chunks of one size, so that shapes are static, while the number of
chunks follows the mask: one program serves every mask, and its time is proportional to the active blocks. It has no
gradient.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import flax.struct
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float, Int

from vfi_jax.nn.conv_cpu import INPUT, KERNELS, OUTPUT
from vfi_jax.types import Array

# Of the transformed pixels of a chunk, which then stay in a processor's cache: at 0.53 of the blocks of 640x360 pixels
# with 100 channels, 1 to 3 MB take 0.50 of the dense time, 6 MB 0.56 (processor time, two cores, jax 0.10).
CHUNK_BYTES = 3_000_000

# The block and the pixel in it of four pixels in a row or column: the second one of the block before, and so on.
SQUARE = ((0, 1), (1, 0), (1, 1), (2, 0))

T = TypeVar("T")


@flax.struct.dataclass
class ActiveBlocks:
    """The blocks of 2x2 pixels in which a mask keeps a pixel.

    Attributes:
      places: `[n]`, index of each active block in (batch, row, column), then n for the rest.
      count: number of active blocks.
      keep: `[n + 1, 4, 1]`, the mask in each block, and 0.
      size: batch, height and width of the image.
    """

    places: Int[Array, "n"]
    count: Int[Array, ""]
    keep: Float[Array, "n1 4 1"]
    size: tuple[int, int, int] = flax.struct.field(pytree_node=False)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Batch, rows and columns of blocks; the last ones may reach beyond the image."""
        batch, height, width = self.size
        return batch, -(-height // 2), -(-width // 2)

    def image(self, blocks: Float[Array, "n1 4 c"]) -> Float[Array, "b h w c"]:
        """Returns the image of all blocks."""
        batch, rows, columns = self.grid
        image = blocks[:-1].reshape(batch, rows, columns, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5)
        return image.reshape(batch, 2 * rows, 2 * columns, -1)[:, : self.size[1], : self.size[2]]

    def around(self, places: Int[Array, "k"]) -> Int[Array, "3 3 k"]:
        """Returns the places of blocks and of their neighbors; n where there is none."""
        batch, rows, columns = self.grid
        count = batch * rows * columns
        row, column = places // columns % rows, places % columns

        def neighbor(y: int, x: int) -> Array:
            exists = (row + y >= 0) & (row + y < rows) & (column + x >= 0) & (column + x < columns)
            return jnp.where(exists & (places < count), places + y * columns + x, count)

        return jnp.stack([jnp.stack([neighbor(y, x) for x in (-1, 0, 1)]) for y in (-1, 0, 1)])


def to_blocks(image: Float[Array, "b h w c"]) -> Float[Array, "n1 4 c"]:
    """Returns the blocks of 2x2 pixels of an image, in (batch, row, column), and a last one of zeros.

    Beyond an odd side are zeros.
    """
    image = jnp.pad(image, ((0, 0), (0, image.shape[1] % 2), (0, image.shape[2] % 2), (0, 0)))
    batch, height, width, channels = image.shape
    blocks = image.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return jnp.pad(blocks.reshape(-1, 4, channels), ((0, 1), (0, 0), (0, 0)))


def active_blocks(keep: Float[Array, "b h w 1"]) -> ActiveBlocks:
    """Returns the blocks in which a mask of 0 and 1 keeps a pixel."""
    blocks = to_blocks(keep)
    active = (blocks[:-1] > 0).any((1, 2))
    places = jnp.nonzero(active, size=len(active), fill_value=len(active))[0]
    return ActiveBlocks(places, active.sum(), blocks, keep.shape[:3])


def fold_convolution(
    update: Callable[[T, Int[Array, "k"], Float[Array, "k 4 o"]], T],
    state: T,
    blocks: Float[Array, "n1 4 i"],
    kernel: Float[Array, "3 3 i o"],
    active: ActiveBlocks,
) -> T:
    """Convolves with stride 1 and zeros beyond the image, and passes on the results of a chunk of blocks at a time.

    Args:
      update: `update(state, places, pixels)` returns the next state; `places` index the first axis of arrays of
        `[n + 1, 4, c]`, whose last entry is for the places of a chunk that hold no block.
      state: the first state.
      blocks: the image, see `to_blocks`.
      kernel: not flipped.
      active: where results are wanted.
    """
    pixels, channels = blocks.reshape(-1, blocks.shape[-1]), blocks.shape[-1]
    kernels = (KERNELS @ kernel.astype(jnp.float32).reshape(9, -1)).reshape(16, *kernel.shape[2:]).astype(blocks.dtype)
    chunk = max(8, min(len(active.places), CHUNK_BYTES // (16 * 4 * channels)))
    # A multiple of the chunk, or the last one would be moved back over places that are done.
    places = jnp.pad(active.places, (0, -len(active.places) % chunk), constant_values=len(active.places))

    def step(number: Array, state: T) -> T:
        taken = lax.dynamic_slice(places, (number * chunk,), (chunk,))
        near = 4 * active.around(taken)
        around = [[pixels[near[i, m] + 2 * j + n] for m, n in SQUARE] for i, j in SQUARE]
        return update(state, taken, _convolved(lax.optimization_barrier(around), kernels))

    return lax.fori_loop(0, -(-active.count // chunk), step, state)


def _convolved(around: Sequence[Sequence[Array]], kernels: Float[Array, "16 i o"]) -> Float[Array, "k 4 o"]:
    """Returns 2x2 pixels in the middle of 4x4."""
    values = lax.optimization_barrier(_transformed(INPUT, around))
    products = [
        [jnp.matmul(value, kernels[4 * i + j], preferred_element_type=jnp.float32) for j, value in enumerate(row)]
        for i, row in enumerate(values)
    ]
    return jnp.stack([pixel for row in _transformed(OUTPUT, products) for pixel in row], 1)


def _transformed(matrix: Sequence[Sequence[int]], square: Sequence[Sequence[Array]]) -> list[list[Array]]:
    """`M S M^T` of a square of arrays; entries of M are 0, 1 and -1."""
    left = [[_sum(row, column) for column in zip(*square, strict=True)] for row in matrix]
    return [[_sum(row, line) for row in matrix] for line in left]


def _sum(signs: Sequence[int], terms: Sequence[Array]) -> Array:
    signed = [term if sign > 0 else -term for sign, term in zip(signs, terms, strict=True) if sign]
    return functools.reduce(jnp.add, signed)
