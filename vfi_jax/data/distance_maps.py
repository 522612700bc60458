"""Distance maps: of the way from its place in one frame to that in another, the fraction that each pixel has covered.

Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video Frame Interpolation", ECCV 2024.
A model that gets such a map for the time need not guess how fast things move. All functions follow the published code;
maps are float32 on the grid of the start frame.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float16
from numpy.typing import ArrayLike

from vfi_jax.config import Distance

# OpenCV's Gaussian kernels of sizes 5 and 9 without a given width: tables, which its formula for the width misses.
KERNELS = {
    5: np.float32([1, 4, 6, 4, 1]) / 16,
    9: np.float32([4, 13, 30, 51, 60, 51, 30, 13, 4]) / 256,
}
PLACES = HALF, FRAME, CROP = "half", "frame", "crop"  # where a map is clipped and blurred
Map = Float[np.ndarray, "h w"]


def triples(frames: int) -> list[tuple[int, int, int]]:
    """Lists (start, target, end) of the maps of a window: each three frames in order, and the same reversed."""
    ordered = itertools.combinations(range(frames), 3)
    return [triple for a, b, c in ordered for triple in ((a, b, c), (c, b, a))]


def projected(to_target: Float[np.ndarray, "h w 2"], to_end: Float[np.ndarray, "h w 2"]) -> Map:
    """Returns the distance map `<F_target, F_end> / |F_end|^2` of two flows on the grid of the start frame.

    Nothing is clipped: values may be negative or above 1, and are NaN or infinite where F_end is 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return (to_target * to_end).sum(-1) / (to_end * to_end).sum(-1)


def stored(distance: Map) -> Float16[np.ndarray, "h2 w2"]:
    """Returns a map as it is stored: means of 2x2 pixels, float16; NaN spreads. An odd last side is repeated."""
    height, width = distance.shape
    even = np.pad(distance, ((0, height % 2), (0, width % 2)), mode="edge")
    with np.errstate(over="ignore", invalid="ignore"):
        return even.reshape(len(even) // 2, 2, -1, 2).mean((1, 3)).astype(np.float16)


def enlarged(half: Float[np.ndarray, "h2 w2"], size: tuple[int, int]) -> Map:
    """Returns a map of the frames' size (height, width): every pixel of the stored one becomes 2x2."""
    return half.repeat(2, 0).repeat(2, 1)[: size[0], : size[1]]


def blurred(distance: Map, size: int) -> Map:
    """Blurs a map by one of `KERNELS`, mirrored at the border without repeating the edge; 0 leaves it alone."""
    if not size:
        return distance
    return cv2.sepFilter2D(distance, cv2.CV_32F, KERNELS[size], KERNELS[size], borderType=cv2.BORDER_REFLECT_101)


def of_frame(half: Float[np.ndarray, "h2 w2"], size: tuple[int, int], config: Distance) -> Map:
    """Returns a stored map at the frames' size, clipped and blurred unless the config wants that on the crop."""
    distance = half.astype(np.float32)
    if config.blur_at == HALF:
        return enlarged(_smooth(distance, config), size)
    distance = enlarged(distance, size)
    return _smooth(distance, config) if config.blur_at == FRAME else distance


def of_crop(distance: Map, config: Distance) -> Map:
    """Clips and blurs a cropped map if the config wants it there."""
    return _smooth(distance, config) if config.blur_at == CROP else distance


def _smooth(distance: Map, config: Distance) -> Map:
    return blurred(np.clip(distance, 0, 1) if config.clip else distance, config.blur)


def averaged(distance: Map, masks: Bool[np.ndarray, "n h w"]) -> Map:
    """Averages a map over objects: a pixel gets the mean of the means of the masks that cover it.

    What no mask covers is one more object, the background.
    """
    masks = np.concatenate([masks, ~masks.any(0, keepdims=True)])
    total, count = np.zeros_like(distance), np.zeros_like(distance)
    for mask in masks[masks.any((1, 2))]:
        total[mask] += distance[mask].mean()
        count[mask] += 1
    return total / count


def sampled_curve(nodes: ArrayLike, times: ArrayLike) -> Float[np.ndarray, "n"]:
    """Samples a curve at times in 0..1; its nodes lie at equal times from 0 to 1.

    Between them it is linear for 2 nodes, a parabola for 3, and a cubic spline (not-a-knot) for more; one node is a
    constant. Clipped to 0..1, which splines may leave.
    """
    from scipy.interpolate import make_interp_spline

    values, at = np.asarray(nodes, np.float64), np.asarray(times, np.float64)
    degree = min(len(values) - 1, 3)
    if not degree:
        return np.full(len(at), values[0])
    return np.clip(make_interp_spline(np.linspace(0, 1, len(values)), values, k=degree)(at), 0, 1)


def painted(masks: Bool[np.ndarray, "n h w"], values: ArrayLike) -> Map:
    """Paints one value per mask over zeros, which stand still; where masks overlap the first one wins."""
    out = np.zeros(masks.shape[1:], np.float32)
    for mask, value in zip(masks[::-1], np.asarray(values)[::-1], strict=True):
        out[mask] = value
    return out
