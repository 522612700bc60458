"""Optical flow between two frames of any size: the flow networks of MODELS, OpenCV's DIS, and files of flow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np
from jaxtyping import Float, UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.interpolator import as_float, not_finite, stack_frames
from vfi_jax.models import registry
from vfi_jax.models.classical import SMALLEST, dis_of_gray
from vfi_jax.nn import precision as precisions
from vfi_jax.ops import crop, pad
from vfi_jax.ops.channels import order_of
from vfi_jax.system.files import written_whole
from vfi_jax.types import Array
from vfi_jax.viz.flow import flow_to_color
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights.load import load

DIS = "dis"  # OpenCV's method, beside the names of flow networks
ENDINGS = (".png", ".flo")
FLO_TAG = np.float32(202021.25)  # Middlebury's .flo files begin with it

Estimate = Callable[[np.ndarray, np.ndarray], np.ndarray]  # two frames [h, w, 3] to the flow [h, w, 2]


class FlowEstimator:
    """Flow by a network: RGB frames of any size in, pixels out.

    Pads as the published scripts do; compiles one program per padded shape.
    """

    def __init__(
        self,
        model: Any,
        variables: Mapping[str, Any] | None = None,
        *,
        precision: str | None = precisions.DEFAULT,
    ) -> None:
        """Takes a flow network.

        Args:
          model: the module; or a name in MODELS, whose weights are then those installed.
          variables: of the module.
          precision: a name in `vfi_jax.nn.precision`; None keeps the model's dtype and leaves products to the backend.

        Raises:
          UserError: no weights.
          UsageError: no such model or precision, a model that is no flow network, or a module without variables.
        """
        if isinstance(model, str):
            registry.check_kind(model, "flow")
            model, variables = load(model)
        if variables is None:
            raise UsageError("a model needs its variables: FlowEstimator(model, variables)")
        registry.check_kind(model.variant, "flow")
        self._precision = precisions.named(precision) if precision else precisions.AS_IS
        self.model = model if self._precision.dtype is None else model.clone(dtype=self._precision.dtype)
        self.spec = registry.spec_of(model.variant)
        self.variables = jax.device_put(variables)

    def __call__(self, first: Any, second: Any) -> Float[np.ndarray, "*b h w 2"]:
        """Returns the flow from `first` to `second` on the grid of `first`, float32, (x, y) in pixels.

        Args:
          first: `[h, w, 3]` or `[b, h, w, 3]`, RGB; uint8, uint16, or float in 0..1.
          second: the same.

        Raises:
          UserError: sizes, dtypes or values of the frames are wrong, or the sides too small for the network.
          NotFiniteError: the flow holds NaN or infinity.
        """
        both = stack_frames((first, second), 2, 3)
        height, width = both.shape[-3:-1]
        batch = both[None] if both.ndim == 4 else both
        with self._precision.scope():
            flow = np.asarray(pair_flow(self.model, self.variables, as_float(pad(batch, self.spec.padding))))
        if not np.isfinite(flow).all():
            raise not_finite(self.model.variant)
        flow = np.asarray(crop(flow, height, width, self.spec.padding))
        return flow[0] if both.ndim == 4 else flow


@functools.partial(jax.jit, static_argnums=0)
def pair_flow(model: Any, variables: Mapping[str, Any], frames: Float[Array, "b 2 h w 3"]) -> Float[Array, "b h w 2"]:
    """Returns a flow network's flow between RGB frames in 0..1 with legal sides, jitted."""
    return model.apply(variables, frames[..., order_of(model)]).flow


def dis_flow(first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 2"]:
    """Returns the flow by OpenCV's DIS at its medium preset, on gray frames, in pixels.

    T. Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016.

    Raises:
      UserError: the sides are too small for it.
    """
    height, width = first.shape[:2]
    if min(height, width) < SMALLEST:
        raise UserError(f"frames of {width}x{height} are too small for DIS: {SMALLEST} pixels per side are needed")
    grays = [cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return dis_of_gray(*grays)


def estimator(name: str, weights: Path | None = None) -> Estimate:
    """Returns a flow method by its name.

    Args:
      name: "dis", or a flow network in MODELS.
      weights: of the network; None: those installed.

    Raises:
      UserError: no weights.
      UsageError: no such flow network, or weights for DIS.
    """
    if name != DIS:
        registry.check_kind(name, "flow")
        return FlowEstimator(*load(name, weights))
    if weights:
        raise UsageError(f"dis has no weights: leave {weights} out")
    return dis_flow


def check_target(path: Path) -> None:
    """Raises what `write_flow` would raise, before anything is computed."""
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path}: a flow is written as {' or '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")


def write_flow(path: Path, flow: Float[np.ndarray, "h w 2"]) -> None:
    """Writes a flow as a picture (`.png`, the standard color wheel) or in Middlebury's format (`.flo`).

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
        partial.write_bytes(
            FLO_TAG.tobytes() + np.array([width, height], np.int32).tobytes() + flow.astype("<f4").tobytes()
        )
