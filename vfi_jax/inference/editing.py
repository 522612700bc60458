"""Editing motion: objects between two frames that move each at its own pace, by painted distance maps.

For example, with the hand of a runner ahead of the rest, and everything else standing still:

    hand, runner = Timed(hand_mask, (0, 0.8, 1)), Timed(runner_mask, (0, 1))
    frames = list(retimed(Interpolator(model, variables), (frame0, frame1), [hand, runner], [0.25, 0.5, 0.75]))

Follows the web application of Zhihang Zhong et al., "Clearer Frames, Anytime", ECCV 2024, with a fixed blur where that
draws one at random.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from vfi_jax.data.distance_maps import blurred, painted, sampled_curve
from vfi_jax.data.images import load_image
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.interpolator import Interpolator

STEPS = 3  # of `iterate_reference`, as in the web application
BLUR = 9
KEYS = {"mask", "curve", "frame"}


@dataclasses.dataclass(frozen=True)
class Timed:
    """An object and its pace.

    Attributes:
      mask: where it is in the first frame.
      curve: the fraction of its way that it has covered, 0..1, at equal times from the first frame to the second; see
        `data.distance_maps.sampled_curve`.
      name: of it, for messages.
    """

    mask: Bool[np.ndarray, "h w"]
    curve: Sequence[float]
    name: str = "the object"

    def __post_init__(self) -> None:
        """Raises UserError for a curve that is empty or leaves 0..1."""
        values = np.asarray(self.curve, np.float64)
        if values.ndim != 1 or not values.size or not ((values >= 0) & (values <= 1)).all():
            raise UserError(f"{self.name}: a curve is a list of numbers in 0..1, not {list(self.curve)!r:.80}")


def painted_map(objects: Sequence[Timed], t: float, size: tuple[int, int]) -> Float[np.ndarray, "h w 1"]:
    """Returns the distance map of objects at time t: the first of overlapping ones wins, all else stands still.

    Args:
      objects: their masks have the frames' size.
      t: 0..1.
      size: height and width of the frames.

    Raises:
      UserError: a mask of another size.
    """
    for each in objects:
        if each.mask.shape != size:
            shape = "x".join(map(str, each.mask.shape[::-1]))
            raise UserError(f"{each.name}: the mask is {shape}, and the frames {size[1]}x{size[0]}")
    if not objects:
        return np.zeros((*size, 1), np.float32)
    values = [sampled_curve(np.asarray(each.curve, np.float64), [t])[0] for each in objects]
    return blurred(painted(np.stack([each.mask for each in objects]), values), BLUR)[..., None]


def retimed(
    interpolate: Interpolator, frames: Sequence[np.ndarray], objects: Sequence[Timed], times: Iterable[float]
) -> Iterator[np.ndarray]:
    """Yields the frames at several times between two, in which objects move at their own pace.

    Args:
      interpolate: with a model of two frames and any time, best one trained with distance maps (`d_*`, `dr_*`).
      frames: two, `[h, w, 3]`.
      objects: see `painted_map`.
      times: in 0..1.

    Raises:
      UsageError: the model does not support other times than 0.5, or takes other frames.
      UserError: see `painted_map` and `Interpolator`.
    """
    check_model(interpolate)
    for t in times:
        yield interpolate(*frames, t=painted_map(objects, t, np.shape(frames[0])[:2]))


def check_model(interpolate: Interpolator) -> None:
    """Raises UsageError for a model that takes no distance maps."""
    if interpolate.spec.num_frames != 2 or not interpolate.model.any_time:
        raise UsageError(
            f"{interpolate.model.variant} cannot time objects: a model of two frames and any time is needed (d_rife)"
        )


def read_objects(path: Path) -> dict[int, list[Timed]]:
    """Reads a JSON file of objects.

    It is a list of `{"mask": "runner.png", "curve": [0, 0.8, 1], "frame": 0}`. Masks are pictures of the frames' size,
    white (more than half) where the object is; their paths are relative to the file's folder. `frame` is the number of
    the frame that the mask belongs to, from which the object moves to the next; 0 if it is left out.

    Returns:
      Number of a frame to its objects, in the file's order.

    Raises:
      UserError: the file or a mask cannot be read, or is something else.
    """
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(entries, list) or not entries:
        raise UserError(f'{path} is no list of objects, such as [{{"mask": "runner.png", "curve": [0, 0.8, 1]}}]')
    objects: dict[int, list[Timed]] = {}
    for number, entry in enumerate(entries):
        frame, timed = _object(path, number, entry)
        objects.setdefault(frame, []).append(timed)
    return objects


def _object(path: Path, number: int, entry: Any) -> tuple[int, Timed]:
    where = f"{path}, object {number}"
    if not isinstance(entry, dict) or not {"mask", "curve"} <= entry.keys() <= KEYS:
        raise UserError(f"{where}: an object has `mask`, `curve` and, if it is not 0, `frame`")
    mask, curve, frame = entry["mask"], entry["curve"], entry.get("frame", 0)
    if not isinstance(mask, str) or type(frame) is not int or frame < 0:
        raise UserError(f"{where}: `mask` is the name of a picture, `frame` a number from 0")
    if not isinstance(curve, list) or not all(type(value) in (int, float) for value in curve):
        raise UserError(f"{where}: a curve is a list of numbers in 0..1, not {curve!r:.80}")
    image = load_image(path.parent / mask)
    white = image.max(-1) > np.iinfo(image.dtype).max // 2
    return frame, Timed(white, tuple(curve), f"{where} ({mask})")


def between_with(
    interpolate: Interpolator, objects: dict[int, list[Timed]]
) -> Callable[[Sequence[np.ndarray], Sequence[float]], Iterator[np.ndarray]]:
    """Returns `Interpolator.between` for the pairs of a clip, with the objects of their first frames.

    It counts its calls, and so has to be called for every pair, in order. Pairs without objects get uniform times.
    """
    number = -1

    def between(frames: Sequence[np.ndarray], times: Sequence[float]) -> Iterator[np.ndarray]:
        nonlocal number
        number += 1
        if number in objects:
            return retimed(interpolate, frames, objects[number], times)
        return interpolate.between(frames, times)

    return between
