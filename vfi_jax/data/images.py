"""Image files: finding them in folders and reading them as RGB arrays; conversion to 8 bits; averages of frames."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8

from vfi_jax.errors import DamagedError

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg"))
MAP_SUFFIX = ".regions.png"  # of region maps, which stand beside pictures and are none, see `region_maps`
VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".m2ts",
     ".wmv", ".flv", ".ogv", ".3gp", ".264", ".h264", ".265", ".hevc", ".y4m", ".gif")
)  # fmt: skip

NUMBER = re.compile(r"(.*?)([0-9]{1,18})([^0-9]*)", re.DOTALL)  # of a picture: the last digits of its name
MOST = 2 / 3  # of the distances between numbers are equal where pictures are numbered


def is_image(path: Path) -> bool:
    """Returns whether a name ends as PNG and JPEG files do, and not as region maps do."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_map(path)


def is_map(path: Path) -> bool:
    """Returns whether a name ends as those of region maps do."""
    return path.name.endswith(MAP_SUFFIX)


def images_in(folder: Path) -> list[Path]:
    """Lists the PNG and JPEG files of a folder in the order of the numbers in their names."""
    return sorted(filter(is_image, folder.iterdir()), key=lambda path: (len(path.stem), path.stem))


class Gap(NamedTuple):
    """Pictures that are missing in a numbered folder.

    Attributes:
      before: the last picture before them.
      after: the first one after them.
      first: number of the first missing one.
      last: number of the last missing one.
    """

    before: Path
    after: Path
    first: int
    last: int

    def __str__(self) -> str:
        numbers = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        plural = "" if self.first == self.last else "s"
        return f"no picture{plural} {numbers} between {self.before.name} and {self.after.name}"


def gaps(files: Sequence[Path]) -> list[Gap]:
    """Finds the gaps in the numbers of a folder's pictures, as `images_in` lists them.

    The last digits of a name are its number. A folder is numbered where the rest of all names is the same and most
    numbers are equally far apart; elsewhere, as with times of capture, nothing is missing.
    """
    parts = [NUMBER.fullmatch(file.stem) for file in files]
    if len({part and (part[1], part[3]) for part in parts}) != 1 or None in parts:
        return []
    numbers = [int(part[2]) for part in parts if part]
    distances = [after - before for before, after in itertools.pairwise(numbers)]
    step, count = Counter(distances).most_common(1)[0] if distances else (0, 0)
    if step <= 0 or count < MOST * len(distances) or any(distance <= 0 or distance % step for distance in distances):
        return []
    pairs = zip(itertools.pairwise(files), itertools.pairwise(numbers), strict=True)
    return [Gap(*pair, low + step, high - step) for pair, (low, high) in pairs if high - low > step]


def videos_in(folder: Path) -> list[Path]:
    """Lists the video files in a folder and its subfolders, recognized by their suffix, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def load_image(path: str | os.PathLike[str]) -> Shaped[np.ndarray, "h w 3"]:
    """Reads an image file (PNG, JPEG or another format of OpenCV) as RGB uint8, or uint16 where the file has 16 bits.

    Gray images get three equal channels, alpha is dropped, and the camera's orientation (Exif) is applied.

    Raises:
      DamagedError: `path` is missing, a folder, not an image, cut short, or neither 8 nor 16 bits deep.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from error
    if not has_end(data):
        raise DamagedError(f"cannot read {path}: {'the image is cut short' if data else 'the file is empty'}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # for example, an image larger than OpenCV's limit
        image = None
    if image is None:
        raise DamagedError(f"cannot read {path}: not an image, or a damaged one")
    if image.dtype not in (np.uint8, np.uint16):
        raise DamagedError(f"cannot read {path}: samples are {image.dtype}, not 8 or 16 bits")
    return image[..., ::-1].copy()


def image_size(path: Path) -> tuple[int, int]:
    """Reads width and height of an image, from its header where it is PNG or JPEG; Exif's orientation is left aside.

    Raises:
      DamagedError: the file is missing, empty, or no image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(26)
            if head.startswith(b"\x89PNG") and len(head) == 26:
                return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
            size = _jpeg_size(file) if head.startswith(b"\xff\xd8") else None
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from None
    if size is None:
        height, width = load_image(path).shape[:2]
        size = width, height
    return size


def _jpeg_size(file: BinaryIO) -> tuple[int, int] | None:
    """Reads width and height from the frame header of a JPEG; None where there is none."""
    file.seek(2)
    while (marker := file.read(4)) and len(marker) == 4 and marker[0] == 0xFF:
        length = int.from_bytes(marker[2:], "big")
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        if length < 2:
            return None
        file.seek(length - 2, os.SEEK_CUR)
    return None


def has_end(data: bytes) -> bool:
    """Returns False if a PNG or JPEG lacks its end; decoders would fill the rest with gray."""
    if data.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in data
    return _jpeg_has_end(data) if data.startswith(b"\xff\xd8") else bool(data)


def _jpeg_has_end(data: bytes) -> bool:
    """Looks for an end marker after the start of the first scan, since embedded thumbnails have end markers too."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xDA:
            return b"\xff\xd9" in data[at:]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return False


def to_uint8(image: Shaped[np.ndarray, "*b h w 3"]) -> UInt8[np.ndarray, "*b h w 3"]:
    """Rounds uint16 (0..65535) to uint8; returns uint8 unchanged."""
    return image if image.dtype == np.uint8 else ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def average(
    first: Shaped[np.ndarray, "*b h w 3"], second: Shaped[np.ndarray, "*b h w 3"], t: np.ndarray | float = 0.5
) -> UInt8[np.ndarray, "*b h w 3"]:
    """Computes `(1 - t) first + t second` on the scale 0..255, rounded half to even: the baseline of interpolation."""
    return np.rint((1 - t) * first.astype(np.float32) + t * second.astype(np.float32)).astype(np.uint8)
