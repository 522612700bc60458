"""Scenes of repeated patterns, which mislead matching by appearance: a panel glides over a smooth background.

Only the panel's edges show how far it moved; its inside looks the same one period further.
"""

from __future__ import annotations

import numpy as np

from vfi_jax.data.synthetic import textures
from vfi_jax.data.synthetic.scenes import DENSITY, Motion, Scene, cutout_layer, opaque_layer
from vfi_jax.data.synthetic.textures import Image, Random

KINDS = ("stripes", "checks", "dots", "mesh")
PERIODS = (8.0, 24.0)  # shortest and longest, pixels


def periodic(rng: Random, kind: str, height: int, width: int, period: float, angle: float) -> Image:
    """Draws a pattern of two colors that repeats every `period` texels along `angle` (radians) and across it."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    along = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period
    across = 2 * np.pi * (y * np.cos(angle) - x * np.sin(angle)) / period
    level = {
        "stripes": np.cos(along),
        "checks": np.cos(along) * np.cos(across),
        "dots": (np.cos(along) + np.cos(across)) / 2 - 0.3,
        "mesh": np.maximum(np.cos(along), np.cos(across)) - 0.75,
    }[kind]
    dark, light = sorted(textures.palette(rng, 6).tolist(), key=sum)[::5]
    return textures.ramp(np.clip(0.5 + 2 * level, 0, 1), np.float32([dark, light]))


def pattern_scene(seed: int, kind: str, periods: float, height: int, width: int) -> Scene:
    """Draws a scene whose panel moves by `periods` of its pattern, along it, from time 0 to 1.

    Args:
      seed: of the PCG64 generator that draws colors, period, angle and position.
      kind: in KINDS.
      periods: distance that the panel moves, in periods of its pattern.
      height: pixels.
      width: pixels.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    period, angle = rng.uniform(*PERIODS), rng.uniform(0, 2 * np.pi)
    step = periods * period * np.array([np.cos(angle), np.sin(angle)])
    middle = np.array([width, height]) * rng.uniform(0.42, 0.58, 2)
    rows, columns = (int(DENSITY * side * rng.uniform(0.5, 0.7)) for side in (height, width))
    image = periodic(rng, kind, rows, columns, DENSITY * period, angle)
    start, velocity = middle - step / 2, (float(step[0]), float(step[1]))
    panel = cutout_layer(image, textures.superellipse(8), Motion((float(start[0]), float(start[1])), velocity))
    background = textures.clouds(rng, int(1.4 * DENSITY * height), int(1.4 * DENSITY * width))
    drift = rng.uniform(-2, 2, 2)
    background_motion = Motion((width / 2, height / 2), (float(drift[0]), float(drift[1])))
    return Scene(height, width, opaque_layer(background, background_motion), (panel,))
