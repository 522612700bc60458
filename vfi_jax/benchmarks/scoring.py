"""The one evaluation that serves all protocols: figures of every image of a benchmark."""

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

from vfi_jax import metrics
from vfi_jax.benchmarks.protocol import Benchmark, Sample
from vfi_jax.data.images import average
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import psnr
from vfi_jax.ops import crop, pad

# Frames, truths and the frames before them [b, h, w, 3] on the scale 0..255 -> figures by name
Judge = Callable[[np.ndarray, np.ndarray, np.ndarray], Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Score:
    """Figures of one image.

    Attributes:
      name: of the sample.
      psnr: dB.
      ssim_matlab: up to 1.
      ie: mean absolute difference, levels of 255.
      average_psnr: dB of the two frames, mixed by time.
      ssim_gaussian: up to 1, as the next.
      ssim_gray: of the gray.
      nie: gradient-normalized error.
      sharpness: mean gradient over that of the truth.
      t: of the sample.
      group: of the sample.
      more: what the protocol asks for beside, by name.
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
    more: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def figures(self) -> dict[str, float]:
        """All figures by name."""
        own = {name: value for name, value in vars(self).items() if name not in ("name", "t", "group", "more")}
        return {**own, **self.more}


class Judged(NamedTuple):
    """An image that was judged.

    Attributes:
      sample: what it is.
      inputs: `[n, h, w, 3]`, uint8 or float32 in 0..1.
      frame: on the scale 0..255.
      truth: the same.
      score: its figures.
    """

    sample: Sample
    inputs: np.ndarray
    frame: np.ndarray
    truth: np.ndarray
    score: Score


def scores(
    interpolate: Interpolator,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    batch_size: int,
    *,
    judges: Sequence[Judge] = (),
    watchers: Sequence[Callable[[Judged], None]] = (),
) -> Iterator[Score]:
    """Figures of each sample, in order; one compiled program for each size of frames.

    Pictures are read ahead in a thread while the device works.

    Args:
      interpolate: the model.
      benchmark: the protocol.
      samples: what its `find` gave.
      batch_size: images at once.
      judges: what else is told of a batch.
      watchers: are handed each image.

    Raises:
      UserError: a picture is missing or unreadable, or sizes differ within a sample.
    """
    # Tests of several times share their frames.
    cached = dataclasses.replace(benchmark, load=functools.lru_cache(maxsize=8)(benchmark.load))

    def read(sample: Sample) -> tuple[Sample, np.ndarray, np.ndarray]:
        return (sample, *pictures(cached, sample, interpolate.spec.num_frames))

    for _, alike in itertools.groupby(_ahead(read, samples, batch_size), key=lambda item: item[1].shape):
        full = 0
        while group := list(itertools.islice(alike, batch_size)):
            full = full or len(group)
            # The last batch is filled up, so that it needs no program of its own.
            of, *images = zip(*group, *[group[-1]] * (full - len(group)), strict=True)
            inputs, truth = map(np.stack, images)
            times = [sample.t for sample in of]
            made, truth = judged(benchmark, interpolate, inputs, truth, times)
            figures = dict(metrics.figures(made, truth, benchmark.figures))
            figures["average_psnr"] = _average_psnr(inputs, truth, times)
            before = _levels(inputs[:, inputs.shape[1] // 2 - 1]) if judges else None
            for judge in judges:
                figures |= judge(made, truth, before)
            for index in range(len(group)):
                score = _score(of[index], {name: float(values[index]) for name, values in figures.items()})
                for watcher in watchers:
                    watcher(Judged(of[index], inputs[index], made[index], truth[index], score))
                yield score


def _ahead(function: Callable[[Any], Any], items: Sequence[Any], count: int) -> Iterator[Any]:
    """`map(function, items)`, up to `count` results ahead, in one thread."""
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


def _score(sample: Sample, figures: Mapping[str, float]) -> Score:
    usual = {field.name for field in dataclasses.fields(Score)}
    own = {name: value for name, value in figures.items() if name in usual}
    more = {name: value for name, value in figures.items() if name not in usual}
    return Score(sample.name, t=sample.t, group=sample.group, more=more, **own)


def judged(
    benchmark: Benchmark, interpolate: Interpolator, inputs: np.ndarray, truth: np.ndarray, times: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and truths as they are judged: both uint8, or both float32 on the scale 0..255."""
    if not benchmark.rounded and inputs.dtype == np.uint8:
        inputs = np.float32(inputs) / np.float32(255)
    made = predict(interpolate, benchmark, inputs, times)
    if made.dtype == truth.dtype == np.uint8:
        return made, truth
    made = made * np.float32(255)
    truth = truth if truth.dtype == np.uint8 else truth * np.float32(255)
    return np.rint(made) if benchmark.rounded else made, np.float32(truth)


def pictures(
    benchmark: Benchmark, sample: Sample, count: int
) -> tuple[Shaped[np.ndarray, "n h w 3"], Shaped[np.ndarray, "h w 3"]]:
    """The inputs of a model that takes `count` frames, 2 or 4, and the truth.

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


def strip(image: Judged) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """The two frames around, ours and the truth, to look at."""
    middle = len(image.inputs) // 2
    around = (_levels(frame) for frame in image.inputs[middle - 1 : middle + 1])
    return tuple(np.rint(frame).astype(np.uint8) for frame in (*around, image.frame, image.truth))


def predict(
    interpolate: Interpolator, benchmark: Benchmark, inputs: Shaped[np.ndarray, "b n h w 3"], times: Sequence[float]
) -> Shaped[np.ndarray, "b h w 3"]:
    """The frames at `times`, as the protocol has it; dtype of the inputs.

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
    made = interpolate(*np.moveaxis(padded, 1, 0), t=np.float32(times))
    return crop(made, height, width, benchmark.padding) if benchmark.padding else made[:, :height, :width]


def _average_psnr(inputs: np.ndarray, truth: np.ndarray, times: Sequence[float]) -> np.ndarray:
    middle, t = inputs.shape[1] // 2, np.float32(times).reshape(-1, 1, 1, 1)
    return psnr(average(_levels(inputs[:, middle - 1]), _levels(inputs[:, middle]), t), truth)


def _levels(images: np.ndarray) -> np.ndarray:
    """On the scale 0..255."""
    return images if images.dtype == np.uint8 else images * np.float32(255)


def motion_of(benchmark: Benchmark, sample: Sample) -> float:
    """Mean length of the flow from the first frame to the second, pixels: exact where it is known, else by DIS.

    Raises:
      UserError: see `scores`; sides below 16 pixels.
    """
    if benchmark.motion:
        return benchmark.motion(sample)
    pair = [np.rint(_levels(benchmark.load(frame))).astype(np.uint8) for frame in (sample.first, sample.second)]
    return float(np.linalg.norm(dis_flow(*pair), axis=-1).mean())


def means(found: Iterable[Score], *, by_group: bool = False) -> dict[str, float]:
    """Means over images, by the names of `Score.figures`; of the groups' means with `by_group`.

    What is not finite is left out of the mean of the sharpness: a truth without gradients has none.
    """
    found = list(found)
    if by_group:
        groups = [[score for score in found if score.group == name] for name in dict.fromkeys(s.group for s in found)]
        each = [means(group) for group in groups]
        return {name: float(np.mean([mean[name] for mean in each])) for name in each[0]}
    columns = {name: np.array([score.figures()[name] for score in found]) for name in found[0].figures()}
    kept = columns["sharpness"][np.isfinite(columns["sharpness"])]
    return {name: float(values.mean()) for name, values in columns.items()} | {
        "sharpness": float(kept.mean()) if kept.size else float("nan")
    }
