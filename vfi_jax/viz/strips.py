"""Strips of samples: inputs, prediction, ground truth and error map side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from vfi_jax.metrics import psnr
from vfi_jax.viz.sheets import error_map, sheet


def sample_strips(samples: Sequence[Sequence[UInt8[np.ndarray, "_ _ 3"]]]) -> UInt8[np.ndarray, "h w 3"]:
    """Draws one row per sample, labeled, with the prediction's PSNR and error map.

    Args:
      samples: of each, the inputs, then the prediction, then the ground truth.
    """
    rows = []
    for *inputs, prediction, truth in samples:
        cells = [(image, f"input {index}") for index, image in enumerate(inputs)]
        cells += [
            (prediction, f"ours, {psnr(prediction, truth):.2f} dB"),
            (truth, "truth"),
            (error_map(prediction, truth), "error x4"),
        ]
        rows.append(cells)
    return sheet(rows)
