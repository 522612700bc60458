"""Writing flow labels: runs a flow method over a set, on all devices; `data.labels` reads the files.

If JAX runs in several processes, each of them writes its share of the files.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Float16, UInt8

from vfi_jax.config import Window
from vfi_jax.data.labels import METADATA_KEY, PER_FILE, folder_of
from vfi_jax.data.sources import open_source
from vfi_jax.data.windows import frame_selections, target_times
from vfi_jax.errors import UsageError
from vfi_jax.inference import MIDPOINT, as_float, intermediate_flows
from vfi_jax.inference.flow import dis_flow, pair_flow
from vfi_jax.inference.interpolator import not_finite
from vfi_jax.models import registry
from vfi_jax.models.registry import TRACED_SIDE
from vfi_jax.ops import crop, pad
from vfi_jax.prepare import label_files
from vfi_jax.system import sharding, strict_json
from vfi_jax.types import FOUR_FRAME_FLOWS
from vfi_jax.weights.files import fingerprint
from vfi_jax.weights.load import load

DIS = "dis"
BATCH = 4  # windows per batch and device

# Windows [b, n, h, w, 3] -> flow [b, h, w, 4 or 8], pixels
FlowMethod = Callable[[np.ndarray], np.ndarray]


def write_flow_labels(
    path: str,
    teacher: str,
    *,
    weights: Path | None,
    inputs: Sequence[int],
    target: int,
    frames: int = 0,
    step: int = 1,
    listed: str = "train",
) -> dict[str, Any]:
    """Writes the labels of a set beside it; after an interruption the same call continues.

    Args:
      path: folder of the set, as `data.sources.open_source` takes it.
      teacher: "dis", or a name in MODELS: a flow network, or a two-frame model that estimates flow.
      weights: of the teacher; None: those shipped or installed.
      inputs: indices of two or four frames of a window; empty: the first and the last.
      target: index of the frame between; -1: the middle one.
      frames: length of the windows that are cut out of folders with more images; 0: a folder is a window.
      step: images from the start of such a window to that of the next.
      listed: which of Vimeo90K's lists: "train" or "test".

    Returns:
      The content of `labels.json`.

    Raises:
      UsageError: the teacher is unknown, it or the windows cannot serve this selection of frames, or the folder holds
        labels with other settings.
      UserError: the weights are missing, the set is damaged, its frames are too small for the teacher, or the folder
        cannot be written.
    """
    _check(path, teacher, weights, frames, step)
    source = open_source(path, frames, step=step, listed=listed)
    window = _window(len(source[0]["frames"]), inputs, target)
    method, sha256 = _flow_method(teacher, weights, window)
    about = {
        "teacher": teacher,
        "weights": sha256,
        "inputs": list(window.inputs),
        "target": window.target,
        "windows": len(source),
    }
    folder = folder_of(path, teacher, listed)
    with label_files.opened(folder, about):
        label_files.write_files(
            source,
            folder,
            functools.partial(_estimate, method=method),
            metadata={METADATA_KEY: strict_json.dumps(about)},
            length=window.frames,
            per_file=PER_FILE,
            unit="flow",
        )
    return about


def _check(path: str, teacher: str, weights: Path | None, frames: int, step: int) -> None:
    label_files.check_set(path, frames, step)
    if teacher == DIS:
        if weights:
            raise UsageError(f"dis has no weights: leave {weights} out")
        return
    spec = registry.spec_of(teacher)
    if spec.kind == "interpolation" and spec.num_frames != 2:
        raise UsageError(f"{teacher} cannot teach: dis, a flow network, or a model of two frames is needed")


def _window(frames: int, inputs: Sequence[int], target: int) -> Window:
    """Fills in the defaults of the selection of frames and checks it."""
    window = Window(frames, tuple(inputs) or (0, frames - 1), frames // 2 if target < 0 else target)
    frame_selections(window)
    return window


def _estimate(
    windows: Iterable[dict[str, Any]], method: FlowMethod
) -> Iterator[tuple[str, Float16[np.ndarray, "h w c"]]]:
    """Yields name and label of each window, computed in batches of equal size."""
    full = BATCH * jax.local_device_count()
    for _, alike in itertools.groupby(windows, key=lambda window: window["frames"].shape):
        while group := list(itertools.islice(alike, full)):
            # Filled up, so that every batch runs the same program and divides over the devices.
            frames = np.stack([window["frames"] for window in [*group, *[group[-1]] * (full - len(group))]])
            flows = method(frames)[: len(group)].astype(np.float16)
            yield from zip([window["name"] for window in group], flows, strict=True)


def pairwise_method(name: str, weights: Path | None, **fields: Any) -> tuple[FlowMethod, str]:
    """Returns DIS or a flow network as a function of pairs, and the SHA-256 of its weights ("" for DIS).

    The function takes uint8 `[b, 2, h, w, 3]` and gives `[b, h, w, 2]`, the flow from the first frame to the second.

    Args:
      name: "dis", or a flow network in MODELS.
      weights: of the network; None: those installed.
      **fields: of the network.
    """
    if name == DIS:
        return _dis_batch, ""
    network = open_network(name, weights, **fields)
    return functools.partial(network.run, pair_flow), network.sha256


@dataclasses.dataclass(frozen=True)
class PreparingNetwork:
    """A network on all devices of this process.

    Attributes:
      model: its module.
      variables: on all devices.
      sha256: of its weights.
      mesh: of the devices.
    """

    model: Any
    variables: Any
    sha256: str
    mesh: Mesh

    def run(self, function: Callable, frames: np.ndarray, *rest: Any) -> np.ndarray:
        """Returns `function(model, variables, frames, *rest)`, padded before and cropped after."""
        padding = registry.spec_of(self.model.variant).padding
        padded = as_float(sharding.split(pad(frames, padding), self.mesh))
        flow = np.asarray(function(self.model, self.variables, padded, *rest))
        if not np.isfinite(flow).all():
            raise not_finite(self.model.variant)
        return crop(flow, *frames.shape[2:4], padding)


def open_network(name: str, weights: Path | None, **fields: Any) -> PreparingNetwork:
    """Loads a model onto all devices of this process.

    Args:
      name: in MODELS.
      weights: None: those shipped or installed.
      **fields: of the network.
    """
    model, variables = load(name, weights, **fields)
    mesh = sharding.data_mesh(jax.local_devices())
    return PreparingNetwork(model, sharding.replicate(variables, mesh), fingerprint(variables), mesh)


def _flow_method(name: str, weights: Path | None, window: Window) -> tuple[FlowMethod, str]:
    """Returns the teacher for a selection of frames, and the SHA-256 of its weights ("" for DIS)."""
    if name == DIS or registry.spec_of(name).kind == "flow":
        method, sha256 = pairwise_method(name, weights)
        return functools.partial(_pairwise, method, _pairs(window)), sha256
    network = open_network(name, weights)
    model = network.model
    if len(window.inputs) != 2:
        raise UsageError(f"{name} gives flows from a frame between two inputs: four inputs need dis or a flow network")
    inputs, target, _ = frame_selections(window)
    t = target_times(inputs, target).reshape(1, 1, 1, 1)
    if not model.any_time and t.item() != MIDPOINT:
        raise UsageError(f"{name}'s weights support t = 0.5 only: a target half-way between the inputs is needed")
    example = jax.ShapeDtypeStruct((1, 2, TRACED_SIDE, TRACED_SIDE, 3), np.float32)
    jax.eval_shape(functools.partial(intermediate_flows, model), network.variables, example, t)  # raises without flow
    return lambda frames: network.run(intermediate_flows, frames[:, list(window.inputs)], t), network.sha256


def _pairs(window: Window) -> tuple[tuple[int, int], ...]:
    """Returns the pairs of frames between which flow is estimated: indices of the first and the second."""
    if len(window.inputs) == 2:
        return tuple((window.target, index) for index in window.inputs)
    return tuple((window.inputs[a], window.inputs[b]) for a, b in FOUR_FRAME_FLOWS)


def _pairwise(
    method: Callable[[np.ndarray], np.ndarray], pairs: Sequence[tuple[int, int]], frames: UInt8[np.ndarray, "b n h w 3"]
) -> Float[np.ndarray, "b h w _"]:
    return np.concatenate([method(frames[:, list(pair)]) for pair in pairs], -1)


def _dis_batch(pairs: UInt8[np.ndarray, "b 2 h w 3"]) -> Float[np.ndarray, "b h w 2"]:
    return np.stack([dis_flow(*pair) for pair in pairs])
