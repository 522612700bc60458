"""A survey of a video's packets: how many frames there are, and when; no header is believed, and nothing is decoded."""

from __future__ import annotations

import contextlib
import heapq
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av

from vfi_jax.video.coding import messages
from vfi_jax.video.coding.decode import USUAL_RATE, clock_origin, exact, open_input, video_stream
from vfi_jax.video.values import Position

_HIGHEST_USUAL_RATE = 240  # frames per second that a header is believed for a single frame
_ERROR = 16  # AV_LOG_ERROR
_JITTER = Fraction(1, 10)  # of a frame, by which distances may differ at a constant rate
_REORDERED = 64  # frames, by which the order of packets may differ from that of display
_AGREEMENT = Fraction(1, 10)  # of the nominal rate with the timestamps', within which it is kept


class Survey(NamedTuple):
    """Properties of a video, from its packets.

    Attributes:
      frames: number of frames, in the part that is asked for; damage and repeated timestamps may make it too high. None
        for a pipe.
      seconds: from the first frame's time to the last one's, in that part.
      last: duration of the last frame, seconds.
      rate: see `VideoInfo.rate`.
      is_constant: whether the frames of the whole clip follow each other at that rate.
      damage: time before which FFmpeg has found the file itself damaged, seconds; None: nowhere.
    """

    frames: int | None
    seconds: Fraction
    last: Fraction
    rate: Fraction
    is_constant: bool = True
    damage: Fraction | None = None


def survey(path: Path, begin: Position, end: Position | None) -> Survey:
    """Reads the packets of a video from `begin` up to `end`; takes as long as reading the file.

    Raises:
      UserError: as `open_input`, or the file is no video.
    """
    container = open_input(path)
    with container:
        stream = video_stream(path, container)
        tick, origin = exact(stream.time_base) or Fraction(1), clock_origin(container)
        nominal = exact(stream.guessed_rate) or exact(stream.average_rate) or USUAL_RATE
        tally = _Tally(begin, end, nominal, tick)
        with contextlib.suppress(av.FFmpegError), messages.passed_on(_ERROR, _ERROR) as complaints:
            for packet in container.demux(stream):
                if packet.size:
                    start = None if packet.pts is None else packet.pts * tick - origin
                    tally.add(start, (packet.duration or 0) * tick, is_damaged=bool(complaints))
        return tally.survey(is_damaged=bool(complaints))


class _Tally:
    """Counts frames, and finds the first and the last of a part, in whatever order they come."""

    def __init__(self, begin: Position, end: Position | None, nominal: Fraction, tick: Fraction) -> None:
        self._begin, self._end, self._nominal, self._tick = begin, end, nominal, tick
        self._pending: list[Fraction] = []  # a heap of times that others may still precede
        self._before: Fraction | None = None
        self._gaps: list[Fraction] = []  # least and greatest distance of two frames
        self._all, self._before_begin, self._before_end = 0, 0, 0
        self._times: list[Fraction] = []  # least and greatest of all, and of the part
        self._part: list[Fraction] = []
        self._last = Fraction(0)
        self._damage: Fraction | None = None

    def add(self, time: Fraction | None, duration: Fraction, *, is_damaged: bool) -> None:
        self._all += 1
        if is_damaged and self._damage is None:
            self._damage = self._times[1] if self._times else Fraction(0)
        if time is None:
            return
        heapq.heappush(self._pending, time)
        if len(self._pending) > _REORDERED:
            self._measure(heapq.heappop(self._pending))
        begins = self._begin.is_frame or time >= self._begin.value
        ends = self._end is None or self._end.is_frame or time < self._end.value
        self._before_begin += not begins
        self._before_end += ends
        if begins and ends and (not self._part or time >= self._part[1]):
            self._last = duration
        self._times = [min([time, *self._times]), max([time, *self._times])]
        if begins and ends:
            self._part = [min([time, *self._part]), max([time, *self._part])]

    def _measure(self, time: Fraction) -> None:
        if self._before is not None:
            gap = time - self._before
            self._gaps = [min([gap, *self._gaps]), max([gap, *self._gaps])]
        self._before = time

    def survey(self, *, is_damaged: bool) -> Survey:
        nominal = self._nominal
        span = self._times[1] - self._times[0] if self._times else Fraction(0)
        mean = (self._all - 1) / span if span else None
        agrees = mean is not None and abs(nominal / mean - 1) < _AGREEMENT
        unknown = nominal if nominal <= _HIGHEST_USUAL_RATE or not self._times else USUAL_RATE
        rate = nominal if agrees else (mean or unknown)
        first = int(self._begin.value) if self._begin.is_frame else self._before_begin
        stop = self._all
        if self._end is not None and (self._end.is_frame or self._times):
            stop = min(stop, int(self._end.value) if self._end.is_frame else self._before_end)
        frames = max(0, stop - first)
        seconds = self._part[1] - self._part[0] if self._part else Fraction(0)
        by_number = any(place.is_frame and place.value for place in (self._begin, self._end) if place is not None)
        if by_number or not self._part:
            seconds = max(0, frames - 1) / rate
        while self._pending:
            self._measure(heapq.heappop(self._pending))
        jitter = max(2 * self._tick, _JITTER / rate)
        is_constant = not self._gaps or self._gaps[1] - self._gaps[0] <= jitter
        end = self._times[1] if self._times else Fraction(0)
        damage = end if is_damaged and self._damage is None else self._damage
        return Survey(frames, seconds, self._last or 1 / rate, rate, is_constant, damage)
