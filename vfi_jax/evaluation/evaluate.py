"""Several models on several benchmarks: what a run evaluates, keeps and takes up again.

A model's folder holds `results.json`, and for each benchmark a CSV with a row an image and a picture of the worst.
What is in `results.json` is not computed again as long as weights, protocol, data and this package are the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from vfi_jax import benchmarks
from vfi_jax.benchmarks import Benchmark, Sample, Score, clips, scoring
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation.results import RESULTS, Result, read_scores, write_scores
from vfi_jax.inference import MIDPOINT, Interpolator, data_parallel, flip_ensemble, recursive
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import temporal
from vfi_jax.models import registry
from vfi_jax.models.classical import SMALLEST
from vfi_jax.nn.precision import named
from vfi_jax.system import machine
from vfi_jax.system.files import written_whole
from vfi_jax.system.sharding import data_mesh
from vfi_jax.viz.sheets import save_png
from vfi_jax.viz.strips import sample_strips
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import flow_network, load

PACKAGES = ("vfi_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless")
MOTIONS = (0, 2, 4, 8, 16, 32, 64)  # bins of the mean flow, pixels; the last one has no end


@dataclasses.dataclass(frozen=True)
class EvaluatedModel:
    """A model that is evaluated.

    Attributes:
      label: under which its figures are reported.
      model: the module.
      variables: its variables.
      precision: a name in `nn.precision.PRECISIONS`.
      tta: averaged with the frame of the turned pair.
      about: where it comes from, ready for JSON.
    """

    label: str
    model: Any
    variables: Mapping[str, Any]
    precision: str
    tta: bool
    about: Mapping[str, Any]

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Products traced inside are computed in the model's precision."""
        return named(self.precision).scope()


def subject(
    given: str,
    *,
    weights: str | None = None,
    frozen: Sequence[str] = (),
    step: str | None = None,
    precision: str = "float32",
    tta: bool = False,
) -> EvaluatedModel:
    """A model from the shell's words.

    Args:
      given: a name in MODELS, or `NAME=WEIGHTS`.
      weights: a weights file or a run's folder, where `given` names none; None: those shipped or installed.
      frozen: `HELPER=FILE`.
      step: of a run: a number, or "best".
      precision: a name in `nn.precision.PRECISIONS`.
      tta: averaged with the frame of the turned pair.

    Raises:
      UserError: no weights.
      UsageError: no such model, flow_network or step.
    """
    name, _, file = given.partition("=")
    source = file or weights
    chosen = int(step) if step and step.isdigit() else step
    dtype = named(precision).dtype
    registry.check_kind(name, "interpolation")
    model, variables = load.load(name, source, flow_network.frozen_files(frozen), step=chosen, dtype=dtype)
    flow_network.require_flow_network(model, variables)
    processor = f"{machine.processor()} ({machine.processors()} cores)"
    about = {
        "model": name,
        "weights": {"from": source, "step": step, "sha256": weight_files.fingerprint(variables)},
        "flip_ensemble": tta,
        "precision": precision,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": ", ".join((processor, jax.devices()[0].device_kind, f"Python {platform.python_version()}")),
    }
    return EvaluatedModel(f"{name}-{Path(file).stem}" if file else name, model, variables, precision, tta, about)


def provenance(one: EvaluatedModel) -> dict[str, str]:
    """When, how and with what a subject is evaluated; for tables."""
    return {
        "precision": one.precision,
        "tta": str(one.tta),
        "date": datetime.date.today().isoformat(),
        "versions": " ".join(f"{name} {version}" for name, version in one.about["versions"].items()),
        "machine": one.about["machine"],
    }


@dataclasses.dataclass(frozen=True)
class Plan:
    """How everything is evaluated.

    Attributes:
      batch_size: images at once, where sizes agree; of several devices together.
      worst: images shown.
      judges: what else is told of a batch, by name.
    """

    batch_size: int = 4
    worst: int = 4
    judges: Mapping[str, scoring.Judge] = dataclasses.field(default_factory=dict)


def found(benchmark: Benchmark, data: Sequence[Path]) -> list[Sample]:
    """The samples of a benchmark in the first of several folders that holds them.

    Raises:
      UserError: none does; says what the last one lacks.
    """
    for folder in data[:-1]:
        try:
            return benchmark.find(folder)
        except UserError:
            continue
    return benchmark.find(data[-1])


def run(
    subjects: Mapping[Path, EvaluatedModel], wanted: Sequence[tuple[Benchmark, Sequence[Sample]]], plan: Plan
) -> Iterator[Result]:
    """Evaluates every subject on every benchmark, benchmark by benchmark, and keeps each result when it is there.

    Args:
      subjects: by the folders that keep their results; folders are made.
      wanted: benchmarks and their samples.
      plan: how.

    Raises:
      UserError: see `benchmarks.scores`; a folder that cannot be written.
    """
    for benchmark, samples in wanted:
        data = benchmarks.fingerprint(samples)
        motions = functools.cache(functools.partial(_motions, benchmark, samples))
        for folder, one in subjects.items():
            folder.mkdir(parents=True, exist_ok=True)
            more = [*plan.judges, *(["vmaf"] if benchmark.sequences and clips.has_vmaf() else [])]
            identity = {"settings": _plain(benchmark.settings()), "data": data, "code": _code(), "more": more}
            kept = _kept(folder, one, benchmark, identity)
            yield kept or _evaluated(folder, one, benchmark, samples, plan, motions, identity)


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


@functools.cache
def _code() -> str:
    """SHA-256 of this package's own sources: figures are not taken for those of other code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _motions(benchmark: Benchmark, samples: Sequence[Sample]) -> list[float]:
    """Of each sample; nan where frames are too small for DIS."""

    @functools.cache
    def of_pair(first: Any, second: Any, sample: Sample) -> float:
        small = benchmark.motion is None and min(benchmark.load(first).shape[:2]) < SMALLEST
        return float("nan") if small else scoring.motion_of(benchmark, sample)

    one_each = {(sample.first, sample.second): sample for sample in samples}  # tests of several times share a pair
    looked = tqdm(samples, unit="pair", desc=f"{benchmark.name}: motion", leave=False)
    return [of_pair(s.first, s.second, one_each[s.first, s.second]) for s in looked]


def _read(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RESULTS).read_text())
    except (OSError, ValueError):
        return {}


def _same(before: Mapping[str, Any], one: EvaluatedModel) -> bool:
    """Whether results are of the same weights, precision, versions and machine."""
    own = _plain(one.about)
    return before.get("weights", {}).get("sha256") == own["weights"]["sha256"] and all(
        before.get(name) == value for name, value in own.items() if name != "weights"
    )


def _kept(folder: Path, one: EvaluatedModel, benchmark: Benchmark, identity: Mapping[str, Any]) -> Result | None:
    """What an earlier run left, if it is of the same weights, protocol, data and code."""
    before = _read(folder)
    entry = before.get("results", {}).get(benchmark.name)
    if not entry or not _same(before, one):
        return None
    if any(entry.get(name) != value for name, value in identity.items()):
        return None
    try:
        rows = read_scores(folder / f"{benchmark.name}.csv")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Result(one.label, benchmark.name, entry, rows) if len(rows) == entry["images"] else None


def _evaluated(
    folder: Path,
    one: EvaluatedModel,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    plan: Plan,
    motions: Callable[[], list[float]],
    identity: Mapping[str, Any],
) -> Result:
    interpolate = interpolator(one, benchmark, samples)
    worst, of_clips = Worst(plan.worst), ClipFigures()
    started = time.perf_counter()
    with one.scope():
        found = scoring.scores(
            interpolate,
            benchmark,
            samples,
            _batch(plan.batch_size),
            judges=[*plan.judges.values()],
            watchers=[worst.add, of_clips.add] if benchmark.sequences else [worst.add],
        )
        rows = list(tqdm(found, total=len(samples), unit="image", desc=f"{one.label}, {benchmark.name}", leave=False))
    seconds = time.perf_counter() - started
    rows = [
        dataclasses.replace(row, more={**row.more, "motion": motion})
        for row, motion in zip(rows, motions(), strict=True)
    ]
    entry = {
        "protocol": benchmark.protocol,
        "version": benchmark.version,
        "images": len(rows),
        **scoring.means(rows, by_group=benchmark.by_group),
        **of_clips.means(),
        "seconds": seconds,
        "by_motion": _by_motion(rows),
        "by_group": {name: {**means, **of_clips.done.get(name, {})} for name, means in _by_group(rows).items()},
        **identity,
    }
    save_png(folder / f"{benchmark.name}_worst.png", sample_strips(worst.strips()))
    write_scores(folder / f"{benchmark.name}.csv", rows)
    _write(folder, one, benchmark.name, entry)
    return Result(one.label, benchmark.name, entry, rows)


def interpolator(one: EvaluatedModel, benchmark: Benchmark, samples: Sequence[Sample]) -> Interpolator:
    """The subject as a protocol wants it: its scale, the turned pair, times that the model does not know."""
    model = one.model
    if benchmark.scale is not None and "scale" in getattr(model, "__dataclass_fields__", {}):
        model = model.clone(scale=benchmark.scale)
    if benchmark.tta or one.tta:
        model = flip_ensemble(model)
    if jax.device_count() > 1:
        model = data_parallel(model, data_mesh())
    midpoint = all(sample.t == MIDPOINT for sample in samples)
    if not (midpoint or model.any_time) and registry.spec_of(model.variant).num_frames == 2:
        model = recursive(model)
    return Interpolator(model, one.variables, precision=one.precision)


def _batch(size: int) -> int:
    """The next multiple of the number of devices."""
    return -(-size // jax.device_count()) * jax.device_count()


class Worst:
    """The images of least PSNR."""

    def __init__(self, count: int) -> None:
        self._count, self._kept = count, []

    def add(self, image: scoring.Judged) -> None:
        """The next image."""
        if len(self._kept) < self._count or image.score.psnr < self._kept[-1].score.psnr:
            # Copies: a slice would keep its whole batch.
            own = image._replace(inputs=image.inputs.copy(), frame=image.frame.copy(), truth=image.truth.copy())
            self._kept = sorted([*self._kept, own], key=lambda kept: kept.score.psnr)[: self._count]

    def strips(self) -> list[tuple[np.ndarray, ...]]:
        """To look at, worst first."""
        return [scoring.strip(image) for image in self._kept]


class ClipFigures:
    """What is told of clips: VMAF, where the package that can is there, and how far their motion is off.

    Holds one clip at a time: frames come group by group.

    Attributes:
      done: figures by group.
    """

    def __init__(self) -> None:
        self.done: dict[str, dict[str, float]] = {}
        self._group, self._made, self._truth = "", [], []

    def add(self, image: scoring.Judged) -> None:
        """The next frame."""
        if image.sample.group != self._group:
            self._finish()
            self._group = image.sample.group
        self._made.append(np.rint(image.frame).astype(np.uint8))
        self._truth.append(np.rint(image.truth).astype(np.uint8))

    def means(self) -> dict[str, float]:
        """Over groups, when all frames were added."""
        self._finish()
        names = dict.fromkeys(name for figures in self.done.values() for name in figures)
        return {name: float(np.mean([figures[name] for figures in self.done.values()])) for name in names}

    def _finish(self) -> None:
        if not self._made:
            return
        figures = {}
        if len(self._made) > 1 and min(self._made[0].shape[:2]) >= SMALLEST:
            figures["tof"] = temporal.flow_distance(self._made, self._truth, dis_flow)
        if clips.has_vmaf():
            figures["vmaf"] = clips.vmaf(self._made, self._truth)
        self.done[self._group] = figures
        self._made, self._truth = [], []


def _by_motion(rows: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Means of the images in each bin of the mean flow."""
    bins: dict[str, list[Score]] = {}
    for low, high in zip(MOTIONS, (*MOTIONS[1:], np.inf), strict=True):
        name = f"{low}-{high}" if high < np.inf else f"{low}+"
        bins[name] = [row for row in rows if low <= row.more["motion"] < high]
    return {name: {"images": len(own), **scoring.means(own)} for name, own in bins.items() if own}


def _by_group(rows: Sequence[Score]) -> dict[str, dict[str, float]]:
    groups: dict[str, list[Score]] = {}
    for row in rows:
        if row.group:
            groups.setdefault(row.group, []).append(row)
    return {name: {"images": len(own), **scoring.means(own)} for name, own in groups.items()}


def _write(folder: Path, one: EvaluatedModel, name: str, entry: Mapping[str, Any]) -> None:
    """Adds a benchmark to the folder's results; those of other weights or versions are dropped."""
    before = _read(folder)
    results = {**(before.get("results", {}) if _same(before, one) else {}), name: entry}
    with written_whole(folder / RESULTS) as partial:
        partial.write_text(json.dumps({**one.about, "label": one.label, "results": results}, indent=2))


def check_names(names: Sequence[str], kind: str) -> None:
    """Raises UsageError where two of a kind would write over each other's results."""
    if len(set(names)) < len(names):
        raise UsageError(f"two {kind} have one name, and their results would overwrite each other: run them apart")
