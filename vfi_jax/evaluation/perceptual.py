"""LPIPS and FloLPIPS with the user's weights, as judges of an evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.inference.flow import FlowEstimator
from vfi_jax.metrics.lpips import NETS, _unit, flow_weighted_lpips, lpips
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import load

RAFT_FILE = "raft-things.pth"


def read(folder: Path, name: str) -> dict[str, np.ndarray] | None:
    """The weights of a net from torchvision's and LPIPS's own files in a folder; None where one is missing.

    Args:
      folder: with `alexnet-*.pth` and `alex.pth`, or `vgg16-*.pth` and `vgg.pth`.
      name: in NETS.

    Raises:
      UserError: no such folder; files that hold something else.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it is to hold {NETS[name].backbone}-*.pth and {NETS[name].linear}")
    net = NETS[name]
    backbones, linear = sorted(folder.glob(f"{net.backbone}*.pth")), folder / net.linear
    if not backbones or not linear.exists():
        return None
    state = {**weight_files.read_weights(backbones[0])[0], **weight_files.read_weights(linear)[0]}
    wanted = [f"features.{index}.{kind}" for index, _, _ in net.layers for kind in ("weight", "bias")]
    wanted += [f"lin{index}.model.1.weight" for index in range(len(net.tapped))]
    if missing := [each for each in wanted if each not in state]:
        raise UserError(f"{backbones[0]} and {linear} are not those of LPIPS: {missing[0]} is missing")
    return {each: np.asarray(state[each], np.float32) for each in wanted}


def judges(folder: Path) -> dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]]:
    """What can be told with the weights in a folder: `lpips_alex`, `lpips_vgg`, and `flolpips_raft` beside the first.

    Each takes frames, truths and the frames before them, `[b, h, w, 3]` on the scale 0..255.

    Raises:
      UserError: none can; files that hold something else.
    """
    params = {name: jax.device_put(state) for name in NETS if (state := read(folder, name)) is not None}
    if not params:
        known = " or ".join(f"{net.backbone}-*.pth and {net.linear}" for net in NETS.values())
        raise UserError(f"{folder} holds no weights of LPIPS: {known}")

    def plain(name: str) -> Callable[..., dict[str, np.ndarray]]:
        return lambda frame, truth, _: {f"lpips_{name}": np.asarray(lpips(name, params[name], frame, truth))}

    found = {f"lpips_{name}": plain(name) for name in params}
    if "alex" in params and (folder / RAFT_FILE).exists():
        estimate = FlowEstimator(*load.load("raft", folder / RAFT_FILE))

        def weighted(frame: np.ndarray, truth: np.ndarray, before: np.ndarray) -> dict[str, np.ndarray]:
            before, one, other = (_unit(images) for images in (before, truth, frame))
            flow = estimate(before, one) - estimate(before, other)
            return {"flolpips_raft": np.asarray(flow_weighted_lpips("alex", params["alex"], frame, truth, flow))}

        found["flolpips_raft"] = weighted
    return found
