"""Whether a window is fit for training or validation: frames, sizes, channels and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from vfi_jax.data.windows import FLOW_FIELDS, MASK_FIELDS, REGION_FIELD
from vfi_jax.errors import DamagedError

CHANNELS = {"flow": 4, "flows": 8, "masks": 3}  # of labels


class Requirement(NamedTuple):
    """Requirements of a window.

    Attributes:
      frames: number of frames; 0: any.
      side: minimum height and width, pixels.
    """

    frames: int = 0
    side: int = 1


ANY = Requirement()


def check_window(window: Any, required: Requirement, path: str) -> None:
    """Checks a window that was read.

    Raises:
      DamagedError: it is unfit; the message begins with `path`.
    """
    frames = window.get("frames") if isinstance(window, Mapping) and "name" in window else None
    if not isinstance(frames, np.ndarray):
        raise DamagedError(f"{path}: a window needs `frames`, a NumPy array, and `name`")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise DamagedError(f"{path}: frames are {frames.dtype} {list(frames.shape)}, not uint8 [n, h, w, 3]")
    count, height, width, _ = frames.shape
    check_outline(count, [(width, height)], required, path)
    for name in (*FLOW_FIELDS, *MASK_FIELDS):
        if name in window:
            _check_label(np.asarray(window[name]), (height, width, CHANNELS[name]), f"{path}: its label {name}")
    if REGION_FIELD in window:
        half = (count, -(-height // 2), -(-width // 2))
        _check_label(np.asarray(window[REGION_FIELD]), half, f"{path}: its label {REGION_FIELD}")


def check_outline(count: int, sizes: Iterable[tuple[int, int]], required: Requirement, path: str) -> None:
    """Checks the number of frames of a window, and their sizes (width, height).

    Raises:
      DamagedError: it is unfit; the message begins with `path`.
    """
    if not count:
        raise DamagedError(f"{path}: no images in it; take it off the list, or fetch the set again")
    if required.frames and count != required.frames:
        raise DamagedError(f"{path} has {count} frames instead of {required.frames}")
    distinct = sorted(set(sizes))
    if len(distinct) > 1:
        shown = " and ".join(f"{width}x{height}" for width, height in distinct)
        raise DamagedError(f"{path} mixes sizes ({shown}): all frames of a window need one")
    width, height = distinct[0]
    if min(width, height) < required.side:
        raise DamagedError(f"{path} is {width}x{height}: too small for data.augment.crop = {required.side}")


def _check_label(label: np.ndarray, shape: tuple[int, ...], what: str) -> None:
    if label.shape != shape:
        raise DamagedError(f"{what} has the shape {list(label.shape)}, not {list(shape)}; prepare the labels again")
    if not np.isfinite(label).all():
        raise DamagedError(f"{what} is not finite; prepare the labels again")
