"""LPIPS and FloLPIPS as additional metrics, with weights that users bring."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Shaped

from vfi_jax.errors import UserError
from vfi_jax.evaluation.extra_metrics import ExtraMetric
from vfi_jax.inference.flow import FlowEstimator
from vfi_jax.metrics.lpips import NETS, flow_weighted_lpips, lpips
from vfi_jax.torch_io.values import to_float32
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import load

RAFT_FILE = "raft-things.pth"
Frames = Shaped[np.ndarray, "b h w 3"]


def read_params(folder: Path, name: str) -> dict[str, np.ndarray] | None:
    """Reads the weights of a network from torchvision's and LPIPS's files in a folder.

    Args:
      folder: holds `alexnet-*.pth` and `alex.pth`, or `vgg16-*.pth` and `vgg.pth`.
      name: in NETS.

    Returns:
      Parameters by name; None where a file is missing.

    Raises:
      UserError: no such folder; files that hold something else.
    """
    net = NETS[name]
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it should hold {net.backbone}-*.pth and {net.linear}")
    backbones, linear = sorted(folder.glob(f"{net.backbone}*.pth")), folder / net.linear
    if not backbones or not linear.exists():
        return None
    state = {**weight_files.read_weights(backbones[0])[0], **weight_files.read_weights(linear)[0]}
    wanted = [f"features.{index}.{kind}" for index, _, _ in net.layers for kind in ("weight", "bias")]
    wanted += [f"lin{index}.model.1.weight" for index in range(len(net.tapped))]
    if missing := [each for each in wanted if each not in state]:
        raise UserError(f"{backbones[0]} and {linear} are not those of LPIPS: {missing[0]} is missing")
    return {each: to_float32(f"{folder}: {each}", state[each]) for each in wanted}


def metrics(folder: Path) -> list[ExtraMetric]:
    """The metrics whose weights are in a folder: `lpips_alex`, `lpips_vgg`, and with RAFT's weights `flolpips_raft`.

    Raises:
      UserError: no weights in the folder, or files that hold something else.
    """
    states = {name: state for name in NETS if (state := read_params(folder, name)) is not None}
    if not states:
        known = " or ".join(f"{net.backbone}-*.pth and {net.linear}" for net in NETS.values())
        raise UserError(f"{folder} holds no weights of LPIPS: {known}")
    available = [_plain(name, state) for name, state in states.items()]
    if "alex" in states and (folder / RAFT_FILE).exists():
        available.append(_flow_weighted(states["alex"], folder / RAFT_FILE))
    return available


def _plain(name: str, state: Mapping[str, np.ndarray]) -> ExtraMetric:
    column, params = f"lpips_{name}", jax.device_put(dict(state))

    def compute(frame: Frames, truth: Frames, first: Frames) -> dict[str, np.ndarray]:
        return {column: np.asarray(lpips(name, params, frame, truth))}

    return ExtraMetric(column, compute, weight_files.fingerprint(state))


def _flow_weighted(state: Mapping[str, np.ndarray], raft_file: Path) -> ExtraMetric:
    column, params = "flolpips_raft", jax.device_put(dict(state))
    model, variables = load.load("raft", raft_file)
    estimate = FlowEstimator(model, variables)

    def compute(frame: Frames, truth: Frames, first: Frames) -> dict[str, np.ndarray]:
        first, right, predicted = (np.float32(images) / np.float32(255) for images in (first, truth, frame))
        flow = estimate(first, right) - estimate(first, predicted)
        return {column: np.asarray(flow_weighted_lpips("alex", params, frame, truth, flow))}

    identity = f"{weight_files.fingerprint(state)} {weight_files.fingerprint(variables)}"
    return ExtraMetric(column, compute, identity)
