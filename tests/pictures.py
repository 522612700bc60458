"""Writes pictures for tests with Pillow and OpenCV, and reads them back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write(path: Path, image: np.ndarray) -> Path:
    """Writes RGB, RGBA or gray, uint8 or uint16, in the form that the name asks for."""
    channels = {2: None, 3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}[image.shape[-1] if image.ndim == 3 else 2]
    assert cv2.imwrite(str(path), image if channels is None else cv2.cvtColor(image, channels))
    return path


def read(path: Path) -> np.ndarray:
    """Reads a picture as it is stored, in the order RGB(A)."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if image.shape[-1] == 3 else cv2.COLOR_BGRA2RGBA)


def folder(path: Path, names, picture, size=(64, 48)) -> Path:
    """Writes pictures of a moving scene under the given names."""
    path.mkdir()
    for index, name in enumerate(names):
        write(path / name, picture(index, size))
    return path


def names(path: Path) -> list[str]:
    """The names in a folder."""
    return sorted(file.name for file in path.iterdir())
