"""Cuts: frames that begin a new shot, found while a clip passes by.

PySceneDetect's detectors propose them. A proposal stands if none of the frames just before resembles one of those just
after, with motion, brightness and contrast taken out: so pans, shakes, flashes and fades are none.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import cv2
import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode, SceneDetector

from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.bars import Area, area_of
from vfi_jax.video.content.small import eight_bits

_SIDE = 128  # long side of the small copies, pixels
_REACH = 2  # frames on either side that are looked at, as many as PySceneDetect's adaptive detector does
_BEFORE = 3  # frames before a cut that are looked at: one more than a flash has
_STRONG, _WEAK = (27.0, 3.0, 15.0), (15.0, 2.0, 8.0)  # PySceneDetect's thresholds, and lower ones: see `_detectors`
# Structure that two frames share, one of them moved onto the other, from which on they show one shot; for both kinds.
_RESEMBLANCE = (0.45, 0.3)
_WINDOW = 9  # pixels of the small copies, side of the squares whose structure is compared
_GRAIN = 60.0  # levels squared: a variance of this size is noise
_FLAT = 2.0  # levels: a spread below it is that of a frame without content
_STEP = 12.0  # levels, mean: by which the first frame of a fade may differ from none
_RISE = 0.85  # contrast of the first frame of a fade beside that of the second, at most
_RATE = 25.0  # of the detectors' time codes, of which only frame numbers are used


class Cut(NamedTuple):
    """A cut.

    Attributes:
      frame: number of the first frame of the new shot, in the part that is asked for, from 0.
      time: of that frame in the target, seconds.
    """

    frame: int
    time: Fraction

    def as_json(self) -> dict[str, Any]:
        """The cut as JSON's types; the time in seconds, and exact as text."""
        return {"frame": self.frame, "time": float(self.time), "exact_time": str(self.time)}


class Cuts:
    """Numbers the shots of frames that pass; holds a few of them.

    Attributes:
      found: the cuts so far.
    """

    def __init__(self, *, reach: int = _REACH) -> None:
        """Starts.

        Args:
          reach: frames by which the decision may lag; 0: at once, by the frames so far.
        """
        self.found: list[Cut] = []
        self._reach = reach
        self._detectors = [_detectors(thresholds, reach) for thresholds in (_STRONG, _WEAK)]
        self._small: deque[np.ndarray] = deque(maxlen=_BEFORE + 1 + reach)
        self._proposed: dict[int, float] = {}  # with the structure that would make it none
        self._area: Area | None = None
        self._size: tuple[int, int] | None = None  # of the small copies: the area between the bars may change
        self._count = 0

    def numbered(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """Yields the frames with the numbers of their shots."""
        waiting: deque[TimedFrame] = deque()
        first = 0  # number of the frame that waits longest
        for frame in frames:
            self._add(frame.image)
            waiting.append(frame)
            if len(waiting) > self._reach:
                yield self._decided(first, waiting.popleft())
                first += 1
        for number, frame in enumerate(waiting, first):
            yield self._decided(number, frame)

    def _add(self, image: np.ndarray) -> None:
        area = self._area = area_of(image, self._area)
        self._size = self._size or _small_size(image)
        small = eight_bits(cv2.resize(area.cropped(image)[..., :3], self._size, interpolation=cv2.INTER_AREA))
        code, bgr = FrameTimecode(self._count, _RATE), np.ascontiguousarray(small[..., ::-1])
        for detectors, least in zip(self._detectors, _RESEMBLANCE, strict=True):
            for found in itertools.chain(*(detector.process_frame(code, bgr) for detector in detectors)):
                self._proposed.setdefault(found.frame_num, least)
        self._small.append(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))
        self._count += 1

    def _decided(self, number: int, frame: TimedFrame) -> TimedFrame:
        if number and number in self._proposed and not self._is_one_shot(number):
            self.found.append(Cut(number, frame.time))
        self._proposed.pop(number, None)
        return frame._replace(shot=len(self.found))

    def _is_one_shot(self, number: int) -> bool:
        """Whether a frame before `number` resembles one from there on, among those that are at hand."""
        at = number - (self._count - len(self._small))
        small = list(self._small)
        last = self.found[-1].frame - number + at if self.found else 0  # a shot of one frame has no earlier ones
        before, after = small[max(0, at - _BEFORE, last) : at][::-1], small[at:]
        if _is_fade(before, after) or _is_fade(after, before):
            return True
        return any(_resemblance(a, b) >= self._proposed[number] for a in before for b in after)


def _detectors(thresholds: tuple[float, float, float], reach: int) -> list[SceneDetector]:
    """Returns PySceneDetect's detectors: one of contents, and one that compares them with the frames around."""
    content, ratio, least = thresholds
    detectors: list[SceneDetector] = [ContentDetector(content, min_scene_len=0)]
    if reach >= _REACH:
        detectors.append(AdaptiveDetector(ratio, min_scene_len=0, window_width=_REACH, min_content_val=least))
    return detectors


def within_shot(window: tuple[TimedFrame, ...]) -> tuple[TimedFrame, ...]:
    """Returns a window of frames without those of other shots than the middle pair's; their neighbors are repeated."""
    frames = list(window)
    right = len(frames) // 2
    for i in range(right - 2, -1, -1):
        frames[i] = frames[i] if frames[i].shot == frames[right - 1].shot else frames[i + 1]
    for i in range(right + 1, len(frames)):
        frames[i] = frames[i] if frames[i].shot == frames[right].shot else frames[i - 1]
    return tuple(frames)


def _small_size(image: np.ndarray) -> tuple[int, int]:
    """Returns (width, height) of small copies."""
    ratio = min(1.0, _SIDE / max(image.shape[:2]))
    width, height = (max(16, round(side * ratio)) for side in image.shape[1::-1])
    return width, height


def _is_fade(dark: Sequence[np.ndarray], bright: Sequence[np.ndarray]) -> bool:
    """Whether frames without content turn into a picture, or it into them, rather than meet it; nearest first."""
    if float(dark[0].std()) >= _FLAT:
        return False
    rises = len(bright) > 1 and float(bright[0].std()) < _RISE * float(bright[1].std())
    is_step = float(np.abs(np.float32(dark[0]) - bright[0]).mean()) < _STEP
    return is_step or (rises and _resemblance(bright[0], bright[1]) >= _RESEMBLANCE[0])


def _resemblance(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the structure that two gray frames share, of which the second is moved onto the first, 1 for all of it.

    The whole is moved, by phase correlation, as pans and shakes do, then its parts, by DIS optical flow. Of frames
    without content, two are alike, and of one and another the brightness decides.
    """
    flat = [float(each.std()) < _FLAT for each in (a, b)]
    if any(flat):
        return float(all(flat) or float(cv2.absdiff(a, b).mean()) < _STEP)
    x, y = _even(a), _even(b)
    (dx, dy), _ = cv2.phaseCorrelate(np.float32(x), np.float32(y), cv2.createHanningWindow(x.shape[::-1], cv2.CV_32F))
    moved = cv2.warpAffine(y, np.float32([[1, 0, -dx], [0, 1, -dy]]), x.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    start = moved if _structure(x, moved) > _structure(x, y) else y
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST).calc(x, start, None)
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]].astype(np.float32)
    warped = cv2.remap(start, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    return max(_structure(x, start), _structure(x, warped))


def _even(gray: np.ndarray) -> np.ndarray:
    """Returns a frame with the mean and spread that all get, so that brightness and contrast do not count."""
    return np.uint8(np.clip((gray - float(gray.mean())) * (48 / float(gray.std())) + 128, 0, 255))


def _structure(a: np.ndarray, b: np.ndarray) -> float:
    """Returns the mean correlation of small squares of two frames (SSIM's structure), by weight of their spread."""
    x, y = np.float32(a), np.float32(b)
    side = (_WINDOW, _WINDOW)
    mean_x, mean_y = cv2.blur(x, side), cv2.blur(y, side)
    spread_x = np.sqrt(np.maximum(cv2.blur(x * x, side) - mean_x**2, 0))
    spread_y = np.sqrt(np.maximum(cv2.blur(y * y, side) - mean_y**2, 0))
    shared = (cv2.blur(x * y, side) - mean_x * mean_y) / (spread_x * spread_y + _GRAIN)
    weight = spread_x + spread_y
    return float((shared * weight).sum() / max(float(weight.sum()), 1.0))
