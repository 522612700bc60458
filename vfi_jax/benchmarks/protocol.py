"""Evaluation protocols as data: `BenchmarkSample` and `Benchmark`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from vfi_jax import metrics
from vfi_jax.data.images import load_image, to_uint8
from vfi_jax.inference import MIDPOINT
from vfi_jax.ops.pad import Padding
from vfi_jax.system import contents


def load_uint8(path: Path) -> Shaped[np.ndarray, "h w 3"]:
    """Loads a picture as 8-bit RGB; deeper ones keep their upper 8 bits.

    Raises:
      UserError: the file is missing or damaged.
    """
    return to_uint8(load_image(path))


@dataclasses.dataclass(frozen=True)
class BenchmarkSample:
    """One sample: the frames at 0 and 1, the truth between, and, where the set has them, the outer frames at -1 and 2.

    Frames are whatever the benchmark's `load` takes, mostly paths. Without outer frames a four-frame model sees `first`
    and `second` twice, as at the ends of a clip.

    Attributes:
      name: unique within its benchmark.
      first: the frame at 0.
      truth: the frame at t.
      second: the frame at 1.
      before: the frame at -1.
      after: the frame at 2.
      t: 0 < t < 1.
      group: the clip or category that it belongs to; reported separately.
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
      name: the name in reports.
      protocol: what distinguishes the protocol, in words: the set, and the size that the network sees.
      find: lists the samples in a data folder.
      version: to be raised with each change that changes figures; kept results of another version are not used.
      load: loads a frame of a sample as RGB, uint8 or float32 in 0..1.
      canvas: (height, width) of zeros on which frames are placed at the top left; None: their own size.
      padding: applied before the model's own padding and undone after it; None: the model's alone.
      scale: overrides the model's field `scale`, where it has one; None: the model's own.
      rounded: whether predictions are rounded to 8 bits, half to even, before they are scored.
      tta: whether predictions are averaged with those of the flipped frames.
      tta_columns: whether test-time augmentation flips columns beside rows.
      figures: names in `metrics.figures`, "psnr" among them.
      headline: the figure that the protocol's tables report.
      by_group: whether means are means of the groups' means instead of means over all images.
      sequences: whether the samples of a group follow each other in time and are scored as clips too.
      motion: exact mean length of the flow from the first frame to the second, pixels; None: by DIS.
    """

    name: str
    protocol: str
    find: Callable[[Path], list[BenchmarkSample]]
    version: int = 1
    load: Callable[[Any], np.ndarray] = load_uint8
    canvas: tuple[int, int] | None = None
    padding: Padding | None = None
    scale: float | None = None
    rounded: bool = True
    tta: bool = False
    tta_columns: bool = True
    figures: tuple[str, ...] = metrics.USUAL
    headline: str = "psnr"
    by_group: bool = False
    sequences: bool = False
    motion: Callable[[BenchmarkSample], float] | None = None

    def settings(self) -> dict[str, Any]:
        """All settings, ready for JSON; they accompany every result."""
        skipped = {"name", "protocol", "find", "load", "motion"}
        return {
            "name": self.name,
            "about": self.protocol,
            **{name: value for name, value in dataclasses.asdict(self).items() if name not in skipped},
        }


def fingerprint(samples: Sequence[BenchmarkSample]) -> str:
    """SHA-256 of the samples and of the contents of their files, wherever these lie, by which changed data are noticed.

    `system.contents` remembers the hashes of files that have not changed, so that it takes no second reading.
    """
    of_files = contents.hashes({file for sample in samples for path in _paths(sample) for file in _files(path)})
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(repr(_described(sample, of_files)).encode())
    return digest.hexdigest()


def _paths(value: Any) -> list[Path]:
    if isinstance(value, Path):
        return [value]
    if dataclasses.is_dataclass(value):
        return [path for field in dataclasses.fields(value) for path in _paths(getattr(value, field.name))]
    return []


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _described(value: Any, of_files: Mapping[Path, str]) -> Any:
    """A value with the hashes of files instead of their paths."""
    if isinstance(value, Path):
        return [(file.name, of_files[file]) for file in _files(value)] if value.is_dir() else of_files[value]
    if dataclasses.is_dataclass(value):
        return [_described(getattr(value, field.name), of_files) for field in dataclasses.fields(value)]
    return value
