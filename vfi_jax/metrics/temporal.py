"""Temporal metrics: whether a predicted clip moves like the ground truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

Flow = Callable[[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]], Float[np.ndarray, "h w 2"]]


def flow_distance(
    prediction: Sequence[UInt8[np.ndarray, "h w 3"]], truth: Sequence[UInt8[np.ndarray, "h w 3"]], flow: Flow
) -> float:
    """tOF: `mean ||flow(p_i, p_i+1) - flow(g_i, g_i+1)||` over all pixels and steps of two clips, in pixels.

    M. Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation", ACM TOG 2020.

    Args:
      prediction: the frames of the predicted clip.
      truth: the frames of the ground truth, as many and of the same size.
      flow: estimates flow from one frame to the next; the paper's method is not DIS.

    Returns:
      The distance; nan for a single frame.
    """
    steps = [
        np.linalg.norm(flow(*prediction[i : i + 2]) - flow(*truth[i : i + 2]), axis=-1).mean()
        for i in range(len(truth) - 1)
    ]
    return float(np.mean(steps)) if steps else float("nan")
