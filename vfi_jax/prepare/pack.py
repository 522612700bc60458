"""Packed sets made once: crops of footage, and made-up scenes, by all processors."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file
from tqdm import tqdm

from vfi_jax.config import Footage
from vfi_jax.data.packed import KIND
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare import footage
from vfi_jax.prepare.footage import Clip
from vfi_jax.prepare.records import told, videos_of
from vfi_jax.system import machine
from vfi_jax.system.files import written_whole

Item, Made = TypeVar("Item"), TypeVar("Made")
WORTH_PROCESSES = 32  # items from which on starting processes, some seconds, is worth it
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
    _check_packed(output)
    clips = _analyzed(source, config)
    rejected = footage.rejections(clips)
    room = megabytes * 10**6 // (config.frames * size * size * 3)
    share = _shares([len(clip.starts) for clip in clips], room)
    chosen = [
        (number, dataclasses.replace(clip, starts=tuple(footage.spread(list(clip.starts), count))))
        for number, (clip, count) in enumerate(zip(clips, share, strict=True))
        if count
    ]
    crops, names = [], []
    cut = functools.partial(_crops, config=config, size=size, seed=seed)
    for (_, clip), found in zip(chosen, _by_all_cores(cut, chosen, unit="clip", desc="cut"), strict=True):
        crops += found.values()
        names += [f"{clip.path.relative_to(source)}/{first:06d}" for first in found]
        rejected += Counter({"small": len(clip.starts) - len(found)})  # without those that are zero
    if not crops:
        raise UserError(f"{source}: no usable window in {len(clips)} clips; rejected: {told(rejected)}")
    counts = {"windows": len(crops), "clips": sum(map(bool, share)), "rejected": dict(rejected)}
    about = {"names": names, "source": source.name, "footage": dataclasses.asdict(config), "seed": seed, **counts}
    _write_packed(output, np.stack(crops), about)
    return counts


def _analyzed(source: Path, config: Footage) -> list[Clip]:
    look = functools.partial(footage.analyze, config=config)
    return list(_by_all_cores(look, videos_of(source), unit="clip", desc="look"))


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
    return frames[:, y : y + size, x : x + size].copy()  # a view would keep the whole window


def _crops(
    numbered: tuple[int, Clip], *, config: Footage, size: int, seed: int
) -> dict[int, UInt8[np.ndarray, "n size size 3"]]:
    """Of a clip and its number, the crops of its windows by first frame, without those of smaller frames."""
    number, clip = numbered
    rng = np.random.default_rng([seed, number])
    found = ((first, _moving_crop(frames, size, rng)) for first, frames in footage.windows(clip, config))
    return {first: crop for first, crop in found if crop is not None}


def _check_packed(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a packed set is a .safetensors file")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder; create it first")


def _write_packed(output: Path, windows: np.ndarray, about: dict[str, Any]) -> None:
    with written_whole(output) as partial:
        try:
            save_file({"frames": windows}, partial, {KIND: json.dumps(about)})
        except SafetensorError as error:
            raise UserError(f"{output} cannot be written: {str(error).splitlines()[0]}") from None


def _by_all_cores(function: Callable[[Item], Made], items: Sequence[Item], **bar: str) -> Iterator[Made]:
    """What a function makes of each item, in order, with a bar of progress; few items take one process."""
    cores = min(machine.processors(), len(items))
    if cores < 2 or len(items) < WORTH_PROCESSES:
        yield from map(function, tqdm(items, **bar))
        return
    # Not forked: JAX has threads.
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        yield from tqdm(pool.map(function, items), total=len(items), **bar)
