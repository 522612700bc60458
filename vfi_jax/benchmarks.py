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
from vfi_jax.data.sources import LISTS, images_in
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import interpolation_error, psnr, ssim_matlab
from vfi_jax.types import UsageError, UserError

TRIPLETS = "triplets"


@dataclasses.dataclass(frozen=True)
class Sample:
    """Files of one test: the frames at 0 and 1, the truth half-way, and, where the set has them, those at -1 and 2.

    A model of four frames sees `first` and `second` twice where there are no outer ones: as at the ends of a clip.
    """

    name: str
    first: Path
    truth: Path
    second: Path
    before: Path | None = None
    after: Path | None = None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A protocol.

    Attributes:
      name: under which its figures are reported.
      protocol: what differs between protocols, in words: the set, and the size that the network sees.
      find: the data folder -> its samples.
      canvas: (height, width) of zeros on which frames are placed at the top left; None: their own size.
    """

    name: str
    protocol: str
    find: Callable[[Path], list[Sample]]
    canvas: tuple[int, int] | None = None


@dataclasses.dataclass(frozen=True)
class Score:
    """Figures of one image.

    Attributes:
      name: of the sample.
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


def _in_vimeo_layout(folder: Path) -> list[Sample]:
    """The samples of a test list; without a list, every folder of three pictures, or of seven."""
    root = folder / "sequences" if (folder / "sequences").is_dir() else folder
    lists = [path for path in (folder / name for name in LISTS["test"]) if path.is_file()]
    if lists:
        names = lists[0].read_text().split()
    else:
        names = sorted({str(file.parent.relative_to(root)) for file in _existing(root).rglob("im1.*")})
    if not names:
        raise UserError(f"{folder} holds no samples: no list of a test set, and no folders with im1, im2, im3")
    return [_vimeo_sample(root, name) for name in names]


def _vimeo_sample(root: Path, name: str) -> Sample:
    """A triplet; or a septuplet, whose fourth picture is the truth and whose odd ones are the frames at -1, 0, 1, 2."""
    files = images_in(_existing(root / name))
    if len(files) == 3:
        return Sample(name, *files)
    if len(files) == 7:
        return Sample(name, *files[2:5], before=files[0], after=files[6])
    raise UserError(f"{root / name} has {len(files)} pictures: 3 or 7 are needed")


def _ucf101(data: Path) -> list[Sample]:
    folder = _existing(data / "ucf101_interp_ours")
    found = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (len(path.name), path.name))
    if not found:
        raise UserError(f"{folder} is empty: fetch the set again")
    return [Sample(p.name, p / "frame_00.png", p / "frame_01_gt.png", p / "frame_02.png") for p in found]


def _middlebury(data: Path) -> list[Sample]:
    root = data / "middlebury" if (data / "middlebury").is_dir() else data
    truths = sorted(_existing(root / "other-gt-interp").glob("*/frame10i11.png"))
    inputs = _existing(root / "other-data")
    if not truths:
        raise UserError(f"{root / 'other-gt-interp'} holds no scene with frame10i11.png: fetch the set again")
    return [
        Sample(path.parent.name, inputs / path.parent.name / "frame10.png", path,
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
            Benchmark(
                "vimeo_septuplet",
                "test list, 448x256: im3 and im5 to im4, with im1 and im7 for models of four frames",
                lambda data: _in_vimeo_layout(_existing(data / "vimeo_septuplet")),
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
    interpolate: Interpolator, benchmark: Benchmark, samples: Sequence[Sample], batch_size: int
) -> Iterator[Score]:
    """Figures of each sample, in order; one compiled program for each size of frames.

    Raises:
      UserError: a picture is missing or unreadable, or sizes differ within a sample.
    """
    loaded = ((sample.name, *pictures(sample, interpolate.spec.num_frames)) for sample in samples)
    for _, alike in itertools.groupby(loaded, key=lambda sample: sample[1].shape):
        full = 0
        while group := list(itertools.islice(alike, batch_size)):
            full = full or len(group)
            # The last batch is filled up, so that it needs no program of its own.
            names, *images = zip(*group, *[group[-1]] * (full - len(group)), strict=True)
            inputs, truth = map(np.stack, images)
            made = predict(interpolate, benchmark, inputs)
            middle = inputs.shape[1] // 2
            figures = (
                psnr(made, truth),
                ssim_matlab(made, truth),
                interpolation_error(made, truth),
                psnr(average(inputs[:, middle - 1], inputs[:, middle]), truth),
            )
            rows = zip(names, *figures, strict=True)
            yield from (Score(name, *map(float, row)) for name, *row in itertools.islice(rows, len(group)))


def pictures(sample: Sample, count: int) -> tuple[UInt8[np.ndarray, "n h w 3"], UInt8[np.ndarray, "h w 3"]]:
    """The inputs of a model that takes `count` frames, 2 or 4, and the truth.

    Raises:
      UserError: see `scores`.
    """
    first, truth, second = (to_uint8(load_image(path)) for path in (sample.first, sample.truth, sample.second))
    outer = [to_uint8(load_image(path)) if path else None for path in (sample.before, sample.after)]
    before, after = (given if given is not None else inner for given, inner in zip(outer, (first, second), strict=True))
    inputs = [first, second] if count == 2 else [before, first, second, after]
    if len({image.shape for image in (*inputs, truth)}) > 1:
        shown = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (inputs[0], truth, *inputs[1:]))
        raise UserError(f"{sample.name} mixes sizes ({shown}): {sample.truth} must be as large as its neighbours")
    return np.stack(inputs), truth


def strip(interpolate: Interpolator, benchmark: Benchmark, sample: Sample) -> tuple[np.ndarray, ...]:
    """The two frames around, ours and the truth, to look at."""
    inputs, truth = pictures(sample, interpolate.spec.num_frames)
    middle = len(inputs) // 2
    return inputs[middle - 1], inputs[middle], predict(interpolate, benchmark, inputs[None])[0], truth


def predict(
    interpolate: Interpolator, benchmark: Benchmark, inputs: UInt8[np.ndarray, "b n h w 3"]
) -> UInt8[np.ndarray, "b h w 3"]:
    """The frames half-way, as the protocol has it.

    Raises:
      UserError: frames larger than the protocol's canvas.
    """
    height, width = inputs.shape[2:4]
    if benchmark.canvas is None:
        return interpolate(*np.moveaxis(inputs, 1, 0))
    down, across = benchmark.canvas[0] - height, benchmark.canvas[1] - width
    if min(down, across) < 0:
        raise UserError(f"{benchmark.name}: frames of {width}x{height} are larger than the protocol's canvas")
    padded = np.pad(inputs, ((0, 0), (0, 0), (0, down), (0, across), (0, 0)))
    return interpolate(*np.moveaxis(padded, 1, 0))[:, :height, :width]


def average(
    first: UInt8[np.ndarray, "*b h w 3"], second: UInt8[np.ndarray, "*b h w 3"]
) -> UInt8[np.ndarray, "*b h w 3"]:
    """The mean of two frames, rounded half to even: what any interpolation has to beat."""
    return np.rint((first.astype(np.float32) + second) / 2).astype(np.uint8)


def means(found: Sequence[Score]) -> dict[str, float]:
    """Means over images, by the names of `Score`'s fields."""
    names = [field.name for field in dataclasses.fields(Score) if field.name != "name"]
    return {name: float(np.mean([getattr(score, name) for score in found])) for name in names}
