"""The content of one clip on its way: what is known of its frames, and what it does to new ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.bars import Bars
from vfi_jax.video.content.cuts import Cut, Cuts
from vfi_jax.video.options import Options


class Content:
    """Looks at the frames of a clip as they pass; holds a few of them."""

    def __init__(self, options: Options) -> None:
        """Starts before the first frame."""
        self._options = options
        self._bars = Bars()
        self._cuts = Cuts(reach=0) if options.latency else Cuts()

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts so far."""
        return tuple(self._cuts.found)

    @property
    def cut_style(self) -> str:
        """What stands between two shots, as in `Options`."""
        return self._options.cuts

    def marked(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """Yields the frames with what is known of each."""
        seen = self._seen(frames)
        return seen if self._options.cuts == "off" else self._cuts.numbered(seen)

    def finished(self, new: np.ndarray, pair: Sequence[TimedFrame]) -> np.ndarray:
        """Returns a new frame with what does not move taken from the frame before it."""
        return self._bars.left_alone(new, pair[0].image)

    def notes(self) -> list[str]:
        """Says, one line each, what there is in the clip."""
        return self._bars.notes()

    def _seen(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        for frame in frames:
            self._bars.add(frame.image)
            yield frame
