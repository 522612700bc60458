"""Conventions, and the types that every other file shares.

Frames: float32 in 0..1, `[b, n, h, w, 3]`, in time order; n = 2 (times 0 and 1), or 4 (times -1, 0, 1, 2) where a
  model says so. uint8 at the edges (files, data, `Interpolator`), divided by 255 on the device.
Time: `[b, 1, 1, 1]`, or a map `[b, h, w, 1]`; 0 < t < 1. Inside jit t is not checked.
Flow: pixels of its own resolution, (x, y), backward: `warp(image, flow)[y, x] = image[y + flow_y, x + flow_x]`;
  channels 0:2 lead from t to frame 0, channels 2:4 from t to frame 1.
Lists of levels run from coarse to fine; the last entry is the final one.
Channel order (RGB or BGR) belongs to weights: it is the model's field `channel_order`, and the edge reorders.
Coordinates, flows, grids and losses are float32 whatever the compute dtype.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import numpy as np
from jax.typing import ArrayLike

Array = jax.Array | np.ndarray
Params = Any  # nested dict of arrays
Variables = Mapping[str, Any]  # collection ("params", "frozen", "batch_stats") to a nested dict of arrays
Batch = Mapping[str, Array]

# Between which of four frames, at times -1, 0, 1, 2, the eight channels of `flows` lead: from, to.
FOUR_FRAME_FLOWS = ((1, 0), (1, 2), (2, 3), (2, 1))


@flax.struct.dataclass
class Output:
    """What a model returns; a field that a model does not have is None. `jit` drops what the caller does not use.

    Attributes:
      frame: `[b, h, w, 3]`, the frame at time t.
      flows: one `[b, h_l, w_l, 4]` a level, coarse to fine: t to frame 0, then t to frame 1. DBVI: forward,
        frame 0 to t and frame 1 to t on their own grids, one a step, on the padded size.
      mask: `[b, h, w, 1]`, weight of frame 0 in 0..1.
      residual: `[b, h, w, 3]`, added to `merged`.
      merged: `[b, h, w, 3]`, the two warped frames blended by `mask`, before the residual.
      iterates: one `[b, h, w, 3]` a step of refinement; the last is `frame`.
    """

    frame: Array
    flows: list[Array] | None = None
    mask: Array | None = None
    residual: Array | None = None
    merged: Array | None = None
    iterates: list[Array] | None = None


@flax.struct.dataclass
class FlowOutput:
    """What a flow network returns: flow from frame 0 to frame 1 on the grid of frame 0, (x, y).

    Attributes:
      flow: `[b, h, w, 2]`, pixels.
      flow_low: `[b, h / 8, w / 8, 2]`, pixels of its own size.
      iterates: `[b, h, w, 2]` after each iteration; the last is `flow`.
    """

    flow: Array
    flow_low: Array
    iterates: list[Array]


@flax.struct.dataclass
class LossAux:
    """What a loss returns beside its total.

    Attributes:
      terms: name to scalar, already weighted: they add up to the total.
      frame: `[b, h, w, 3]`, the predicted frame; None from a flow network.
    """

    terms: dict[str, Array]
    frame: Array | None


MIDPOINT = 0.5


@runtime_checkable
class Model(Protocol):
    """What `Interpolator` and the wrappers need: any Linen module of MODELS, or a wrapper around one."""

    variant: str
    channel_order: str
    any_time: bool

    def apply(self, variables: Mapping[str, Any], frames: Array, t: ArrayLike) -> Output:
        """The frame at t, with what else the model knows."""
