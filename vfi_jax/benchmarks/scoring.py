"""Scores: figures of every image of a benchmark, under any protocol."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from vfi_jax import metrics as image_metrics
from vfi_jax.benchmarks.protocol import Benchmark, BenchmarkSample
from vfi_jax.data.images import average
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import psnr
from vfi_jax.ops import crop, pad

# Predictions, truths and the first inputs, [b, h, w, 3] on the scale 0..255 -> figures [b] by name.
BatchMetric = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Score:
    """Figures of one image.

    Attributes:
      name: the sample's name.
      psnr: in dB.
      ssim_matlab: SSIM, variant "matlab".
      ie: interpolation error: mean absolute difference in 8-bit levels.
      average_psnr: PSNR in dB of the average of the two inputs, weighted by time.
      ssim_gaussian: SSIM, variant "gaussian".
      ssim_gray: SSIM of the gray images.
      nie: gradient-normalized error.
      sharpness: mean gradient magnitude over that of the truth.
      t: the sample's time.
      group: the sample's group.
      extra: further figures by name.
    """

    name: str
    psnr: float
    ssim_matlab: float
    ie: float
    average_psnr: float
    ssim_gaussian: float
    ssim_gray: float
    nie: float
    sharpness: float
    t: float = 0.5
    group: str = ""
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """All figures by name."""
        fields = {name: value for name, value in vars(self).items() if name not in ("name", "t", "group", "extra")}
        return {**fields, **self.extra}


class ScoredImage(NamedTuple):
    """A prediction with its score.

    Attributes:
      sample: the sample.
      inputs: `[n, h, w, 3]`, uint8 or float32 in 0..1.
      frame: the prediction `[h, w, 3]` on the scale 0..255.
      truth: the ground truth, likewise.
      score: its figures.
    """

    sample: BenchmarkSample
    inputs: np.ndarray
    frame: np.ndarray
    truth: np.ndarray
    score: Score


def scores(
    interpolate: Interpolator,
    benchmark: Benchmark,
    samples: Sequence[BenchmarkSample],
    batch_size: int,
    *,
    metrics: Sequence[BatchMetric] = (),
    observers: Sequence[Callable[[ScoredImage], None]] = (),
) -> Iterator[Score]:
    """Scores each sample, in order; compiles one program per frame size.

    Pictures are read ahead in a thread while the device works.

    Args:
      interpolate: the model.
      benchmark: the protocol.
      samples: what its `find` returned.
      batch_size: images per batch.
      metrics: additional metrics.
      observers: called with each scored image.

    Raises:
      UserError: a picture is missing or unreadable, or sizes differ within a sample.
    """
    # Samples at several times share their frames.
    cached = dataclasses.replace(benchmark, load=functools.lru_cache(maxsize=8)(benchmark.load))

    def read(sample: BenchmarkSample) -> tuple[BenchmarkSample, np.ndarray, np.ndarray]:
        return (sample, *pictures(cached, sample, interpolate.spec.num_frames))

    for _, same_size in itertools.groupby(_ahead(read, samples, batch_size), key=lambda item: item[1].shape):
        full = 0
        while batch := list(itertools.islice(same_size, batch_size)):
            full = full or len(batch)
            # The last batch is filled up, so that it runs the same program.
            filled = [*batch, *[batch[-1]] * (full - len(batch))]
            images = itertools.islice(_scored(interpolate, benchmark, filled, metrics), len(batch))
            for image in images:
                for observe in observers:
                    observe(image)
                yield image.score


def _scored(
    interpolate: Interpolator,
    benchmark: Benchmark,
    batch: Sequence[tuple[BenchmarkSample, np.ndarray, np.ndarray]],
    metrics: Sequence[BatchMetric],
) -> Iterator[ScoredImage]:
    """Predicts and scores a batch of samples with their inputs and truths."""
    samples, *images = zip(*batch, strict=True)
    inputs, truths = map(np.stack, images)
    times = [sample.t for sample in samples]
    frames, truths = scaled_predictions(interpolate, benchmark, inputs, truths, times)
    _check_finite(frames, samples)
    figures = dict(image_metrics.figures(frames, truths, benchmark.figures))
    figures["average_psnr"] = _average_psnr(inputs, truths, times)
    for metric in metrics:
        figures |= metric(frames, truths, _levels(inputs[:, inputs.shape[1] // 2 - 1]))
    for index, sample in enumerate(samples):
        score = _score(sample, {name: float(values[index]) for name, values in figures.items()})
        yield ScoredImage(sample, inputs[index], frames[index], truths[index], score)


def _check_finite(frames: np.ndarray, samples: Sequence[BenchmarkSample]) -> None:
    for frame, sample in zip(frames, samples, strict=True):
        if frame.dtype != np.uint8 and not np.isfinite(frame).all():
            raise UserError(f"the prediction of {sample.name} is not finite: check the weights")


def _ahead(function: Callable[[Any], Any], items: Sequence[Any], count: int) -> Iterator[Any]:
    """`map(function, items)` in one thread, up to `count` results ahead."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _score(sample: BenchmarkSample, figures: Mapping[str, float]) -> Score:
    names = {field.name for field in dataclasses.fields(Score)}
    usual = {name: value for name, value in figures.items() if name in names}
    extra = {name: value for name, value in figures.items() if name not in names}
    return Score(sample.name, t=sample.t, group=sample.group, extra=extra, **usual)


def scaled_predictions(
    interpolate: Interpolator,
    benchmark: Benchmark,
    inputs: Shaped[np.ndarray, "b n h w 3"],
    truths: Shaped[np.ndarray, "b h w 3"],
    times: Sequence[float],
) -> tuple[Shaped[np.ndarray, "b h w 3"], Shaped[np.ndarray, "b h w 3"]]:
    """Predictions and truths ready for metrics: both uint8, or both float32 on the scale 0..255.

    Args:
      interpolate: the model.
      benchmark: the protocol.
      inputs: uint8, or float32 in 0..1.
      truths: likewise.
      times: of the predictions.
    """
    if not benchmark.rounded and inputs.dtype == np.uint8:
        inputs = np.float32(inputs) / np.float32(255)
    frames = predict(interpolate, benchmark, inputs, times)
    if frames.dtype == truths.dtype == np.uint8:
        return frames, truths
    frames = frames * np.float32(255)
    truths = truths if truths.dtype == np.uint8 else truths * np.float32(255)
    return np.rint(frames) if benchmark.rounded else frames, np.float32(truths)


def pictures(
    benchmark: Benchmark, sample: BenchmarkSample, count: int
) -> tuple[Shaped[np.ndarray, "n h w 3"], Shaped[np.ndarray, "h w 3"]]:
    """Loads the inputs of a model that takes `count` frames, 2 or 4, and the truth.

    Raises:
      UserError: see `scores`.
    """
    first, truth, second = (benchmark.load(frame) for frame in (sample.first, sample.truth, sample.second))
    inputs = [first, second]
    if count == 4:
        outer = ((sample.before, first), (sample.after, second))
        before, after = (inner if given is None else benchmark.load(given) for given, inner in outer)
        inputs = [before, *inputs, after]
    if len({image.shape for image in (*inputs, truth)}) > 1:
        shown = ", ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (inputs[0], truth, *inputs[1:]))
        raise UserError(f"{sample.name} mixes sizes ({shown}): {sample.truth} must be as large as its neighbors")
    return np.stack(inputs), truth


def strip(image: ScoredImage) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """The two inputs, the prediction and the truth of an image as uint8, to look at."""
    middle = len(image.inputs) // 2
    around = (_levels(frame) for frame in image.inputs[middle - 1 : middle + 1])
    return tuple(np.rint(frame).astype(np.uint8) for frame in (*around, image.frame, image.truth))


def predict(
    interpolate: Interpolator, benchmark: Benchmark, inputs: Shaped[np.ndarray, "b n h w 3"], times: Sequence[float]
) -> Shaped[np.ndarray, "b h w 3"]:
    """Predicts the frames at `times` under a protocol; the result has the dtype of the inputs.

    Raises:
      UserError: frames larger than the protocol's canvas.
    """
    height, width = inputs.shape[2:4]
    padded = pad(inputs, benchmark.padding) if benchmark.padding else inputs
    if benchmark.canvas is not None:
        down, across = benchmark.canvas[0] - height, benchmark.canvas[1] - width
        if min(down, across) < 0:
            raise UserError(f"{benchmark.name}: frames of {width}x{height} are larger than the protocol's canvas")
        padded = np.pad(padded, ((0, 0), (0, 0), (0, down), (0, across), (0, 0)))
    frames = interpolate(*np.moveaxis(padded, 1, 0), t=np.float32(times))
    return crop(frames, height, width, benchmark.padding) if benchmark.padding else frames[:, :height, :width]


def _average_psnr(inputs: np.ndarray, truth: np.ndarray, times: Sequence[float]) -> np.ndarray:
    middle, t = inputs.shape[1] // 2, np.float32(times).reshape(-1, 1, 1, 1)
    return psnr(average(_levels(inputs[:, middle - 1]), _levels(inputs[:, middle]), t), truth)


def _levels(images: np.ndarray) -> np.ndarray:
    """On the scale 0..255."""
    return images if images.dtype == np.uint8 else images * np.float32(255)


def motion_of(benchmark: Benchmark, sample: BenchmarkSample) -> float:
    """Mean length of the flow from the first frame to the second in pixels: exact where it is known, else by DIS.

    Raises:
      UserError: see `scores`; sides below 16 pixels.
    """
    if benchmark.motion:
        return benchmark.motion(sample)
    pair = [np.rint(_levels(benchmark.load(frame))).astype(np.uint8) for frame in (sample.first, sample.second)]
    return float(np.linalg.norm(dis_flow(*pair), axis=-1).mean())


def means(rows: Iterable[Score], *, by_group: bool = False) -> dict[str, float]:
    """Means over images by the names of `Score.figures`; with `by_group`, means of the groups' means.

    Each mean is over the images whose figure is finite, or nan if there are none: sharpness is not finite where the
    truth has no gradients, motion where frames are too small. `undefined` counts the others.
    """
    rows = list(rows)
    if by_group:
        names = dict.fromkeys(row.group for row in rows)
        of_groups = [means(row for row in rows if row.group == name) for name in names]
        return {name: _finite_mean([group[name] for group in of_groups]) for name in of_groups[0]}
    return {name: _finite_mean(values) for name, values in _columns(rows).items()}


def undefined(rows: Sequence[Score]) -> dict[str, int]:
    """Counts, by figure, the images whose figure is not finite; figures that are finite throughout are left out."""
    counts = {name: int((~np.isfinite(values)).sum()) for name, values in _columns(rows).items()}
    return {name: count for name, count in counts.items() if count}


def capped(rows: Sequence[Score], figure: str = "psnr") -> int:
    """Counts the images whose PSNR is `metrics.MAX_PSNR`, as that of a prediction that equals the truth is."""
    return sum(row.figures()[figure] >= image_metrics.MAX_PSNR for row in rows)


def _columns(rows: Sequence[Score]) -> dict[str, np.ndarray]:
    return {name: np.array([row.figures()[name] for row in rows], np.float64) for name in rows[0].figures()}


def _finite_mean(values: Sequence[float] | np.ndarray) -> float:
    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
