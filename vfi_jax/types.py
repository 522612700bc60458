"""Conventions of the package, and the types that every other module shares.

Frames: float32 in 0..1, `[b, n, h, w, 3]`, in the order of time. n is 2 (times 0 and 1), or 4 (times -1, 0, 1, 2) for
  models that say so. Files, the data pipeline and `Interpolator` also take uint8, which the device divides by 255.
Time: t in 0 < t < 1, a number, `[b]`, `[b, 1, 1, 1]`, or a map `[b, h, w, 1]`, see `ops.time_array`; a constant map
  equals the number. Inside `jit` only its shape is checked. A distance map (models `d_*`, `dr_*`) is such a map: of the
  way from its place in frame 0 to that in frame 1 the fraction that each pixel has covered, 0..1, on frame 0's grid.
Reference: models with `reference` among the `inputs` of their spec (`dr_*`) also take a frame between the inputs,
  `reference` `[b, h, w, 3]` in the model's channel order, and its time or map, `reference_t`; both or neither, which
  means frame 0 at 0. `inference.iterate_reference` gives them step by step, and `Interpolator` does so by default.
Flow: (x, y) in pixels of its own resolution. Backward flow lives on the grid of the frame at time t and says where to
  sample: `warp(image, flow)[y, x] = image[y + flow_y, x + flow_x]`. Forward flow lives on the grid of an input frame
  and says where its pixels go. Four channels hold two flows: 0:2 belong to frame 0, 2:4 to frame 1.
Lists of levels run from coarse to fine; the last entry is the final one.
Channel order: RGB or BGR is a property of the weights, and so the model's field `channel_order`. `apply` takes frames
  in that order; `Interpolator`, evaluation and training reorder RGB frames for it.
Precision: coordinates, flows, grids and losses are float32 whatever the compute dtype of the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import flax.struct
import jax
import numpy as np
from jax.typing import ArrayLike

# An array on a device or on the host.
Array = jax.Array | np.ndarray

# What is trained: nested dicts of float32 arrays, keyed by module and parameter.
Params = Any

# Collection to nested dict of arrays: "params"; "batch_stats" (running statistics, constants in training too); "frozen"
# (the variables of a frozen flow network, by its name).
Variables = Mapping[str, Any]

# One training batch by field: `frames` `[b, n, h, w, 3]`, `target` `[b, h, w, 3]` and `t` `[b, 1, 1, 1]`, or a distance
# map `[b, h, w, 1]`; where a model needs them, `flow` `[b, h, w, 4]` (backward, t to 0 and t to 1), `flows`
# `[b, h, w, 8]` (between the input frames, in the order of FOUR_FRAME_FLOWS), `teacher_frame` `[b, h, w, 3]`,
# `masks` `[b, h, w, 3]` (0 or 1),
# `reference` `[b, h, w, 3]` and `reference_t` (as `t`). Flow networks: `frames`, `flow` `[b, h, w, 2]`
# (forward, 0 to 1) and `valid` `[b, h, w]`.
Batch = Mapping[str, Array]

# The four flows of the field `flows`, each as (from, to): indices into four frames at times -1, 0, 1, 2.
FOUR_FRAME_FLOWS = ((1, 0), (1, 2), (2, 3), (2, 1))

MIDPOINT = 0.5


@flax.struct.dataclass
class Output:
    """The prediction of an interpolation model; fields that a model does not have are None.

    A model returns all that it knows. Under `jit`, XLA drops the computation of every field that the caller ignores.

    Attributes:
      frame: `[b, h, w, 3]`, the frame at time t.
      flows: backward flows, one `[b, h_l, w_l, 4]` per level, coarse to fine: t to frame 0, then t to frame 1.
      forward_flows: forward flows, one `[b, h_p, w_p, 4]` per step of refinement, on the padded size: frame 0 to t on
        the grid of frame 0, then frame 1 to t on the grid of frame 1.
      mask: `[b, h, w, 1]`, weight of frame 0, in 0..1.
      residual: `[b, h, w, 3]`, added to `merged`.
      merged: `[b, h, w, 3]`, the two warped frames blended by `mask`, before the residual.
      iterates: one `[b, h, w, 3]` per step of refinement; the last is `frame`.
    """

    frame: Array
    flows: list[Array] | None = None
    forward_flows: list[Array] | None = None
    mask: Array | None = None
    residual: Array | None = None
    merged: Array | None = None
    iterates: list[Array] | None = None


@flax.struct.dataclass
class FlowOutput:
    """The prediction of a flow network: forward flow from frame 0 to frame 1, on the grid of frame 0.

    Attributes:
      flow: `[b, h, w, 2]`, pixels.
      flow_low: `[b, h / 8, w / 8, 2]`, pixels of its own resolution.
      iterates: `[b, h, w, 2]` after each iteration; the last is `flow`.
    """

    flow: Array
    flow_low: Array
    iterates: list[Array]


@flax.struct.dataclass
class LossAux:
    """The second value of a loss, beside its total.

    Attributes:
      terms: name to scalar, already weighted, so that they add up to the total.
      frame: `[b, h, w, 3]`, the predicted frame; None for a flow network.
    """

    terms: dict[str, Array]
    frame: Array | None


@runtime_checkable
class Model(Protocol):
    """The interface that `Interpolator` and the wrappers need: a Linen module of MODELS, or a wrapper around one."""

    @property
    def variant(self) -> str:
        """Name in MODELS."""
        ...

    @property
    def channel_order(self) -> str:
        """Channel order that the weights were trained on: "rgb" or "bgr"."""
        ...

    @property
    def any_time(self) -> bool:
        """Whether the weights support other times than 0.5."""
        ...

    def apply(self, variables: Variables, frames: Array, t: ArrayLike) -> Output:
        """Predicts the frame at time t.

        Args:
          variables: as `create` and `load` return them.
          frames: `[b, n, h, w, 3]` in the model's channel order; sides must be multiples of the padding's.
          t: see the conventions above.
        """
        ...


@runtime_checkable
class Loss(Protocol):
    """The training objective of a model: a pure function, and the field `loss` of its `ModelSpec`."""

    def __call__(
        self, model: Any, variables: Variables, batch: Batch, config: Any, *, step: ArrayLike, rng: Array | None
    ) -> tuple[Array, LossAux]:
        """Computes the objective of one batch.

        Args:
          model: the Linen module.
          variables: its variables, those that only training needs among them; the gradient is taken by "params".
          batch: frames in the model's channel order; a term whose fields are missing from the batch is left out.
          config: the spec's `loss_config`, a frozen dataclass with the weights of the terms.
          step: number of the optimizer step, for schedules.
          rng: key for random choices; None where the objective makes none.

        Returns:
          The total, and its weighted terms with the predicted frame.
        """
        ...
