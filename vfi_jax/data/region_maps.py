"""Region maps: which pixels of a frame belong together, as label pictures of half its size beside it.

Beside `im1.png` stands `im1.regions.png`, 8 bits, gray, of `ceil(h / 2)` x `ceil(w / 2)` pixels. Pixel (i, j) is the
number, 1 to 255, of the region at (2i, 2j) of the frame; 0: none, or not known. A picture that is missing is a map of
zeros. `regions.json` stands in the same folder or in one above it, and the nearest one counts: `format`, `version`,
`scale` 2, `matched` (a number means the same object in all frames of a folder), `source` and `licence` in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from vfi_jax.data.images import MAP_SUFFIX, NUMBER, has_end, is_map
from vfi_jax.errors import DamagedError, UserError

ABOUT = "regions.json"
FORMAT, VERSION, SCALE = "region-maps", 1, 2
MOST = 255  # regions in a map
DEPTH_AT, GRAY = 24, 0  # of a PNG's header: the byte of the bit depth, before that of the color type

Map = UInt8[np.ndarray, "h2 w2"]


def map_of(image: Path) -> Path:
    """Returns where the map of a picture stands."""
    return image.with_name(f"{image.stem}{MAP_SUFFIX}")


def half(height: int, width: int) -> tuple[int, int]:
    """Returns height and width of the map of a frame."""
    return -(-height // SCALE), -(-width // SCALE)


def reduced(labels: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h2 w2"]:
    """Returns labels at half the size: those of the pixels (2i, 2j), as labels have no mean."""
    return labels[::SCALE, ::SCALE]


def zeros(height: int, width: int) -> Map:
    """Returns the map of a frame without regions."""
    return np.zeros(half(height, width), np.uint8)


def encoded(labels: Map) -> bytes:
    """Returns a map as PNG."""
    return cv2.imencode(".png", labels)[1].tobytes()


def read_map(path: Path, size: tuple[int, int]) -> Map:
    """Reads the map of a frame.

    Args:
      path: of the map.
      size: height and width of the frame.

    Raises:
      DamagedError: it cannot be read, is not 8 bits deep and gray, or has another size than half of the frame's.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedError(f"cannot read {path}: {error.strerror or error}") from None
    labels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data and has_end(data) else None
    if labels is None or not data.startswith(b"\x89PNG"):
        raise DamagedError(f"cannot read {path}: not a PNG, or a damaged one; prepare the regions again")
    depth, color = data[DEPTH_AT], data[DEPTH_AT + 1]
    if (depth, color) != (8, GRAY):
        kind = "gray" if color == GRAY else "colored"
        above = f" with numbers up to {labels.max()}" if labels.max() > MOST else ""
        raise DamagedError(
            f"{path} is {kind}, {depth} bits deep{above}: 8 bits of gray with numbers up to {MOST} are needed; "
            "`vfi-jax prepare regions --labels` converts it"
        )
    if labels.shape != half(*size):
        height, width = half(*size)
        raise DamagedError(
            f"{path} is {labels.shape[1]}x{labels.shape[0]}: half of {size[1]}x{size[0]} is {width}x{height}"
        )
    return labels


def read_about(folder: Path) -> dict[str, Any] | None:
    """Reads the `regions.json` that counts for the maps of a folder; None if there is none.

    Raises:
      UserError: it is damaged, or of another format or a newer version.
    """
    found = next((above / ABOUT for above in (folder, *folder.resolve().parents) if (above / ABOUT).is_file()), None)
    if found is None:
        return None
    try:
        about = json.loads(found.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{found} cannot be read ({error}): prepare the regions again") from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{found} describes no region maps: its format must be {FORMAT!r}")
    if about.get("version") != VERSION or about.get("scale") != SCALE:
        stated = f"version {about.get('version')} and scale {about.get('scale')}"
        raise UserError(f"{found} has {stated}: {VERSION} and {SCALE} are known; update vfi_jax, or prepare them again")
    return about


def require_about(folder: Path) -> dict[str, Any]:
    """Reads the `regions.json` that counts for the maps of a folder, which must say that numbers are matched.

    Raises:
      UserError: as `read_about`; or there is none, or numbers differ from frame to frame.
    """
    about = read_about(folder)
    if about is None:
        raise UserError(
            f"{folder}: no {ABOUT} there or above: make region maps with `vfi-jax prepare regions {folder}`"
        )
    if about.get("matched") is not True:
        raise UserError(f"{folder}: its regions are not matched: `vfi-jax prepare regions --labels` matches them")
    return about


def note_missing(folder: Path, missing: int, total: int) -> str:
    """Returns a line on maps that are missing; "" if none is.

    Raises:
      UserError: half of them or more are missing.
    """
    if 2 * missing >= total:
        raise UserError(f"{folder}: {missing} of {total} region maps (*{MAP_SUFFIX}) are missing: prepare them again")
    return f"{folder}: {missing} of {total} region maps are missing, and count as empty" if missing else ""


def numbered_maps(folder: Path, first: int | None = None) -> dict[int, Path]:
    """Finds the maps of a clip by the numbers in their names.

    Args:
      folder: of the maps.
      first: number of the first frame; None: 0 if a map has it, else 1.

    Returns:
      Index of the frame, from 0, to its map.

    Raises:
      UserError: no such folder, no maps in it, or a map without a number, with another's, or with one below `first`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of region maps")
    files = sorted(filter(is_map, folder.iterdir()))
    if not files:
        raise UserError(f"{folder}: no region maps (*{MAP_SUFFIX}) in it")
    numbers = [_number(file) for file in files]
    start = min(1, *numbers) if first is None else first
    maps = {number - start: file for number, file in zip(numbers, files, strict=True)}
    if len(maps) < len(files) or min(maps) < 0:
        raise UserError(f"{folder}: two region maps have one number, or one lies before the first frame, {start}")
    return maps


def _number(file: Path) -> int:
    parts = NUMBER.fullmatch(file.name.removesuffix(MAP_SUFFIX))
    if parts is None:
        raise UserError(f"{file}: no number in its name, by which region maps belong to frames")
    return int(parts[2])


def read_pair(maps: Mapping[int, Path], indices: Sequence[int], size: tuple[int, int]) -> list[Map]:
    """Reads the maps of frames; those that are missing are zeros."""
    return [read_map(maps[index], size) if index in maps else zeros(*size) for index in indices]
