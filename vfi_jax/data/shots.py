"""Windows of frames out of video files: cuts, fades, flashes, held, combed and static stretches are left out.

A file is decoded twice: once to mark its frames, on small gray pictures, and once to cut windows out. Cuts are found by
PySceneDetect's detectors on the decoded frames; the other marks are simple measures of successive frames, each with its
threshold in `config.Footage`.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode

from vfi_jax.config import Footage

SMALL = 160  # long side of the pictures that marks are computed on
BLACK = 20.0  # mean level, 0..255, up to which an edge row or column is a border
CELLS = 8  # to each side of a picture, where motion is to be overlooked
SLIGHT = 1.0  # change of brightness or contrast from frame to frame that is no fade, root mean square of levels
DISSOLVES = (3, 4, 6, 8, 10)  # half lengths of dissolves that are looked for, frames
DIP, DIFFERENT = 0.72, 8.0  # fall of the variance in a dissolve, and change of the large cells over it, levels
MOVED = 12  # change of a pixel, 0..255, that counts as motion where combing is looked for
RATE = 25.0  # of the detectors' time codes; only frame numbers matter


@dataclasses.dataclass(frozen=True)
class Marks:
    """What is wrong, frame by frame; `cut`, `fade` and `duplicate` say it of the change from the frame before."""

    cut: Bool[np.ndarray, "n"]
    fade: Bool[np.ndarray, "n"]
    flash: Bool[np.ndarray, "n"]
    duplicate: Bool[np.ndarray, "n"]
    interlaced: Bool[np.ndarray, "n"]

    def reason(self, start: int, stop: int) -> str | None:
        """Why the window of frames `start` to `stop` - 1 is no good, or None."""
        for name in ("cut", "fade", "duplicate"):
            if getattr(self, name)[start + 1 : stop].any():
                return name
        return next((name for name in ("flash", "interlaced") if getattr(self, name)[start:stop].any()), None)


def _change(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference, in levels."""
    return float(np.abs(np.float32(a) - np.float32(b)).mean())


class _Analysis:
    """Measures of a video's frames, taken one after the other."""

    def __init__(self) -> None:
        self.small: list[np.ndarray] = []
        self._combed: list[float] = []
        self._detectors = (AdaptiveDetector(min_scene_len=0), ContentDetector(min_scene_len=0))
        self._cuts: set[int] = set()
        self._rows: np.ndarray | None = None
        self._columns: np.ndarray | None = None
        self._before: np.ndarray | None = None

    def see(self, image: UInt8[np.ndarray, "h w 3"]) -> None:
        """Takes the next frame."""
        index = len(self.small)
        ratio = min(1.0, SMALL / max(image.shape[:2]))
        size = tuple(max(2, round(side * ratio)) for side in image.shape[1::-1])
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        for detector in self._detectors:
            found = detector.process_frame(FrameTimecode(index, RATE), np.ascontiguousarray(small[..., ::-1]))
            self._cuts |= {code.frame_num for code in found}
        self.small.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        self._combed.append(0.0 if self._before is None else _combing(gray, self._before))
        self._before = gray
        rows, columns = (cv2.reduce(gray, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() for axis in (1, 0))
        self._rows = rows if self._rows is None else np.maximum(self._rows, rows)
        self._columns = columns if self._columns is None else np.maximum(self._columns, columns)

    def inside(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns inside borders that are black in every frame."""
        return _inside(self._rows), _inside(self._columns)

    def marks(self, config: Footage) -> Marks:
        """The verdicts on all frames."""
        count = len(self.small)
        cut = np.zeros(count, bool)
        cut[[index for index in self._cuts if index < count]] = True
        pairs = [(self.small[max(i - 1, 0)], self.small[i]) for i in range(count)]
        fade = np.array([_explained(*map(_coarse, pair)) > config.fade for pair in pairs]) | _dissolves(self.small, cut)
        duplicate = np.array([_change(*pair) < config.duplicate for pair in pairs])
        brightness = np.array([frame.mean() for frame in self.small])
        combed = np.array(self._combed) > config.interlaced
        return Marks(cut, fade & ~duplicate, _flashes(brightness, config.flash), duplicate, combed)


def _inside(level: Float[np.ndarray, "n"]) -> tuple[int, int]:
    bright = np.flatnonzero(level > BLACK)
    return (int(bright[0]), int(bright[-1]) + 1) if len(bright) else (0, len(level))


def _coarse(frame: np.ndarray) -> np.ndarray:
    """Means of large cells, which small motions hardly change."""
    return cv2.resize(frame.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def _explained(before: np.ndarray, after: np.ndarray) -> float:
    """Share of the change's mean square that the best `gain * before + offset` explains, 0..1; 0 where it is slight."""
    change = float(np.mean((after - before) ** 2))
    spread_before = float(before.var())
    gain = float(np.mean((before - before.mean()) * (after - after.mean()))) / spread_before if spread_before else 0.0
    left = float(np.var(after - gain * before))
    return 1 - left / change if change - left > SLIGHT**2 else 0.0


def _dissolves(frames: list[np.ndarray], cut: Bool[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Changes inside a dissolve: two pictures mixed have less contrast than either, which motion never does.

    A frame is in the middle of one, `reach` frames long to each side, where the variance falls below `DIP` of that at
    the ends while the large cells change, with no cut between. The least reach that shows nearly the whole dip counts.
    """
    variance = np.array([frame.var() for frame in frames])
    coarse = [_coarse(frame) for frame in frames]
    ratios = np.ones((len(DISSOLVES), len(frames)))
    for row, reach in enumerate(DISSOLVES):
        for i in range(reach, len(frames) - reach):
            one_shot = not cut[i - reach + 1 : i + reach + 1].any()
            if one_shot and _change(coarse[i - reach], coarse[i + reach]) > DIFFERENT:
                ratios[row, i] = variance[i] / max((variance[i - reach] + variance[i + reach]) / 2, 1.0)
    lowest = ratios.min(0, initial=1.0)
    found = np.zeros(len(frames), bool)
    for i in np.flatnonzero(lowest < DIP):
        if lowest[i] == lowest[max(0, i - 3) : i + 4].min():
            reach = DISSOLVES[int(np.argmax(ratios[:, i] < lowest[i] + 0.05))]
            found[max(0, i - reach) : i + reach + 2] = True
    return found


def _flashes(brightness: Float[np.ndarray, "n"], jump: float) -> Bool[np.ndarray, "n"]:
    """Frames whose brightness leaves that of the frames around, which agree, by more than `jump`; two at most."""
    found = np.zeros(len(brightness), bool)
    for length in (1, 2):
        for i in range(1, len(brightness) - length):
            around = brightness[[i - 1, i + length]]
            inside = brightness[i : i + length]
            if np.abs(inside - around.mean()).min() > jump and np.ptp(around) < jump / 2:
                found[i : i + length] = True
    return found


def _combing(gray: UInt8[np.ndarray, "h w"], before: UInt8[np.ndarray, "h w"]) -> float:
    """How much more neighboring rows differ than rows two apart, where the picture moves; below 1 in clean frames."""
    moved = (cv2.absdiff(gray, before) > MOVED)[:-2]
    if moved.mean() < 0.01:
        return 0.0
    near, far = cv2.absdiff(gray[:-2], gray[1:-1])[moved], cv2.absdiff(gray[:-2], gray[2:])[moved]
    return float(near.mean() / max(far.mean(), 1.0))
