"""Matching the regions of consecutive frames by optical flow, so that a number means the same object in a clip."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer

from vfi_jax.data.region_maps import MOST, Map

LEAST_IOU = 0.3  # of regions that match
SMALLEST = 64  # pixels of a region at half the frame's size

Labels = Integer[np.ndarray, "h w"]


def compacted(labels: Labels) -> Labels:
    """Renumbers regions by their size, the largest becomes 1; those of few pixels, and all but 255, become 0."""
    numbers, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    counts = np.where((numbers > 0) & (counts >= SMALLEST), counts, 0)
    order = np.argsort(-counts, kind="stable")[:MOST]
    new = np.zeros(len(numbers), int)
    kept = order[counts[order] > 0]
    new[kept] = np.arange(1, len(kept) + 1)
    return new[inverse].reshape(labels.shape)


def matches(before: Labels, after: Labels, flow: Float[np.ndarray, "h w 2"]) -> dict[int, int]:
    """Returns which region of a frame is which one of the frame before: those that are each other's best.

    Each pixel of a region before is moved by the flow and rounded; those that leave the frame are dropped. Two regions
    are the better matched, the larger the intersection over the union: `C / (n0 + n1 - C)`, C the pixels moved from one
    into the other, n0 all that are moved from the first, n1 the second's. `LEAST_IOU` is needed.

    Args:
      before: labels of the frame before; 0: none.
      after: labels of the frame.
      flow: from the frame before to the frame, (x, y), pixels of the labels.
    """
    rows, columns = np.nonzero(before)
    to = np.rint(np.stack([columns, rows], -1) + flow[rows, columns]).astype(int)
    inside = ((to >= 0) & (to < (after.shape[1], after.shape[0]))).all(-1)
    first, second = before[rows, columns][inside], after[to[inside, 1], to[inside, 0]]
    shape = int(before.max()) + 1, int(after.max()) + 1
    common = np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1]).reshape(shape)
    union = common.sum(1, keepdims=True) + np.bincount(after.ravel(), minlength=shape[1]) - common
    iou = common / np.maximum(union, 1)
    iou[0], iou[:, 0] = 0, 0
    best, back = iou.argmax(1), iou.argmax(0)
    return {int(b): a for a, b in enumerate(best) if iou[a, b] >= LEAST_IOU and back[b] == a}


class Numbering:
    """Numbers the regions of a clip's frames, one after the other; compares with the numbers of the frame before.

    New regions get the numbers that were not in use for the longest time; those that find none become 0.
    """

    def __init__(self) -> None:
        """Begins a clip."""
        self._before: Labels | None = None
        self._used = np.full(MOST + 1, -1)  # number of the frame in which each number was last in use
        self._frame = 0

    def number(self, labels: Labels, flow: Float[np.ndarray, "h w 2"] | None) -> Map:
        """Returns the map of the next frame.

        Args:
          labels: as `compacted` returns them.
          flow: from the frame before, in its numbers' pixels; None for the first frame.
        """
        known = matches(self._before, labels, flow) if self._before is not None and flow is not None else {}
        taken = {0, *known.values(), *(np.unique(self._before).tolist() if self._before is not None else ())}
        free = [number for number in np.argsort(self._used[1:], kind="stable") + 1 if number not in taken]
        new = iter(free)
        table = np.zeros(int(labels.max()) + 1, np.uint8)
        for label in range(1, len(table)):
            table[label] = known[label] if label in known else next(new, 0)
        numbered = table[labels]
        self._before, self._frame = numbered.astype(int), self._frame + 1
        self._used[np.unique(numbered)] = self._frame
        return numbered
