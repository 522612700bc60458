"""From a window to a training sample: which frames are inputs and target, and the published augmentation.

`transform` and `triples` serve host (NumPy) and device (JAX) alike: a decision may be an array that is being traced.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vfi_jax.config import Augment, Window
from vfi_jax.errors import UsageError, UserError

Sample = dict[str, Any]
PICTURES = ("frames", "target")  # uint8
FLOWS = ("flow", "flows")  # float16 labels: the target's flows to its inputs; those between four inputs


class Decision(NamedTuple):
    """What is done to a sample; rotation counts quarter turns clockwise."""

    reverse_channels: Any
    flip_rows: Any
    flip_columns: Any
    reverse_time: Any
    rotation: Any
    transpose: Any


def choices(window: Window) -> tuple[Int[np.ndarray, "m k"], Int[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Every choice of inputs and target that a window config allows: inputs, target, probability.

    With `inputs` given, the target is that of the config, or each between the inner inputs alike. Else, with
    probability `sorted_share`, three distinct frames in order, the middle one being the target, all alike (RIFE-m);
    otherwise a target and two inputs equally far from it: first how far, then where, each evenly.

    Raises:
      UsageError: indices that the window does not have, out of order, or no target between its inputs.
    """
    if window.inputs:
        targets = _targets(window)
        return np.tile(window.inputs, (len(targets), 1)), targets, np.full(len(targets), 1 / len(targets))
    if window.frames < 3:
        raise UsageError(f"data.window.frames is {window.frames}: a pair and a frame between need 3")
    table: dict[tuple[int, int, int], float] = {}
    far = (window.frames - 1) // 2
    for distance in range(1, far + 1):
        middles = range(distance, window.frames - distance)
        for middle in middles:
            table[middle - distance, middle, middle + distance] = (1 - window.sorted_share) / far / len(middles)
    triples = list(itertools.combinations(range(window.frames), 3))
    for triple in triples if window.sorted_share else ():
        table[triple] = table.get(triple, 0.0) + window.sorted_share / len(triples)
    indices = np.array(list(table))
    return indices[:, ::2], indices[:, 1], np.array(list(table.values()))


def _targets(window: Window) -> Int[np.ndarray, "m"]:
    inputs, target = window.inputs, window.target
    if list(inputs) != sorted(set(inputs)) or len(inputs) not in (2, 4):
        raise UsageError(f"data.window.inputs is {inputs}: 2 or 4 indices in rising order are needed")
    if inputs[0] < 0 or inputs[-1] >= window.frames:
        raise UsageError(f"data.window.inputs is {inputs}: they do not fit into {window.frames} frames")
    (before,), (after,) = around(np.array([inputs]))
    targets = [target] if target != -1 else list(range(before + window.target_step, after, window.target_step))
    if not targets or not before < targets[0] < after:
        raise UsageError(f"data.window has no target between the inputs {before} and {after}, and target is {target}")
    return np.array(targets)


def around(inputs: Int[np.ndarray, "m k"]) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """The two inputs that lie around the target: the inner ones of four."""
    middle = inputs.shape[1] // 2
    return inputs[:, middle - 1], inputs[:, middle]


def times(inputs: Int[np.ndarray, "m k"], target: Int[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """T of each choice: 0 at the input before the target, 1 at the one after."""
    before, after = around(inputs)
    return ((target - before) / (after - before)).astype(np.float32)


def sample_of(record: Mapping[str, Any], window: Window, rng: np.random.Generator) -> Sample:
    """A training sample from a window, inputs and target drawn as its config says.

    Args:
      record: `frames` uint8 `[n, h, w, 3]`, `name`, and, where it is labelled, `flow` or `flows`.
      window: what to draw.
      rng: draws.

    Returns:
      `frames` `[k, h, w, 3]`, `target` `[h, w, 3]`, `t` float32 `[1, 1, 1]`, `name`, and the record's labels.

    Raises:
      UserError: a window of another length.
    """
    inputs, target, probability = choices(window)
    return _pick(record, window, inputs, target, int(rng.choice(len(target), p=probability)))


def validation_sample(record: Mapping[str, Any], window: Window) -> Sample:
    """The same without chance: the choice with the outermost inputs and, of these, the target nearest to the middle."""
    inputs, target, _ = choices(window)
    before, after = around(inputs)
    off_centre = np.abs(2 * target - before - after)
    return _pick(record, window, inputs, target, int(np.lexsort((before, off_centre, before - after))[0]))


def _pick(record: Mapping[str, Any], window: Window, inputs: np.ndarray, target: np.ndarray, index: int) -> Sample:
    frames = record["frames"]
    if len(frames) != window.frames:
        raise UserError(f"{record['name']} has {len(frames)} frames; data.window.frames says {window.frames}")
    return {
        "frames": frames[inputs[index]],
        "target": frames[target[index]],
        "t": times(inputs, target)[index].reshape(1, 1, 1),
        **{name: record[name] for name in ("name", "damaged", *FLOWS) if name in record},
    }


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
    return {**sample, **{name: sample[name][square] for name in (*PICTURES, *FLOWS) if name in sample}}


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
    for name in PICTURES:
        picture = pick(decision.reverse_channels, out[name][..., ::-1], out[name])
        out[name] = _turned(picture, decision, pick)
    out["frames"] = pick(decision.reverse_time, out["frames"][::-1], out["frames"])
    out["t"] = pick(decision.reverse_time, 1 - out["t"], out["t"])
    for name in FLOWS:
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
