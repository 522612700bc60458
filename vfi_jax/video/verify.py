"""Verification of an output beside its source: frames, times, tracks, labels, and the original frames themselves.

Both files are decoded once, side by side; memory grows with the length of the clip by a checksum per packet only.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer

from vfi_jax.errors import UserError
from vfi_jax.system.markdown import markdown
from vfi_jax.video import inventory, losses, streams
from vfi_jax.video.decode import Reader, TimedFrame, VideoInfo, clock_origin, exact, open_input
from vfi_jax.video.encode import CONTAINERS
from vfi_jax.video.interpolate import Part
from vfi_jax.video.inventory import Inventory, Track
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import Options
from vfi_jax.video.streams import Route
from vfi_jax.video.survey import survey
from vfi_jax.video.timeline import Timeline, rate_of

SAME, CLOSE, ANNOUNCED, DIFFERS = "same", "close", "announced", "DIFFERS"
MIN_PSNR = 30.0  # dB; encoders at their defaults reach 40, and a frame beside its neighbor seldom 30
_FORMATS = ("rgb", "chroma", "bits", "alpha", "fields")  # losses that change the frames themselves
_ADTS = 7  # bytes of the header of an AAC packet in a transport stream, which other containers leave out


@dataclass(frozen=True)
class Row:
    """A property in both files.

    Attributes:
      property: its name.
      source: its value in the source, or what follows from it.
      target: its value in the output.
      verdict: same; close, as lossy compression leaves it; announced, a loss that the list of losses names; or DIFFERS.
    """

    property: str
    source: str
    target: str
    verdict: str


@dataclass(frozen=True)
class Report:
    """The outcome of a verification.

    Attributes:
      source: the video.
      target: the output.
      rows: a row per property.
      losses: what was announced.
    """

    source: Path
    target: Path
    rows: tuple[Row, ...]
    losses: tuple[Loss, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """The properties that differ without announcement."""
        return tuple(row.property for row in self.rows if row.verdict == DIFFERS)

    def table(self) -> str:
        """The rows as a Markdown table."""
        return markdown(
            [("property", "source", "output", "")]
            + [(row.property, row.source, row.target, row.verdict) for row in self.rows]
        )

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON's types."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "ok": not self.differing,
            "rows": [dict(vars(row)) for row in self.rows],
            "losses": [loss.as_json() for loss in self.losses],
        }


def verify(source: Path, target: Path, options: Options | None = None, *, min_psnr: float = MIN_PSNR) -> Report:
    """Compares an output with its source.

    Args:
      source: the video that was interpolated.
      target: what `interpolate_video` wrote; its extension is one that it writes.
      options: those of the interpolation; None: the defaults.
      min_psnr: dB that each original frame has at least, where encoding is lossy.

    Raises:
      UserError: a file is missing, no video, damaged or cut short.
    """
    source, target, options = Path(source), Path(target), options or Options()
    if target.suffix.lower() not in CONTAINERS:
        raise UserError(f"{target}: only {', '.join(CONTAINERS)} can be verified")
    rate = survey(source, options.begin, options.end).rate
    with Reader(source, rate) as before, Reader(target) as after:
        announced = losses.find(before.info, target, rate_of(options, rate))
        known = frozenset((loss.kind, item) for loss in announced for item in loss.items)
        rows = [
            *_formats(before.info, after.info, announced),
            *_frames(before, after, options, min_psnr, any(loss.kind in _FORMATS for loss in announced)),
            *_side_data(before.info, after.info, known),
        ]
    with contextlib.closing(open_input(source)) as old, contextlib.closing(open_input(target)) as new:
        is_cut = options.is_part or options.stretch != 1
        rows += [
            *_labels(inventory.read(old), inventory.read(new), known, is_cut),
            *_tracks(old, new, target, options, known),
        ]
    return Report(source, target, tuple(rows), announced)


def _verdict(is_same: bool, is_announced: bool = False) -> str:
    return SAME if is_same else ANNOUNCED if is_announced else DIFFERS


def _formats(before: VideoInfo, after: VideoInfo, announced: Iterable[Loss]) -> Iterator[Row]:
    """Compares size, shape, pixel format and color tags."""
    kinds = {loss.kind for loss in announced}
    sizes = [f"{info.width}x{info.height}" for info in (before, after)]
    yield Row("size", *sizes, _verdict(sizes[0] == sizes[1]))
    shapes = [info.aspect or Fraction(1) for info in (before, after)]
    yield Row("pixel shape", *map(str, shapes), _verdict(shapes[0] == shapes[1], "aspect" in kinds))
    formats = before.pixel_format, after.pixel_format
    changed = ANNOUNCED if kinds & set(_FORMATS) else CLOSE  # a format that holds more than the source's
    yield Row("pixel format", *formats, SAME if formats[0].replace("yuvj", "yuv") == formats[1] else changed)
    colors = [
        f"{info.color.space}/{info.color.primaries}/{info.color.transfer} {'full' if info.color.full else 'limited'}"
        for info in (before, after)
    ]
    yield Row("matrix/primaries/transfer, range", *colors, _verdict(colors[0] == colors[1], "rgb" in kinds))


class _Frames:
    """Running figures of the frames of both files."""

    def __init__(self) -> None:
        self.expected = self.found = self.originals = self.changed = 0
        self.late, self.latest = Fraction(0), 0
        self.error, self.worst, self.worst_at = 0.0, math.inf, 0
        self.end = Fraction(0)

    def compare(self, original: TimedFrame, again: TimedFrame) -> None:
        """Adds an original frame and what the output holds in its place."""
        if _equal(original, again):
            self.originals += 1
            return
        psnr = _psnr(original.image, again.image)
        if psnr < self.worst:
            self.worst, self.worst_at = psnr, self.originals
        self.error += 10 ** (-psnr / 10)
        self.originals, self.changed = self.originals + 1, self.changed + 1

    def time(self, wanted: Fraction, shown: Fraction) -> None:
        """Adds the time of a frame."""
        if abs(shown - wanted) > self.late:
            self.late, self.latest = abs(shown - wanted), self.found


def _frames(before: Reader, after: Reader, options: Options, min_psnr: float, is_announced: bool) -> Iterator[Row]:
    """Compares numbers, times and originals of the frames."""
    tick = after.info.time_base
    figures = _Frames()
    shown = after.frames()
    fits = (before.info.width, before.info.height) == (after.info.width, after.info.height)
    part = Part(before.frames(), options)
    for original, time in _expected(part, options, tick):
        figures.expected += 1
        frame = next(shown, None)
        if frame is None:
            continue
        figures.time(time, frame.time)
        figures.end = frame.time + frame.duration
        if original is not None and fits:
            figures.compare(original, frame)
        figures.found += 1
    for frame in shown:
        figures.found, figures.end = figures.found + 1, frame.time + frame.duration
    yield Row("frames", f"{figures.expected} from {part.count}", str(figures.found),
              _verdict(figures.expected == figures.found))  # fmt: skip
    slack = tick / 2
    late = f"up to {float(figures.late) * 1000:.3f} ms off, at frame {figures.latest}" if figures.late else "exact"
    yield Row("timestamps", f"ticks of {float(tick) * 1000:.4g} ms", late, _verdict(figures.late <= slack))
    ends = part.end, figures.end
    yield Row("end", *(f"{float(end):.4f} s" for end in ends), _verdict(abs(ends[0] - ends[1]) <= tick))
    if fits:
        yield _originals(figures, min_psnr, is_announced)


def _originals(figures: _Frames, min_psnr: float, is_announced: bool) -> Row:
    if not figures.changed:
        return Row("original frames", str(figures.originals), "every code equal", SAME)
    mean = -10 * math.log10(figures.error / figures.changed)
    text = f"{mean:.1f} dB, {figures.worst:.1f} at original {figures.worst_at}"
    verdict = CLOSE if figures.worst >= min_psnr else _verdict(False, is_announced)
    return Row("original frames", str(figures.originals), text, verdict)


def _expected(
    frames: Iterable[TimedFrame], options: Options, tick: Fraction
) -> Iterator[tuple[TimedFrame | None, Fraction]]:
    """Yields, for each frame of the output, the source's frame if it is one, and its time."""
    timeline = Timeline(options, tick)
    left: TimedFrame | None = None
    for right in frames:
        if left is not None:
            for t, time in timeline.between(left.time, right.time):
                yield (None if t else left), time
        left = right
    if left is None:
        return
    if options.loop:
        gap = timeline.between(left.time, left.time + left.duration)
        yield from ((None if t else left, time) for t, time in gap)
    else:
        yield from ((left, time) for time in timeline.last(left.time, left.duration))


def _equal(original: TimedFrame, again: TimedFrame) -> bool:
    """Whether two frames have the same codes; in RGB where their formats differ."""
    a, b = original.raw, again.raw
    if a is None or b is None or a.format.name != b.format.name or not a.format.is_planar:
        return np.array_equal(original.image, again.image)
    return all(np.array_equal(_codes(p, a), _codes(q, b)) for p, q in zip(a.planes, b.planes, strict=True))


def _codes(plane: av.video.plane.VideoPlane, frame: av.VideoFrame) -> np.ndarray:
    size = 2 if max(component.bits for component in frame.format.components) > 8 else 1
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height]
    return rows[:, : plane.width * size]


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two pictures `[h, w, 3]`, uint8 or uint16, of which one may have the other's type."""
    x, y = (image.astype(np.float32) / np.iinfo(image.dtype).max for image in (a, b))
    error = float(np.mean((x - y) ** 2))
    return -10 * math.log10(error) if error else math.inf


def _side_data(before: VideoInfo, after: VideoInfo, known: frozenset[tuple[str, str]]) -> Iterator[Row]:
    for name, data in before.side_data.items():
        if (words := losses.SIDE_DATA.get(name)) is not None:
            is_same = after.side_data.get(name) == data
            yield Row(words, "yes", "same" if is_same else "other" if name in after.side_data else "no",
                      _verdict(is_same, ("side data", words) in known))  # fmt: skip


def _labels(before: Inventory, after: Inventory, known: frozenset[tuple[str, str]], is_cut: bool) -> Iterator[Row]:
    """Compares chapters, time code, and the tags and flags of the file and of its picture."""
    is_same = losses.has_same_chapters(before, after)
    announced = any(kind == "chapters" for kind, _ in known)
    verdict = CLOSE if is_cut and not is_same else _verdict(is_same, announced)
    yield Row("chapters", str(len(before.chapters)), str(len(after.chapters)), verdict)
    codes = before.time_code, after.time_code
    if any(codes):
        announced = any(kind == "timecode" for kind, _ in known)
        yield Row("time code", *(str(code or "-") for code in codes), _verdict(codes[0] in (None, codes[1]), announced))
    lost = [("tag", tag) for tag in inventory.missing_tags(before.tags, after.tags) if tag != losses.TIME_CODE]
    yield _label_row("tags of the file", len(inventory.comparable(before.tags)), lost, known)
    yield _track_labels("labels of the picture", before.picture, after.picture, known)


def _track_labels(name: str, before: Track, after: Track, known: frozenset[tuple[str, str]]) -> Row:
    count = len(inventory.comparable(before.tags)) + len(inventory.flag_names(before.flags))
    return _label_row(name, count, list(losses.labels_lost(before, after)), known)


def _label_row(name: str, count: int, lost: list[tuple[str, str]], known: frozenset[tuple[str, str]]) -> Row:
    shown = f"without {', '.join(item for _, item in lost)}" if lost else "all"
    return Row(name, str(count), shown, _verdict(not lost, all(entry in known for entry in lost)))


class _Packet(NamedTuple):
    """A packet: its time in seconds, and checksums of its data, with and without a header of AAC."""

    time: Fraction
    data: int
    bare: int


def _tracks(
    before: InputContainer, after: InputContainer, target: Path, options: Options, known: frozenset[tuple[str, str]]
) -> Iterator[Row]:
    """Compares the other tracks, packet by packet, line by line where text was converted, or by the data of files."""
    routes = [route for route in streams.routes(before, CONTAINERS[target.suffix.lower()][0]) if route.way != "rewrite"]
    written = inventory.read(after)
    queues = {kind: iter(written.of(kind)) for kind in ("audio", "subtitle", "video", "cover", "attachment", "data")}
    pairs = []
    for route in routes:
        kind = route.track.kind
        if kind == "picture" or (kind == "audio" and options.sound == "drop"):
            continue
        found = None if route.way == "none" else next(queues[kind], None)
        if found is None:
            announced = any((one, route.track.label) in known for one in (kind, "style"))
            yield Row(f"{kind} {route.track.label}", "yes", "no", _verdict(False, announced))
        else:
            pairs.append((route, found))
    packets = _packets(before, [route.track for route, _ in pairs]), _packets(after, [found for _, found in pairs])
    for route, found in pairs:
        yield from _compared(before, after, route, found, packets, options, known)


def _compared(
    before: InputContainer,
    after: InputContainer,
    route: Route,
    found: Track,
    packets: tuple[Mapping[int, list[_Packet]], Mapping[int, list[_Packet]]],
    options: Options,
    known: frozenset[tuple[str, str]],
) -> Iterator[Row]:
    track = route.track
    name = f"{track.kind} {track.label}"
    if track.kind in ("cover", "attachment"):
        data = [_file(container, one) for container, one in ((before, track), (after, found))]
        yield Row(name, f"{len(data[0])} bytes", f"{len(data[1])} bytes", _verdict(data[0] == data[1]))
        return
    if options.is_part or options.stretch != 1:
        yield Row(name, "cut or stretched", "there", CLOSE)
    elif route.way == "convert":
        lines = _lines(before, track), _lines(after, found)
        same = _same_lines(*lines)
        yield Row(
            name, f"{len(lines[0])} lines", f"{len(lines[1])} lines", _verdict(same, ("style", track.label) in known)
        )
    else:
        sides = packets[0][track.index], packets[1][found.index]
        ticks = [exact(c.streams[i].time_base) or Fraction(1) for c, i in ((before, track.index), (after, found.index))]
        same = _same_packets(*sides, max(ticks))
        yield Row(name, f"{len(sides[0])} packets", f"{len(sides[1])} packets", _verdict(same))
    yield _track_labels(f"labels of {name}", track, found, known)


def _packets(container: InputContainer, tracks: Iterable[Track]) -> dict[int, list[_Packet]]:
    """Reads times and checksums of the packets of some tracks."""
    result: dict[int, list[_Packet]] = {track.index: [] for track in tracks}
    wanted = [container.streams[index] for index in result]
    origin = clock_origin(container)
    for packet in container.demux(wanted) if wanted else ():
        if packet.size:
            data, stamp = bytes(packet), packet.pts if packet.pts is not None else packet.dts
            is_adts = data[0] == 0xFF and len(data) > _ADTS and data[1] & 0xF6 == 0xF0
            time = (stamp or 0) * (exact(packet.time_base) or Fraction(1)) - origin
            full = zlib.crc32(data)
            result[packet.stream_index].append(_Packet(time, full, zlib.crc32(data[_ADTS:]) if is_adts else full))
    return result


def _same_packets(before: list[_Packet], after: list[_Packet], tick: Fraction) -> bool:
    return len(before) == len(after) and all(
        b.data in (a.data, a.bare) and abs(a.time - b.time) <= tick for a, b in zip(before, after, strict=True)
    )


def _lines(container: InputContainer, track: Track) -> list[tuple[Fraction, bytes]]:
    """Decodes the time and text of each line of a subtitle track."""
    container.seek(0)
    shown = []
    for packet in container.demux(container.streams[track.index]):
        time = (packet.pts or 0) * (exact(packet.time_base) or Fraction(1))
        shown += [(time, line.dialogue) for line in packet.decode()] if packet.size else []
    return shown


def _same_lines(before: list[tuple[Fraction, bytes]], after: list[tuple[Fraction, bytes]]) -> bool:
    return len(before) == len(after) and all(
        a[1].strip() == b[1].strip() and abs(a[0] - b[0]) <= Fraction(1, 1000)
        for a, b in itertools.zip_longest(before, after)
    )


def _file(container: InputContainer, track: Track) -> bytes:
    """Reads the data of a cover or an attachment."""
    if track.kind == "attachment":
        return next(s.data for s in container.streams.attachments if s.index == track.index)
    return streams.cover(Path(container.name), track.index)
