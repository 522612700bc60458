"""RIFE's HD set: clips in raw YUV files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vfi_jax.benchmarks.clip_sets import samples_between
from vfi_jax.benchmarks.folders import at_least_one, existing, one_of
from vfi_jax.benchmarks.protocol import BenchmarkSample
from vfi_jax.errors import UserError

SIZES = {"544p": (544, 1280), "720p": (720, 1280), "1080p": (1080, 1920)}  # height, width
MAX_FRAMES = 100  # of each file
NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC
# Rows: Y, U, V; columns: R, G, B. Analog YUV with the weights of Rec. 601.
RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14714119, -0.28886916, 0.43601035], [0.61497538, -0.51496512, -0.10001026]]
)


@dataclasses.dataclass(frozen=True)
class YuvFrame:
    """A frame in a raw file of planes Y, U and V, the latter two at half the height and width.

    Attributes:
      path: of the file.
      height: of Y, pixels.
      width: of Y, pixels.
      index: from 0.
    """

    path: Path
    height: int
    width: int
    index: int


def hd(data: Path, sizes: Sequence[str] = tuple(SIZES), gap: int = 2) -> list[BenchmarkSample]:
    """RIFE's HD set, `HD_dataset/HD{544,720,1080}p_GT/*.yuv`: every frame between two that are `gap` apart.

    Raises:
      UserError: no such folder, or no clips in it.
    """
    root = one_of(data, ("HD_dataset", "HD"))
    samples: list[BenchmarkSample] = []
    for size in sizes:
        height, width = SIZES[size]
        for path in sorted(existing(root / f"HD{size}_GT").glob("*.yuv")):
            count = path.stat().st_size // (height * width * 3 // 2)
            frames = [YuvFrame(path, height, width, index) for index in range(min(count, MAX_FRAMES + 1))]
            samples += samples_between(path.stem, frames, gap, starts=range(0, MAX_FRAMES, gap))
    return at_least_one(samples, root, "HD720p_GT/*.yuv and so on are wanted")


def load_yuv(frame: YuvFrame, chroma_filter: int = BICUBIC) -> UInt8[np.ndarray, "h w 3"]:
    """Loads RGB as RIFE's script does: chroma enlarged by Pillow with `chroma_filter`, full range, truncated.

    Raises:
      UserError: the file ends before that frame.
    """
    luma, chroma = frame.height * frame.width, frame.height * frame.width // 4
    size = luma + 2 * chroma
    with frame.path.open("rb") as file:
        file.seek(frame.index * size)
        data = np.frombuffer(file.read(size), np.uint8)
    if len(data) < size:
        raise UserError(f"{frame.path} ends before frame {frame.index} of {frame.width}x{frame.height}")
    half = (frame.height // 2, frame.width // 2)
    planes = [data[:luma].reshape(frame.height, frame.width)] + [
        np.asarray(Image.fromarray(plane.reshape(half)).resize((frame.width, frame.height), chroma_filter))
        for plane in (data[luma : luma + chroma], data[luma + chroma :])
    ]
    return yuv_to_rgb(np.stack(planes, -1))


def yuv_to_rgb(planes: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Converts full-range Y, U + 0.5, V + 0.5 to RGB, truncated to 8 bits."""
    values = planes / 255 - [0, 0.5, 0.5]
    return (255 * np.clip(values @ np.linalg.inv(RGB_TO_YUV).T, 0, 1)).astype(np.uint8)
