"""Motion blur: each frame is the mean, in light, of the moments of its exposure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.pixels import linear
from vfi_jax.video.timeline import Steps


def exposed(frames: Iterable[TimedFrame], steps: Steps, transfer: int) -> Iterator[TimedFrame]:
    """Yields the blurred frames; holds sums of one exposure.

    An exposure ends where the clip does, and at a cut: moments of another shot than the frame's own do not count.

    Args:
      frames: of all moments, as `steps` gave them.
      steps: says which frame a moment belongs to.
      transfer: AVCOL_TRC of the codes.
    """
    light = Light(transfer)
    exposure = _Exposure(light)
    number = 0
    for frame in frames:
        step = steps.taken.popleft()
        if round(step) != number:
            yield from exposure.frame()
            exposure, number = _Exposure(light), round(step)
        exposure.add(frame, is_center=step == number)
    yield from exposure.frame()


class _Exposure:
    """The moments of one frame."""

    def __init__(self, light: Light) -> None:
        self._light = light
        self._center: TimedFrame | None = None
        self._sums: dict[int, np.ndarray] = {}  # by shot
        self._images: dict[int, list[int]] = {}

    def add(self, frame: TimedFrame, *, is_center: bool) -> None:
        amount = self._light.of(frame.image)
        known = self._sums.get(frame.shot)
        self._sums[frame.shot] = amount if known is None else known + amount
        self._images.setdefault(frame.shot, []).append(id(frame.image))
        if is_center:
            self._center = frame

    def frame(self) -> Iterator[TimedFrame]:
        """Yields the frame; none if the clip ends before its own moment."""
        if (center := self._center) is None:
            return
        images = self._images[center.shot]
        if len(set(images)) == 1:  # nothing moves
            yield center
            return
        image = self._light.back(self._sums[center.shot] / len(images), center.image.dtype)
        yield TimedFrame(center.time, center.duration, image, shot=center.shot)


class Light:
    """Codes as amounts of light and back, by the curve that their transfer characteristic names."""

    def __init__(self, transfer: int) -> None:
        """Takes AVCOL_TRC."""
        self._codes = np.arange(65536, dtype=np.uint16)
        self._light = linear.to_light(self._codes, transfer)

    def of(self, image: np.ndarray) -> np.ndarray:
        """Returns the light of a picture of codes, float32; opacity stays what it is."""
        table = self._light if image.dtype == np.uint16 else self._light[::257]
        light = table[image]
        if image.shape[-1] == 4:
            light[..., 3] = image[..., 3]
        return light

    def back(self, light: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Returns the codes of light, `[h, w, c]`, uint8 or uint16."""
        codes = np.interp(light, self._light, self._codes) * (np.iinfo(dtype).max / 65535)
        if light.shape[-1] == 4:
            codes[..., 3] = light[..., 3]
        return np.rint(codes).astype(dtype)
