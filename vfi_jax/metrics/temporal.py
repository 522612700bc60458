"""How alike two clips move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from vfi_jax.inference.flow import dis_flow


def flow_distance(made: Sequence[UInt8[np.ndarray, "h w 3"]], truth: Sequence[UInt8[np.ndarray, "h w 3"]]) -> float:
    """tOF: mean distance, in pixels, of the flow from frame to frame of one clip from that of the other, by DIS.

    M. Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation", ACM TOG 2020, with
    their flow method replaced; nan of a single frame.

    Raises:
      UserError: sides below 16 pixels.
    """
    steps = [
        np.linalg.norm(dis_flow(*made[i : i + 2]) - dis_flow(*truth[i : i + 2]), axis=-1).mean()
        for i in range(len(truth) - 1)
    ]
    return float(np.mean(steps)) if steps else float("nan")
