"""Synthetic scenes, packed."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.config import Scenes
from vfi_jax.data.images import is_image, load_image, to_uint8
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.pack import _by_all_cores, _check_packed, _write_packed

SCENES = 1  # beside the seed, so that what a scene is like and what it shows are drawn apart

LIGHT = 0.15  # bound of the rate at which a lit scene's brightness grows, its logarithm, over the window


def scenes(photos: Path | None, output: Path, config: Scenes) -> dict[str, Any]:
    """Writes windows of made-up scenes whose every frame is exact into a packed file, as `pack` does.

    Args:
      photos: a folder of pictures that the scenes are cut from; None: generated patterns.
      output: `.safetensors`; appears when it is whole.
      config: what the scenes are like.

    Returns:
      Counts: "windows", "photos".

    Raises:
      UsageError: another ending, a size or speed that is not positive.
      UserError: no pictures in the folder, one that cannot be read, no space.
    """
    _check_packed(output)
    if min(config.count, config.size, config.frames - 2, config.slowest, config.fastest - config.slowest) <= 0:
        raise UsageError("scenes need count and size of 1 or more, 3 frames or more, and speeds that rise from above 0")
    pictures = _pictures(photos)
    windows = np.empty((config.count, config.frames, config.size, config.size, 3), np.uint8)
    seeds = range(config.seed, config.seed + config.count)
    draw = functools.partial(_scene_window, config, photos)
    for index, window in enumerate(_by_all_cores(draw, seeds, unit="scene", desc="scenes")):
        windows[index] = window
    names = [f"scene/{config.seed + index:06d}" for index in range(config.count)]
    counts = {"windows": config.count, "photos": len(pictures)}
    _write_packed(output, windows, {"names": names, "scenes": dataclasses.asdict(config), **counts})
    return counts


def _scene_window(config: Scenes, photos: Path | None, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, SCENES])
    blurred, lit = rng.random(2) < (config.blurred, config.lit)
    speed = np.exp(rng.uniform(np.log(config.slowest), np.log(config.fastest)))
    scene = random_scene(
        seed,
        config.size,
        config.size,
        layers=int(rng.integers(1, config.layers + 1)),
        speed=float(speed),
        photos=_pictures(photos),
        shutter=rng.uniform(0, 1 / (config.frames - 1)) if blurred else 0.0,
        light=LIGHT if lit else 0.0,
    )
    frames = [scene.frame(time) for time in np.linspace(0, 1, config.frames)]
    return np.rint(255 * np.stack(frames)).astype(np.uint8)


@functools.lru_cache(1)  # drawing a scene takes less time than reading them
def _pictures(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return []
    found = sorted(path for path in folder.rglob("*") if is_image(path)) if folder.is_dir() else []
    if not found:
        raise UserError(f"{folder}: no such folder of pictures (PNG or JPEG)")
    return [to_uint8(load_image(path)) for path in found]
