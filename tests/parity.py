"""Stored cases of the published PyTorch implementations, and the weights they were made with.

A case holds inputs and outputs; the weights are rebuilt from each parameter's name. The folder `fixtures` beside this
file has at least one case a family; `VFI_JAX_PARITY` may name a folder with all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

import vfi_jax

STORED = Path(__file__).parent / "fixtures"
OTHERS = os.environ.get("VFI_JAX_PARITY")
OTHER_WEIGHTS = {"ifrnet_bigflow": "ifrnet"}  # folders of a model's cases with other weights


def _name(fields: dict) -> str:
    return fields.get("name", Path(fields["file"]).stem)


@dataclasses.dataclass(frozen=True)
class Case:
    """One stored case of one model."""

    folder: Path
    model: str
    name: str

    @functools.cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / "meta.json").read_text())

    @functools.cached_property
    def fields(self) -> dict:
        return next(case for case in self.meta["cases"] if _name(case) == self.name)

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / self.fields["file"]) as arrays:
            return dict(arrays)

    @property
    def frames(self) -> np.ndarray:
        return np.stack([self.arrays["img0"], self.arrays["img1"]], 1)

    @property
    def t(self) -> np.ndarray:
        times = self.arrays.get("timestep", np.float32(self.fields.get("timestep", 0.5)))
        return np.broadcast_to(times.reshape(-1, 1, 1, 1), (len(self.frames), 1, 1, 1))

    @functools.cached_property
    def state(self) -> dict[str, np.ndarray]:
        return make_state(self.meta["params"], self.meta["seed"], self.meta["gain"])

    @functools.cached_property
    def variables(self) -> dict:
        return vfi_jax.from_torch(self.model, self.state)


def cases(family: str, wanted=lambda fields: True, fast: str = "") -> list:
    """Parameters for pytest: the stored cases, then those of `VFI_JAX_PARITY`, which are slow.

    Args:
      family: prefix of the models' names.
      wanted: which cases, by their fields.
      fast: id of the only stored case that is not marked slow; "": none of them is.
    """
    selected = []
    for root, marks in ((STORED, ()), (OTHERS and Path(OTHERS), pytest.mark.slow)):
        for meta in sorted(root.glob("*/meta.json")) if root else ():
            model = OTHER_WEIGHTS.get(meta.parent.name, meta.parent.name)
            if not model.startswith(family) or model not in vfi_jax.MODELS:
                continue
            for fields in json.loads(meta.read_text())["cases"]:
                here = (meta.parent / fields["file"]).exists()
                if (
                    here
                    and wanted(fields)
                    and not (root != STORED and (STORED / meta.parent.name / fields["file"]).exists())
                ):
                    case = Case(meta.parent, model, _name(fields))
                    name = f"{meta.parent.name}-{case.name}"
                    slow = marks or (pytest.mark.slow if fast and name != fast else ())
                    selected.append(pytest.param(case, id=name, marks=slow))
    return selected


def ops(family: str, name: str) -> dict[str, np.ndarray]:
    """Arrays of a stored operator case."""
    with np.load(STORED / family / f"{name}.npz") as arrays:
        return dict(arrays)


def make_array(name: str, shape: tuple[int, ...], seed: int, gain: float) -> np.ndarray:
    """The float32 array of the parameter `name` in the reference's layout, as the cases' authors defined it."""
    rng = np.random.RandomState((zlib.crc32(name.encode()) ^ (seed * 2654435761)) & 0xFFFFFFFF)
    noise = rng.standard_normal(shape).astype(np.float32)
    if name.endswith("running_mean"):
        return np.float32(0.1) * noise
    if name.endswith("running_var"):
        return np.float32(1.0) + np.float32(0.1) * np.abs(noise)
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) >= 2:
        return noise * np.float32(gain * np.sqrt(2.0 / int(np.prod(shape[1:]))))
    if name.endswith("bias"):
        return np.float32(0.02) * noise
    return np.float32(0.25) + np.float32(0.05) * noise


def make_state(shapes: dict[str, list[int]], seed: int = 0, gain: float = 1.0) -> dict[str, np.ndarray]:
    """A whole state dict: name to float32 array."""
    return {name: make_array(name, tuple(shape), seed, gain) for name, shape in shapes.items()}


def relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |a - b| over max |b|."""
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def check_gradients(case: Case, gradients: dict, tolerance: float) -> None:
    """Compares those that are stored: whole, or their first entries and their length."""
    ours = vfi_jax.to_torch(case.model, gradients)
    for name in case.fields["gradients"]:
        if f"grad/{name}" in case.arrays:
            assert relative(ours[name], case.arrays[f"grad/{name}"]) < tolerance, name
            continue
        head = case.arrays[f"grad_head/{name}"]
        assert np.abs(ours[name].ravel()[: len(head)] - head).max() < tolerance * np.abs(ours[name]).max(), name
        length = float(np.linalg.norm(ours[name]))
        assert length == pytest.approx(float(case.arrays[f"grad_stats/{name}"][1]), rel=tolerance), name


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """max |a - b|."""
    return float(np.abs(np.asarray(ours) - theirs).max())
