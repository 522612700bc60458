"""Folders of published test sets, and how their pictures are loaded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from vfi_jax.benchmarks.protocol import BenchmarkSample, load_uint8
from vfi_jax.errors import UserError


def existing(folder: Path) -> Path:
    """The folder.

    Raises:
      UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; sets are looked for under the names their authors gave them")
    return folder


def one_of(data: Path, names: Sequence[str]) -> Path:
    """The first existing folder among the names by which a set is known.

    Raises:
      UserError: none exists.
    """
    return existing(next((data / name for name in names if (data / name).is_dir()), data / names[0]))


def at_least_one(samples: Iterable[BenchmarkSample], root: Path, what: str) -> list[BenchmarkSample]:
    """The samples as a list.

    Raises:
      UserError: there are none; names the folder and what it should hold.
    """
    listed = list(samples)
    if not listed:
        raise UserError(f"{root} holds no samples: {what}")
    return listed


def load_cropped(path: Path, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Loads the center of a picture; all of it along a side that is not larger."""
    image = load_uint8(path)
    top, left = (max(have - want, 0) // 2 for have, want in zip(image.shape, (height, width), strict=False))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def load_resized(path: Path, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Loads a picture reduced by area interpolation, 8 bits."""
    return cv2.resize(load_uint8(path), (width, height), interpolation=cv2.INTER_AREA)


def load_resized_float(path: Path, height: int, width: int) -> Float32[np.ndarray, "h w 3"]:
    """Loads a picture reduced by area interpolation, float32 in 0..1."""
    image = load_uint8(path).astype(np.float32) / np.float32(255)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
