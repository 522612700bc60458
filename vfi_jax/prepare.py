"""Training sets made once: packed windows out of footage."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from vfi_jax.config import Footage
from vfi_jax.data import footage
from vfi_jax.data.footage import Clip
from vfi_jax.files import written_whole
from vfi_jax.packed import KIND
from vfi_jax.types import UserError

STILL = 1.0  # added to a place's motion, levels: what the chance of a still place is
PLACES = 12  # random crops of a window among which one is drawn


def pack(source: Path, output: Path, config: Footage, *, size: int, megabytes: int, seed: int = 0) -> dict[str, Any]:
    """Writes square crops of windows, from every clip alike, into one file; places that move are likelier.

    Args:
      source: a folder of video files.
      output: `.safetensors`: `frames` uint8 `[m, n, size, size, 3]` and names; appears when it is whole.
      config: how windows are cut.
      size: side of the crops, pixels.
      megabytes: of frames, at most (10^6 bytes).
      seed: of the crops' places.

    Returns:
      Counts: "windows", "clips", "rejected" by reason.

    Raises:
      UserError: no videos, no usable window (with what was rejected), a clip that cannot be read, no space.
    """
    clips = _analysed(source, config)
    rejected = footage.rejections(clips)
    room = megabytes * 10**6 // (config.frames * size * size * 3)
    share = _shares([len(clip.starts) for clip in clips], room)
    rng = np.random.default_rng(seed)
    crops, names = [], []
    for clip, count in zip(tqdm(clips, unit="clip", desc="cut"), share, strict=True):
        chosen = dataclasses.replace(clip, starts=tuple(footage.spread(list(clip.starts), count))) if count else None
        for first, frames in footage.windows(chosen, config) if chosen else ():
            crop = _moving_crop(frames, size, rng)
            if crop is None:
                rejected["small"] += 1
                continue
            crops.append(crop)
            names.append(f"{clip.path.relative_to(source)}/{first:06d}")
    if not crops:
        raise UserError(f"{source}: no usable window in {len(clips)} clips; rejected: {told(rejected)}")
    counts = {"windows": len(crops), "clips": sum(map(bool, share)), "rejected": dict(rejected)}
    about = {"names": names, "source": source.name, "footage": dataclasses.asdict(config), "seed": seed, **counts}
    with written_whole(output) as partial:
        save_file({"frames": np.stack(crops)}, partial, {KIND: json.dumps(about)})
    return counts


def told(rejected: Counter[str]) -> str:
    """Counts in words."""
    return ", ".join(f"{count} {reason}" for reason, count in rejected.most_common()) or "none"


def _analysed(source: Path, config: Footage) -> list[Clip]:
    """Every clip that can be read; others are told and left out."""
    if not source.is_dir():
        raise UserError(f"{source}: no such folder of videos")
    paths, clips = footage.videos_in(source), []
    for path in tqdm(paths, unit="clip", desc="look"):
        try:
            clips.append(footage.analyse(path, config))
        except UserError as error:
            print(f"left out: {error}", file=sys.stderr)
    if not clips:
        raise UserError(f"{source}: {'none of its videos can be read' if paths else 'no video files in it'}")
    return clips


def _shares(available: list[int], room: int) -> list[int]:
    """How many windows each clip gives: all alike, as far as they have them, `room` in all."""
    left, shares = room, [0] * len(available)
    for done, index in enumerate(np.argsort(available, kind="stable")):
        shares[index] = min(available[index], left // (len(available) - done))
        left -= shares[index]
    return shares


def _moving_crop(frames: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray | None:
    """One of some random places, drawn by how much the picture changes there; None where the frames are smaller."""
    height, width = frames.shape[1:3]
    if min(height, width) < size:
        return None
    change = np.abs(frames[-1].astype(np.int16) - frames[0]).mean(-1)
    places = rng.integers(0, (height - size + 1, width - size + 1), (PLACES, 2))
    motion = np.array([change[y : y + size, x : x + size].mean() for y, x in places]) + STILL
    y, x = places[rng.choice(PLACES, p=motion / motion.sum())]
    return frames[:, y : y + size, x : x + size]
