"""The content of one clip on its way: what is known of its frames, and what it does to new ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

import numpy as np

from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.content.bars import Bars
from vfi_jax.video.content.cuts import Cut, Cuts
from vfi_jax.video.content.holds import LONGEST, Holds, evenly, without_held
from vfi_jax.video.content.overlay import Overlay
from vfi_jax.video.content.shutter import exposed
from vfi_jax.video.options import Options
from vfi_jax.video.timeline import Even, Timeline

_HELD = {  # notes on held frames, by `Options.held`
    "keep": "are like the one before, and are kept; --held fill puts new ones in their places",
    "fill": "are like the one before; new ones stand in their places",
    "drop": "are like the one before, and are dropped",
}


class Content:
    """Looks at the frames of a clip as they pass; holds a few of them.

    Attributes:
      timeline: of the frames that `marked` yields.
    """

    def __init__(self, options: Options, info: VideoInfo, tick: Fraction) -> None:
        """Starts before the first frame.

        Args:
          options: what is asked.
          info: the source.
          tick: seconds, of which every time of the target is a multiple.

        Raises:
          UserError: as `Overlay`.
        """
        self._options, self._transfer = options, info.color.transfer
        timeline = Timeline(options, tick)
        self.timeline = Even(timeline) if options.held == "fill" else timeline
        self._bars, self._holds = Bars(), Holds()
        self._cuts = Cuts(reach=0) if options.latency else Cuts()
        self._overlay = None if options.mask is None else Overlay(options.mask, (info.height, info.width))

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """The cuts so far."""
        return tuple(self._cuts.found)

    @property
    def cut_style(self) -> str:
        """The frames between two shots: `repeat`, `nearest`, `fade` or `off`, as in `Options`."""
        return self._options.cuts

    def marked(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        """Yields the frames that new ones are made from, with what is known of each."""
        frames = self._holds.marked(self._seen(frames))
        frames = frames if self._options.cuts == "off" else self._cuts.numbered(frames)
        longest = LONGEST * self._options.stretch
        if isinstance(self.timeline, Even):
            return evenly(frames, longest, self.timeline.passed)
        return without_held(frames, longest) if self._options.held == "drop" else iter(frames)

    def finished(self, new: np.ndarray, pair: Sequence[TimedFrame]) -> np.ndarray:
        """Returns a new frame with what does not move taken from the frame before it."""
        new = new if self._overlay is None else self._overlay.left_alone(new, pair[0].image)
        return self._bars.left_alone(new, pair[0].image)

    def exposed(self, frames: Iterator[TimedFrame]) -> Iterator[TimedFrame]:
        """Yields the frames of the target, for those at the moments of the timeline."""
        return frames if self._options.shutter is None else exposed(frames, self.timeline.steps, self._transfer)

    def notes(self) -> list[str]:
        """Says, one line each, what there is in the clip."""
        held = [f"{self._holds.count} frames {_HELD[self._options.held]}"] * bool(self._holds.count)
        return [*self.timeline.notes(), *held, *self._bars.notes()]

    def _seen(self, frames: Iterable[TimedFrame]) -> Iterator[TimedFrame]:
        for frame in frames:
            self._bars.add(frame.image)
            yield frame
