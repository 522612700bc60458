"""Still pictures: files, flow as color, error maps, contact sheets. RGB, HWC, uint8 unless said otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from vfi_jax.system.files import written_whole

ERROR_GAIN = 4.0
GAP = 2
LABEL_HEIGHT = 16
INK, PAPER = (235, 235, 235), 24


def _unit(image: np.ndarray) -> np.ndarray:
    """float32 in 0..1 from integers of any width; floats are taken to be in 0..1."""
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return image.astype(np.float32) / np.float32(top)


def error_picture(a: Shaped[np.ndarray, "h w 3"], b: Shaped[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Absolute difference of two images, mean over channels, times 4 (`ERROR_GAIN`), black to yellow (inferno).

    An error of a quarter of the range or more has the brightest color. uint8, uint16 or float in 0..1, each.
    """
    error = np.abs(_unit(a) - _unit(b)).mean(axis=-1)
    level = np.rint(255 * np.clip(ERROR_GAIN * error, 0, 1)).astype(np.uint8)
    return cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1].copy()


def _cell(image: np.ndarray, label: str, height: int, width: int) -> np.ndarray:
    """`image` in the middle of a cell of `height` x `width` under its label."""
    cell = np.full((LABEL_HEIGHT + height, width, 3), PAPER, np.uint8)
    cv2.putText(cell, label, (3, LABEL_HEIGHT - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    top, left = LABEL_HEIGHT + (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    cell[top : top + image.shape[0], left : left + image.shape[1]] = image
    return cell


def sheet(rows: Sequence[Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], str]]]) -> UInt8[np.ndarray, "h w 3"]:
    """Labeled images in a grid of equal cells; smaller images stand in the middle, short rows end in empty cells.

    A cell is as large as the largest image, plus 16 rows (`LABEL_HEIGHT`) for the label; gaps are 2 pixels (`GAP`).

    Raises:
      ValueError: there is no image.
    """
    images = [image for row in rows for image, _ in row]
    if not images:
        raise ValueError("a sheet needs at least one image")
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    columns = max(len(row) for row in rows)
    down, across = LABEL_HEIGHT + height + GAP, width + GAP
    page = np.full((down * len(rows) - GAP, across * columns - GAP, 3), PAPER, np.uint8)
    for i, row in enumerate(rows):
        for j, (image, label) in enumerate(row):
            page[i * down : (i + 1) * down - GAP, j * across : (j + 1) * across - GAP] = _cell(
                image, label, height, width
            )
    return page


def save_png(path: str | os.PathLike[str], image: Shaped[np.ndarray, "h w 3"]) -> None:
    """Writes an RGB image, uint8 or uint16, as PNG; `path` holds the whole file or what it held before.

    Raises:
      UserError: the folder is missing or not writable, the disk is full, or `path` is a folder.
    """
    data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    with written_whole(path if isinstance(path, PurePath) else Path(path)) as partial:
        partial.write_bytes(data)
