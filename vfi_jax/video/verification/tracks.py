"""Verification of what a video holds beside its frames: tracks packet by packet, files, tags, flags and chapters."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from av.container import InputContainer

from vfi_jax.video import losses
from vfi_jax.video.coding.decode import clock_origin, exact
from vfi_jax.video.options import Options
from vfi_jax.video.tracks import inventory, streams
from vfi_jax.video.tracks.inventory import Inventory, Track
from vfi_jax.video.tracks.streams import Route
from vfi_jax.video.verification.rows import CLOSE, Row, verdict

_KINDS = ("audio", "subtitle", "video", "cover", "attachment", "data")
_TICK = Fraction(1, 1000)
_ADTS = 7  # bytes of the header of an AAC packet in a transport stream, which other containers leave out


def labels(before: Inventory, after: Inventory, known: frozenset[tuple[str, str]], is_cut: bool) -> Iterator[Row]:
    """Compares chapters, time code, and the tags and flags of the file and of its picture."""
    is_same = losses.has_same_chapters(before, after)
    announced = any(kind == "chapters" for kind, _ in known)
    chapters = CLOSE if is_cut and not is_same else verdict(is_same, announced)
    yield Row("chapters", str(len(before.chapters)), str(len(after.chapters)), chapters)
    codes = before.time_code, after.time_code
    if any(codes):
        announced = any(kind == "timecode" for kind, _ in known)
        yield Row("time code", *(str(code or "-") for code in codes), verdict(codes[0] in (None, codes[1]), announced))
    lost = [("tag", tag) for tag in inventory.missing_tags(before.tags, after.tags) if tag != losses.TIME_CODE]
    yield _label_row("tags of the file", len(inventory.comparable(before.tags)), lost, known)
    yield _track_labels("labels of the picture", before.picture, after.picture, known)


def _track_labels(name: str, before: Track, after: Track, known: frozenset[tuple[str, str]]) -> Row:
    count = len(inventory.comparable(before.tags)) + len(inventory.flag_names(before.flags))
    return _label_row(name, count, list(losses.labels_lost(before, after)), known)


def _label_row(name: str, count: int, lost: list[tuple[str, str]], known: frozenset[tuple[str, str]]) -> Row:
    shown = f"without {', '.join(item for _, item in lost)}" if lost else "all"
    return Row(name, str(count), shown, verdict(not lost, all(entry in known for entry in lost)))


class _Packet(NamedTuple):
    """A packet: its time in seconds, and checksums of its data, with and without a header of AAC."""

    time: Fraction
    data: int
    bare: int


class Tracks:
    """The other tracks of both files, side by side.

    Attributes:
      delay: seconds by which all times of the output are later, because Matroska has no negative ones.
    """

    def __init__(
        self,
        before: InputContainer,
        after: InputContainer,
        muxer: str,
        options: Options,
        known: frozenset[tuple[str, str]],
    ) -> None:
        """Finds the track of the output for each of the source, and reads the packets of both.

        Args:
          before: the source.
          after: the output.
          muxer: FFmpeg's name of the output's muxer.
          options: those of the interpolation.
          known: (kind, item) of the losses that were announced.
        """
        self._before, self._after, self._known = before, after, known
        self._is_cut = options.is_part or options.stretch != 1
        self._pairs: list[tuple[Route, Track]] = []
        self._missing: list[Track] = []
        self._match(muxer, keep_sound=options.sound == "keep")
        self._old = _packets(before, [route.track for route, _ in self._pairs])
        self._new = _packets(after, [found for _, found in self._pairs])
        starts = [
            (old[0].time, new[0].time)
            for old, new in ((self._old[route.track.index], self._new[found.index]) for route, found in self._pairs)
            if old and new
        ]
        first, again = min(starts, default=(Fraction(0), Fraction(0)))
        starts_at_zero = "matroska" in after.format.name or after.format.name == "mpegts"
        is_delayed = starts_at_zero and first < 0 and not self._is_cut
        self.delay = again - first if is_delayed and 0 < again - first <= _TICK - first else Fraction(0)

    def _match(self, muxer: str, *, keep_sound: bool) -> None:
        written = inventory.read(self._after)
        queues = {kind: iter(written.of(kind)) for kind in _KINDS}
        for route in streams.routes(self._before, muxer):
            kind = route.track.kind
            if route.way in ("rewrite", "encode") or (kind == "audio" and not keep_sound):
                continue
            found = None if route.way == "none" else next(queues[kind], None)
            if found is None:
                self._missing.append(route.track)
            else:
                self._pairs.append((route, found))

    def rows(self) -> Iterator[Row]:
        """Compares packet by packet, line by line where text was converted, or by the data of files."""
        for track in self._missing:
            announced = (track.kind, track.label) in self._known
            yield Row(f"{track.kind} {track.label}", "yes", "no", verdict(False, announced))
        for route, found in self._pairs:
            if route.track.kind in ("cover", "attachment"):
                yield self._files(route.track, found)
            else:
                yield self._contents(route, found)
                yield _track_labels(f"labels of {_name(route.track)}", route.track, found, self._known)

    def _files(self, track: Track, found: Track) -> Row:
        data = [_file(container, one) for container, one in ((self._before, track), (self._after, found))]
        return Row(_name(track), f"{len(data[0])} bytes", f"{len(data[1])} bytes", verdict(data[0] == data[1]))

    def _contents(self, route: Route, found: Track) -> Row:
        track = route.track
        if self._is_cut:
            return Row(_name(track), "cut or stretched", f"{len(self._new[found.index])} packets", CLOSE)
        if route.way == "convert":
            lines = _lines(self._before, track), _lines(self._after, found)
            result = verdict(_same_lines(*lines, self.delay), ("style", track.label) in self._known)
            return Row(_name(track), f"{len(lines[0])} lines", f"{len(lines[1])} lines", result)
        old, new = self._old[track.index], self._new[found.index]
        streams_of = self._before.streams[track.index], self._after.streams[found.index]
        tick = max(exact(stream.time_base) or Fraction(1) for stream in streams_of)
        result = verdict(_same_packets(old, new, tick, self.delay), ("sync", track.label) in self._known)
        return Row(_name(track), f"{len(old)} packets", f"{len(new)} packets", result)


def _name(track: Track) -> str:
    return f"{track.kind} {track.label}"


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


def _same_packets(before: list[_Packet], after: list[_Packet], tick: Fraction, delay: Fraction) -> bool:
    return len(before) == len(after) and all(
        {a.data, a.bare} & {b.data, b.bare} and abs(a.time + delay - b.time) <= tick
        for a, b in zip(before, after, strict=True)
    )


def _lines(container: InputContainer, track: Track) -> list[tuple[Fraction, bytes]]:
    """Decodes the time and text of each line of a subtitle track."""
    container.seek(0)
    shown = []
    for packet in container.demux(container.streams[track.index]):
        time = (packet.pts or 0) * (exact(packet.time_base) or Fraction(1))
        shown += [(time, line.dialogue) for line in packet.decode()] if packet.size else []
    return shown


def _same_lines(before: list[tuple[Fraction, bytes]], after: list[tuple[Fraction, bytes]], delay: Fraction) -> bool:
    return len(before) == len(after) and all(
        a[1].strip() == b[1].strip() and abs(a[0] + delay - b[0]) <= _TICK
        for a, b in itertools.zip_longest(before, after)
    )


def _file(container: InputContainer, track: Track) -> bytes:
    """Reads the data of a cover or an attachment."""
    if track.kind == "attachment":
        return next(s.data for s in container.streams.attachments if s.index == track.index)
    return streams.cover(Path(container.name), track.index)
