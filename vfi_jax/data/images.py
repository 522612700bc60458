"""Still image files as RGB arrays."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from vfi_jax.errors import DamagedError


def _jpeg_is_whole(data: bytes) -> bool:
    """Whether an end marker follows the first scan; segments are walked up to it, since thumbnails have markers too."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return b"\xff\xd9" in data[at:]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def _is_whole(data: bytes) -> bool:
    """False where a PNG or JPEG lacks its end; decoders would fill the rest with gray."""
    if data.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in data
    return _jpeg_is_whole(data) if data.startswith(b"\xff\xd8") else bool(data)


def load_image(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "h w 3"]:
    """An image file (PNG, JPEG and what else OpenCV reads) as RGB uint8, or uint16 where the file has 16 bits.

    Gray becomes three equal channels, alpha is dropped, the camera's orientation (Exif) is applied.

    Raises:
      DamagedError: `path` is missing, a folder, not an image, cut short, or of another depth.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from error
    if not _is_whole(data):
        raise DamagedError(f"cannot read {path}: {'the image is cut short' if data else 'the file is empty'}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # sides beyond OpenCV's limit, among others
        image = None
    if image is None:
        raise DamagedError(f"cannot read {path}: not an image, or a damaged one")
    if image.dtype not in (np.uint8, np.uint16):
        raise DamagedError(f"cannot read {path}: samples are {image.dtype}, not 8 or 16 bits")
    return image[..., ::-1].copy()


SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts",
     ".wmv", ".flv", ".ogv", ".3gp", ".264", ".h264", ".265", ".hevc", ".y4m", ".gif")
)  # fmt: skip


def videos_in(folder: Path) -> list[Path]:
    """Video files in a folder and below, by their suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def to_uint8(image: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    """uint16 (0..65535) rounded to uint8; uint8 as it is."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def average(
    first: Shaped[np.ndarray, "*b h w 3"], second: Shaped[np.ndarray, "*b h w 3"], t: np.ndarray | float = 0.5
) -> UInt8[np.ndarray, "*b h w 3"]:
    """`(1 - t) first + t second` on the scale 0..255, rounded half to even: what any interpolation has to beat."""
    return np.rint((1 - t) * first.astype(np.float32) + t * second.astype(np.float32)).astype(np.uint8)
