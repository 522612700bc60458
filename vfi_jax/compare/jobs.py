"""What both sides are given: weights under the reference's names, and frames."""

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
from vfi_jax.inference import MIDPOINT
from vfi_jax.models import registry
from vfi_jax.models.registry import FROZEN
from vfi_jax.ops import pad
from vfi_jax.ops.channels import order_of
from vfi_jax.weights import flow_network as frozen_networks
from vfi_jax.weights import load
from vfi_jax.weights.save import changed_fields

FORMS = (PUBLISHED, CHANNELS_LAST, "compiled")
OFF_MIDDLE = 0.375  # where a model knows any time: a side that takes t for 1 - t is found out


@dataclasses.dataclass(frozen=True)
class ComparisonJob:
    """What to compare.

    Attributes:
      model: in MODELS.
      weights: a file that `zoo.load` reads; None: made up.
      frozen: files of frozen flow networks, by name.
      sizes: (width, height) of the frames, each padded as the published scripts do.
      batch: samples at once.
      benchmark: a folder of triplets in Vimeo90K's layout, whose first sample gives the frames; None: a made-up scene.
      device: "cpu" or "cuda".
      precision: "float32" or "bfloat16".
      threads: on CPUs.
      forms: of the published implementation, the first "published".
      rounds: how often each side runs.
      minutes: of a form's first run, which compiles; a form that takes longer is left out.
      backward: also with gradients of the mean squared difference from a target.
      python: runs the published implementation.
      seed: of what is made up.
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
        """Raises UsageError for what cannot be."""
        if self.precision == "bfloat16" and self.device == "cpu":
            raise UsageError("bfloat16 is compared on a GPU only: add --device cuda")
        if self.forms[:1] != (PUBLISHED,) or set(self.forms) - set(FORMS):
            raise UsageError(f"forms are {', '.join(FORMS)}, {PUBLISHED} first; not {', '.join(self.forms)}")
        if min(self.rounds, self.batch, self.threads, *(side for size in self.sizes for side in size)) < 1:
            raise UsageError("rounds, batch, threads and sizes are at least 1")
        if not self.minutes > 0:
            raise UsageError(f"minutes are more than 0, not {self.minutes:g}")
        if self.benchmark and registry.spec_of(self.model).kind == "flow":
            raise UsageError(f"{self.model} makes no frames: leave the benchmark out")


def write_weights(job: ComparisonJob, adapter: Adapter, path: Path) -> tuple[Any, str]:
    """Writes the weights as `.npz`; returns the module that they belong to, and where they come from.

    Raises:
      UsageError: no published implementation can hold them.
      UserError: they cannot be read, or lack a flow_network.
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
        states = {flow_network: made_up(flow_network, gain_of(flow_network), job.seed)} if flow_network else {}
        state, source = made_up(job.model, adapter.gain, job.seed), f"made up, seed {job.seed}"
    frozen = {
        f"{FROZEN}.{flow_network}.{name}": value
        for flow_network, tree in states.items()
        for name, value in tree.items()
    }
    np.savez(path, **state, **frozen)
    return model, source


def made_up(model: str, gain: float, seed: int) -> dict[str, np.ndarray]:
    """A state dict as lively as a trained one: fresh weights give flows of next to nothing."""
    plain = load.to_torch(model, registry.create(model)[1])
    drawn = {
        name: _drawn(np.random.default_rng([seed, index]), name, array.shape, gain)
        for index, (name, array) in enumerate(plain.items())
    }
    return load.to_torch(model, load.from_torch(model, drawn))  # names that stand for one parameter become alike


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
    """Writes frames of a size as `.npz`, padded and in the weights' channel order, with a time and a target.

    Raises:
      UserError: the benchmark cannot be read.
    """
    spec = registry.spec_of(job.model)
    t = OFF_MIDDLE if model.any_time and spec.kind != "flow" else MIDPOINT
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
    """Writes RGB frames in 0..1 as the workers' `inputs` read them."""
    padding, order = registry.spec_of(model.variant).padding, order_of(model)
    both = [frames[..., order], target[..., order] if target.shape[-1] == 3 else target]
    frames, target = (np.repeat(pad(array, padding)[None], batch, 0).astype(np.float32) for array in both)
    np.savez(path, frames=frames, target=target, t=np.float32(t))


def triplets(folder: Path) -> tuple[benchmarks.Benchmark, list[benchmarks.BenchmarkSample]]:
    """A folder in Vimeo90K's layout, and its samples.

    Raises:
      UserError: there are none.
    """
    benchmark = benchmarks.named(f"triplets={folder}")
    return benchmark, benchmark.find(folder)
