"""Strips of samples: inputs, prediction, ground truth, error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vfi_jax.metrics import psnr
from vfi_jax.viz.picture import error_picture, sheet


def strips(samples: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """A sheet of samples, each (inputs..., ours, truth), with the error beside them."""
    rows = []
    for *inputs, ours, truth in samples:
        cells = [(image, f"input {index}") for index, image in enumerate(inputs)]
        cells += [
            (ours, f"ours, {psnr(ours, truth):.2f} dB"),
            (truth, "truth"),
            (error_picture(ours, truth), "error x4"),
        ]
        rows.append(cells)
    return sheet(rows)
