"""Runs both sides: differences of what they make, and times, interleaved round by round."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax import benchmarks
from vfi_jax.compare import jobs
from vfi_jax.compare.adapters import Adapter
from vfi_jax.compare.jobs import ComparisonJob
from vfi_jax.compare.report import BACKWARD, CHANNELS_LAST, FORWARD, OURS, PUBLISHED, Difference, Outcome, Timing
from vfi_jax.compare.workers import Worker, WorkerError
from vfi_jax.errors import UserError
from vfi_jax.inference import MIDPOINT
from vfi_jax.metrics import psnr
from vfi_jax.models import registry
from vfi_jax.ops import crop
from vfi_jax.ops.channels import order_of
from vfi_jax.system import machine

HERE = Path(__file__).parent
Arrays = Mapping[str, np.ndarray]


def compare(adapter: Adapter, folder: Path | None, job: ComparisonJob, tell: Callable[[str], None] = print) -> Outcome:
    """Compares a model of ours with a published implementation of it.

    Args:
      adapter: of that implementation.
      folder: its checkout; None: an installed package.
      job: what to compare.
      tell: takes lines on how far it is.

    Raises:
      UsageError: weights of another form than the published one.
      UserError: no torch, weights that do not fit, a side that fails, an unreadable benchmark.
    """
    with tempfile.TemporaryDirectory() as temporary, _told(job):
        scratch, judged = Path(temporary), jobs.triplets(job.benchmark) if job.benchmark else None
        model, source = jobs.write_weights(job, adapter, scratch / "state.npz")
        sides = _Sides(job, adapter, folder, model, scratch)
        scores = _scores(sides, *judged, tell) if judged else {}
        differences, timings = [], []
        for width, height in job.sizes:
            jobs.write_frames(job, model, width, height, scratch / "inputs.npz")
            with contextlib.ExitStack() as stack:
                run = _Run(sides, width, height, tell, *_started(sides, stack))
                measured = run.timed(FORWARD)
                found = run.difference()
                if job.backward:
                    measured += run.timed(BACKWARD)
                    found = run.with_gradients(found)
                about = {side: run.workers[side].about for side in (OURS, PUBLISHED)}
            differences.append(found)
            timings += measured
    return Outcome(_about(sides, source, about), differences, timings, scores)


@contextlib.contextmanager
def _told(job: ComparisonJob) -> Iterator[None]:
    """Failures of a side as what a user can mend."""
    try:
        yield
    except WorkerError as error:
        if "No module named 'torch'" in str(error):
            raise UserError(
                f"{job.python} has no torch: pip install torch, or name a Python that has it with --torch-python"
            ) from None
        raise UserError(str(error)) from None


@dataclasses.dataclass(frozen=True)
class _Sides:
    """How to start either side."""

    job: ComparisonJob
    adapter: Adapter
    folder: Path | None
    model: Any
    scratch: Path

    def ours(self) -> Worker:
        """The process with JAX, loaded."""
        environment = {
            "JAX_PLATFORMS": self.job.device,
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # memory is measured
            "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent.parent), os.environ.get("PYTHONPATH")))),
        }
        command = [sys.executable, "-m", "vfi_jax.compare.jax_worker"]
        fields = {"channel_order": self.model.channel_order, "any_time": self.model.any_time}
        return self._loaded("JAX", command, environment, model=self.job.model, fields=fields)

    def theirs(self, form: str) -> Worker:
        """The process with torch, loaded."""
        return self._loaded(
            f"PyTorch ({form})",
            [self.job.python, str(HERE / "torch_worker.py")],
            {},
            network=self.adapter.network,
            arguments=dict(self.adapter.models[self.job.model]),
            repository=str(self.folder or ""),
            package="" if self.adapter.marker else self.adapter.name,
            optional=list(registry.spec_of(self.job.model).training_only),
            form=form,
        )

    def _loaded(self, name: str, command: list[str], environment: Mapping[str, str], **arguments: Any) -> Worker:
        job = self.job
        common = {"device": job.device, "precision": job.precision, "threads": job.threads}
        worker = Worker(name, command, {"OMP_NUM_THREADS": str(job.threads), **environment})
        try:
            worker.about = worker.ask("load", state=str(self.scratch / "state.npz"), **common, **arguments)
        except BaseException:
            worker.close()
            raise
        return worker

    def asked(self, worker: Worker, order: str, height: int, width: int) -> dict[str, np.ndarray]:
        """The arrays that a worker writes on an order, the padding of frames and flows taken off."""
        worker.ask(order, path=str(self.scratch / "answer.npz"))
        with np.load(self.scratch / "answer.npz") as arrays:
            found = dict(arrays)
        if order != "outputs":
            return found
        return {
            name: crop(array, height, width, registry.spec_of(self.job.model).padding) for name, array in found.items()
        }


def _started(sides: _Sides, stack: contextlib.ExitStack) -> tuple[dict[str, Worker], dict[str, str]]:
    """The processes, with their inputs; and why those forms failed that are not among them."""
    workers, failed = {}, {}
    for form in sides.job.forms:  # first: what users get wrong is on this side
        try:
            workers[form] = stack.enter_context(sides.theirs(form))
        except WorkerError as error:
            if form == PUBLISHED:
                raise
            failed[form] = str(error)
    workers = {OURS: stack.enter_context(sides.ours()), **workers}
    for worker in workers.values():
        worker.ask("inputs", path=str(sides.scratch / "inputs.npz"))
    return workers, failed


@dataclasses.dataclass
class _Run:
    """The measurements at one size."""

    sides: _Sides
    width: int
    height: int
    tell: Callable[[str], None]
    workers: dict[str, Worker]
    failed: dict[str, str]

    @property
    def size(self) -> str:
        """In words."""
        return f"{self.width}x{self.height}"

    def timed(self, direction: str) -> list[Timing]:
        """Every side's first run, then the rounds, in which the sides take turns at being first."""
        job, first = self.sides.job, {}
        for side in list(self.workers):
            self._first(side, direction, first)
        seconds: dict[str, list[float]] = {side: [] for side in first}
        for index in range(job.rounds):
            turn = index % len(first)
            for side in [*first][turn:] + [*first][:turn]:
                seconds[side].append(self._seconds(side, direction) / job.batch)
        self.tell(f"{self.size}, {direction}: {', '.join(first)} ran {job.rounds} times each")
        timings = [
            Timing(self.size, direction, side, first[side], tuple(seconds[side]), self.workers[side].ask("memory"))
            for side in first
        ]
        return timings + [Timing(self.size, direction, form, failed=why) for form, why in self.failed.items()]

    def _seconds(self, side: str, direction: str, minutes: float | None = None) -> float:
        return self.workers[side].ask("seconds", minutes=minutes, backward=direction == BACKWARD)

    def _first(self, side: str, direction: str, first: dict[str, float]) -> None:
        """A form of the published implementation that fails here, or takes too long, is left out from then on."""
        needed = side in (OURS, PUBLISHED)
        try:
            first[side] = self._seconds(side, direction, None if needed else self.sides.job.minutes)
        except WorkerError as error:
            if needed:
                raise
            self.failed[side] = str(error)
            del self.workers[side]

    def _asked(self, side: str, order: str) -> Arrays:
        return self.sides.asked(self.workers[side], order, self.height, self.width)

    def difference(self) -> Difference:
        """Of what both make of the frames."""
        ours, theirs = self._asked(OURS, "outputs"), self._asked(PUBLISHED, "outputs")
        frame = _apart(ours, theirs, "frame") if registry.spec_of(self.sides.job.model).kind != "flow" else (None, None)
        longest = float(np.abs(theirs["flow"]).max()) if "flow" in theirs else None
        again = self._asked(CHANNELS_LAST, "outputs") if CHANNELS_LAST in self.workers else {}
        return Difference(
            self.size, *frame, *_apart(ours, theirs, "flow"), longest, noise=_apart(again, theirs, "frame")[0]
        )

    def with_gradients(self, found: Difference) -> Difference:
        """The same with what is told of gradients."""
        theirs = self._asked(PUBLISHED, "gradients")
        gradient = _relative(self._asked(OURS, "gradients"), theirs)
        there = CHANNELS_LAST in self.workers
        noise = _relative(self._asked(CHANNELS_LAST, "gradients"), theirs) if there else None
        return dataclasses.replace(found, gradient=gradient, gradient_noise=noise)


def _relative(ours: Arrays, theirs: Arrays) -> float:
    """Length of the difference of all arrays together, over the length of theirs."""
    apart = sum(np.sum((ours[name].astype(np.float64) - theirs[name]) ** 2) for name in theirs)
    return float(np.sqrt(apart / sum(np.sum(array.astype(np.float64) ** 2) for array in theirs.values())))


def _apart(ours: Arrays, theirs: Arrays, name: str) -> tuple[float, float] | tuple[None, None]:
    """Greatest and mean absolute difference, where both sides have the array."""
    if name not in ours or name not in theirs:
        return None, None
    difference = np.abs(ours[name] - theirs[name])
    return float(difference.max()), float(difference.mean())


def _scores(
    sides: _Sides,
    benchmark: benchmarks.Benchmark,
    samples: Sequence[benchmarks.BenchmarkSample],
    tell: Callable[[str], None],
) -> dict[str, float]:
    """Mean PSNR of both over a benchmark, frames rounded to 8 bits."""
    model, inputs = sides.model, sides.scratch / "inputs.npz"
    found: dict[str, list[float]] = {OURS: [], PUBLISHED: []}
    with sides.ours() as ours, sides.theirs(PUBLISHED) as theirs:
        for sample in samples:
            pictures, truth = benchmarks.pictures(benchmark, sample, registry.spec_of(sides.job.model).num_frames)
            jobs.write_inputs(inputs, model, pictures / np.float32(255), truth / np.float32(255), MIDPOINT)
            for side, worker in ((OURS, ours), (PUBLISHED, theirs)):
                worker.ask("inputs", path=str(inputs))
                frame = sides.asked(worker, "outputs", *truth.shape[:2])["frame"][0][..., order_of(model)]
                found[side].append(float(psnr(np.rint(frame.clip(0, 1) * 255), truth)))
    tell(f"{sides.job.benchmark}: {len(found[OURS])} samples")
    return {side: float(np.mean(values)) for side, values in found.items()}


def _about(sides: _Sides, source: str, about: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    job, ours, theirs = sides.job, about[OURS], about[PUBLISHED]
    return {
        "model": job.model,
        "implementation": sides.adapter.name,
        "version": theirs["package"] or _commit(sides.folder),
        "weights": source,
        "frames": f"{job.benchmark}, resized" if job.benchmark else f"a made-up scene, seed {job.seed}",
        "benchmark": str(job.benchmark or ""),
        "batch": job.batch,
        "ours": f"jax {ours['jax']}, {ours['device']}",
        "theirs": f"torch {theirs['torch']}, {theirs['device']}",
        "precision": job.precision,
        "processor": machine.processor(),
    }


def _commit(folder: Path | None) -> str:
    """Of a checkout, where git can tell."""
    if folder is None or not (folder / ".git").exists():
        return ""
    try:
        found = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    except OSError:
        return ""
    return found.stdout.strip()
