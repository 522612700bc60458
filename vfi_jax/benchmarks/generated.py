"""Synthetic benchmarks, whose truth and motion are exact; see `data.synthetic`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from vfi_jax.benchmarks.folders import existing
from vfi_jax.benchmarks.protocol import Benchmark, BenchmarkSample, load_uint8
from vfi_jax.data.images import images_in
from vfi_jax.data.synthetic.patterns import KINDS, pattern_scene
from vfi_jax.data.synthetic.scenes import Scene, random_scene
from vfi_jax.errors import UserError

PHOTOS = "photos"
SPEEDS = (8.0, 16.0, 32.0, 64.0, 128.0)  # pixels from the first frame to the second, of the fastest layer
PERIODS = (0.25, 0.5, 0.75, 1.5)
SCENES = 4  # of each speed
FIRST_SEED = 2**40  # training counts its seeds from small numbers
CACHED_SCENES = 2  # the textures of one take some 200 MB at 1080p


@dataclasses.dataclass(frozen=True)
class Instant:
    """A frame of a synthetic scene.

    Attributes:
      seed: of the scene.
      height: pixels.
      width: pixels.
      time: the inputs are at 0 and 1.
      speed: argument of `random_scene`.
      photos: the folder that the scene is cut from.
      pattern: kind and periods of `pattern_scene`, instead of `speed` and `photos`.
    """

    seed: int
    height: int
    width: int
    time: float
    speed: float = 0.0
    photos: Path | None = None
    pattern: tuple[str, float] | None = None


class Photos(Sequence):
    """The pictures of a folder, read on access."""

    def __init__(self, folder: Path) -> None:
        self._files = images_in(existing(folder))
        if not self._files:
            raise UserError(f"{folder} holds no pictures")

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        return load_uint8(self._files[index])


@functools.lru_cache(maxsize=CACHED_SCENES)
def _scene(first: Instant) -> Scene:
    if first.pattern:
        return pattern_scene(first.seed, *first.pattern, first.height, first.width)
    photos = Photos(first.photos) if first.photos else ()
    return random_scene(first.seed, first.height, first.width, speed=first.speed, photos=photos)


@functools.lru_cache(maxsize=64)
def load(instant: Instant) -> UInt8[np.ndarray, "h w 3"]:
    """Renders a frame, rounded to 8 bits."""
    frame = _scene(dataclasses.replace(instant, time=0.0)).frame(instant.time)
    return np.rint(255 * frame).astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def motion(sample: BenchmarkSample) -> float:
    """Mean length of the true flow from the first frame to the second, pixels."""
    return float(np.linalg.norm(_scene(sample.first).flow(0, 1), axis=-1).mean())


def _sample(name: str, group: str, first: Instant) -> BenchmarkSample:
    at = {time: dataclasses.replace(first, time=time) for time in (-1.0, 0.0, 0.5, 1.0, 2.0)}
    return BenchmarkSample(name, at[0.0], at[0.5], at[1.0], before=at[-1.0], after=at[2.0], group=group)


def motion_samples(data: Path, height: int, width: int, scenes: int = SCENES) -> list[BenchmarkSample]:
    """`scenes` scenes at each of `SPEEDS`, cut from the pictures in `data`/photos.

    Raises:
      UserError: there are no such pictures.
    """
    photos = data / PHOTOS
    Photos(photos)
    return [
        _sample(
            f"{speed:g}px_{k}",
            f"{speed:g} px",
            Instant(FIRST_SEED + 1000 * int(speed) + k, height, width, 0.0, speed, photos),
        )
        for speed in SPEEDS
        for k in range(scenes)
    ]


def pattern_samples(data: Path, height: int = 256, width: int = 448, scenes: int = 1) -> list[BenchmarkSample]:
    """`scenes` scenes of each of `KINDS` and `PERIODS`; `data` is ignored."""
    return [
        _sample(
            f"{kind}_{periods:g}_{k}",
            f"{periods:g} periods",
            Instant(FIRST_SEED + 100 * i + 10 * j + k, height, width, 0.0, pattern=(kind, periods)),
        )
        for j, periods in enumerate(PERIODS)
        for i, kind in enumerate(KINDS)
        for k in range(scenes)
    ]


def _motion(name: str, height: int, width: int) -> Benchmark:
    return Benchmark(
        name,
        f"synthetic scenes of exact motion cut from photos, {width}x{height}, {SCENES} for each speed of the fastest",
        functools.partial(motion_samples, height=height, width=width),
        load=load,
        motion=motion,
    )


GENERATED = (
    _motion("motion_720p", 720, 1280),
    _motion("motion_1080p", 1080, 1920),
    Benchmark(
        "patterns",
        "synthetic panels of repeated patterns, 448x256, each kind moved by parts of its period and more",
        pattern_samples,
        load=load,
        motion=motion,
    ),
)
