"""Writing flow labels: runs a flow method over a set, on all devices; `data.labels` reads the files.

If JAX runs in several processes, each of them writes its share of the files.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Float16, UInt8
from safetensors.numpy import save

from vfi_jax.config import Window
from vfi_jax.data.labels import ABOUT, METADATA_KEY, PER_FILE, file_of, folder_of, read_about
from vfi_jax.data.sources import SYNTHETIC, Source, is_plugin, open_source
from vfi_jax.data.windows import frame_selections, target_times
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import MIDPOINT, as_float, intermediate_flows
from vfi_jax.inference.flow import dis_flow, pair_flow
from vfi_jax.inference.interpolator import not_finite
from vfi_jax.models import registry
from vfi_jax.models.registry import TRACED_SIDE
from vfi_jax.ops import crop, pad
from vfi_jax.system import distributed, lock, progress, sharding, strict_json
from vfi_jax.system.files import remove_partials, written_whole
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
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {error.strerror}") from None
    with lock.held(folder):
        if distributed.is_main():
            remove_partials(folder, ABOUT, "*.safetensors")
        _begin(folder, about)
        _write(source, folder, about, method, window.frames)
        distributed.barrier("labels are written")
    return about


def _check(path: str, teacher: str, weights: Path | None, frames: int, step: int) -> None:
    if path.startswith(SYNTHETIC) or is_plugin(path):
        raise UsageError(f"{path} has no folder for labels: make records of it first (`vfi-jax prepare records`)")
    if frames < 0 or step < 1:
        raise UsageError(f"frames {frames} and step {step}: 0 or more, and 1 or more, are needed")
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


def _begin(folder: Path, about: dict[str, Any]) -> None:
    """Writes the description of a folder, or checks that labels in it have the same one."""
    existing = read_about(folder) if any(folder.glob("*.safetensors")) else None
    if existing is not None and existing != about:
        differing = next(name for name in about if existing[name] != about[name])
        raise UsageError(
            f"{folder} holds labels with other settings ({differing}: {existing[differing]}, now {about[differing]}): "
            "delete it first"
        )
    if distributed.is_main():
        with written_whole(folder / ABOUT) as partial:
            partial.write_text(strict_json.dumps(about))


def _write(source: Source, folder: Path, about: dict[str, Any], method: FlowMethod, length: int) -> None:
    """Writes this process's share of the files, except those that exist."""
    share = range(0, len(source), PER_FILE)[jax.process_index() :: jax.process_count()]
    missing = [start for start in share if not file_of(folder, start).exists()]
    spans = [range(start, min(start + PER_FILE, len(source))) for start in missing]
    metadata = {METADATA_KEY: strict_json.dumps(about)}
    with progress.bar(total=sum(map(len, spans)), unit="window", desc="flow") as bar:
        for span in spans:
            labels = {}
            for names, flows in _estimate((_read(source, i, length) for i in span), method):
                labels.update(zip(names, flows, strict=True))
                bar.update(len(names))
            with written_whole(file_of(folder, span.start)) as partial:
                partial.write_bytes(save(labels, metadata))


def _read(source: Source, index: int, length: int) -> dict[str, Any]:
    window = source[index]
    count = len(window["frames"])
    if count != length:
        raise UserError(f"{window['name']} has {count} frames, the first window {length}: --frames cuts longer ones")
    return window


def _estimate(
    windows: Iterable[dict[str, Any]], method: FlowMethod
) -> Iterator[tuple[list[str], Float16[np.ndarray, "b h w c"]]]:
    """Yields names and labels of windows, one batch of equal size at a time."""
    full = BATCH * jax.local_device_count()
    for _, alike in itertools.groupby(windows, key=lambda window: window["frames"].shape):
        while group := list(itertools.islice(alike, full)):
            # Filled up, so that every batch runs the same program and divides over the devices.
            frames = np.stack([window["frames"] for window in [*group, *[group[-1]] * (full - len(group))]])
            yield [window["name"] for window in group], method(frames)[: len(group)].astype(np.float16)


def _flow_method(name: str, weights: Path | None, window: Window) -> tuple[FlowMethod, str]:
    """Returns the teacher for a selection of frames, and the SHA-256 of its weights ("" for DIS)."""
    if name == DIS:
        return functools.partial(_pairwise, _dis_batch, _pairs(window)), ""
    model, variables = load(name, weights)
    sha256 = fingerprint(variables)
    mesh = sharding.data_mesh(jax.local_devices())
    variables = sharding.replicate(variables, mesh)
    spec = registry.spec_of(name)

    def run(function: Callable, frames: np.ndarray, *rest: Any) -> np.ndarray:
        padded = as_float(sharding.split(pad(frames, spec.padding), mesh))
        flow = np.asarray(function(model, variables, padded, *rest))
        if not np.isfinite(flow).all():
            raise not_finite(name)
        return crop(flow, *frames.shape[2:4], spec.padding)

    if spec.kind == "flow":
        return functools.partial(_pairwise, functools.partial(run, pair_flow), _pairs(window)), sha256
    if len(window.inputs) != 2:
        raise UsageError(f"{name} gives flows from a frame between two inputs: four inputs need dis or a flow network")
    inputs, target, _ = frame_selections(window)
    t = target_times(inputs, target).reshape(1, 1, 1, 1)
    if not model.any_time and t.item() != MIDPOINT:
        raise UsageError(f"{name}'s weights support t = 0.5 only: a target half-way between the inputs is needed")
    example = jax.ShapeDtypeStruct((1, 2, TRACED_SIDE, TRACED_SIDE, 3), np.float32)
    jax.eval_shape(functools.partial(intermediate_flows, model), variables, example, t)  # raises if it has no flow
    return lambda frames: run(intermediate_flows, frames[:, list(window.inputs)], t), sha256


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
