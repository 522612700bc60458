"""Initial weights of `rife_lap_s`: `python results/narrow.py FRAMES.safetensors -o narrow.safetensors`.

FRAMES is a file of `vfi-jax prepare pack`. RIFE's blocks are narrowed one by one: the channels that explain most of the
others on real frames stay, and every layer that reads the others gets their part from those, by least squares. The last
block, which works at full resolution, is dropped; the others work on frames of half the size.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vfi_jax.data import packed
from vfi_jax.models import registry
from vfi_jax.models.rife_v4 import SLOPE
from vfi_jax.types import Array
from vfi_jax.weights import load, save

SOURCE, TARGET = "rife_lap", "rife_lap_s"
WINDOWS, SIDE, BATCH = 96, 256, 8  # of the real frames
SAMPLES = 60_000  # positions per layer
RIDGE = 1e-3  # relative to the mean variance

Layer = Mapping[str, np.ndarray]
Block = Mapping[str, Any]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("frames", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    small, fresh = registry.create(TARGET)
    _, variables = load.load(SOURCE)
    params = {name: jax.tree.map(np.asarray, variables["params"][name]) for name in fresh["params"] if name != "refine"}
    wide = registry.build(SOURCE, **_fields(small, params))
    seen = _activations(wide, params, _pairs(options.frames))
    narrow = {f"block{i}": _narrowed(params[f"block{i}"], seen[f"block{i}"], w) for i, w in enumerate(small.widths)}
    save.save(options.output, small, {"params": {**fresh["params"], "encode": params["encode"], **narrow}})


def _fields(small: nn.Module, params: Mapping[str, Block]) -> dict[str, Any]:
    """Returns the fields of the network before narrowing: those of the small one, with the widths of the parameters."""
    widths = tuple(len(params[f"block{i}"]["conv0_1"]["bias"]) for i in range(len(small.widths)))
    return {"widths": widths, "level_scales": small.level_scales, "reduction": small.reduction, "refinement": None}


def _pairs(path: Path) -> Array:
    frames, _ = packed.read(path)
    chosen = np.random.default_rng(0).choice(len(frames), WINDOWS, replace=False)
    return frames[chosen][:, [0, -1], :SIDE, :SIDE].astype(np.float32) / 255


def _activations(model: nn.Module, params: Mapping[str, Any], frames: Array) -> dict[str, dict[str, np.ndarray]]:
    """Returns the input of the next layer by block and layer, `[positions, channels]`."""

    @jax.jit
    def run(frames: Array) -> Any:
        kept = {"capture_intermediates": True, "mutable": ["intermediates"]}
        return model.apply({"params": params}, frames, 0.5, **kept)[1]["intermediates"]

    parts = [jax.tree.map(np.asarray, run(frames[i : i + BATCH])) for i in range(0, len(frames), BATCH)]

    def read(block: str, layer: str) -> np.ndarray:
        values = np.concatenate([part[block][layer]["__call__"][0] for part in parts])
        values = values.reshape(-1, values.shape[-1])[:SAMPLES].astype(np.float64)
        return np.where(values > 0, values, SLOPE * values) if layer.startswith("conv0") else values

    names = [name for name in params if name.startswith("block")]
    return {block: {layer: read(block, layer) for layer in params[block] if layer != "lastconv"} for block in names}


def _narrowed(block: Block, seen: Mapping[str, np.ndarray], width: int) -> dict[str, Any]:
    """Returns the block with `width` channels. All its residual convolutions add to the same channels."""
    residual = sorted(layer for layer in block if layer.startswith("convblock"))
    states = [seen["conv0_1"], *(seen[layer] for layer in residual)]
    kernels = [block[layer]["conv"]["weight"] * block[layer]["beta"] for layer in residual]
    kept = np.arange(states[0].shape[1])
    for _ in range(3):  # the kernels depend on the channels that are kept
        read = [*(kernel[..., kept] for kernel in kernels), block["lastconv"]["weight"]]
        kept = _chosen(states, read, width)
    inner = _chosen([seen["conv0_0"]], [block["conv0_1"]["weight"][..., kept]], width // 2)
    narrow = {
        "conv0_0": {name: array[..., inner] for name, array in block["conv0_0"].items()},
        "conv0_1": _folded(block["conv0_1"], seen["conv0_0"], inner, kept),
        "lastconv": _folded(block["lastconv"], states[-1], kept, slice(None), phases=4),
    }
    for layer, state in zip(residual, states, strict=False):
        conv = _folded(block[layer]["conv"], state, kept, kept)
        narrow[layer] = {"conv": conv, "beta": block[layer]["beta"][kept]}
    return narrow


def _chosen(states: Sequence[np.ndarray], kernels: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Selects channels greedily: each explains most of the remaining variance, weighted by the kernels that read it."""
    left = 0.0
    for state, kernel in zip(states, kernels, strict=True):
        weight = np.sqrt((kernel**2).sum((0, 1, 3)))
        left = left + np.cov(state, rowvar=False) * np.outer(weight, weight)
    floor, chosen = 1e-6 * np.trace(left) / len(left), []
    for _ in range(count):
        gain = (left**2).sum(0) / (np.diag(left) + floor)
        gain[chosen] = -1
        best = int(gain.argmax())
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + floor)
        chosen.append(best)
    return np.sort(chosen)


def _folded(layer: Layer, state: np.ndarray, kept: np.ndarray, out: Any, phases: int = 1) -> dict[str, np.ndarray]:
    """Returns the layer that reads only the kept channels of `state`, and writes the channels `out`.

    Each of the `phases` of a transposed convolution has a part of the kernel; they share a bias.
    """
    mean = state.mean(0)
    centered = state[:, kept] - mean[kept]
    gram = centered.T @ centered
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    share = np.linalg.solve(gram, centered.T @ (state - mean))  # [kept, all]
    share[:, kept] = np.eye(len(kept))
    weight = np.einsum("hwio,ki->hwko", layer["weight"], share)
    shift = np.einsum("hwio,i->o", layer["weight"], mean - mean[kept] @ share) / phases
    return {"weight": weight[..., out].astype(np.float32), "bias": (layer["bias"] + shift)[out].astype(np.float32)}


if __name__ == "__main__":
    main()
