"""One forward pass on a moving texture: whether weights give frames and flows at all."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Float

from vfi_jax import metrics
from vfi_jax.errors import UserError
from vfi_jax.models.registry import spec_of
from vfi_jax.ops import crop, pad
from vfi_jax.ops.channels import order_of
from vfi_jax.types import MIDPOINT, Array

SIDE = 128  # of the frames, pixels
MOTION = np.float64([6.0, -4.0])  # pixels (x, y) from frame 0 to frame 1
WAVES = 24
FRAME_LIMITS = (-1.0, 2.0)  # of frames in 0..1, unclipped
FLOW_LIMITS = (-4.0 * SIDE, 4.0 * SIDE)  # pixels


def moving_texture(times: Sequence[float]) -> Float[np.ndarray, "n h w 3"]:
    """Returns a sum of waves that moves by `MOTION` per unit of time, exact at every time; float32 in 0..1."""
    random = np.random.default_rng(0)
    angles, lengths = random.uniform(0, 2 * np.pi, WAVES), np.geomspace(8, 96, WAVES)
    waves = 2 * np.pi / lengths * np.stack([np.cos(angles), np.sin(angles)])  # radians per pixel, [2, waves]
    phases, heights = random.uniform(0, 2 * np.pi, (3, WAVES)), lengths**0.25
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1) @ waves
    frames = [np.cos((places - t * MOTION @ waves)[..., None, :] + phases) @ heights for t in times]
    deviation = np.linalg.norm(heights) / np.sqrt(2)
    return np.float32(0.5 + 0.1 * np.stack(frames) / deviation)


def check(model: nn.Module, variables: Mapping[str, Any]) -> str:
    """Runs a model once and describes the result in a line.

    Args:
      model: an interpolation model or a flow network.
      variables: its variables, the flow network's included.

    Raises:
      UserError: the result is not finite, or beyond what frames or flows can be.
    """
    times = (-1, 0, 1, 2) if spec_of(model.variant).num_frames == 4 else (0, 1)
    frames = moving_texture(times)
    describe = _describe_flow if spec_of(model.variant).kind == "flow" else _describe_frame
    return f"check on a moving texture of {SIDE}x{SIDE}: {describe(model, variables, frames, times.index(0))}"


def _padded(model: nn.Module, frames: np.ndarray) -> np.ndarray:
    """The frames as the model takes them: a batch of one, padded, in the weights' channel order."""
    padded = pad(frames[None], spec_of(model.variant).padding, getattr(model, "scale", 1.0))
    return padded[..., order_of(model)]


def _cropped(model: nn.Module, array: Any) -> np.ndarray:
    padding, scale = spec_of(model.variant).padding, getattr(model, "scale", 1.0)
    return crop(np.asarray(array, np.float32), SIDE, SIDE, padding, scale)[0]


def _describe_flow(model: nn.Module, variables: Mapping[str, Any], frames: np.ndarray, first: int) -> str:
    del first
    flow = _cropped(model, _apply(model, variables, _padded(model, frames), ()).flow)
    _check_limits(model.variant, "flows", flow, FLOW_LIMITS)
    longest, error = np.linalg.norm(flow, axis=-1).max(), np.linalg.norm(flow - MOTION, axis=-1).mean()
    return f"flow up to {longest:.1f} px, mean error {error:.2f} px (it moves {np.hypot(*MOTION):.1f} px)"


def _describe_frame(model: nn.Module, variables: Mapping[str, Any], frames: np.ndarray, first: int) -> str:
    out = _apply(model, variables, _padded(model, frames), (MIDPOINT,))
    frame = _cropped(model, out.frame)[..., order_of(model)]
    _check_limits(model.variant, "frames", frame, FRAME_LIMITS)
    for flow in (out.flows or out.forward_flows or [])[-1:]:
        _check_limits(model.variant, "flows", np.asarray(flow, np.float32), FLOW_LIMITS)
    truth, average = moving_texture((MIDPOINT,))[0], frames[first : first + 2].mean(0)
    score, baseline = (metrics.psnr(prediction, truth, 1.0) for prediction in (frame, average))
    values = f"frame {frame.min():.2f}..{frame.max():.2f}"
    return f"{values}, {score:.2f} dB against the true one, averaging {baseline:.2f} dB"


@functools.partial(jax.jit, static_argnums=(0, 3))
def _apply(model: nn.Module, variables: Mapping[str, Any], frames: Array, t: tuple[float, ...]) -> Any:
    return model.apply(variables, frames, *t)


def _check_limits(name: str, what: str, values: np.ndarray, limits: tuple[float, float]) -> None:
    if not np.isfinite(values).all():
        raise UserError(f"these weights of {name} give {what} that hold NaN or infinity: nothing was written")
    low, high = values.min(), values.max()
    if low < limits[0] or high > limits[1]:
        raise UserError(
            f"these weights of {name} give {what} of {low:.3g}..{high:.3g}, outside {limits[0]:g}..{limits[1]:g}: "
            "nothing was written"
        )
