"""Which frames of a window are inputs and target, and at what times."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from vfi_jax.config import Window
from vfi_jax.data.augment import FLOWS, Sample
from vfi_jax.errors import UsageError, UserError


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
      record: `frames` uint8 `[n, h, w, 3]`, `name`, and, where it is labeled, `flow` or `flows`.
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
    off_center = np.abs(2 * target - before - after)
    return _pick(record, window, inputs, target, int(np.lexsort((before, off_center, before - after))[0]))


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
