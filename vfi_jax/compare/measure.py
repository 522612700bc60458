"""Compares both sides: differences of their outputs, and times, interleaved round by round."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax import benchmarks
from vfi_jax.compare import jobs
from vfi_jax.compare.adapters import Adapter
from vfi_jax.compare.jobs import ComparisonJob
from vfi_jax.compare.launch import Arrays, Launcher
from vfi_jax.compare.report import BACKWARD, CHANNELS_LAST, FORWARD, OURS, PUBLISHED, Outcome, OutputDifference, Timing
from vfi_jax.compare.workers import WorkerError, WorkerProcess
from vfi_jax.errors import UserError
from vfi_jax.metrics import psnr
from vfi_jax.models import registry
from vfi_jax.ops.channels import order_of
from vfi_jax.system import machine
from vfi_jax.types import MIDPOINT

Log = Callable[[str], None]


def compare(adapter: Adapter, folder: Path | None, job: ComparisonJob, log: Log = print) -> Outcome:
    """Compares one of our models with a published implementation of it.

    Args:
      adapter: the published implementation.
      folder: its checkout; None: an installed package.
      job: what to compare.
      log: prints a line on the progress.

    Raises:
      UsageError: weights that the published implementation cannot hold.
      UserError: no torch, weights that do not fit, a side that fails, an unreadable benchmark.
    """
    with tempfile.TemporaryDirectory() as temporary, _worker_errors_for_users(job):
        scratch, triplets = Path(temporary), jobs.triplets(job.benchmark) if job.benchmark else None
        model, source = jobs.write_weights(job, adapter, scratch / "state.npz")
        launcher = Launcher(job, adapter, folder, model, scratch)
        scores = _scores(launcher, *triplets, log) if triplets else {}
        differences, timings = [], []
        for width, height in job.sizes:
            jobs.write_frames(job, model, width, height, launcher.inputs)
            with contextlib.ExitStack() as stack:
                measurement = Measurement(launcher, width, height, log, *launcher.all(stack))
                timings += measurement.time(FORWARD)
                difference = measurement.difference()
                if job.backward:
                    timings += measurement.time(BACKWARD)
                    difference = measurement.with_gradients(difference)
                about = {side: measurement.workers[side].about for side in (OURS, PUBLISHED)}
            differences.append(difference)
    return Outcome(_about(launcher, source, about), differences, timings, scores)


@contextlib.contextmanager
def _worker_errors_for_users(job: ComparisonJob) -> Iterator[None]:
    """Re-raises the failure of a worker as a UserError."""
    try:
        yield
    except WorkerError as error:
        if "No module named 'torch'" in str(error):
            raise UserError(
                f"{job.python} has no torch: pip install torch, or name a Python that has it with --torch-python"
            ) from None
        raise UserError(str(error)) from None


@dataclasses.dataclass
class Measurement:
    """Times and differences at one size.

    Attributes:
      launcher: knows the job, and reads the workers' arrays.
      width: pixels.
      height: pixels.
      log: prints a line on the progress.
      workers: by side; a form that fails is removed.
      failed: the message of each form that failed.
    """

    launcher: Launcher
    width: int
    height: int
    log: Log
    workers: dict[str, WorkerProcess]
    failed: dict[str, str]

    @property
    def size(self) -> str:
        """WIDTHxHEIGHT."""
        return f"{self.width}x{self.height}"

    def time(self, direction: str) -> list[Timing]:
        """Times all sides: a first run each, then rounds in which they take turns at being first.

        Raises:
          WorkerError: ours, or the implementation as published, failed.
        """
        job, first = self.launcher.job, self._first_runs(direction)
        seconds: dict[str, list[float]] = {side: [] for side in first}
        for index in range(job.rounds):
            turn = index % len(first)
            for side in [*first][turn:] + [*first][:turn]:
                seconds[side].append(self._seconds(side, direction) / job.batch)
        self.log(f"{self.size}, {direction}: {', '.join(first)} ran {job.rounds} times each")
        timings = [
            Timing(self.size, direction, side, first[side], tuple(seconds[side]), self.workers[side].ask("memory"))
            for side in first
        ]
        return timings + [Timing(self.size, direction, form, failed=why) for form, why in self.failed.items()]

    def _first_runs(self, direction: str) -> dict[str, float]:
        """Seconds of each side's first run; from then on, forms that fail or take too long are left out."""
        first = {}
        for side in list(self.workers):
            required = side in (OURS, PUBLISHED)
            try:
                first[side] = self._seconds(side, direction, None if required else self.launcher.job.minutes)
            except WorkerError as error:
                if required:
                    raise
                self.failed[side] = str(error)
                del self.workers[side]
        return first

    def _seconds(self, side: str, direction: str, minutes: float | None = None) -> float:
        return self.workers[side].ask("seconds", minutes=minutes, backward=direction == BACKWARD)

    def difference(self) -> OutputDifference:
        """How far the two sides' outputs differ."""
        ours, published = self._outputs(OURS), self._outputs(PUBLISHED)
        again = self._outputs(CHANNELS_LAST) if CHANNELS_LAST in self.workers else {}
        is_flow = registry.spec_of(self.launcher.job.model).kind == "flow"
        frame = (None, None) if is_flow else max_and_mean_difference(ours, published, "frame")
        flow = max_and_mean_difference(ours, published, "flow")
        longest = float(np.abs(published["flow"]).max()) if "flow" in published else None
        noise, _ = max_and_mean_difference(again, published, "frame")
        return OutputDifference(self.size, *frame, *flow, longest, noise=noise)

    def with_gradients(self, difference: OutputDifference) -> OutputDifference:
        """Adds how far the gradients differ."""
        published = self._gradients(PUBLISHED)
        gradient = relative_difference(self._gradients(OURS), published)
        noise = None
        if CHANNELS_LAST in self.workers:
            noise = relative_difference(self._gradients(CHANNELS_LAST), published)
        return dataclasses.replace(difference, gradient=gradient, gradient_noise=noise)

    def _outputs(self, side: str) -> Arrays:
        return self.launcher.outputs(self.workers[side], self.height, self.width)

    def _gradients(self, side: str) -> Arrays:
        return self.launcher.gradients(self.workers[side])


def relative_difference(ours: Arrays, published: Arrays) -> float:
    """`||ours - published|| / ||published||` over all arrays of `published` together."""
    squared = sum(np.sum((ours[name].astype(np.float64) - published[name]) ** 2) for name in published)
    return float(np.sqrt(squared / sum(np.sum(array.astype(np.float64) ** 2) for array in published.values())))


def max_and_mean_difference(ours: Arrays, published: Arrays, name: str) -> tuple[float, float] | tuple[None, None]:
    """Greatest and mean absolute difference of an array; None where a side lacks it."""
    if name not in ours or name not in published:
        return None, None
    difference = np.abs(ours[name] - published[name])
    return float(difference.max()), float(difference.mean())


def _scores(
    launcher: Launcher, benchmark: benchmarks.Benchmark, samples: Sequence[benchmarks.BenchmarkSample], log: Log
) -> dict[str, float]:
    """Mean PSNR of both sides over a benchmark, frames rounded to 8 bits."""
    model, num_frames = launcher.model, registry.spec_of(launcher.job.model).num_frames
    scores: dict[str, list[float]] = {OURS: [], PUBLISHED: []}
    with launcher.jax() as ours, launcher.torch(PUBLISHED) as published:
        for sample in samples:
            pictures, truth = benchmarks.pictures(benchmark, sample, num_frames)
            in_unit_range = (images / np.float32(255) for images in (pictures, truth))
            jobs.write_inputs(launcher.inputs, model, *in_unit_range, MIDPOINT)
            for side, worker in ((OURS, ours), (PUBLISHED, published)):
                worker.ask("inputs", path=str(launcher.inputs))
                frame = launcher.outputs(worker, *truth.shape[:2])["frame"][0][..., order_of(model)]
                scores[side].append(float(psnr(np.rint(frame.clip(0, 1) * 255), truth)))
    log(f"{launcher.job.benchmark}: {len(scores[OURS])} samples")
    return {side: float(np.mean(values)) for side, values in scores.items()}


def _about(launcher: Launcher, source: str, about: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Describes both sides for the report."""
    job, ours, published = launcher.job, about[OURS], about[PUBLISHED]
    return {
        "model": job.model,
        "implementation": launcher.adapter.name,
        "version": published["package"] or _commit(launcher.folder),
        "weights": source,
        "frames": f"{job.benchmark}, resized" if job.benchmark else f"a synthetic scene, seed {job.seed}",
        "benchmark": str(job.benchmark or ""),
        "batch": job.batch,
        "ours": f"jax {ours['jax']}, {ours['device']}",
        "theirs": f"torch {published['torch']}, {published['device']}",
        "precision": job.precision,
        "processor": machine.processor(),
    }


def _commit(folder: Path | None) -> str:
    """The commit of a checkout; "" where git cannot say."""
    if folder is None or not (folder / ".git").exists():
        return ""
    try:
        done = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()
