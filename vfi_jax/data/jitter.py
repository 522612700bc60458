"""Colour jitter of 8-bit pictures, as DBVI's published code has it; CAIN's (torchvision's) differs in rounding only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8

Picture = UInt8[np.ndarray, "h w 3"]


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


def recolour(image: Picture, jitter: Jitter) -> Picture:
    """Applies a jitter to an RGB picture; each step clips to 0..255 and truncates."""
    for index in jitter.order:
        image = STEPS[index](image, jitter[index])
    return image


def _brightness(image: Picture, factor: float) -> Picture:
    return _blended(image, factor, np.float32(0))


def _contrast(image: Picture, factor: float) -> Picture:
    """Away from the rounded mean of the grey picture."""
    mean = round(float(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()))
    return _blended(image, factor, np.float32(mean))


def _saturation(image: Picture, factor: float) -> Picture:
    """Away from the grey picture, which is not rounded."""
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
