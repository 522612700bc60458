"""Benchmarks that are made up, so that truth and motion are exact; see `data.synthetic`, `data.patterns`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float32, UInt8

from vfi_jax.benchmarks.layouts import existing
from vfi_jax.benchmarks.protocol import Benchmark, Sample, load_uint8
from vfi_jax.data.images import images_in
from vfi_jax.data.synthetic.patterns import KINDS, pattern_scene
from vfi_jax.data.synthetic.scenes import Scene, random_scene
from vfi_jax.errors import UserError

PHOTOS = "photos"
SPEEDS = (8.0, 16.0, 32.0, 64.0, 128.0)  # pixels from the first frame to the second, of the fastest layer
PERIODS = (0.25, 0.5, 0.75, 1.5)
SCENES = 4  # of each speed, or of each kind and number of periods
FIRST_SEED = 2**40  # training counts its seeds from small numbers
KEPT = 2  # scenes at once; the textures of one take some 200 MB at 1080p


@dataclasses.dataclass(frozen=True)
class Instant:
    """A moment of a made-up scene.

    Attributes:
      seed: of the scene.
      height: pixels.
      width: pixels.
      time: the frames are at 0 and 1.
      speed: of `random_scene`.
      photos: the folder that it is cut from.
      pattern: kind and periods of `pattern_scene`, in the place of these two.
    """

    seed: int
    height: int
    width: int
    time: float
    speed: float = 0.0
    photos: Path | None = None
    pattern: tuple[str, float] | None = None


class Photos(Sequence):
    """The pictures of a folder, read when they are wanted."""

    def __init__(self, folder: Path) -> None:
        self._files = images_in(existing(folder))
        if not self._files:
            raise UserError(f"{folder} holds no pictures")

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: SupportsIndex) -> UInt8[np.ndarray, "h w 3"]:
        return load_uint8(self._files[index])


@functools.lru_cache(maxsize=KEPT)
def _scene(first: Instant) -> Scene:
    if first.pattern:
        return pattern_scene(first.seed, *first.pattern, first.height, first.width)
    photos = Photos(first.photos) if first.photos else ()
    return random_scene(first.seed, first.height, first.width, speed=first.speed, photos=photos)


@functools.lru_cache(maxsize=64)
def load(instant: Instant) -> Float32[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"]:
    """The picture, rounded to 8 bits."""
    frame = _scene(dataclasses.replace(instant, time=0.0)).frame(instant.time)
    return np.rint(255 * frame).astype(np.uint8)


@functools.lru_cache(maxsize=1024)
def motion(sample: Sample) -> float:
    """Mean length of the true flow from the first frame to the second, pixels."""
    return float(np.linalg.norm(_scene(sample.first).flow(0, 1), axis=-1).mean())


def _sample(name: str, group: str, first: Instant) -> Sample:
    at = {time: dataclasses.replace(first, time=time) for time in (-1.0, 0.0, 0.5, 1.0, 2.0)}
    return Sample(name, at[0.0], at[0.5], at[1.0], before=at[-1.0], after=at[2.0], group=group)


def motion_samples(data: Path, height: int, width: int, scenes: int = SCENES) -> list[Sample]:
    """`scenes` scenes of each of SPEEDS, cut from the pictures in `data`/photos."""
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


def pattern_samples(data: Path, height: int = 256, width: int = 448, scenes: int = 1) -> list[Sample]:
    """`scenes` scenes of each of KINDS and PERIODS; `data` is not looked at."""
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
        f"made-up scenes of exact motion cut from photos, {width}x{height}, {SCENES} for each speed of the fastest",
        functools.partial(motion_samples, height=height, width=width),
        load=load,
        motion=motion,
    )


GENERATED = (
    _motion("motion_720p", 720, 1280),
    _motion("motion_1080p", 1080, 1920),
    Benchmark(
        "patterns",
        "made-up panels of repeated patterns, 448x256, each kind moved by parts of its period and more",
        pattern_samples,
        load=load,
        motion=motion,
    ),
)
