"""Texture consistency: each patch of the prediction resembles the most similar one of the two input frames."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int

from vfi_jax.errors import UsageError
from vfi_jax.ops.kinks import absolute
from vfi_jax.ops.resize import shrink_cubic
from vfi_jax.types import Array

SCALE, WINDOW = 4, 7  # of the published code
PENALTIES = ("half_square", "l1")
DESCRIPTORS = ("census", "rgb")
NEIGHBORS = [(row, column) for row in range(3) for column in range(3)]


def texture_loss(
    frame: Float[Array, "b h w 3"],
    inputs: Float[Array, "b 2 h w 3"],
    *,
    scale: int = SCALE,
    window: int = WINDOW,
    penalty: str = PENALTIES[0],
    descriptor: str = DESCRIPTORS[0],
) -> Float[Array, ""]:
    """`mean 1/2 (p(x) - p_s(y))^2`, or `mean |p(x) - p_s(y)|`: the distance from the best match of the input frames.

    All images are reduced by `scale` (`shrink_cubic`). p(x) are the 27 values of the prediction's 3x3 patch at x, edges
    reflected, and p_s(y) those of input frame s at y: `(s, y) = argmin |d(x) - d_s(y)|^2` over the `window` x `window`
    positions y around x in both frames; d are patches of the reduced `census_code` of each channel, or p itself. The
    target is no argument: where motion is ambiguous, a sharp patch from either frame costs less than a blurred average.
    The match is a constant for the gradient, which reaches the prediction through p(x) alone.

    Source: Kun Zhou et al., "Exploring Motion Ambiguity and Alignment for High-Quality Video Frame Interpolation",
    CVPR 2023, and its published code, which takes half the squared difference and matches census codes where the paper
    takes L1 and matches colors. Candidates are compared one offset after another, so that memory does not grow with the
    window.

    Args:
      frame: the prediction, in 0..1.
      inputs: the two frames around it.
      scale: factor of the reduction; the search reaches `scale * (window // 2)` pixels.
      window: odd side of the search window, reduced pixels.
      penalty: "half_square" or "l1".
      descriptor: "census" or "rgb".

    Raises:
      UsageError: sides that `scale` does not divide or that the window does not fit, or another penalty or descriptor.
    """
    _check(frame.shape, scale, window, penalty, descriptor)
    patches = _patches(shrink_cubic(frame, scale))
    _, closest = match_patches(frame, inputs, scale=scale, window=window, descriptor=descriptor)
    difference = patches - closest
    return absolute(difference).mean() if penalty == "l1" else 0.5 * (difference**2).mean()


def texture_loss_l1(frame: Float[Array, "b h w 3"], inputs: Float[Array, "b 2 h w 3"]) -> Float[Array, ""]:
    """The paper's form of `texture_loss`, with L1 distances."""
    return texture_loss(frame, inputs, penalty="l1")


def match_patches(
    frame: Float[Array, "b h w 3"], inputs: Float[Array, "b 2 h w 3"], *, scale: int, window: int, descriptor: str
) -> tuple[Int[Array, "b h2 w2"], Float[Array, "b h2 w2 27"]]:
    """Finds the best match in the input frames for each patch of a prediction; see `texture_loss`.

    Returns:
      The number of the best candidate: those of frame 0 row by row, then those of frame 1; of equals the first. And its
      27 values. Neither has a gradient.
    """
    frame, inputs = lax.stop_gradient((frame, inputs))

    def patches(image: Array) -> tuple[Array, Array]:
        """Descriptors and colors."""
        colors = _patches(shrink_cubic(image, scale))
        return (colors if descriptor == "rgb" else _patches(shrink_cubic(census_code(image), scale))), colors

    wanted, _ = patches(frame)
    reach = window // 2
    border = ((0, 0), (reach, reach), (reach, reach), (0, 0))
    # `[2, b, h2 + window - 1, w2 + window - 1, 27]` of both frames; patches are reflected whole.
    candidates = [
        jnp.stack(maps) for maps in
        zip(*([jnp.pad(array, border, mode="reflect") for array in patches(inputs[:, side])] for side in (0, 1)),
            strict=True)
    ]  # fmt: skip

    def compare(best: tuple[Array, Array, Array], candidate: Array) -> tuple[tuple[Array, Array, Array], None]:
        number, side, row, column = candidate
        start = (side, 0, row, column, 0)
        theirs, colors = (lax.dynamic_slice(array, start, (1, *wanted.shape))[0] for array in candidates)
        distance = ((theirs - wanted) ** 2).sum(-1)
        closer = distance < best[0]
        return (
            jnp.where(closer, distance, best[0]),
            jnp.where(closer, number, best[1]),
            jnp.where(closer[..., None], colors, best[2]),
        ), None

    numbered = np.indices((2, window, window)).reshape(3, -1)
    numbered = np.stack([np.arange(numbered.shape[1]), *numbered], 1).astype(np.int32)
    shape = wanted.shape[:-1]
    nothing = jnp.full(shape, jnp.inf), jnp.zeros(shape, jnp.int32), jnp.zeros_like(wanted)
    (_, index, colors), _ = lax.scan(compare, nothing, numbered)
    return index, colors


def census_code(image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """`sum_i 2^(7 - i) [neighbor i >= center] / 255` of the eight neighbors, row by row, each channel separately.

    Computed inside and reflected at the edges.
    """
    height, width = image.shape[1:3]
    center, code = image[:, 1:-1, 1:-1], 0
    for row, column in NEIGHBORS:
        if (row, column) != (1, 1):
            neighbor = image[:, row : height - 2 + row, column : width - 2 + column]
            code = 2 * code + (neighbor >= center).astype(jnp.float32)
    return jnp.pad(code / 255, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")


def _patches(image: Array) -> Array:
    """`[b, h, w, 9 c]`: the 3x3 neighborhood of each pixel, edges reflected."""
    height, width = image.shape[1:3]
    padded = jnp.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    return jnp.concatenate([padded[:, row : row + height, column : column + width] for row, column in NEIGHBORS], -1)


def _check(shape: tuple[int, ...], scale: int, window: int, penalty: str, descriptor: str) -> None:
    height, width = shape[1:3]
    if penalty not in PENALTIES:
        raise UsageError(f"no penalty of the texture loss is called {penalty!r}: {' or '.join(PENALTIES)}")
    if descriptor not in DESCRIPTORS:
        raise UsageError(f"no descriptor of the texture loss is called {descriptor!r}: {' or '.join(DESCRIPTORS)}")
    least = scale * max(window // 2 + 1, 2)
    if height % scale or width % scale or min(height, width) < max(least, 4):
        raise UsageError(
            f"the texture loss needs sides divisible by {scale} and of {max(least, 4)} or more pixels, not "
            f"{width}x{height}: choose another crop"
        )
