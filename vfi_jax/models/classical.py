"""Two baselines without parameters: the average of the frames, and warping by OpenCV's DIS flow (`average`, `dis`).

Till Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016, as OpenCV implements it.

Architecture of `dis` (`b h w c`; flows in pixels of the full frame):
  1. DIS flow of the gray frames, 0 to 1 and 1 to 0, on the host whatever the device.
  2. Both flows are scaled to time t and splatted there: the average of all that falls on a pixel.
  3. Pixels on which nothing falls take the flow at the same place in the input frames.
  4. Both frames are warped to t and averaged.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from vfi_jax.errors import UsageError
from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, NoLossConfig, Published, TorchRules
from vfi_jax.ops import Padding, splat_sum, split_pair, stack_halves, stack_pair, time_map, warp
from vfi_jax.ops.gray import GRAY
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

SMALLEST = 16  # pixels; at the coarsest level of DIS its patches of 8 do not fit into less


class Average(Network):
    """`(1 - t) frame_0 + t frame_1` in float32: what any interpolation has to beat."""

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns the frame."""
        t = time_map(t, frames)
        return Output((1 - t) * frames[:, 0] + t * frames[:, 1])


class DIS(Network):
    """The mean of both frames, warped by DIS flow (preset medium), float32.

    Where nothing is splatted, the flows are `-(1-t) t F01 + t^2 F10` and `(1-t)^2 F01 - t (1-t) F10` of the same pixel.
    DIS sees the luma of RGB frames, whatever `channel_order`.
    """

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns frame and flows.

        Raises:
          UsageError: sides below 16 pixels.
        """
        if min(frames.shape[2:4]) < SMALLEST:
            raise UsageError(f"frames of {frames.shape[3]}x{frames.shape[2]} are too small for DIS: {SMALLEST} a side")
        t = time_map(t, frames)
        batch, _, height, width, _ = frames.shape
        shape = jax.ShapeDtypeStruct((batch, height, width, 4), jnp.float32)
        gray = jnp.rint(255 * jnp.clip(frames, 0, 1) @ GRAY).astype(jnp.uint8)
        flow = _at(t, *jnp.split(jax.pure_callback(_both_ways, shape, gray), 2, -1))
        warped = warp(stack_pair(frames), stack_halves(flow))
        return Output(sum(split_pair(warped)) / 2, flows=[flow])


def _at(t: Array, forward: Array, backward: Array) -> Array:
    """The flows t->0 and t->1 from those between the frames."""
    one = jnp.ones_like(t)
    splatted = splat_sum(jnp.concatenate([-t * forward, (1 - t) * forward, one], -1), t * forward)
    splatted += splat_sum(jnp.concatenate([t * backward, (t - 1) * backward, one], -1), (1 - t) * backward)
    weight = splatted[..., 4:]
    first = (t - 1) * t * forward + t**2 * backward
    second = (1 - t) ** 2 * forward - t * (1 - t) * backward
    return jnp.where(
        weight == 0, jnp.concatenate([first, second], -1), splatted[..., :4] / jnp.where(weight, weight, 1)
    )


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
    model: Any, variables: Variables, batch: Batch, config: NoLossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """Raises UsageError: there is nothing to train."""
    raise UsageError(f"{model.variant} has no parameters: there is nothing to train")


def _spec(module: type[Network]) -> ModelSpec:
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
        published=Published("-", "-", "rgb"),
        status="no training",
    )


SPECS = {"average": _spec(Average), "dis": _spec(DIS)}
