"""Evaluation protocols as data, and the one evaluation that serves them all.

In every protocol here the predicted frame is rounded to 8 bits (half to even) and compared with the 8-bit truth: PSNR
over all pixels and channels in float64, SSIM in the "matlab" variant, IE the mean absolute difference; each is a mean
over images (RIFE's benchmark scripts).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from vfi_jax.data.footage import to_uint8
from vfi_jax.data.images import load_image
from vfi_jax.data.sources import images_in
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import interpolation_error, psnr, ssim_matlab
from vfi_jax.types import UsageError, UserError

TRIPLETS = "triplets"


@dataclasses.dataclass(frozen=True)
class Triplet:
    """Files of one test: the frames at 0 and 1, and the truth half-way."""

    name: str
    first: Path
    truth: Path
    second: Path


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A protocol.

    Attributes:
      name: under which its figures are reported.
      protocol: what differs between protocols, in words: the set, and the size that the network sees.
      find: the data folder -> its triplets.
      canvas: (height, width) of zeros on which frames are placed at the top left; None: their own size.
    """

    name: str
    protocol: str
    find: Callable[[Path], list[Triplet]]
    canvas: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Score:
    """Figures of one image.

    Attributes:
      name: of the triplet.
      psnr: dB.
      ssim_matlab: up to 1.
      ie: mean absolute difference, levels of 255.
      average_psnr: dB of the mean of the two frames.
    """

    name: str
    psnr: float
    ssim_matlab: float
    ie: float
    average_psnr: float


def _in_vimeo_layout(folder: Path) -> list[Triplet]:
    """The test list's triplets; without a list, every folder of three pictures."""
    root = folder / "sequences" if (folder / "sequences").is_dir() else folder
    lists = [path for path in (folder / "tri_testlist.txt",) if path.is_file()]
    if lists:
        names = lists[0].read_text().split()
    else:
        names = sorted({str(file.parent.relative_to(root)) for file in _existing(root).rglob("im1.*")})
    if not names:
        raise UserError(f"{folder} holds no triplets: no tri_testlist.txt, and no folders with im1, im2, im3")
    return [_triplet(root, name) for name in names]


def _triplet(root: Path, name: str) -> Triplet:
    files = images_in(_existing(root / name))
    if len(files) != 3:
        raise UserError(f"{root / name} has {len(files)} pictures: a triplet has 3")
    return Triplet(name, *files)


def _ucf101(data: Path) -> list[Triplet]:
    folder = _existing(data / "ucf101_interp_ours")
    found = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (len(path.name), path.name))
    if not found:
        raise UserError(f"{folder} is empty: fetch the set again")
    return [Triplet(p.name, p / "frame_00.png", p / "frame_01_gt.png", p / "frame_02.png") for p in found]


def _middlebury(data: Path) -> list[Triplet]:
    root = data / "middlebury" if (data / "middlebury").is_dir() else data
    truths = sorted(_existing(root / "other-gt-interp").glob("*/frame10i11.png"))
    inputs = _existing(root / "other-data")
    if not truths:
        raise UserError(f"{root / 'other-gt-interp'} holds no scene with frame10i11.png: fetch the set again")
    return [
        Triplet(path.parent.name, inputs / path.parent.name / "frame10.png", path,
                inputs / path.parent.name / "frame11.png")
        for path in truths
    ]  # fmt: skip


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; sets are looked for under the names their authors gave them")
    return folder


MIDDLEBURY_SIZE = (480, 640)

BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        benchmark.name: benchmark
        for benchmark in (
            Benchmark(
                "vimeo90k", "test list, 448x256", lambda data: _in_vimeo_layout(_existing(data / "vimeo_triplet"))
            ),
            Benchmark("ucf101", "the DVF test set, 256x256", _ucf101),
            Benchmark("middlebury", '"other", on a canvas of 640x480 zeros', _middlebury, MIDDLEBURY_SIZE),
            Benchmark("middlebury_native", '"other", at its own sizes', _middlebury),
        )
    }
)


def named(name: str) -> Benchmark:
    """A row of `BENCHMARKS`, or `triplets=FOLDER`: any folder in Vimeo90K's layout, whatever the data folder.

    Raises:
      UsageError: no such benchmark.
    """
    kind, _, folder = name.partition("=")
    if kind == TRIPLETS and folder:
        where = Path(folder)
        return Benchmark(where.resolve().name, f"triplets of {where.resolve().name}", lambda _: _in_vimeo_layout(where))
    if name not in BENCHMARKS:
        raise UsageError(f"no benchmark is called {name!r}; there are: {', '.join(BENCHMARKS)}, {TRIPLETS}=FOLDER")
    return BENCHMARKS[name]


def scores(
    interpolate: Interpolator, benchmark: Benchmark, triplets: Sequence[Triplet], batch_size: int
) -> Iterator[Score]:
    """Figures of each triplet, in order; one compiled program for each size of frames.

    Raises:
      UserError: a picture is missing or unreadable, or sizes differ within a triplet.
    """
    loaded = ((triplet.name, pictures(triplet)) for triplet in triplets)
    for _, alike in itertools.groupby(loaded, key=lambda pair: pair[1].shape):
        full = 0
        while group := list(itertools.islice(alike, batch_size)):
            full = full or len(group)
            names, images = zip(*group, strict=True)
            # The last batch is filled up, so that it needs no program of its own.
            first, truth, second = np.stack([*images, *[images[-1]] * (full - len(group))], axis=1)
            made = predict(interpolate, benchmark, first, second)
            figures = (
                psnr(made, truth),
                ssim_matlab(made, truth),
                interpolation_error(made, truth),
                psnr(average(first, second), truth),
            )
            yield from (Score(name, *map(float, row)) for name, *row in zip(names, *figures, strict=False))


def pictures(triplet: Triplet) -> UInt8[np.ndarray, "3 h w 3"]:
    """First, truth, second.

    Raises:
      UserError: see `scores`.
    """
    images = [to_uint8(load_image(path)) for path in (triplet.first, triplet.truth, triplet.second)]
    if len({image.shape for image in images}) > 1:
        shown = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in images)
        raise UserError(f"{triplet.name} mixes sizes ({shown}): {triplet.truth} must be as large as its neighbours")
    return np.stack(images)


def strip(interpolate: Interpolator, benchmark: Benchmark, triplet: Triplet) -> tuple[np.ndarray, ...]:
    """The two frames, ours and the truth, to look at."""
    first, truth, second = pictures(triplet)
    return first, second, predict(interpolate, benchmark, first[None], second[None])[0], truth


def predict(
    interpolate: Interpolator,
    benchmark: Benchmark,
    first: UInt8[np.ndarray, "b h w 3"],
    second: UInt8[np.ndarray, "b h w 3"],
) -> UInt8[np.ndarray, "b h w 3"]:
    """The frames half-way, as the protocol has it.

    Raises:
      UserError: frames larger than the protocol's canvas.
    """
    height, width = first.shape[1:3]
    if benchmark.canvas is None:
        return interpolate(first, second)
    down, across = benchmark.canvas[0] - height, benchmark.canvas[1] - width
    if min(down, across) < 0:
        raise UserError(f"{benchmark.name}: frames of {width}x{height} are larger than the protocol's canvas")
    margins = ((0, 0), (0, down), (0, across), (0, 0))
    return interpolate(np.pad(first, margins), np.pad(second, margins))[:, :height, :width]


def average(
    first: UInt8[np.ndarray, "*b h w 3"], second: UInt8[np.ndarray, "*b h w 3"]
) -> UInt8[np.ndarray, "*b h w 3"]:
    """The mean of two frames, rounded half to even: what any interpolation has to beat."""
    return np.rint((first.astype(np.float32) + second) / 2).astype(np.uint8)


def means(found: Sequence[Score]) -> dict[str, float]:
    """Means over images, by the names of `Score`'s fields."""
    names = [field.name for field in dataclasses.fields(Score) if field.name != "name"]
    return {name: float(np.mean([getattr(score, name) for score in found])) for name in names}
