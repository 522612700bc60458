"""Packed sets of footage: square crops of windows in one file, preferably crops in which something moves."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from vfi_jax.config import Footage
from vfi_jax.errors import UserError
from vfi_jax.prepare import footage
from vfi_jax.prepare.footage import Clip, format_rejections
from vfi_jax.prepare.packed_file import owned_output, write_packed
from vfi_jax.prepare.parallel import parallel_map

MOTION_PRIOR = 1.0  # added to the motion of a crop (gray levels), so that static crops keep a chance
CROP_CANDIDATES = 12  # random crops of a window, of which one is drawn


def pack_footage(
    source: Path, output: Path, config: Footage, *, size: int, megabytes: int, seed: int = 0
) -> dict[str, Any]:
    """Writes square crops of the windows of videos into one packed file.

    All clips contribute equally many windows, as far as they have them. The position of a crop is drawn with a
    probability that grows with the motion in it.

    Args:
      source: a folder of video files.
      output: `.safetensors` with `frames` uint8 `[m, n, size, size, 3]` and names; appears when it is complete.
      config: how windows are selected.
      size: side of the crops, pixels.
      megabytes: maximum size of the frames, 10^6 bytes.
      seed: of the crops' positions.

    Returns:
      The numbers of "windows" and "clips", and "rejected" windows by reason.

    Raises:
      UserError: no videos, no usable window (the message counts the rejected ones), a clip that cannot be read, or no
        space on the disk.
    """
    with owned_output(output):
        analyze = functools.partial(footage.analyze, config=config)
        clips = list(parallel_map(analyze, footage.find_videos(source), unit="clip", desc="analyze"))
        capacity = megabytes * 10**6 // (config.frames * size * size * 3)
        counts = _windows_per_clip([len(clip.starts) for clip in clips], capacity)
        numbered = [
            (number, dataclasses.replace(clip, starts=tuple(footage.evenly_spread(list(clip.starts), count))))
            for number, (clip, count) in enumerate(zip(clips, counts, strict=True))
            if count
        ]
        windows, names, rejected = [], [], sum((clip.rejected for clip in clips), Counter())
        crop_clip = functools.partial(_crops_of_clip, config=config, size=size, seed=seed)
        for (_, clip), crops in zip(numbered, parallel_map(crop_clip, numbered, unit="clip", desc="crop"), strict=True):
            windows += crops.values()
            names += [f"{clip.path.relative_to(source)}/{first:06d}" for first in crops]
            rejected += Counter({"small": len(clip.starts) - len(crops)})  # drops zero counts
        if not windows:
            raise UserError(
                f"{source}: no usable window in {len(clips)} clips; rejected: {format_rejections(rejected)}"
            )
        totals = {"windows": len(windows), "clips": len(numbered), "rejected": dict(rejected)}
        about = {"names": names, "source": source.name, "footage": dataclasses.asdict(config), "seed": seed, **totals}
        write_packed(output, np.stack(windows), about)
        return totals


def _windows_per_clip(available: list[int], capacity: int) -> list[int]:
    """Divides `capacity` windows equally over clips, as far as each has them available."""
    left, counts = capacity, [0] * len(available)
    for done, index in enumerate(np.argsort(available, kind="stable")):
        counts[index] = min(available[index], left // (len(available) - done))
        left -= counts[index]
    return counts


def _crops_of_clip(
    numbered: tuple[int, Clip], *, config: Footage, size: int, seed: int
) -> dict[int, UInt8[np.ndarray, "n size size 3"]]:
    """Crops the windows of a clip, given with its number; by first frame, without windows smaller than `size`."""
    number, clip = numbered
    rng = np.random.default_rng([seed, number])
    crops = ((first, _draw_crop(frames, size, rng)) for first, frames in footage.read_windows(clip, config))
    return {first: crop for first, crop in crops if crop is not None}


def _draw_crop(frames: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray | None:
    """Draws one of some random crops by how much the frames change in it; returns None if the frames are smaller."""
    height, width = frames.shape[1:3]
    if min(height, width) < size:
        return None
    change = np.abs(frames[-1].astype(np.int16) - frames[0]).mean(-1)
    corners = rng.integers(0, (height - size + 1, width - size + 1), (CROP_CANDIDATES, 2))
    motion = np.array([change[y : y + size, x : x + size].mean() for y, x in corners]) + MOTION_PRIOR
    y, x = corners[rng.choice(CROP_CANDIDATES, p=motion / motion.sum())]
    return frames[:, y : y + size, x : x + size].copy()  # a view would keep the whole window in memory
