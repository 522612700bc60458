"""Convolutions and their gradients in the forms that are faster on CPUs; other devices never run these.

Winograd's tiles compute 3x3 convolutions with 4/9 of the products, and matrix products the gradients of kernels.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from vfi_jax.types import Array

Sides = tuple[tuple[int, int], tuple[int, int]]

# F(2x2, 3x3) of A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, eq. 9 to 11.
INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
KERNEL = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))
KERNELS = np.kron(KERNEL, KERNEL).astype(np.float32)  # [16, 9]: 4x4 places, 3x3 offsets

ENABLED = True  # False: XLA's own convolutions and gradients everywhere

# All measured at 448x256, one frame, two cores, jax 0.12 (results/speed.md).
# Tiles pay from 88 channels on: the forward pass takes 0.62 of the time for CAIN, 0.83 for IFRNet, 0.85 for RIFE; at 64
# channels it is the same, at 32 1.4 times as long. They take four times the memory of the input: those of a band of
# its rows fit a cache, and many bands take long to compile (CAIN: 4.3 s instead of 1.2 s).
CHANNELS, NUMBERS = 88, 80_000  # of the input, at least
BAND, BANDS = 6_000_000, 8  # bytes of input; at most
TOGETHER = 2_000_000  # bytes of input up to which one batched product is faster than 16
# A kernel of 17 MB takes 18 of the 41 ms of a transposed convolution to rearrange, where its input has 2 MB.
KERNEL_SHARE = 8  # of the input's numbers, at least, where transposed kernels stay as they are
# Kernel gradients as one product per offset: 56 instead of 130 ms at 96 channels, 25 instead of 62 ms at 144.
PRODUCT_CHANNELS = 48  # at least


def convolution(x: Array, kernel: Array, stride: int, padding: Sides) -> Callable[[Array, Array], Array] | None:
    """Returns the faster form of a convolution on CPUs, of `x` and `kernel`; None where XLA's own is the fastest."""
    if not _tiles_pay(x, kernel, stride):
        return None
    return functools.partial(convolve, padding=padding)


def gradient_by_input(x: Array, kernel: Array, stride: int, padding: Sides) -> Callable[[Array, Array], Array] | None:
    """Returns the faster form of its gradient by the input, of cotangent and `kernel`, or None."""
    if not _tiles_pay(x, kernel, stride):
        return None

    def by_tiles(cotangent: Array, kernel: Array) -> Array:
        cotangent, kernel = lax.optimization_barrier((cotangent, kernel))  # else the kernel is turned long before
        outside = tuple((2 - low, 2 - high) for low, high in padding)
        return convolve(cotangent, kernel[::-1, ::-1].swapaxes(2, 3), outside)

    return by_tiles


def gradient_by_kernel(x: Array, kernel: Array, stride: int, padding: Sides) -> Callable[[Array, Array], Array] | None:
    """Returns the faster form of its gradient by the kernel, of cotangent and `x`, or None."""
    if _tiles_pay(x, kernel, stride):
        return lambda cotangent, x: kernel_gradient(x, cotangent, padding)
    if ENABLED and stride == 1 and min(kernel.shape[2:]) >= PRODUCT_CHANNELS:
        return lambda cotangent, x: _gradient_by_products(x, cotangent, kernel.shape[:2], padding)
    return None


def _tiles_pay(x: Array, kernel: Array, stride: int) -> bool:
    return ENABLED and stride == 1 and saves_products(x, kernel)


def saves_products(x: jax.ShapeDtypeStruct | Array, kernel: jax.ShapeDtypeStruct | Array) -> bool:
    """Whether tiles are the faster form on CPUs: float32, 3x3, many channels, pixels neither few nor too many."""
    if kernel.shape[:2] != (3, 3) or x.dtype != jnp.float32 or not is_sized(x):
        return False
    return min(kernel.shape[2:]) >= CHANNELS and NUMBERS <= x.size <= BAND * BANDS / 4


def kernel_dominates(x: Array, kernel: Array) -> bool:
    """Whether `doubled` is the faster form of a transposed convolution on CPUs."""
    return ENABLED and is_sized(x) and kernel.size >= KERNEL_SHARE * x.size


def is_sized(x: jax.ShapeDtypeStruct | Array) -> bool:
    """Whether all sides are numbers, and none a symbol of `jax.export`."""
    return all(isinstance(side, int) for side in x.shape)


def doubled(x: Float[Array, "b h w i"], kernel: Float[Array, "4 4 i o"]) -> Float[Array, "b h2 w2 o"]:
    """`nn.conv.doubled` as 16 matrix products, which take the kernel's parts where they lie."""
    batch, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))

    def phase(a: int, b: int) -> Array:
        taps = itertools.product((0, 1), (0, 1))
        return sum(  # pyright: ignore[reportReturnType]
            padded[:, a + r : a + r + height, b + s : b + s + width] @ kernel[2 * r + a, 2 * s + b] for r, s in taps
        )

    rows = [jnp.concatenate([phase(a, b) for b in (0, 1)], -1).reshape(batch, height, 2 * width, -1) for a in (0, 1)]
    return jnp.stack(rows, 2).reshape(batch, 2 * height, 2 * width, -1)


def _gradient_by_products(x: Array, cotangent: Array, sides: tuple[int, int], padding: Sides) -> Array:
    """`sum_p padded[p + offset] cotangent[p]^T` for each of the kernel's offsets, as one matrix product each."""
    padded, flat = jnp.pad(x, ((0, 0), *padding, (0, 0))), cotangent.reshape(-1, cotangent.shape[-1])
    size = (*cotangent.shape[:3], x.shape[-1])

    def product(offset: Array) -> Array:
        shifted = lax.dynamic_slice(padded, (0, offset[0], offset[1], 0), size)
        return shifted.reshape(-1, size[-1]).T @ flat

    # One after the other: each holds a copy of the input.
    offsets = np.array(list(np.ndindex(*sides)), np.int32)
    return lax.map(product, jnp.asarray(offsets)).reshape(*sides, size[-1], cotangent.shape[-1])


@functools.partial(jax.jit, static_argnames="padding")
def convolve(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i o"], padding: Sides) -> Float[Array, "b h2 w2 o"]:
    """`out[y, x] = sum_{r, s} kernel[r, s] padded[y + r, x + s]`, stride 1, by products of tiles.

    Tiles of 4x4 pixels and the kernel are transformed, `V = B^T d B`, `U = G g G^T`, multiplied at each of the 16
    places, which is a matrix product over channels, and 2x2 pixels come out: `A^T [U V] A`. Rounding differs from
    that of the plain sum by a few 1e-7 of the greatest value.

    Args:
      x: float32.
      kernel: not flipped.
      padding: rows above and below, columns left and right, of zeros.
    """
    height, width = (side + sum(pair) - 2 for side, pair in zip(x.shape[1:3], padding, strict=True))
    kernel = lax.optimization_barrier((kernel, x))[0]  # else transformed long before, and kept
    kernels = (KERNELS @ kernel.reshape(9, -1)).reshape(16, *kernel.shape[2:])
    rows: list[Array] = []
    for band in _bands(_padded(x, padding), rows):
        products = _products(_input_tiles(band), kernels, 1)
        rows.append(_pixels(products, (len(x), band.shape[1] // 2 - 1, band.shape[2] // 2 - 1)))
    return jnp.concatenate(rows, 1)[:, :height, :width]


@functools.partial(jax.jit, static_argnames="padding")
def kernel_gradient(
    x: Float[Array, "b h w i"], cotangent: Float[Array, "b h2 w2 o"], padding: Sides
) -> Float[Array, "3 3 i o"]:
    """`sum_p padded[p + offset] cotangent[p]^T` for each offset: the gradient of `convolve` by its kernel.

    `G^T [sum_tiles V (A y A^T)] G`.
    """
    x, cotangent = lax.optimization_barrier((x, cotangent))  # else tiles of `convolve` are kept till here
    odd = [(0, side % 2) for side in cotangent.shape[1:3]]
    cotangent = jnp.pad(cotangent, ((0, 0), *odd, (0, 0)))
    sums: list[Array] = []
    done = 0
    for band in _bands(_padded(x, padding), sums):
        rows = band.shape[1] - 2
        product = jnp.stack(_products(_input_tiles(band), _output_tiles(cotangent[:, done : done + rows]), 0))
        sums.append(product + sums[-1] if sums else product)
        done += rows
    return (KERNELS.T @ sums[-1].reshape(16, -1)).reshape(3, 3, *sums[-1].shape[1:])


def _products(left: list[Array], right: list[Array] | Array, axis: int) -> list[Array]:
    """Matrix products of pairs, over this axis of the left ones and the first of the right ones."""
    if 16 * left[0].size > TOGETHER:
        return [lax.dot_general(a, b, (((axis,), (0,)), ((), ()))) for a, b in zip(left, right, strict=True)]
    together = lax.optimization_barrier((jnp.stack(left), right if isinstance(right, jax.Array) else jnp.stack(right)))
    return list(lax.dot_general(*together, (((axis + 1,), (1,)), ((0,), (0,)))))


def _padded(x: Array, padding: Sides) -> Array:
    """With its padding, and a row or column more where the output's sides are odd."""
    whole = [(low, high + (side + low + high) % 2) for side, (low, high) in zip(x.shape[1:3], padding, strict=True)]
    return jnp.pad(x, ((0, 0), *whole, (0, 0)))


def _bands(padded: Array, done: list[Array]) -> Iterator[Array]:
    """Rows of the padded input, two of each band in the next one as well; each waits until the one before is `done`."""
    tiles = padded.shape[1] // 2 - 1
    count = min(-(-4 * padded.size // BAND), tiles)
    edges = [2 * (tiles * i // count) for i in range(count + 1)]
    for start, stop in itertools.pairwise(edges):
        band = padded[:, start : stop + 2]
        yield lax.optimization_barrier((band, done[-1]))[0] if done else band


def _mixed(weights: Sequence[float], arrays: Sequence[Array]) -> Array:
    """`sum_i weights[i] arrays[i]`, weights 0, 1 and -1."""
    terms = [array if weight > 0 else -array for weight, array in zip(weights, arrays, strict=True) if weight]
    return sum(terms[1:], terms[0])


def _input_tiles(x: Array) -> list[Array]:
    """16 matrices `[b m n, i]` of `[b, 2m + 2, 2n + 2, i]`."""
    height, width = x.shape[1] - 3, x.shape[2] - 3
    rows = [_mixed(weights, [x[:, r : r + height : 2] for r in range(4)]) for weights in INPUT]
    tiles = [_mixed(weights, [y[:, :, s : s + width : 2] for s in range(4)]) for y in rows for weights in INPUT]
    return [tile.reshape(-1, x.shape[-1]) for tile in tiles]


def _output_tiles(y: Array) -> list[Array]:
    """`A y A^T`, 16 matrices `[b m n, o]`, of `[b, 2m, 2n, o]`."""
    across = tuple(zip(*OUTPUT, strict=True))
    rows = [_mixed(weights, [y[:, r::2] for r in range(2)]) for weights in across]
    tiles = [_mixed(weights, [row[:, :, s::2] for s in range(2)]) for row in rows for weights in across]
    return [tile.reshape(-1, y.shape[-1]) for tile in tiles]


def _pixels(products: list[Array], tiles: tuple[int, int, int]) -> Array:
    """`[b, 2m, 2n, o]` of 16 matrices `[b m n, o]`, `tiles` being b, m and n."""
    columns = [[products[4 * i + j] for i in range(4)] for j in range(4)]
    rows = [[_mixed(weights, column) for column in columns] for weights in OUTPUT]
    out = [jnp.stack([_mixed(weights, row).reshape(*tiles, -1) for weights in OUTPUT], 3) for row in rows]
    return jnp.stack(out, 2).reshape(tiles[0], 2 * tiles[1], 2 * tiles[2], -1)
