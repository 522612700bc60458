"""Two methods without training, to compare with: the average of the frames, and OpenCV's DIS flow.

Neither has parameters. Flows are in pixels; DIS runs on the host, whatever the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float, UInt8

from vfi_jax.errors import UsageError
from vfi_jax.models.spec import ModelSpec, NoLossConfig, Published, TorchRules
from vfi_jax.ops import splat_sum, time_map, warp
from vfi_jax.ops.gray import GRAY
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Array, LossAux, Output

SMALLEST = 16  # pixels; DIS's patches of 8 do not fit into less at its coarsest level


class Average(nn.Module):
    """`(1 - t) frame_0 + t frame_1`: what any interpolation has to beat.

    Attributes:
      dtype: unused; the sum is float32.
      variant: name in MODELS.
      channel_order: of the frames; any.
      any_time: always.
    """

    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns the frame."""
        t = time_map(t, frames)
        return Output((1 - t) * frames[:, 0] + t * frames[:, 1])


class DIS(nn.Module):
    """The mean of both frames, warped by OpenCV's DIS flow (T. Kroeger et al., ECCV 2016, preset medium).

    Flow is estimated in both directions, laid down where it passes at time t (the average of what falls on a pixel),
    and, where nothing falls, taken from the same pixel: `-(1-t) t F01 + t^2 F10` and `(1-t)^2 F01 - t (1-t) F10`.

    Attributes:
      dtype: unused; all is float32.
      variant: name in MODELS.
      channel_order: of the frames; the gray that DIS sees is made of them as of RGB.
      any_time: always.
    """

    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns frame and flows.

        Raises:
          UsageError: sides below 16 pixels.
        """
        if min(frames.shape[2:4]) < SMALLEST:
            raise UsageError(f"frames of {frames.shape[3]}x{frames.shape[2]} are too small for DIS: {SMALLEST} a side")
        t = time_map(t, frames)
        batch, _, height, width, _ = frames.shape
        found = jax.ShapeDtypeStruct((batch, height, width, 4), jnp.float32)
        gray = jnp.rint(255 * jnp.clip(frames, 0, 1) @ GRAY).astype(jnp.uint8)
        flow = _at(t, *jnp.split(jax.pure_callback(_both_ways, found, gray), 2, -1))
        warped = warp(jnp.concatenate([frames[:, 0], frames[:, 1]]), jnp.concatenate(jnp.split(flow, 2, -1)))
        return Output(sum(jnp.split(warped, 2)) / 2, flows=[flow])


def _at(t: Array, forward: Array, backward: Array) -> Array:
    """The flows t->0 and t->1 from those between the frames."""
    one = jnp.ones_like(t)
    fallen = splat_sum(jnp.concatenate([-t * forward, (1 - t) * forward, one], -1), t * forward)
    fallen += splat_sum(jnp.concatenate([t * backward, (t - 1) * backward, one], -1), (1 - t) * backward)
    weight = fallen[..., 4:]
    first = (t - 1) * t * forward + t**2 * backward
    second = (1 - t) ** 2 * forward - t * (1 - t) * backward
    return jnp.where(weight == 0, jnp.concatenate([first, second], -1), fallen[..., :4] / jnp.where(weight, weight, 1))


def _both_ways(gray: Array) -> np.ndarray:
    """Flow 0->1 and 1->0 of gray frames `[b, 2, h, w]` uint8."""
    pairs = np.asarray(gray)
    return np.stack([np.concatenate([dis_of_gray(*pair), dis_of_gray(*pair[::-1])], -1) for pair in pairs])


def dis_of_gray(first: UInt8[np.ndarray, "h w"], second: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 2"]:
    """OpenCV's DIS flow from `first` to `second`, sides of 16 pixels or more."""
    import cv2  # the package imports without it

    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return dis.calc(np.ascontiguousarray(first), np.ascontiguousarray(second), None)


def loss(
    model: Any,
    variables: Mapping[str, Any],
    batch: Mapping[str, Array],
    config: NoLossConfig,
    *,
    step: ArrayLike,
    rng: Array | None,
) -> tuple[Array, LossAux]:
    """Raises UsageError: there is nothing to train."""
    raise UsageError(f"{model.variant} has no parameters: there is nothing to train")


def _spec(module: type, score: str) -> ModelSpec:
    return ModelSpec(
        kind="interpolation",
        module=module,
        config={},
        num_frames=2,
        any_time=True,
        padding=Padding(1),
        params=0,
        params_inference=0,
        gmac=0.0,
        loss=loss,
        torch_rules=TorchRules(),
        published=Published(score, "-", "rgb"),
        status="no training",
    )


SPECS = {"average": _spec(Average, "-"), "dis": _spec(DIS, "-")}
