"""Files of encoded frames: the packets of a segment, with all that muxing them again needs.

A file holds the packets' data, an index in JSON, and the index's length in 8 bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av

from vfi_jax.system import strict_json

_TAIL = 8  # bytes of the length of the index


class Record(NamedTuple):
    """A frame's time, seconds, and the packets that its encoding gave, which may be those of frames before it."""

    time: Fraction
    packets: tuple[av.Packet, ...]


class Tape:
    """Records that are written to a file as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._crc = file, 0
        self._index: list[list] = []

    def add(self, record: Record) -> None:
        """Appends a record."""
        fields = []
        for packet in record.packets:
            data = bytes(packet)
            self._file.write(data)
            self._crc = zlib.crc32(data, self._crc)
            fields.append([packet.pts, packet.dts, packet.duration, packet.is_keyframe, len(data)])
        self._index.append([str(record.time), fields])

    def finish(self, frames: int) -> None:
        """Writes the index, with the number of frames of the target up to its end."""
        index = strict_json.dumps({"frames": frames, "crc": self._crc, "records": self._index}).encode()
        self._file.write(index + len(index).to_bytes(_TAIL, "little"))


def copied(packet: av.Packet) -> av.Packet:
    """Returns a packet with what a record keeps of it, and nothing else."""
    return _packet(
        bytes(packet), packet.pts, packet.dts, packet.duration, packet.is_keyframe, Fraction(packet.time_base)
    )


def frames_in(path: Path) -> int | None:
    """Returns the number of frames of the target up to the end of a file of records; None if it is damaged."""
    try:
        with path.open("rb") as file:
            index, size = _index(file)
            crc = 0
            while size > 0:
                data = file.read(min(size, 1 << 20))
                if not data:
                    return None
                crc, size = zlib.crc32(data, crc), size - len(data)
            return int(index["frames"]) if crc == index["crc"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read(path: Path, tick: Fraction) -> Iterator[Record]:
    """Yields the records of a file that `frames_in` has found to be whole; `tick` is the packets' time base."""
    with path.open("rb") as file:
        for time, fields in _index(file)[0]["records"]:
            yield Record(Fraction(time), tuple(_read_packets(file, fields, tick)))


def _read_packets(file: BinaryIO, fields: Sequence[Sequence], tick: Fraction) -> Iterator[av.Packet]:
    for pts, dts, duration, is_key, size in fields:
        yield _packet(file.read(size), pts, dts, duration, is_key, tick)


def _index(file: BinaryIO) -> tuple[dict, int]:
    """Reads the index and the number of bytes before it; the file is then at its beginning."""
    end = file.seek(-_TAIL, 2)
    size = int.from_bytes(file.read(_TAIL), "little")
    if not 0 < size <= end:
        raise ValueError("no index")
    file.seek(end - size)
    index = strict_json.parse_object(file.read(size))
    file.seek(0)
    return index, end - size


def _packet(data: bytes, pts: int | None, dts: int | None, duration: int, is_key: bool, tick: Fraction) -> av.Packet:
    packet = av.Packet(data)
    packet.pts, packet.dts, packet.time_base = pts, dts, tick
    packet.duration = duration
    packet.is_keyframe = is_key
    return packet
