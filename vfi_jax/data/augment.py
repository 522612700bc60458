"""From a window to a training sample: which frames are inputs and target, and the published augmentation.

`transform` and `triples` serve host (NumPy) and device (JAX) alike: a decision may be an array that is being traced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vfi_jax.config import Augment
from vfi_jax.data.windows import FLOW_FIELDS, IMAGE_FIELDS, Sample
from vfi_jax.errors import UserError


class Decision(NamedTuple):
    """What is done to a sample; rotation counts quarter turns clockwise."""

    reverse_channels: Any
    flip_rows: Any
    flip_columns: Any
    reverse_time: Any
    rotation: Any
    transpose: Any


def crop(sample: Sample, side: int, rng: np.random.Generator) -> Sample:
    """The same square of frames, target and flows at a random place.

    Raises:
      UserError: the frames are smaller.
    """
    height, width = sample["target"].shape[:2]
    if min(height, width) < side:
        raise UserError(f"{sample['name']} is {width}x{height}: too small for data.augment.crop = {side}")
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    square = (..., slice(top, top + side), slice(left, left + side), slice(None))
    return {**sample, **{name: sample[name][square] for name in (*IMAGE_FIELDS, *FLOW_FIELDS) if name in sample}}


def draw(rng: np.random.Generator, config: Augment) -> Decision:
    """A decision by the config's probabilities; a `transpose` of 0 takes nothing from `rng`."""
    chances = (config.reverse_channels, config.flip_rows, config.flip_columns, config.reverse_time)
    flags = [bool(rng.random() < chance) for chance in chances]
    turn = int(rng.integers(1, 4)) if rng.random() < config.rotate else 0
    return Decision(*flags, turn, bool(config.transpose and rng.random() < config.transpose))


def transform(sample: Mapping[str, Any], decision: Decision) -> Sample:
    """Applies a decision to square pictures: channels, rows, columns, transposition, time, then rotation.

    That is the order of RIFE's and of IFRNet's published code. Fields: `frames` `[k, h, h, 3]`, `target` `[h, h, 3]`,
    `t` (becomes 1 - t under time reversal), and, where there, `flow` `[h, h, 4]` (target -> before, target -> after)
    and `flows` `[h, h, 8]` (of frames -1 to 2: 0 -> -1, 0 -> 1, 1 -> 2, 1 -> 0), whose vectors are mirrored and turned,
    and whose halves are swapped under time reversal. Others are passed on. Arrays are all NumPy's or all JAX's.
    """
    out = dict(sample)
    xp = out["target"].__array_namespace__()
    pick = lambda flag, yes, no: xp.where(xp.asarray(flag), yes, no)  # noqa: E731
    for name in IMAGE_FIELDS:
        picture = pick(decision.reverse_channels, out[name][..., ::-1], out[name])
        out[name] = _turned(picture, decision, pick)
    out["frames"] = pick(decision.reverse_time, out["frames"][::-1], out["frames"])
    out["t"] = pick(decision.reverse_time, 1 - out["t"], out["t"])
    for name in FLOW_FIELDS:
        if name in out:
            flow = _turned_vectors(_turned(out[name], decision, pick), decision, pick, xp)
            out[name] = pick(decision.reverse_time, xp.roll(flow, flow.shape[-1] // 2, axis=-1), flow)
    return out


def _turned(image: Any, decision: Decision, pick: Any) -> Any:
    """`[..., h, h, c]`, flipped, transposed, then turned clockwise: a quarter is a transposition, columns flipped."""
    image = pick(decision.flip_rows, image[..., ::-1, :, :], image)
    image = pick(decision.flip_columns, image[..., ::-1, :], image)
    image = pick(decision.transpose, image.swapaxes(-2, -3), image)
    image = pick(decision.rotation >= 2, image[..., ::-1, ::-1, :], image)
    return pick(decision.rotation % 2 == 1, image.swapaxes(-2, -3)[..., ::-1, :], image)


def _turned_vectors(flow: Any, decision: Decision, pick: Any, xp: Any) -> Any:
    """Vectors (x, y) after the same flips and turns: a quarter turn clockwise makes (-y, x) of (x, y)."""
    x, y = flow[..., ::2], flow[..., 1::2]
    x, y = pick(decision.flip_columns, -x, x), pick(decision.flip_rows, -y, y)
    x, y = pick(decision.transpose, y, x), pick(decision.transpose, x, y)
    half = decision.rotation >= 2
    x, y = pick(half, -x, x), pick(half, -y, y)
    quarter = decision.rotation % 2 == 1
    x, y = pick(quarter, -y, x), pick(quarter, x, y)
    return xp.stack([x, y], axis=-1).reshape(flow.shape)
