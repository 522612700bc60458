"""Inputs of both sides of a comparison: weights under the reference's names, and frames."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32

from vfi_jax import benchmarks
from vfi_jax.compare.adapters import Adapter, gain_of
from vfi_jax.compare.report import CHANNELS_LAST, PUBLISHED
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError
from vfi_jax.models import registry
from vfi_jax.models.registry import FROZEN
from vfi_jax.ops import pad
from vfi_jax.ops.channels import order_of
from vfi_jax.types import MIDPOINT
from vfi_jax.weights import flow_network as frozen_networks
from vfi_jax.weights import load
from vfi_jax.weights.metadata import changed_fields

FORMS = (PUBLISHED, CHANNELS_LAST, "compiled")
OFF_MIDPOINT = 0.375  # for models that support any time; exposes a side that confuses t with 1 - t


@dataclasses.dataclass(frozen=True)
class ComparisonJob:
    """The settings of one comparison.

    Attributes:
      model: in MODELS.
      weights: a weights file; None: random weights.
      frozen: files of frozen flow networks, by name.
      sizes: (width, height) of the frames, which are padded as in the published scripts.
      batch: samples per batch.
      benchmark: folder of triplets in Vimeo90K's layout, whose first sample gives the frames; None: a synthetic scene.
      device: "cpu" or "cuda".
      precision: "float32" or "bfloat16".
      threads: number of threads of each side on CPUs.
      forms: forms of the published implementation, "published" first.
      rounds: number of timed runs of each side.
      minutes: limit for a form's first run, which compiles; a form that takes longer is left out.
      backward: whether to compare gradients of the mean squared error against a target too.
      python: the Python that runs the published implementation.
      seed: of random weights and of the synthetic scene.
    """

    model: str
    weights: Path | None = None
    frozen: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    sizes: tuple[tuple[int, int], ...] = ((448, 256),)
    batch: int = 1
    benchmark: Path | None = None
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    forms: tuple[str, ...] = FORMS
    rounds: int = 7
    minutes: float = 10.0
    backward: bool = False
    python: str = sys.executable
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values.

        Raises:
          UsageError: values that cannot be, alone or together.
        """
        if self.precision == "bfloat16" and self.device == "cpu":
            raise UsageError("bfloat16 is compared on a GPU only: add --device cuda")
        if self.forms[:1] != (PUBLISHED,) or set(self.forms) - set(FORMS):
            raise UsageError(f"forms are {', '.join(FORMS)}, {PUBLISHED} first; not {', '.join(self.forms)}")
        if min(self.rounds, self.batch, self.threads, *(side for size in self.sizes for side in size)) < 1:
            raise UsageError("rounds, batch, threads and sizes must be at least 1")
        if not self.minutes > 0:
            raise UsageError(f"minutes must be more than 0, not {self.minutes:g}")
        if self.benchmark and registry.spec_of(self.model).kind == "flow":
            raise UsageError(f"{self.model} predicts no frames: leave the benchmark out")


def write_weights(job: ComparisonJob, adapter: Adapter, path: Path) -> tuple[Any, str]:
    """Writes the weights as `.npz`.

    Args:
      job: what to compare.
      adapter: the published implementation; random weights get its gain.
      path: the file; weights of a frozen flow network are under `frozen.NAME.`.

    Returns:
      The module that the weights belong to, and where they come from, in words.

    Raises:
      UsageError: no published implementation can hold the weights.
      UserError: the weights cannot be read, or lack a flow network.
    """
    if job.weights:
        model, variables = load.load(job.model, job.weights, job.frozen)
        frozen_networks.require(model, variables)
        if changed := changed_fields(model):
            raise UsageError(f"no published implementation has these weights' fields: {', '.join(changed)}")
        flow_networks = variables.get(FROZEN, {})
        states = {flow_network: load.to_torch(flow_network, tree) for flow_network, tree in flow_networks.items()}
        state, source = load.to_torch(job.model, variables), str(job.weights)
    else:
        model = registry.build(job.model, channel_order=registry.spec_of(job.model).published_channel_order)
        flow_network = registry.flow_network_of(model)
        states = (
            {flow_network: random_state_dict(flow_network, gain_of(flow_network), job.seed)} if flow_network else {}
        )
        state, source = random_state_dict(job.model, adapter.gain, job.seed), f"random, seed {job.seed}"
    frozen = {
        f"{FROZEN}.{flow_network}.{name}": value
        for flow_network, tree in states.items()
        for name, value in tree.items()
    }
    np.savez(path, **state, **frozen)
    return model, source


def random_state_dict(model: str, gain: float, seed: int) -> dict[str, np.ndarray]:
    """Random weights whose flows are as long as those of trained ones; fresh weights give almost no flow.

    Args:
      model: in MODELS.
      gain: standard deviation of kernels over that of He et al.'s initialization.
      seed: of the weights.

    Returns:
      A state dict under the reference's names.
    """
    plain = load.to_torch(model, registry.create(model)[1])
    drawn = {
        name: _drawn(np.random.default_rng([seed, index]), name, array.shape, gain)
        for index, (name, array) in enumerate(plain.items())
    }
    return load.to_torch(model, load.from_torch(model, drawn))  # so that names of one parameter have one value


def _drawn(rng: np.random.Generator, name: str, shape: tuple[int, ...], gain: float) -> Float32[np.ndarray, "..."]:
    noise = rng.standard_normal(shape, np.float32)
    if name.endswith("running_var"):
        return 1 + np.abs(noise) / 10
    if name.endswith("running_mean"):
        return noise / 10
    if len(shape) > 1:
        return noise * np.float32(gain * np.sqrt(2 / np.prod(shape[1:])))
    return noise / 50 if name.endswith("bias") else np.float32(0.25) + noise / 20


def write_frames(job: ComparisonJob, model: Any, width: int, height: int, path: Path) -> None:
    """Writes frames of a size, with a time and a target, as `write_inputs` does.

    Raises:
      UserError: the benchmark cannot be read.
    """
    spec = registry.spec_of(job.model)
    t = OFF_MIDPOINT if model.any_time and spec.kind != "flow" else MIDPOINT
    if job.benchmark:
        benchmark, samples = triplets(job.benchmark)
        inputs, truth = benchmarks.pictures(benchmark, samples[0], spec.num_frames)
        *frames, target = (_resized(image, width, height) for image in (*inputs, truth))
    else:
        scene, before = random_scene(job.seed, height, width), spec.num_frames // 2 - 1
        *frames, target = (scene.frame(time) for time in (*range(-before, spec.num_frames - before), t))
    if spec.kind == "flow":
        target = np.zeros((height, width, 2), np.float32)
    write_inputs(path, model, np.stack(frames), target, t, job.batch)


def _resized(image: np.ndarray, width: int, height: int) -> Float32[np.ndarray, "h w 3"]:
    smaller = width * height < image.shape[0] * image.shape[1]
    kind = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image.astype(np.float32) / 255, (width, height), interpolation=kind)


def write_inputs(
    path: Path,
    model: Any,
    frames: Float[np.ndarray, "n h w 3"],
    target: Float[np.ndarray, "h w c"],
    t: float,
    batch: int = 1,
) -> None:
    """Writes inputs of the workers as `.npz`, padded and in the weights' channel order.

    Args:
      path: the file.
      model: the module.
      frames: RGB in 0..1.
      target: of the gradients: RGB in 0..1, or for flow networks a flow.
      t: the time.
      batch: how often the sample is repeated.
    """
    padding, order = registry.spec_of(model.variant).padding, order_of(model)
    both = [frames[..., order], target[..., order] if target.shape[-1] == 3 else target]
    frames, target = (np.repeat(pad(array, padding)[None], batch, 0).astype(np.float32) for array in both)
    np.savez(path, frames=frames, target=target, t=np.float32(t))


def triplets(folder: Path) -> tuple[benchmarks.Benchmark, list[benchmarks.BenchmarkSample]]:
    """The benchmark over a folder in Vimeo90K's layout, and its samples.

    Raises:
      UserError: the folder holds no samples.
    """
    benchmark = benchmarks.named(f"triplets={folder}")
    return benchmark, benchmark.find(folder)
