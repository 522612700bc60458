"""Optical flow as color, in the coding of the Middlebury benchmark."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

# Baker et al.: more steps between hues that the eye distinguishes better
WHEEL_STEPS = {"RY": 15, "YG": 6, "GC": 4, "CB": 11, "BM": 13, "MR": 6}

UNKNOWN_FLOW = 1e9  # Middlebury's .flo files mark unknown motion with values above this


def color_wheel() -> UInt8[np.ndarray, "55 3"]:
    """Returns the 55 RGB colors of the Middlebury flow coding: red, yellow, green, cyan, blue, magenta and between.

    Source: Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011, and its color code.
    """
    # each leg holds one channel at 255 while another rises or falls: (held, moving, rises)
    legs = zip(WHEEL_STEPS.values(), ((0, 1, 1), (1, 0, 0), (1, 2, 1), (2, 1, 0), (2, 0, 1), (0, 2, 0)), strict=True)
    colors = []
    for steps, (held, moving, rises) in legs:
        leg = np.zeros((steps, 3), np.uint8)
        ramp = 255 * np.arange(steps) // steps
        leg[:, held], leg[:, moving] = 255, ramp if rises else 255 - ramp
        colors.append(leg)
    return np.concatenate(colors)


def flow_to_color(flow: Float[np.ndarray, "h w 2"], max_flow: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Colors a flow field: hue shows the direction (right is red), saturation the length; zero is white.

    Vectors longer than `max_flow` are darkened; unknown ones (NaN, or above 1e9) are black. Source: as `color_wheel`.

    Args:
      flow: pixels, (x, y).
      max_flow: length shown with full saturation, pixels; None: that of the longest known vector.
    """
    flow = flow.astype(np.float64)
    known = (np.abs(flow) < UNKNOWN_FLOW).all(axis=-1)  # False for NaN too
    x, y = np.moveaxis(np.where(known[..., None], flow, 0.0), -1, 0)
    length = np.hypot(x, y)
    length /= max((length.max(initial=0.0) if max_flow is None else max_flow), 1e-9)
    wheel = color_wheel() / 255.0
    position = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (len(wheel) - 1)
    low = np.floor(position).astype(int)
    part = (position - low)[..., None]
    hue = (1 - part) * wheel[low] + part * wheel[(low + 1) % len(wheel)]
    length = length[..., None]
    color = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.floor(255 * color * known[..., None]).astype(np.uint8)
