"""Optical flow between two frames of any size: the flow networks of MODELS, and OpenCV's DIS."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import Float, UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import as_float, order_of, stacked
from vfi_jax.models import registry
from vfi_jax.models.classical import SMALLEST, dis_of_gray
from vfi_jax.ops import crop, pad
from vfi_jax.system.files import written_whole
from vfi_jax.types import Array
from vfi_jax.viz.flow import flow_to_color
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights import load

ENDINGS = (".png", ".flo")
FLO_TAG = np.float32(202021.25)  # Middlebury's .flo files begin with it


class FlowEstimator:
    """Flow of a network, at the edge of the project; pads as the published scripts do, one compiled program a shape."""

    def __init__(self, model: Any, variables: Mapping[str, Any] | None = None) -> None:
        """Takes `(model, variables)`, or a name in MODELS (weights from the user's folder).

        Raises:
          UserError: no weights.
          UsageError: no such model, one that is no flow network, or a model without variables.
        """
        if isinstance(model, str):
            registry.check_kind(model, "flow")
            model, variables = load.load(model)
        if variables is None:
            raise UsageError("a model needs its variables: FlowEstimator(model, variables)")
        registry.check_kind(model.variant, "flow")
        self.model = model
        self.spec = registry.spec_of(model.variant)
        self.variables = jax.device_put(variables)

    def __call__(self, first: Any, second: Any) -> Float[np.ndarray, "*b h w 2"]:
        """The flow from `first` to `second` on the grid of `first`, float32, (x, y) in pixels.

        Args:
          first: `[h, w, 3]` or `[b, h, w, 3]`, RGB; uint8, uint16, or float in 0..1.
          second: the same.

        Raises:
          ValueError: sizes, dtypes or values of the frames; sides too small for the network.
        """
        both = stacked((first, second), 2)
        height, width = both.shape[-3:-1]
        batch = both[None] if both.ndim == 4 else both
        flow = np.asarray(pair_flow(self.model, self.variables, as_float(pad(batch, self.spec.padding))))
        flow = crop(flow, height, width, self.spec.padding)
        return flow[0] if both.ndim == 4 else flow


@functools.partial(jax.jit, static_argnums=0)
def pair_flow(model: Any, variables: Mapping[str, Any], frames: Float[Array, "b 2 h w 3"]) -> Float[Array, "b h w 2"]:
    """A flow network's flow of RGB frames in 0..1 with legal sides, jitted."""
    return model.apply(variables, frames[..., order_of(model)]).flow


def dis_flow(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """The same by OpenCV's DIS at its medium preset, on gray frames.

    T. Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016.

    Raises:
      UserError: sides too small for it.
    """
    height, width = first.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(f"frames of {width}x{height} are too small for DIS: {SMALLEST} pixels a side")
    grays = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return dis_of_gray(*grays)


def check_target(path: Path) -> None:
    """Raises what `write_flow` would, before anything is computed."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path}: a flow is written as {' or '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")


def write_flow(path: Path, flow: Float[np.ndarray, "h w 2"]) -> None:
    """Writes `.png` (a picture of it, the standard color wheel) or Middlebury's `.flo`.

    Raises:
      UsageError: another ending.
      UserError: it cannot be written.
    """
    check_target(path)
    if path.suffix == ".png":
        save_png(path, flow_to_color(flow))
        return
    height, width = flow.shape[:2]
    with written_whole(path) as partial:
        partial.write_bytes(FLO_TAG.tobytes() + np.int32([width, height]).tobytes() + flow.astype("<f4").tobytes())
