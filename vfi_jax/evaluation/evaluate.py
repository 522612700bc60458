"""Evaluates models on benchmarks and keeps the results.

A model's folder holds `results.json` and, for each benchmark, a CSV with a row per image and a picture of the worst
images. `evaluation.cache` states when kept results are used again.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vfi_jax import benchmarks
from vfi_jax.benchmarks import Benchmark, BenchmarkSample, Score, clips
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import cache
from vfi_jax.evaluation.accumulators import ClipFigures, WorstImages, means_by_group, means_by_motion
from vfi_jax.evaluation.extra_metrics import ExtraMetric
from vfi_jax.evaluation.results import Result
from vfi_jax.inference import MIDPOINT, Interpolator, data_parallel, flip_ensemble, recursive
from vfi_jax.models import registry
from vfi_jax.models.classical import SMALLEST
from vfi_jax.nn.precision import DEFAULT, named
from vfi_jax.runs.selection import parse_step
from vfi_jax.system import machine
from vfi_jax.system.progress import bar
from vfi_jax.system.sharding import data_mesh
from vfi_jax.viz.sheets import save_png
from vfi_jax.viz.strips import sample_strips
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import flow_network, load

PACKAGES = ("vfi_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless")


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate.

    Attributes:
      label: the model's name in reports.
      model: the module.
      variables: its variables.
      precision: a name in `nn.precision`.
      tta: whether predictions are averaged with those of the flipped frames (test-time augmentation).
      about: what identifies the model and its figures, ready for JSON.
    """

    label: str
    model: Any
    variables: Mapping[str, Any]
    precision: str
    tta: bool
    about: Mapping[str, Any]


def load_model(
    given: str,
    *,
    weights: str | None = None,
    frozen: Sequence[str] = (),
    step: str | None = None,
    precision: str = DEFAULT,
    tta: bool = False,
) -> EvaluatedModel:
    """Loads a model as the command line names it.

    Args:
      given: a name in MODELS, or `NAME=WEIGHTS`.
      weights: a weights file or a run's folder, where `given` names none; None: those shipped or installed.
      frozen: `NAME=FILE` for each frozen flow network.
      step: of a run: a number, "best" or "newest".
      precision: a name in `nn.precision`.
      tta: whether to average with the prediction for the flipped frames.

    Raises:
      UserError: no weights.
      UsageError: no such model, flow network, step or precision.
    """
    name, _, file = given.partition("=")
    source = file or weights
    registry.check_kind(name, "interpolation")
    model, variables = load.load(
        name,
        source,
        flow_network.frozen_files(frozen),
        step=parse_step(step),
        dtype=named(precision).dtype,
    )
    flow_network.require(model, variables)
    processor = f"{machine.processor()} ({machine.processors()} cores)"
    about = {
        "model": name,
        "weights": {"from": source, "step": step, "sha256": weight_files.fingerprint(variables)},
        "tta": tta,
        "precision": precision,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": ", ".join((processor, jax.devices()[0].device_kind, f"Python {platform.python_version()}")),
    }
    label = name.rpartition(":")[2] + (f"-{Path(file).stem}" if file else "")
    return EvaluatedModel(label, model, variables, precision, tta, about)


def provenance(model: EvaluatedModel) -> dict[str, str]:
    """When, how and with what a model is evaluated; for tables."""
    return {
        "precision": model.precision,
        "tta": str(model.tta),
        "date": datetime.date.today().isoformat(),
        "versions": " ".join(f"{name} {version}" for name, version in model.about["versions"].items()),
        "machine": model.about["machine"],
    }


@dataclasses.dataclass(frozen=True)
class Plan:
    """Options of an evaluation.

    Attributes:
      batch_size: images per batch, where sizes agree; over all devices.
      worst: number of worst images to show.
      metrics: additional metrics.
    """

    batch_size: int = 4
    worst: int = 4
    metrics: Sequence[ExtraMetric] = ()


def find_samples(benchmark: Benchmark, data: Sequence[Path]) -> list[BenchmarkSample]:
    """The samples of a benchmark in the first of several folders that holds them.

    Raises:
      UserError: no folder does; says what the last one lacks.
    """
    for folder in data[:-1]:
        try:
            return benchmark.find(folder)
        except UserError:
            continue
    return benchmark.find(data[-1])


def evaluate(
    models: Mapping[Path, EvaluatedModel],
    wanted: Sequence[tuple[Benchmark, Sequence[BenchmarkSample]]],
    plan: Plan,
) -> Iterator[Result]:
    """Evaluates every model on every benchmark, benchmark by benchmark; keeps each result as soon as it is complete.

    Args:
      models: by the folder that keeps the model's results, which is created.
      wanted: benchmarks and their samples.
      plan: options.

    Raises:
      UserError: see `benchmarks.scores`; a folder that cannot be written.
    """
    for benchmark, samples in wanted:
        metrics = {metric.name: metric.identity for metric in plan.metrics}
        if benchmark.sequences and clips.has_vmaf():
            metrics["vmaf"] = ""
        identity = cache.identity(benchmark, samples, metrics)
        motions = functools.cache(functools.partial(_motions, benchmark, samples))
        for folder, model in models.items():
            folder.mkdir(parents=True, exist_ok=True)
            kept = cache.read(folder, model.label, model.about, benchmark.name, identity)
            yield kept or _evaluate(folder, model, benchmark, samples, plan, motions, identity)


def _motions(benchmark: Benchmark, samples: Sequence[BenchmarkSample]) -> list[float]:
    """Mean motion of each sample, pixels; nan where frames are too small for DIS."""

    @functools.cache
    def of_pair(first: Any, second: Any, sample: BenchmarkSample) -> float:
        too_small = benchmark.motion is None and min(benchmark.load(first).shape[:2]) < SMALLEST
        return float("nan") if too_small else benchmarks.motion_of(benchmark, sample)

    # Samples at several times share a pair of frames.
    one_per_pair = {(sample.first, sample.second): sample for sample in samples}
    progress = bar(samples, unit="pair", desc=f"{benchmark.name}: motion", leave=False)
    return [of_pair(s.first, s.second, one_per_pair[s.first, s.second]) for s in progress]


def _evaluate(
    folder: Path,
    model: EvaluatedModel,
    benchmark: Benchmark,
    samples: Sequence[BenchmarkSample],
    plan: Plan,
    motions: Callable[[], list[float]],
    identity: Mapping[str, Any],
) -> Result:
    worst, of_clips = WorstImages(plan.worst), ClipFigures()
    started = time.perf_counter()
    scores = benchmarks.scores(
        interpolator(model, benchmark, samples),
        benchmark,
        samples,
        _batch_size(plan.batch_size),
        metrics=[metric.function for metric in plan.metrics],
        observers=[worst.add, of_clips.add] if benchmark.sequences else [worst.add],
    )
    progress = f"{model.label}, {benchmark.name}"
    rows = list(bar(scores, total=len(samples), unit="image", desc=progress, leave=False))
    seconds = time.perf_counter() - started
    rows = [
        dataclasses.replace(row, extra={**row.extra, "motion": motion})
        for row, motion in zip(rows, motions(), strict=True)
    ]
    entry = cache.as_json({**_entry(benchmark, rows, of_clips), "seconds": seconds, **identity})
    result = Result(model.label, benchmark.name, entry, rows)
    save_png(folder / f"{benchmark.name}_worst.png", sample_strips(worst.strips()))
    cache.write(folder, result, model.about)
    return result


def _entry(benchmark: Benchmark, rows: Sequence[Score], of_clips: ClipFigures) -> dict[str, Any]:
    """Means over a benchmark and its parts."""
    clip_means = of_clips.means()
    by_group = {name: {**means, **of_clips.by_group.get(name, {})} for name, means in means_by_group(rows).items()}
    return {
        "protocol": benchmark.protocol,
        "version": benchmark.version,
        "images": len(rows),
        "capped": benchmarks.capped(rows, benchmark.headline),
        "undefined": benchmarks.undefined(rows),
        **benchmarks.means(rows, by_group=benchmark.by_group),
        **clip_means,
        "by_motion": means_by_motion(rows),
        "by_group": by_group,
    }


def interpolator(model: EvaluatedModel, benchmark: Benchmark, samples: Sequence[BenchmarkSample]) -> Interpolator:
    """The model as a protocol wants it: its scale, test-time augmentation, recursion for times it does not support."""
    module = model.model
    if benchmark.scale is not None and "scale" in getattr(module, "__dataclass_fields__", {}):
        module = module.clone(scale=benchmark.scale)
    if benchmark.tta or model.tta:
        module = flip_ensemble(module, columns=benchmark.tta_columns)
    if jax.device_count() > 1:
        module = data_parallel(module, data_mesh())
    only_midpoints = all(sample.t == MIDPOINT for sample in samples)
    if not (only_midpoints or module.any_time) and registry.spec_of(module.variant).num_frames == 2:
        module = recursive(module)
    return Interpolator(module, model.variables, precision=model.precision)


def _batch_size(size: int) -> int:
    """The next multiple of the number of devices."""
    return -(-size // jax.device_count()) * jax.device_count()


def check_unique(names: Sequence[str], kind: str) -> None:
    """Checks that no two models, or benchmarks, would overwrite each other's results.

    Raises:
      UsageError: two have the same name.
    """
    if len(set(names)) < len(names):
        raise UsageError(f"two {kind} have one name, and their results would overwrite each other: run them separately")
