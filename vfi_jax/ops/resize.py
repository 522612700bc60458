"""Bilinear resizing without antialiasing."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from vfi_jax.types import Array


def resize(image: Float[Array, "*b h w c"], scale: float) -> Float[Array, "*b h2 w2 c"]:
    """Resizes both sides by `scale`; output sides are `floor(side * scale)`.

    `out[i] = lerp(image, (i + 0.5) / scale - 0.5)` along each axis, clamped to the edges: half-pixel centers, two taps
    also when shrinking. Follows `F.interpolate(scale_factor=scale, mode="bilinear", align_corners=False)`. Values are
    not rescaled; `resize_flow` does that.

    Whole factors (8, 1/8) are slices; any other factor (0.8, 1.25) gathers rows and columns, its coordinates computed
    in float64.
    """
    if scale == 1:
        return image
    height, width = (_scaled(side, scale) for side in image.shape[-3:-1])
    return _resize(image, height, width, 1 / scale, 1 / scale)


def resize_flow(flow: Float[Array, "*b h w c"], scale: float) -> Float[Array, "*b h2 w2 c"]:
    """Resizes flow by `scale`, like `resize`, and its vectors with it: they stay in pixels of their own resolution."""
    return resize(flow, scale) * scale


def resize_flow_corners(flow: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b h2 w2 c"]:
    """Resizes flow to `size` = (height, width), like `resize_corners`, and its vectors by the ratios of the sides.

    Args:
      flow: (x, y), or several flows: x, y, x, y, ...
      size: of the result.
    """
    height, width = flow.shape[-3:-1]
    ratios = np.float32([size[1] / width, size[0] / height] * (flow.shape[-1] // 2))
    return resize_corners(flow, size) * ratios


def resize_to(image: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b h2 w2 c"]:
    """Resizes to `size` = (height, width), else like `resize`: the ratio of the sides is the step between samples.

    Follows `F.interpolate(size=size, mode="bilinear", align_corners=False)`.
    """
    height, width = image.shape[-3:-1]
    if (height, width) == tuple(size):
        return image
    return _resize(image, *size, height / size[0], width / size[1])


def resize_corners(image: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b h2 w2 c"]:
    """Resizes to `size` = (height, width) with the corner pixels kept in the corners.

    `out[i] = lerp(image, i * (side - 1) / (new side - 1))` along each axis; a new side of 1 takes the first pixel.
    Follows `F.interpolate(size=size, mode="bilinear", align_corners=True)`.
    """
    for axis, new in zip((-3, -2), size, strict=True):
        position = np.arange(new, dtype=np.float64) * ((image.shape[axis] - 1) / max(new - 1, 1))
        image = _lerp(image, axis, position)
    return image


def shrink_cubic(image: Float[Array, "*b h w c"], factor: int) -> Float[Array, "*b h2 w2 c"]:
    """Reduces both sides by a whole factor with cubic convolution, a = -3/4, without antialiasing.

    Along each axis `out[i]` has the four taps around `(i + 0.5) * factor - 0.5`, edge pixels repeated: weights -3/32,
    19/32, 19/32, -3/32 if the factor is even, the middle pixel of each `factor` if it is odd. Sides are rounded down.
    Follows `F.interpolate(scale_factor=1 / factor, mode="bicubic", align_corners=False)`.
    """
    if factor % 2:
        return _shrink(_shrink(image, -2, image.shape[-2] // factor, factor), -3, image.shape[-3] // factor, factor)
    for axis in (-2, -3):
        axis %= image.ndim
        size = image.shape[axis] // factor
        edge = [(0, 0)] * image.ndim
        edge[axis] = (1, 1)
        padded = jnp.pad(image, edge, mode="edge")
        start, length = factor // 2 - 1, (size - 1) * factor + 1
        taps = [lax.slice_in_dim(padded, start + tap, start + tap + length, factor, axis) for tap in range(4)]
        image = (taps[1] + taps[2]) * (19 / 32) - (taps[0] + taps[3]) * (3 / 32)
    return image


def read_by_shrinking(image: Float[Array, "*b h w c"], factor: int) -> Float[Array, "*b h2 w2 c"]:
    """The pixels that `resize(image, 1 / factor)` reads; `factor` must divide the sides.

    Of every `factor` along an axis the two in the middle, or the one where it is odd. `resize` by 1/2, or none, makes
    of them what it makes of the image.
    """
    middle = slice((factor - 1) // 2, factor // 2 + 1)
    for axis in (-2, -3):
        axis %= image.ndim
        split = (*image.shape[:axis], image.shape[axis] // factor, factor, *image.shape[axis + 1 :])
        kept = image.reshape(split)[(slice(None),) * (axis + 1) + (middle,)]
        image = kept.reshape(*image.shape[:axis], -1, *image.shape[axis + 1 :])
    return image


def _scaled(side: int, scale: float) -> int:
    """`floor(side * scale)`, without floats where the factor is whole: a side may be a symbol of `jax.export`."""
    if scale == int(scale):
        return side * int(scale)
    return side // round(1 / scale) if 1 / scale == round(1 / scale) else math.floor(side * scale)


def _resize(image: Array, height: int, width: int, step_y: float, step_x: float) -> Array:
    return _resize_axis(_resize_axis(image, -2, width, step_x), -3, height, step_y)


def _resize_axis(image: Array, axis: int, size: int, step: float) -> Array:
    """Resizes one axis to `size` samples that lie `step` input pixels apart."""
    if step == 1 and size == image.shape[axis]:
        return image
    if step > 1 and step == int(step) and size * int(step) <= image.shape[axis]:
        return _shrink(image, axis, size, int(step))
    if step < 1 and abs(1 / step - round(1 / step)) < 1e-9 and size == image.shape[axis] * round(1 / step):
        return _enlarge(image, axis, round(1 / step))
    return _gather(image, axis, size, step)


def _shrink(image: Array, axis: int, size: int, factor: int) -> Array:
    """Mean of the two middle pixels of every `factor`, or the middle one where it is odd."""
    stop = (size - 1) * factor + 1

    def every(start: int) -> Array:
        index = [slice(None)] * image.ndim
        index[axis] = slice(start, start + stop, factor)
        return image[tuple(index)]

    if factor % 2:
        return every(factor // 2)
    return (every(factor // 2 - 1) + every(factor // 2)) * 0.5


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _enlarge(image: Array, axis: int, factor: int) -> Array:
    """A shifted lerp for each of the `factor` phases, which get an axis of their own: a single loop without copies.

    The gradients of that are slow on CPUs: those are taken of `_enlarge_by_phase`.
    """
    axis %= image.ndim
    size = image.shape[axis]
    edge = [(0, 0)] * image.ndim
    edge[axis] = (1, 1)
    padded = jnp.expand_dims(jnp.pad(image, edge, mode="edge"), axis + 1)
    offsets = (np.arange(factor) + 0.5) / factor - 0.5
    shape = [1] * padded.ndim
    shape[axis + 1] = factor
    out = jnp.zeros((), image.dtype)
    for start, weights in enumerate((np.maximum(-offsets, 0), 1 - abs(offsets), np.maximum(offsets, 0))):
        weights = jnp.asarray(weights.reshape(shape), image.dtype)
        out += weights * lax.slice_in_dim(padded, start, start + size, axis=axis)
    return out.reshape(*image.shape[:axis], size * factor, *image.shape[axis + 1 :])


def _enlarge_by_phase(image: Array, axis: int, factor: int) -> Array:
    """The same: the phases one by one, interleaved."""
    axis %= image.ndim
    size = image.shape[axis]
    edge = [(0, 0)] * image.ndim
    edge[axis] = (1, 1)
    padded = jnp.pad(image, edge, mode="edge")

    def shifted(start: int) -> Array:
        index = [slice(None)] * image.ndim
        index[axis] = slice(start, start + size)
        return padded[tuple(index)]

    previous, here, following = shifted(0), shifted(1), shifted(2)
    phases = []
    for phase in range(factor):
        offset = (phase + 0.5) / factor - 0.5
        neighbor = previous if offset < 0 else following
        phases.append(here * (1 - abs(offset)) + neighbor * abs(offset) if offset else here)
    out = jnp.stack(phases, axis=axis + 1)
    return out.reshape(*image.shape[:axis], size * factor, *image.shape[axis + 1 :])


def _enlarge_pulled(axis: int, factor: int, _: None, pulled: Array) -> tuple[Array]:
    shape = list(pulled.shape)
    shape[axis] //= factor
    small = jax.ShapeDtypeStruct(shape, pulled.dtype)
    return jax.linear_transpose(lambda image: _enlarge_by_phase(image, axis, factor), small)(pulled)


_enlarge.defvjp(lambda image, axis, factor: (_enlarge(image, axis, factor), None), _enlarge_pulled)


def _gather(image: Array, axis: int, size: int, step: float) -> Array:
    return _lerp(image, axis, np.maximum((np.arange(size, dtype=np.float64) + 0.5) * step - 0.5, 0))


def _lerp(image: Array, axis: int, position: np.ndarray) -> Array:
    """Samples between the pixels of one axis, at positions of 0 or more."""
    first = np.minimum(position.astype(np.int64), image.shape[axis] - 1)
    second = np.minimum(first + 1, image.shape[axis] - 1)
    shape = [1] * image.ndim
    shape[axis] = len(position)
    weight = jnp.asarray((position - first).reshape(shape), image.dtype)
    return jnp.take(image, first, axis=axis) * (1 - weight) + jnp.take(image, second, axis=axis) * weight
