"""Accumulators of an evaluation: worst images, figures of clips, means by motion and by group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vfi_jax.benchmarks import Score, ScoredImage, clips, means, strip
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import temporal
from vfi_jax.models.classical import SMALLEST

MOTION_BINS = (0, 2, 4, 8, 16, 32, 64)  # lower ends, pixels of mean flow; the last bin is open


class WorstImages:
    """Keeps the images of lowest PSNR."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._images: list[ScoredImage] = []

    def add(self, image: ScoredImage) -> None:
        """Keeps the image if it is among the worst so far."""
        if len(self._images) < self._count or image.score.psnr < self._images[-1].score.psnr:
            # Copies, because a slice keeps its whole batch alive.
            copied = image._replace(inputs=image.inputs.copy(), frame=image.frame.copy(), truth=image.truth.copy())
            self._images = sorted([*self._images, copied], key=lambda image: image.score.psnr)[: self._count]

    def strips(self) -> list[tuple[np.ndarray, ...]]:
        """Input, input, prediction and truth of each image, worst first; `[h, w, 3]` uint8."""
        return [strip(image) for image in self._images]


class ClipFigures:
    """Figures of whole clips: tOF, and VMAF where it is installed. Frames arrive clip by clip; one clip is held.

    Attributes:
      by_group: figures of each finished clip.
    """

    def __init__(self) -> None:
        self.by_group: dict[str, dict[str, float]] = {}
        self._group = ""
        self._predictions: list[np.ndarray] = []
        self._truths: list[np.ndarray] = []

    def add(self, image: ScoredImage) -> None:
        """Adds the next frame."""
        if image.sample.group != self._group:
            self._finish_clip()
            self._group = image.sample.group
        self._predictions.append(np.rint(image.frame).astype(np.uint8))
        self._truths.append(np.rint(image.truth).astype(np.uint8))

    def means(self) -> dict[str, float]:
        """Means over clips, after the last frame."""
        self._finish_clip()
        names = dict.fromkeys(name for figures in self.by_group.values() for name in figures)
        # A clip of a single frame or of tiny frames has no tOF.
        values = {name: [figures.get(name, np.nan) for figures in self.by_group.values()] for name in names}
        return {name: float(np.nanmean(each)) for name, each in values.items()}

    def _finish_clip(self) -> None:
        if not self._predictions:
            return
        figures = {}
        if len(self._predictions) > 1 and min(self._predictions[0].shape[:2]) >= SMALLEST:
            figures["tof"] = temporal.flow_distance(self._predictions, self._truths, dis_flow)
        if clips.has_vmaf():
            figures["vmaf"] = clips.vmaf(self._predictions, self._truths)
        self.by_group[self._group] = figures
        self._predictions, self._truths = [], []


def means_by_motion(rows: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Means, and the number of images, in each bin of `Score.extra["motion"]` that holds any."""
    bins: dict[str, list[Score]] = {}
    for low, high in zip(MOTION_BINS, (*MOTION_BINS[1:], np.inf), strict=True):
        name = f"{low}-{high}" if high < np.inf else f"{low}+"
        bins[name] = [row for row in rows if low <= row.extra["motion"] < high]
    return {name: {"images": len(members), **means(members)} for name, members in bins.items() if members}


def means_by_group(rows: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Means, and the number of images, of each group; empty where samples have none."""
    groups: dict[str, list[Score]] = {}
    for row in rows:
        if row.group:
            groups.setdefault(row.group, []).append(row)
    return {name: {"images": len(members), **means(members)} for name, members in groups.items()}
