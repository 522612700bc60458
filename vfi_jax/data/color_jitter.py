"""Augmentation that only the host does, with OpenCV: enlargement, and color jitter of 8-bit pictures.

The jitter is that of DBVI's published code; CAIN's (torchvision's) differs in rounding only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from vfi_jax.data.windows import FLOW_FIELDS, IMAGE_FIELDS, Sample

Picture = UInt8[np.ndarray, "h w 3"]


def enlarge(sample: Sample) -> Sample:
    """Twice the size, by OpenCV's bilinear resizing; flows are doubled as well."""
    pictures = {name: _enlarged(sample[name]) for name in IMAGE_FIELDS}
    flows = {name: 2 * _enlarged(sample[name]) for name in FLOW_FIELDS if name in sample}
    return {**sample, **pictures, **flows}


def _enlarged(image: np.ndarray) -> np.ndarray:
    """`[..., h, w, c]`; float16, which OpenCV does not resize, by way of float32."""
    height, width, channels = image.shape[-3:]
    whole = image if image.dtype == np.uint8 else image.astype(np.float32)
    made = [cv2.resize(part, (2 * width, 2 * height)) for part in whole.reshape(-1, height, width, channels)]
    return np.stack(made).reshape(*image.shape[:-3], 2 * height, 2 * width, channels).astype(image.dtype)


def jitter(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """The same random jitter of the colors of all pictures."""
    drawn = draw_jitter(rng, strength)
    frames = np.stack([recolor(frame, drawn) for frame in sample["frames"]])
    return {**sample, "frames": frames, "target": recolor(sample["target"], drawn)}


class Jitter(NamedTuple):
    """One jitter: factors about 1, the shift of the hue in turns, and the order of the four, as indices of `STEPS`."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    order: tuple[int, ...]


def draw_jitter(rng: np.random.Generator, strength: float) -> Jitter:
    """Factors even in 1 - strength to 1 + strength, the shift in -strength to strength, in random order."""
    factors = rng.uniform(1 - strength, 1 + strength, 3)
    return Jitter(*factors, rng.uniform(-strength, strength), tuple(rng.permutation(len(STEPS)).tolist()))


def recolor(image: Picture, jitter: Jitter) -> Picture:
    """Applies a jitter to an RGB picture; each step clips to 0..255 and truncates."""
    for index in jitter.order:
        image = STEPS[index](image, jitter[index])
    return image


def _brightness(image: Picture, factor: float) -> Picture:
    return _blended(image, factor, np.float32(0))


def _contrast(image: Picture, factor: float) -> Picture:
    """Away from the rounded mean of the gray picture."""
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _blended(image, factor, np.float32(mean))


def _saturation(image: Picture, factor: float) -> Picture:
    """Away from the gray picture, which is not rounded."""
    return _blended(image, factor, cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None])


def _hue(image: Picture, shift: float) -> Picture:
    """By a part of a turn, in OpenCV's HSV whose hue has 256 levels."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(int(255 * shift) % 256)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)


def _blended(image: Picture, factor: float, other: Float[np.ndarray, "#h #w 1"] | np.float32) -> Picture:
    """`factor * image + (1 - factor) * other` in float32, clipped and truncated."""
    return np.clip(np.float32(factor) * image + np.float32((1 - factor) * np.float64(other)), 0, 255).astype(np.uint8)


STEPS: tuple[Callable[[Picture, float], Picture], ...] = (_brightness, _contrast, _saturation, _hue)
