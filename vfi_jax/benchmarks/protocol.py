"""What a protocol says, as data: `Sample` and `Benchmark`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from vfi_jax import metrics
from vfi_jax.data.images import load_image, to_uint8
from vfi_jax.inference import MIDPOINT
from vfi_jax.ops.pad import Padding


def load_uint8(path: Path) -> Shaped[np.ndarray, "h w 3"]:
    """A picture of 8 bits; of more bits the upper ones."""
    return to_uint8(load_image(path))


@dataclasses.dataclass(frozen=True)
class Sample:
    """One test: the frames at 0 and 1, the truth between, and, where the set has them, those at -1 and 2.

    Frames are whatever the benchmark's `load` takes: paths, mostly. A model of four frames sees `first` and `second`
    twice where there are no outer ones: as at the ends of a clip.

    Attributes:
      name: of the test.
      first: at 0.
      truth: at t.
      second: at 1.
      before: at -1.
      after: at 2.
      t: 0 < t < 1.
      group: clip or kind that it belongs to, for means of their own.
    """

    name: str
    first: Any
    truth: Any
    second: Any
    before: Any = None
    after: Any = None
    t: float = MIDPOINT
    group: str = ""


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A protocol.

    Attributes:
      name: under which its figures are reported.
      protocol: what differs between protocols, in words: the set, and the size that the network sees.
      find: the data folder -> its samples.
      version: counts changes that change figures.
      load: a frame of a sample -> RGB, uint8 or float32 in 0..1.
      canvas: (height, width) of zeros on which frames are placed at the top left; None: their own size.
      padding: done before the model's own, and undone after it; None: the model's alone.
      scale: the model's field of that name, where it has one; None: the model's own.
      rounded: the prediction is rounded to 8 bits, half to even, before it is judged.
      tta: averaged with the frame of the turned pair.
      figures: names in `metrics.figures`; "psnr" is among them.
      headline: the one that stands for all.
      by_group: the mean is that of the groups' means, not of all images.
      sequences: the samples of a group follow each other in time, and are judged as clips too.
      motion: exact mean length of the flow from the first frame to the second, pixels; None: by DIS.
    """

    name: str
    protocol: str
    find: Callable[[Path], list[Sample]]
    version: int = 1
    load: Callable[[Any], np.ndarray] = load_uint8
    canvas: tuple[int, int] | None = None
    padding: Padding | None = None
    scale: float | None = None
    rounded: bool = True
    tta: bool = False
    figures: tuple[str, ...] = metrics.USUAL
    headline: str = "psnr"
    by_group: bool = False
    sequences: bool = False
    motion: Callable[[Sample], float] | None = None

    def settings(self) -> dict[str, Any]:
        """What it prescribes, ready for JSON; goes with every result."""
        skipped = {"name", "protocol", "find", "load", "motion"}
        return {
            "name": self.name,
            "about": self.protocol,
            **{name: value for name, value in dataclasses.asdict(self).items() if name not in skipped},
        }


def fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 of names, places and sizes of everything that samples refer to: differs where the data were changed."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr(sample).encode())
        for path in _paths(sample):
            digest.update(_size(path).encode())
    return digest.hexdigest()


def _paths(value: Any) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    if dataclasses.is_dataclass(value):
        return [path for field in dataclasses.fields(value) for path in _paths(getattr(value, field.name))]
    return []


@functools.lru_cache(maxsize=4096)
def _size(path: Path) -> str:
    if path.is_dir():
        return str(sorted((file.name, file.stat().st_size) for file in path.iterdir()))
    return str(path.stat().st_size) if path.exists() else "missing"
