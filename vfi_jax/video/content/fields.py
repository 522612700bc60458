"""Fields: interlaced and telecined clips are found by FFmpeg's `idet`; `bwdif`, `fieldmatch` and `decimate` undo them.

An interlaced frame holds two moments, in its even and in its odd rows. Telecine spreads the fields of four frames of a
film over five frames of video, of which two are mixtures.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from vfi_jax.errors import UsageError
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.forms import Frames, Source
from vfi_jax.video.pipes import PIPE
from vfi_jax.video.pixels.rgb import ToRGB
from vfi_jax.video.survey import Survey
from vfi_jax.video.values import Position

INTERLACED, TELECINED, PROGRESSIVE = "interlaced", "telecined", "progressive"
_GRAPHS = {  # way: FFmpeg's filters, with their options
    "frames": (("bwdif", "mode=send_frame"),),
    "fields": (("bwdif", "mode=send_field"),),
    "film": (
        ("fieldmatch", "combmatch=full"),
        ("bwdif", "mode=send_frame:deint=interlaced"),
        ("fps", "25"),  # of the numbers that stand for times, without which `decimate` does not work
        ("decimate", ""),
    ),
}
RATES = {"frames": Fraction(1), "fields": Fraction(2), "film": Fraction(4, 5)}
_DONE = {
    "frames": "each frame becomes a whole one",
    "fields": "each field becomes a frame",
    "film": "the frames of the film are restored, four from five",
}
_WAYS = {INTERLACED: "frames", TELECINED: "film"}  # what `auto` does
_LOOKED_AT = 30  # frames from the beginning
_HEIGHTS = (480, 486, 512, 576, 608, 1080, 1088)  # rows of interlaced video
_CYCLE = 5  # frames of video for four of film
_SHARE = 0.6  # of the frames that are certain, from which on a clip is interlaced
_MIXED = 0.25  # share of mixtures in a telecined clip, at least: they are 2 of 5
_REPEATED = 0.1  # share of frames that repeat the upper field, and of those that repeat the lower: 1 of 5 each
_ASKED = ("single", "repeated")  # of what `idet` says


def find(source: Source) -> str:
    """Returns whether a source is interlaced, telecined or progressive, by its first frames."""
    info = source.info
    graph = _Graph((("idet", ""),), info)
    with source.open(info.rate) as frames:
        raws = (frame.raw for frame in itertools.islice(frames.frames(), _LOOKED_AT))
        pictures = list(graph.through(_numbered(raw for raw in raws if raw is not None)))
    counts = [
        {name: picture.metadata.get(f"lavfi.idet.{name}.current_frame", "") for name in _ASKED} for picture in pictures
    ]
    return kind_of([one["single"] for one in counts], [one["repeated"] for one in counts])


def kind_of(single: Sequence[str], repeated: Sequence[str]) -> str:
    """Returns what a clip is, for what `idet` says of its frames.

    Args:
      single: tff, bff, progressive or undetermined, by frame.
      repeated: neither, or top or bottom where that field is the one of the frame before, which telecine leaves.
    """
    counts, again = Counter("mixed" if kind in ("tff", "bff") else kind for kind in single), Counter(repeated)
    certain = counts["mixed"] + counts["progressive"]
    if not counts["mixed"] or certain < _CYCLE:
        return PROGRESSIVE
    share = counts["mixed"] / certain
    if share >= _MIXED and min(again["top"], again["bottom"]) >= _REPEATED * len(repeated):
        return TELECINED
    return INTERLACED if share > _SHARE else PROGRESSIVE


def _numbered(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    for number, frame in enumerate(frames):
        frame.pts = number
        yield frame


def undone(source: Source, way: str) -> Source:
    """Returns a source whose fields are undone as asked; otherwise the source, with a line about them.

    Args:
      source: it is looked at where the way depends on it, and where a video of its height may have fields.
      way: as in `Options.fields`.

    Raises:
      UsageError: a pipe, which cannot be looked at before it is read.
    """
    info = source.info
    if way == "auto" and info.path == PIPE:
        raise UsageError("--fields auto: standard input is read once; give frames, fields or film instead")
    if way in RATES:
        return Undone(source, way, f"fields: {_DONE[way]}")
    may_have = info.has_tracks and (info.height in _HEIGHTS or info.is_interlaced) and not info.turned
    kind = find(source) if way == "auto" or may_have else PROGRESSIVE
    if kind == PROGRESSIVE:
        return source
    if way == "auto":
        return Undone(source, _WAYS[kind], f"fields: the source is {kind}; {_DONE[_WAYS[kind]]}")
    return Noted(source, f"fields: the source is {kind}, and stays so; --fields {_WAYS[kind]} undoes it")


class Noted:
    """A source with one more line about it, as a source."""

    def __init__(self, source: Source, note: str) -> None:
        """Takes both."""
        self._source = source
        self.path, self.info, self.notes = source.path, source.info, (*source.notes, note)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return self._source.files

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the frames of a part."""
        return self._source.survey(begin, end)

    def open(self, rate: Fraction) -> Frames:
        """Opens the source."""
        return self._source.open(rate)


class Undone:
    """A source whose fields are undone, as a source.

    Attributes:
      path: of the source.
      info: of its frames as they come out.
      notes: those of the source, and what is done.
    """

    def __init__(self, source: Source, way: str, note: str) -> None:
        """Takes the source, one of the ways of `RATES`, and a line about it."""
        self._source, self._way, self._rate = source, way, RATES[way]
        self.path, self.notes = source.path, (*source.notes, note)
        self.info = _undone(source.info, self._rate)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        return self._source.files

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the frames of a part; places that count frames count those of the source."""
        found = self._source.survey(begin, end)
        frames = None if found.frames is None else -(-found.frames * self._rate.numerator // self._rate.denominator)
        return found._replace(frames=frames, rate=found.rate * self._rate, last=found.last / self._rate)

    def open(self, rate: Fraction) -> Frames:
        """Opens the source."""
        return _Reader(self._source.open(rate / self._rate), self._way)


def _undone(info: VideoInfo, rate: Fraction) -> VideoInfo:
    return replace(info, rate=info.rate * rate, time_base=info.time_base / (2 * _CYCLE - 2), is_interlaced=False)


class _Reader:
    """Frames without fields; a context manager."""

    def __init__(self, frames: Frames, way: str) -> None:
        self._frames, self._way, self._rate = frames, way, RATES[way]
        self.info = _undone(frames.info, self._rate)

    @property
    def notes(self) -> list[str]:
        return self._frames.notes

    def __enter__(self) -> _Reader:
        self._frames.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._frames.__exit__(*error)

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields the frames of a part, each with the time that its number among those of the source means."""
        clock, to_rgb, turn = _Clock(), ToRGB(), self._frames.info.turn
        graph = _Graph(_GRAPHS[self._way], self._frames.info)
        for number, picture in enumerate(graph.through(clock.noted(self._frames.frames(begin, end)))):
            time, following = clock.at(number / self._rate), clock.at((number + 1) / self._rate)
            yield TimedFrame(time, following - time, turn(to_rgb(picture)), picture)


class _Clock:
    """Times of the source's frames that have passed, by their numbers, whole and between."""

    def __init__(self) -> None:
        self._first = 0
        self._times: deque[tuple[Fraction, Fraction]] = deque()  # and durations

    def noted(self, frames: Iterable[TimedFrame]) -> Iterator[av.VideoFrame]:
        for number, frame in enumerate(frames):
            self._times.append((frame.time, frame.duration))
            if len(self._times) > 8 * _CYCLE:
                self._times.popleft()
                self._first += 1
            assert frame.raw is not None
            frame.raw.pts, frame.raw.duration = number, 1
            yield frame.raw

    def at(self, number: Fraction) -> Fraction:
        whole = int(number)
        index = min(max(whole - self._first, 0), len(self._times) - 1)
        time, duration = self._times[index]
        if index + 1 < len(self._times):
            duration = self._times[index + 1][0] - time
        return time + duration * (number - (self._first + index))


class _Graph:
    """Filters of FFmpeg, through which frames pass."""

    def __init__(self, filters: tuple[tuple[str, str], ...], info: VideoInfo) -> None:
        self._filters, self._info = filters, info

    def through(self, frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        """Yields what comes out; frames are numbered by their `pts`."""
        graph = av.filter.Graph()
        source = None
        for frame in frames:
            if source is None:
                source = graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format.name, time_base=Fraction(1, 25)
                )
                nodes = [graph.add(*(part for part in each if part)) for each in self._filters]
                graph.link_nodes(source, *nodes, graph.add("buffersink")).configure()
            frame.time_base = Fraction(1, 25)
            graph.push(frame)
            yield from _pulled(graph)
        if source is not None:
            graph.push(None)
            yield from _pulled(graph)


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    with contextlib.suppress(av.BlockingIOError, av.EOFError):
        while True:
            yield graph.pull()
