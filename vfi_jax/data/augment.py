"""Augmentation as published: crops, reversed channels and time, flips, transposition and rotation of samples.

`transform` serves host (NumPy) and device (JAX) alike: a decision may hold traced arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vfi_jax.config import Augment
from vfi_jax.data.windows import FLOW_FIELDS, IMAGE_FIELDS, MASK_FIELDS, REGION_FIELD, TIME_FIELDS, Sample
from vfi_jax.errors import UserError


class Decision(NamedTuple):
    """Which transformations a sample undergoes: flags, and `rotation` in quarter turns clockwise."""

    reverse_channels: Any
    flip_rows: Any
    flip_columns: Any
    reverse_time: Any
    rotation: Any
    transpose: Any


def crop(sample: Sample, side: int, rng: np.random.Generator) -> Sample:
    """Crops images, flows, masks and maps to the same square at a random position, an even one with region maps.

    Raises:
      UserError: the frames are smaller than `side`.
    """
    height, width = sample["target"].shape[:2]
    if min(height, width) < side:
        raise UserError(f"{sample['name']} is {width}x{height}: too small for data.augment.crop = {side}")
    step = 2 if REGION_FIELD in sample else 1
    top, left = (step * rng.integers((whole - side) // step + 1) for whole in (height, width))
    square = (..., slice(top, top + side), slice(left, left + side), slice(None))
    names = (*IMAGE_FIELDS, *FLOW_FIELDS, *MASK_FIELDS, *map_fields(sample))
    cropped = {**sample, **{name: sample[name][square] for name in names if name in sample}}
    if REGION_FIELD in sample:
        rows, columns = (slice(start // 2, (start + side + 1) // 2) for start in (top, left))
        cropped[REGION_FIELD] = sample[REGION_FIELD][:, rows, columns]
    return cropped


def map_fields(sample: Mapping[str, Any]) -> list[str]:
    """Returns the fields of a sample that are distance maps."""
    shapes = {name: np.shape(sample[name]) for name in TIME_FIELDS if name in sample}
    return [name for name, shape in shapes.items() if len(shape) > 2 and shape[-3:-1] != (1, 1)]


def draw(rng: np.random.Generator, config: Augment) -> Decision:
    """Draws a decision with the config's probabilities; a `transpose` of 0 takes nothing from `rng`."""
    chances = (config.reverse_channels, config.flip_rows, config.flip_columns, config.reverse_time)
    flags = [bool(rng.random() < chance) for chance in chances]
    rotation = int(rng.integers(1, 4)) if rng.random() < config.rotate else 0
    return Decision(*flags, rotation, bool(config.transpose and rng.random() < config.transpose))


def transform(sample: Mapping[str, Any], decision: Decision) -> Sample:
    """Applies a decision to a square sample: channels, rows, columns, transposition, time, then rotation.

    That is the order of RIFE's and of IFRNet's published code. Vectors of flow are mirrored and rotated like the
    images, and under time reversal the two halves of a flow field's channels change places.

    Args:
      sample: `frames` `[k, h, h, 3]`, `target` `[h, h, 3]`, `t` (becomes 1 - t under time reversal), and optionally
        `flow` `[h, h, 4]` (from the target to the input before, then to the one after) and `flows` `[h, h, 8]` (of
        frames -1 to 2: 0 to -1, 0 to 1, 1 to 2, 1 to 0). `t` may be a map `[h, h, 1]`, which moves with the images, and
        there may be `reference` and `reference_t`, all without time reversal. `masks` `[h, h, 3]` move with the images,
        and so do `regions` `[k, h / 2, h / 2]`, the maps of the frames. Other fields
        are passed on. All arrays are NumPy's, or all are JAX's.
      decision: what to apply.
    """
    out = dict(sample)
    xp = out["target"].__array_namespace__()
    pick = lambda flag, yes, no: xp.where(xp.asarray(flag), yes, no)  # noqa: E731
    for name in [name for name in IMAGE_FIELDS if name in out]:
        image = pick(decision.reverse_channels, out[name][..., ::-1], out[name])
        out[name] = _move_pixels(image, decision, pick)
    for name in (*map_fields(out), *[name for name in MASK_FIELDS if name in out]):
        out[name] = _move_pixels(out[name], decision, pick)
    if REGION_FIELD in out:
        moved = _move_pixels(out[REGION_FIELD][..., None], decision, pick)[..., 0]
        out[REGION_FIELD] = pick(decision.reverse_time, moved[::-1], moved)
    out["frames"] = pick(decision.reverse_time, out["frames"][::-1], out["frames"])
    out["t"] = pick(decision.reverse_time, 1 - out["t"], out["t"])
    for name in FLOW_FIELDS:
        if name in out:
            flow = _move_vectors(_move_pixels(out[name], decision, pick), decision, pick, xp)
            out[name] = pick(decision.reverse_time, xp.roll(flow, flow.shape[-1] // 2, axis=-1), flow)
    return out


def _move_pixels(image: Any, decision: Decision, pick: Any) -> Any:
    """Flips, transposes and rotates `[..., h, h, c]`; a quarter turn clockwise is a transposition and a column flip."""
    image = pick(decision.flip_rows, image[..., ::-1, :, :], image)
    image = pick(decision.flip_columns, image[..., ::-1, :], image)
    image = pick(decision.transpose, image.swapaxes(-2, -3), image)
    image = pick(decision.rotation >= 2, image[..., ::-1, ::-1, :], image)
    return pick(decision.rotation % 2 == 1, image.swapaxes(-2, -3)[..., ::-1, :], image)


def _move_vectors(flow: Any, decision: Decision, pick: Any, xp: Any) -> Any:
    """Applies the same moves to the vectors (x, y); a quarter turn clockwise makes (-y, x) of (x, y)."""
    x, y = flow[..., ::2], flow[..., 1::2]
    x, y = pick(decision.flip_columns, -x, x), pick(decision.flip_rows, -y, y)
    x, y = pick(decision.transpose, y, x), pick(decision.transpose, x, y)
    half_turn = decision.rotation >= 2
    x, y = pick(half_turn, -x, x), pick(half_turn, -y, y)
    quarter_turn = decision.rotation % 2 == 1
    x, y = pick(quarter_turn, -y, x), pick(quarter_turn, x, y)
    return xp.stack([x, y], axis=-1).reshape(flow.shape)
