"""Sheets of labeled images, error maps, and PNG files. Images are RGB, HWC and uint8 unless stated otherwise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from vfi_jax.system.files import written_whole

ERROR_GAIN = 4.0
GAP = 2  # pixels between cells
LABEL_HEIGHT = 16  # pixels
INK, PAPER = (235, 235, 235), 24  # colors of labels and background


def _in_unit_range(image: np.ndarray) -> np.ndarray:
    """Scales unsigned integers of any width to float32 in 0..1; floats are assumed to be in 0..1."""
    top = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
    return image.astype(np.float32) / np.float32(top)


def error_map(a: Shaped[np.ndarray, "h w 3"], b: Shaped[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Colors the absolute difference of two images, averaged over channels and times 4, from black to yellow (inferno).

    An error of a quarter of the range (`1 / ERROR_GAIN`) or more gets the brightest color. Each image is uint8, uint16,
    or float in 0..1.
    """
    error = np.abs(_in_unit_range(a) - _in_unit_range(b)).mean(axis=-1)
    level = np.rint(255 * np.clip(ERROR_GAIN * error, 0, 1)).astype(np.uint8)
    return cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1].copy()


def _cell(image: np.ndarray, label: str, height: int, width: int) -> np.ndarray:
    """Centers `image` in a cell of `height` x `width` pixels, with its label above."""
    cell = np.full((LABEL_HEIGHT + height, width, 3), PAPER, np.uint8)
    cv2.putText(cell, label, (3, LABEL_HEIGHT - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)
    top, left = LABEL_HEIGHT + (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    cell[top : top + image.shape[0], left : left + image.shape[1]] = image
    return cell


def sheet(rows: Sequence[Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], str]]]) -> UInt8[np.ndarray, "h w 3"]:
    """Arranges labeled images in a grid of equal cells; smaller images are centered, short rows end in empty cells.

    A cell is as large as the largest image, plus `LABEL_HEIGHT` rows for the label; `GAP` pixels separate cells.

    Args:
      rows: of each, the images with their labels.

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
    """Writes an RGB image, uint8 or uint16, as PNG. On failure `path` keeps its previous content.

    Raises:
      UserError: the folder is missing or not writable, the disk is full, or `path` is a folder.
    """
    data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()
    with written_whole(path if isinstance(path, PurePath) else Path(path)) as partial:
        partial.write_bytes(data)
