"""Augmentation that runs on the host only, with OpenCV: enlargement, and color jitter of 8-bit images.

The jitter is that of DBVI's published code; CAIN's (torchvision's) differs in rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vfi_jax.data.augment import map_fields
from vfi_jax.data.windows import FLOW_FIELDS, IMAGE_FIELDS, MASK_FIELDS, REGION_FIELD, Sample

Image = UInt8[np.ndarray, "h w 3"]


def enlarge(sample: Sample) -> Sample:
    """Doubles the size of a sample with OpenCV's bilinear resizing, and the lengths of its flow vectors.

    Masks stay 0 or 1, and regions numbers: each pixel becomes four.
    """
    images = {name: _doubled(sample[name]) for name in (*IMAGE_FIELDS, *map_fields(sample)) if name in sample}
    flows = {name: 2 * _doubled(sample[name]) for name in FLOW_FIELDS if name in sample}
    masks = {name: sample[name].repeat(2, 0).repeat(2, 1) for name in MASK_FIELDS if name in sample}
    regions = {}
    if REGION_FIELD in sample:
        height, width = sample["target"].shape[:2]  # the half of the new sides
        regions = {REGION_FIELD: sample[REGION_FIELD].repeat(2, 1).repeat(2, 2)[:, :height, :width]}
    return {**sample, **images, **flows, **masks, **regions}


def _doubled(image: np.ndarray) -> np.ndarray:
    """Doubles height and width of `[..., h, w, c]`; float16, which OpenCV cannot resize, passes through float32."""
    height, width, channels = image.shape[-3:]
    source = image if image.dtype == np.uint8 else image.astype(np.float32)
    doubled = [cv2.resize(part, (2 * width, 2 * height)) for part in source.reshape(-1, height, width, channels)]
    return np.stack(doubled).reshape(*image.shape[:-3], 2 * height, 2 * width, channels).astype(image.dtype)


def jitter(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Changes the colors of all images of a sample by the same random jitter."""
    drawn = draw_jitter(rng, strength)
    frames = np.stack([recolor(frame, drawn) for frame in sample["frames"]])
    single = {name: recolor(sample[name], drawn) for name in ("target", "reference") if name in sample}
    return {**sample, "frames": frames, **single}


class Jitter(NamedTuple):
    """A color jitter: factors about 1, the shift of the hue in turns, and their order (indices of `STEPS`)."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]


def draw_jitter(rng: np.random.Generator, strength: float) -> Jitter:
    """Draws factors uniformly in 1 - strength to 1 + strength, the shift in -strength to strength, and the order."""
    factors = rng.uniform(1 - strength, 1 + strength, 3)
    return Jitter(*factors, rng.uniform(-strength, strength), tuple(rng.permutation(len(STEPS)).tolist()))


def recolor(image: Image, jitter: Jitter) -> Image:
    """Applies a jitter to an RGB image; each step clips to 0..255 and truncates."""
    for index in jitter.order:
        image = STEPS[index](image, jitter[index])
    return image


def _brightness(image: Image, factor: float) -> Image:
    return _blended(image, factor, np.float32(0))


def _contrast(image: Image, factor: float) -> Image:
    """Scales the distance from the rounded mean of the gray image."""
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _blended(image, factor, np.float32(mean))


def _saturation(image: Image, factor: float) -> Image:
    """Scales the distance from the gray image, which is not rounded."""
    return _blended(image, factor, cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None])


def _hue(image: Image, shift: float) -> Image:
    """Turns the hue by a fraction of a full turn, in OpenCV's HSV with 256 levels of hue."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(255 * shift) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _blended(image: Image, factor: float, other: Float[np.ndarray, "#h #w 1"] | np.float32) -> Image:
    """Computes `factor * image + (1 - factor) * other` in float32, clipped and truncated."""
    return np.clip(np.float32(factor) * image + np.float32((1 - factor) * np.float64(other)), 0, 255).astype(np.uint8)


STEPS: tuple[Callable[[Image, float], Image], ...] = (_brightness, _contrast, _saturation, _hue)
