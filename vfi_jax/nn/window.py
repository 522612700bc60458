"""Attention within windows of a feature map, whole or a row of windows at a time.

Maps are `[b, h, w, c]` with sides that the window's divide; c is split into heads, head by head. Windows and the tokens
in them are numbered row by row. Tokens of different zones do not attend to each other: zones are labels, an integer per
token, from which the mask of a window is made where it is needed. As an array the masks of all windows of a 3840x2160
frame at 1/8 would take 26 MB in EMA-VFI; the zones take 0.5 MB. On TPUs a row of windows at a time takes a quarter of
the temporary memory and accesses at most a third more bytes than the plain form, by the compiler's cost model
(results/window_tpu.csv).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float, Int, Shaped

from vfi_jax.types import Array

FORBIDDEN = -100.0  # added to the score of two tokens of different zones, as Swin and its successors do
AT_ONCE = 2**26  # bytes of scores above which windows are attended to a row at a time


def zones(size: tuple[int, int], *cuts: Sequence[Sequence[int]]) -> Int[np.ndarray, "h w"]:
    """Labels of a map that is cut into rectangles, several times over: equal where no cut lies between two tokens.

    Args:
      size: (height, width) of the map.
      *cuts: for each partition the rows and the columns at which a new rectangle starts.
    """
    labels = np.zeros(size, np.int32)
    for partition in cuts:
        for axis, starts in enumerate(partition):
            label = np.searchsorted(np.asarray(starts), np.arange(size[axis]), side="right")
            labels = labels * (len(starts) + 1) + (label[:, None] if axis == 0 else label)
    return labels


def to_windows(x: Shaped[Array, "b h w c"], window: tuple[int, int]) -> Shaped[Array, "b m n t c"]:
    """Cuts a map into m x n windows of t tokens."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // window[0], window[0], width // window[1], window[1], channels)
    return x.swapaxes(2, 3).reshape(batch, height // window[0], width // window[1], -1, channels)


def from_windows(x: Shaped[Array, "b m n t c"], window: tuple[int, int]) -> Shaped[Array, "b h w c"]:
    """Joins windows to a map; the inverse of `to_windows`."""
    batch, rows, columns, _, channels = x.shape
    x = x.reshape(batch, rows, columns, *window, channels).swapaxes(2, 3)
    return x.reshape(batch, rows * window[0], columns * window[1], channels)


def attention(
    q: Float[Array, "*b t c"],
    k: Float[Array, "*b t c"],
    v: Float[Array, "*b t c2"],
    heads: int,
    mask: Float[Array, "*#b t t"] | None = None,
    bias: Float[Array, "heads t t"] | None = None,
    positions: Float[Array, "*#b t p"] | None = None,
) -> tuple[Float[Array, "*b t c2"], Float[Array, "*b t heads p"] | None]:
    """`A v` with `A = softmax(q k^T / sqrt(c / heads) + bias + mask)`, for each head; scores and softmax are float32.

    Args:
      q: queries.
      k: keys.
      v: values.
      heads: number of heads.
      mask: added to the scores of all heads.
      bias: added to the scores of each head.
      positions: of the tokens.

    Returns:
      `A v`, heads side by side, in the dtype of v; and `A positions - positions`, float32, the mean way from each token
      to those that it attends to; None without `positions`.
    """
    q, k, v = (x.reshape(*x.shape[:-1], heads, -1) for x in (q, k, v))
    scores = jnp.einsum("...qhd,...khd->...hqk", q, k, preferred_element_type=jnp.float32) / math.sqrt(q.shape[-1])
    if bias is not None:
        scores += bias
    if mask is not None:
        scores += mask[..., None, :, :]
    weights = jax.nn.softmax(scores)
    out = jnp.einsum("...hqk,...khd->...qhd", weights.astype(v.dtype), v)
    out = out.reshape(*out.shape[:-2], -1)
    if positions is None:
        return out, None
    seen = jnp.einsum("...hqk,...kp->...qhp", weights, positions, precision=lax.Precision.HIGHEST)
    return out, seen - positions[..., None, :]


def window_attention(
    q: Float[Array, "b h w c"],
    k: Float[Array, "b h w c"],
    v: Float[Array, "b h w c2"],
    heads: int,
    window: tuple[int, int],
    labels: Int[np.ndarray, "h w"] | None = None,
    bias: Float[Array, "heads t t"] | None = None,
    positions: Float[np.ndarray, "h w p"] | None = None,
    at_once: int = AT_ONCE,
) -> tuple[Float[Array, "b h w c2"], Float[Array, "b h w c3"] | None]:
    """`attention` within each window, between tokens of one zone.

    Where the scores of all windows take more than `at_once` bytes, a row of windows is attended to at a time, and a
    gradient computes its scores again: temporaries then do not grow with the height of the map.

    Args:
      q: queries.
      k: keys.
      v: values.
      heads: number of heads.
      window: height and width of a window; they divide those of the map.
      labels: zones, see `zones`; None: one zone.
      bias: added to the scores of each head.
      positions: of the tokens.
      at_once: bytes.

    Returns:
      `A v`, and `A positions - positions`, heads side by side, float32; None without `positions`.
    """
    parts = [to_windows(x, window) for x in (q, k, v)]
    fixed = [None if x is None else to_windows(x[None], window)[0] for x in (_channel(labels), positions)]

    def attend(given: list[Array], fixed: list[Array | None]) -> tuple[Array, Array | None]:
        cut, positions = fixed
        mask = None if cut is None else jnp.where(cut == cut.swapaxes(-1, -2), 0, FORBIDDEN)
        out, way = attention(*given, heads, mask, bias, positions)
        return out, None if way is None else way.reshape(*way.shape[:-2], -1)

    batch, rows, columns, tokens, _ = parts[0].shape
    if 4 * batch * rows * columns * heads * tokens**2 <= at_once:
        joined = attend(parts, fixed)
    else:
        step = jax.checkpoint(lambda row: attend(*row))
        by_row = lax.map(step, ([part.swapaxes(0, 1) for part in parts], fixed))
        joined = jax.tree.map(lambda x: x.swapaxes(0, 1), by_row)
    out, way = joined
    return from_windows(out, window), None if way is None else from_windows(way, window)


def _channel(labels: np.ndarray | None) -> np.ndarray | None:
    return None if labels is None else labels[..., None]
