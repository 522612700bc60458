"""Windows and samples: which frames of a window are the inputs, which is the target, and the target's time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from vfi_jax.config import Window
from vfi_jax.errors import UsageError, UserError

Sample = dict[str, Any]
IMAGE_FIELDS = ("frames", "target", "reference")  # of a sample, uint8; the last where the model sees one
TIME_FIELDS = ("t", "reference_t")  # numbers `[1, 1, 1]`, or distance maps `[h, w, 1]`
FLOW_FIELDS = ("flow", "flows")  # float16 labels: from the target to its inputs; between four inputs
REGION_FIELD = "regions"  # uint8 `[k, h / 2, w / 2]`: the region maps of the inputs
MASK_FIELDS = ("masks",)  # uint8 labels, 0 or 1, `[h, w, 3]`: where the levels of a pruned model compute


class FrameSelections(NamedTuple):
    """Every selection of frames that a window config allows, one a row.

    Attributes:
      inputs: indices of the input frames.
      target: index of the target frame.
      probability: of drawing this selection; they add up to 1.
    """

    inputs: Int[np.ndarray, "m k"]
    target: Int[np.ndarray, "m"]
    probability: Float[np.ndarray, "m"]


def frame_selections(window: Window) -> FrameSelections:
    """Lists the selections of inputs and target that a window config allows.

    With `inputs` given, the target is the config's, or each frame between the inner inputs with equal probability.
    Otherwise, with probability `sorted_share`, the selection is any three frames in order, the middle one being the
    target (RIFE-m). In the remaining cases the two inputs are equally far from the target; first the distance is drawn
    uniformly, then the position.

    Raises:
      UsageError: indices that the window does not have, out of order, or no target between the inputs.
    """
    if window.inputs:
        targets = _targets_between(window)
        count = len(targets)
        return FrameSelections(np.tile(window.inputs, (count, 1)), targets, np.full(count, 1 / count))
    if window.frames < 3:
        raise UsageError(f"data.window.frames is {window.frames}: a pair and a frame between need 3")
    table: dict[tuple[int, int, int], float] = {}
    farthest = (window.frames - 1) // 2
    for distance in range(1, farthest + 1):
        middles = range(distance, window.frames - distance)
        for middle in middles:
            probability = (1 - window.sorted_share) / farthest / len(middles)
            table[middle - distance, middle, middle + distance] = probability
    triples = list(itertools.combinations(range(window.frames), 3))
    for triple in triples if window.sorted_share else ():
        table[triple] = table.get(triple, 0.0) + window.sorted_share / len(triples)
    indices = np.array(list(table))
    return FrameSelections(indices[:, ::2], indices[:, 1], np.array(list(table.values())))


def _targets_between(window: Window) -> Int[np.ndarray, "m"]:
    inputs, target = window.inputs, window.target
    if list(inputs) != sorted(set(inputs)) or len(inputs) not in (2, 4):
        raise UsageError(f"data.window.inputs is {inputs}: 2 or 4 indices in rising order are needed")
    if inputs[0] < 0 or inputs[-1] >= window.frames:
        raise UsageError(f"data.window.inputs is {inputs}: they do not fit into {window.frames} frames")
    (before,), (after,) = inner_inputs(np.array([inputs]))
    targets = [target] if target != -1 else list(range(before + window.target_step, after, window.target_step))
    if not targets or not before < targets[0] < after:
        raise UsageError(f"data.window has no target between the inputs {before} and {after}, and target is {target}")
    return np.array(targets)


def inner_inputs(inputs: Int[np.ndarray, "m k"]) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
    """Returns the inputs just before and just after the target: the middle two."""
    middle = inputs.shape[1] // 2
    return inputs[:, middle - 1], inputs[:, middle]


def target_times(inputs: Int[np.ndarray, "m k"], target: Int[np.ndarray, "m"]) -> Float[np.ndarray, "m"]:
    """Returns t of each selection, float32: 0 is the input just before the target, 1 the one just after."""
    before, after = inner_inputs(inputs)
    return ((target - before) / (after - before)).astype(np.float32)


def training_sample(record: Mapping[str, Any], window: Window, rng: np.random.Generator) -> Sample:
    """Draws a selection of frames by its probability and makes a sample of it.

    Args:
      record: `frames` uint8 `[n, h, w, 3]`, `name`, and `flow`, `flows` or `masks` where the set has labels,
        and `regions`, its maps, where it has those.
      window: the selections to draw from.
      rng: source of the draw.

    Returns:
      `frames` `[k, h, w, 3]`, `target` `[h, w, 3]`, `t` float32 `[1, 1, 1]`, `name`, and the record's labels; `regions`
      `[k, h / 2, w / 2]` where it has maps.

    Raises:
      UserError: the record has another number of frames.
    """
    selections = frame_selections(window)
    return _sample(record, window, selections, int(rng.choice(len(selections.target), p=selections.probability)))


def validation_sample(record: Mapping[str, Any], window: Window) -> Sample:
    """Makes a sample without randomness: the outermost inputs, and the target nearest to their middle.

    Args, Returns and Raises are those of `training_sample`.
    """
    selections = frame_selections(window)
    return _sample(record, window, selections, validation_selection(selections))


def validation_selection(selections: FrameSelections) -> int:
    """Returns the row with the outermost inputs and the target nearest to their middle."""
    before, after = inner_inputs(selections.inputs)
    off_center = np.abs(2 * selections.target - before - after)
    return int(np.lexsort((before, off_center, before - after))[0])


def _sample(record: Mapping[str, Any], window: Window, selections: FrameSelections, index: int) -> Sample:
    frames = record["frames"]
    if len(frames) != window.frames:
        raise UserError(f"{record['name']} has {len(frames)} frames; data.window.frames says {window.frames}")
    inputs, target, _ = selections
    return {
        "frames": frames[inputs[index]],
        "target": frames[target[index]],
        "t": target_times(inputs, target)[index].reshape(1, 1, 1),
        **{name: record[name] for name in ("name", "damaged", *FLOW_FIELDS, *MASK_FIELDS) if name in record},
        **({REGION_FIELD: record[REGION_FIELD][inputs[index]]} if REGION_FIELD in record else {}),
    }
