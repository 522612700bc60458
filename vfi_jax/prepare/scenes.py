"""Packed sets of synthetic scenes, in which every frame is exact."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vfi_jax.config import Scenes
from vfi_jax.data.images import is_image, load_image, to_uint8
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare.packed_file import owned_output, write_packed
from vfi_jax.prepare.parallel import parallel_map

SCENE_STREAM = 1  # beside the seed, so that a scene's settings and its content are drawn independently
LIGHT_RATE = 0.15  # bound of the growth rate of a lit scene's log brightness over the window


def pack_scenes(photos: Path | None, output: Path, config: Scenes) -> dict[str, Any]:
    """Renders windows of random scenes into a packed file.

    Args:
      photos: a folder of images from which the surfaces are cut; None: generated patterns.
      output: `.safetensors`; appears when it is complete.
      config: statistics of the scenes.

    Returns:
      The numbers of "windows" and "photos".

    Raises:
      UsageError: another ending, a size or speed that is not positive.
      UserError: the folder has no images, an image cannot be read, or there is no space on the disk.
    """
    with owned_output(output):
        if min(config.count, config.size, config.frames - 2, config.slowest, config.fastest - config.slowest) <= 0:
            raise UsageError(
                "scenes need count and size of 1 or more, 3 frames or more, and speeds that rise from above 0"
            )
        images = _load_photos(photos)
        windows = np.empty((config.count, config.frames, config.size, config.size, 3), np.uint8)
        seeds = range(config.seed, config.seed + config.count)
        render = functools.partial(_render_window, config, photos)
        for index, window in enumerate(parallel_map(render, seeds, unit="scene", desc="scenes")):
            windows[index] = window
        names = [f"scene/{config.seed + index:06d}" for index in range(config.count)]
        counts = {"windows": config.count, "photos": len(images)}
        write_packed(output, windows, {"names": names, "scenes": dataclasses.asdict(config), **counts})
        return counts


def _render_window(config: Scenes, photos: Path | None, seed: int) -> UInt8[np.ndarray, "n size size 3"]:
    rng = np.random.default_rng([seed, SCENE_STREAM])
    blurred, lit = rng.random(2) < (config.blurred, config.lit)
    speed = np.exp(rng.uniform(np.log(config.slowest), np.log(config.fastest)))
    scene = random_scene(
        seed,
        config.size,
        config.size,
        layers=int(rng.integers(1, config.layers + 1)),
        speed=float(speed),
        photos=_load_photos(photos),
        shutter=rng.uniform(0, 1 / (config.frames - 1)) if blurred else 0.0,
        light=LIGHT_RATE if lit else 0.0,
    )
    frames = [scene.frame(time) for time in np.linspace(0, 1, config.frames)]
    return np.rint(255 * np.stack(frames)).astype(np.uint8)


@functools.lru_cache(1)  # rendering a scene takes less time than reading the photos
def _load_photos(folder: Path | None) -> list[np.ndarray]:
    if folder is None:
        return []
    paths = sorted(filter(is_image, folder.rglob("*"))) if folder.is_dir() else []
    if not paths:
        raise UserError(f"{folder}: no such folder of images (PNG or JPEG)")
    return [to_uint8(load_image(path)) for path in paths]
