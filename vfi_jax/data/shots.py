"""Shots in footage: selects windows of frames without cuts, fades, flashes, duplicates, combing or standstill.

Cuts are detected by PySceneDetect's detectors; the other defects by simple measures of successive frames, each with its
threshold in `config.Footage`. Most measures work on small gray copies of the frames.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from vfi_jax.config import Footage

SMALL_SIDE = 160  # long side of the small copies, pixels
BLACK = 20.0  # mean level, 0..255, up to which an edge row or column counts as a black bar
CELLS = 8  # cells along each side of a frame, for measures that must not react to small motion
FADE_FLOOR = 1.0  # change between frames below which brightness does not fade, root mean square of levels
DISSOLVE_REACHES = (3, 4, 6, 8, 10)  # half lengths of the dissolves that are tested, frames
DISSOLVE_DIP = 0.72  # variance in the middle of a dissolve, relative to its ends, at most
DISSOLVE_CHANGE = 8.0  # mean change of the cells over a dissolve, levels, at least
MOTION_LEVEL = 12  # change of a pixel, 0..255, above which it is searched for combing
RATE = 25.0  # frames per second of the detectors' time codes, of which only frame numbers are used

Range = tuple[int, int]  # first, last + 1


@dataclasses.dataclass(frozen=True)
class Defects:
    """Defects of a video, frame by frame; `cut`, `fade` and `duplicate` concern the change from the previous frame."""

    cut: Bool[np.ndarray, "n"]
    fade: Bool[np.ndarray, "n"]
    flash: Bool[np.ndarray, "n"]
    duplicate: Bool[np.ndarray, "n"]
    interlaced: Bool[np.ndarray, "n"]

    def in_window(self, start: int, stop: int) -> str | None:
        """Returns the name of the first defect in frames `start` to `stop` - 1, or None."""
        for name in ("cut", "fade", "duplicate"):
            if getattr(self, name)[start + 1 : stop].any():
                return name
        return next((name for name in ("flash", "interlaced") if getattr(self, name)[start:stop].any()), None)


class Analysis:
    """Measures of a video's frames, which are fed one after the other with `add`."""

    def __init__(self) -> None:
        self._small: list[np.ndarray] = []
        self._combing: list[float] = []
        self._detectors = (AdaptiveDetector(min_scene_len=0), ContentDetector(min_scene_len=0))
        self._cuts: set[int] = set()
        self._row_levels: np.ndarray | None = None
        self._column_levels: np.ndarray | None = None
        self._previous: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of frames added."""
        return len(self._small)

    def add(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Measures the next frame, RGB."""
        ratio = min(1.0, SMALL_SIDE / max(image.shape[:2]))
        size = tuple(max(2, round(side * ratio)) for side in image.shape[1::-1])
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for detector in self._detectors:
            codes = detector.process_frame(FrameTimecode(len(self), RATE), np.ascontiguousarray(small[..., ::-1]))
            self._cuts |= {code.frame_num for code in codes}
        self._small.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        self._combing.append(0.0 if self._previous is None else _combing(gray, self._previous))
        self._previous = gray
        rows, columns = (cv2.reduce(gray, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() for axis in (1, 0))
        self._row_levels = rows if self._row_levels is None else np.maximum(self._row_levels, rows)
        self._column_levels = columns if self._column_levels is None else np.maximum(self._column_levels, columns)

    def picture_area(self) -> tuple[Range, Range]:
        """Returns the rows and columns inside bars that are black in every frame."""
        return _inside_bars(self._row_levels), _inside_bars(self._column_levels)

    def defects(self, config: Footage) -> Defects:
        """Compares the measures with the thresholds of a config."""
        count = len(self)
        cut = np.zeros(count, bool)
        cut[[index for index in self._cuts if index < count]] = True
        pairs = [(self._small[max(i - 1, 0)], self._small[i]) for i in range(count)]
        gain_shares = np.array([_share_of_gain(*map(_coarse, pair)) for pair in pairs])
        fade = (gain_shares > config.fade) | _dissolves(self._small, cut)
        duplicate = np.array([_difference(*pair) < config.duplicate for pair in pairs])
        brightness = np.array([frame.mean() for frame in self._small])
        interlaced = np.array(self._combing) > config.interlaced
        return Defects(cut, fade & ~duplicate, _flashes(brightness, config.flash), duplicate, interlaced)

    def select_windows(self, config: Footage) -> tuple[list[int], Counter[str]]:
        """Selects the windows of `config.frames` frames, `config.step` apart, that are free of defects.

        Returns:
          The first frame of each window selected, and the number of windows rejected by reason: "cut", "fade",
          "duplicate", "flash", "interlaced" or "static"; the first that applies.
        """
        defects = self.defects(config)
        starts, rejected = [], Counter()
        for start in range(0, len(self) - config.frames + 1, config.step):
            stop = start + config.frames
            reason = defects.in_window(start, stop)
            if reason is None and _difference(self._small[start], self._small[stop - 1]) < config.static:
                reason = "static"
            if reason:
                rejected[reason] += 1
            else:
                starts.append(start)
        return starts, rejected


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the mean absolute difference, levels."""
    return float(np.abs(np.float32(a) - np.float32(b)).mean())


def _inside_bars(level: Float[np.ndarray, "n"]) -> Range:
    bright = np.flatnonzero(level > BLACK)
    return (int(bright[0]), int(bright[-1]) + 1) if len(bright) else (0, len(level))


def _coarse(frame: np.ndarray) -> np.ndarray:
    """Averages a frame over large cells, which small motion hardly changes."""
    return cv2.resize(frame.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def _share_of_gain(before: np.ndarray, after: np.ndarray) -> float:
    """Returns the share of the change's mean square that the best `gain * before + offset` explains, 0..1.

    Changes below `FADE_FLOOR` give 0.
    """
    change = float(np.mean((after - before) ** 2))
    spread_before = float(before.var())
    gain = float(np.mean((before - before.mean()) * (after - after.mean()))) / spread_before if spread_before else 0.0
    unexplained = float(np.var(after - gain * before))
    return 1 - unexplained / change if change - unexplained > FADE_FLOOR**2 else 0.0


def _dissolves(frames: list[np.ndarray], cut: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Marks the changes inside dissolves: a mixture of two images has less contrast than either; motion keeps it.

    A frame is the middle of a dissolve that reaches `reach` frames to each side if its variance, relative to that at
    the two ends, falls below `DISSOLVE_DIP` while the cells change by `DISSOLVE_CHANGE`, without a cut in between. The
    smallest reach that shows nearly the whole dip is taken.
    """
    variance = np.array([frame.var() for frame in frames])
    coarse = [_coarse(frame) for frame in frames]
    ratios = np.ones((len(DISSOLVE_REACHES), len(frames)))
    for row, reach in enumerate(DISSOLVE_REACHES):
        for i in range(reach, len(frames) - reach):
            one_shot = not cut[i - reach + 1 : i + reach + 1].any()
            if one_shot and _difference(coarse[i - reach], coarse[i + reach]) > DISSOLVE_CHANGE:
                ratios[row, i] = variance[i] / max((variance[i - reach] + variance[i + reach]) / 2, 1.0)
    lowest = ratios.min(0, initial=1.0)
    inside = np.zeros(len(frames), bool)
    for i in np.flatnonzero(lowest < DISSOLVE_DIP):
        if lowest[i] == lowest[max(0, i - 3) : i + 4].min():
            reach = DISSOLVE_REACHES[int(np.argmax(ratios[:, i] < lowest[i] + 0.05))]
            inside[max(0, i - reach) : i + reach + 2] = True
    return inside


def _flashes(brightness: Float[np.ndarray, "n"], jump: float) -> Bool[np.ndarray, "n"]:
    """Marks runs of one or two frames that differ by more than `jump` from the frames around, which agree."""
    flash = np.zeros(len(brightness), bool)
    for length in (1, 2):
        for i in range(1, len(brightness) - length):
            around = brightness[[i - 1, i + length]]
            inside = brightness[i : i + length]
            if np.abs(inside - around.mean()).min() > jump and np.ptp(around) < jump / 2:
                flash[i : i + length] = True
    return flash


def _combing(gray: UInt8[np.ndarray, "h w"], before: UInt8[np.ndarray, "h w"]) -> float:
    """Returns how much more adjacent rows differ than rows two apart, where the frame moves; below 1 if not combed."""
    moving = (cv2.absdiff(gray, before) > MOTION_LEVEL)[:-2]
    if moving.mean() < 0.01:
        return 0.0
    near, far = cv2.absdiff(gray[:-2], gray[1:-1])[moving], cv2.absdiff(gray[:-2], gray[2:])[moving]
    return float(near.mean() / max(far.mean(), 1.0))
