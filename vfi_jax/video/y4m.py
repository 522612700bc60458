"""YUV4MPEG2 in pipes: what ffmpeg, mpv and vspipe take and give as raw video.

FFmpeg's own reader takes a stream that breaks off inside a frame for a complete one, and its writer leaves it to
buffers when a frame comes out. Both are short, so they are written here; FFmpeg packs and unpacks the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import av

from vfi_jax.errors import IncompleteError, UserError
from vfi_jax.video.pixels.color import FULL, LIMITED, UNKNOWN_SITING

NAME = "y4m"
_SIGNATURE = b"YUV4MPEG2"
_LONGEST = 4096  # bytes of a header
_RAW = {  # pixel format: its name in the header
    "yuv420p": "420jpeg", "yuv422p": "422", "yuv444p": "444", "yuv411p": "411", "gray": "mono",
    "gray9le": "mono9", "gray10le": "mono10", "gray12le": "mono12", "gray16le": "mono16",
} | {
    f"yuv{chroma}p{bits}le": f"{chroma}p{bits}" for chroma in ("420", "422", "444") for bits in (9, 10, 12, 14, 16)
}  # fmt: skip
FORMATS = tuple(_RAW)
_SITING = {"420jpeg": "center", "420mpeg2": "left", "420paldv": "topleft"}
_FORMAT_OF = {name: pixels for pixels, name in _RAW.items()} | dict.fromkeys(["420", *_SITING], "yuv420p")


@runtime_checkable
class Readable(Protocol):
    """A pipe to read from: gives what is there, up to a number of bytes; nothing at its end."""

    def read(self, size: int, /) -> bytes | None:
        """Reads what is there, at most `size` bytes."""
        ...


@runtime_checkable
class Writable(Protocol):
    """A pipe to write to."""

    def write(self, data: bytes, /) -> object:
        """Writes all of it."""
        ...


@dataclass(frozen=True)
class Header:
    """The header of a stream.

    Attributes:
      width: pixels.
      height: pixels.
      rate: frames per second.
      aspect: sample aspect ratio; None if unknown.
      pixel_format: FFmpeg's name.
      range: AVColorRange; 0 if unknown.
      siting: where chroma samples lie, by FFmpeg's name.
      is_interlaced: whether frames consist of fields.
    """

    width: int
    height: int
    rate: Fraction
    aspect: Fraction | None
    pixel_format: str
    range: int
    siting: str
    is_interlaced: bool

    def as_bytes(self) -> bytes:
        """The header's line, without its end."""
        name = _RAW[self.pixel_format]
        if self.pixel_format == "yuv420p":
            name = next((name for name, siting in _SITING.items() if siting == self.siting), name)
        aspect = self.aspect or Fraction(0)
        shape = f"{aspect.numerator}:{aspect.denominator}" if aspect else "0:0"
        words = [f"W{self.width}", f"H{self.height}", f"F{self.rate.numerator}:{self.rate.denominator}"]
        words += [f"I{'m' if self.is_interlaced else 'p'}", f"A{shape}", f"C{name}"]
        if self.range:
            words.append(f"XCOLORRANGE={'FULL' if self.range == FULL else 'LIMITED'}")
        return " ".join([_SIGNATURE.decode(), *words]).encode()


def parse(line: bytes, name: str) -> Header:
    """Parses the first line of a stream.

    Args:
      line: without its end.
      name: of the stream, for errors.

    Raises:
      UserError: it is no y4m, or of a kind that is not known.
    """
    words = line.decode("latin-1").split(" ")
    if words[0].encode("latin-1") != _SIGNATURE:
        raise UserError(f"{name}: is not y4m; pipe `ffmpeg -i FILE -f yuv4mpegpipe -strict -1 -` into it")
    values: dict[str, str] = {}
    for word in words[1:]:
        key = "X" + word[1:].partition("=")[0] if word.startswith("X") else word[:1]
        values[key] = word.partition("=")[2] if word.startswith("X") else word[1:]
    pixels = _FORMAT_OF.get(values.get("C", "420jpeg"))
    if pixels is None:
        raise UserError(f"{name}: y4m in C{values['C']} is not known; convert it to one of C{', C'.join(_FORMAT_OF)}")
    sides = [int(values[key]) if re.fullmatch(r"[0-9]{1,6}", values.get(key, "")) else 0 for key in "WH"]
    rate = _ratio(values.get("F", ""))
    if not all(sides) or rate is None:
        raise UserError(f"{name}: its y4m header lacks a size or a rate")
    scale = values.get("XCOLORRANGE")
    return Header(
        *sides, rate, _ratio(values.get("A", "")), pixels,
        range={"FULL": FULL, "LIMITED": LIMITED}.get(scale or "", 0),
        siting=_SITING.get(values.get("C", ""), UNKNOWN_SITING),
        is_interlaced=values.get("I", "p") not in ("p", "?"),
    )  # fmt: skip


def _ratio(text: str) -> Fraction | None:
    match = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9})", text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else None


class Decoder:
    """A stream that is read as it comes.

    Attributes:
      header: of the stream.

    Raises:
      UserError: it is empty or no y4m.
    """

    def __init__(self, pipe: Readable, name: str) -> None:
        """Reads the header."""
        self._pipe, self._name, self._ahead = pipe, name, bytearray()
        self._count = 0
        line = self._line()
        if line is None:
            raise UserError(f"{name}: is empty; y4m was expected from the pipe")
        self.header = parse(line, name)
        self._codec = av.CodecContext.create("rawvideo", "r")
        self._codec.width, self._codec.height = self.header.width, self.header.height
        self._codec.pix_fmt = self.header.pixel_format

    def frames(self) -> Iterator[av.VideoFrame]:
        """Yields each frame as soon as its last byte is there.

        Raises:
          UserError: the stream breaks off inside a frame, or holds something else.
        """
        size = _bytes_of(self.header)
        while (line := self._line()) is not None:
            if line.split(b" ")[0] != b"FRAME":
                raise IncompleteError(
                    f"{self._name}: y4m is damaged after frame {self._count}; no further frame follows"
                )
            data = self._take(size)
            if data is None:
                raise IncompleteError(
                    f"{self._name}: breaks off inside frame {self._count + 1}, after {self._count} whole ones"
                )
            self._count += 1
            yield self._unpacked(data)

    def _unpacked(self, data: bytes) -> av.VideoFrame:
        (frame,) = self._codec.decode(av.Packet(data))
        frame.pts, frame.time_base = None, 1 / self.header.rate
        frame.color_range = self.header.range or (FULL if len(frame.format.components) == 1 else 0)
        return frame

    def _cut(self) -> UserError:
        return UserError(f"{self._name}: breaks off inside frame {self._count + 1}, after {self._count} whole ones")

    def _line(self) -> bytes | None:
        """Returns the next line; None at the end of the stream."""
        while (end := self._ahead.find(b"\n")) < 0:
            if len(self._ahead) > _LONGEST:
                raise UserError(f"{self._name}: is not y4m, or is damaged after frame {self._count}")
            if not self._read(_LONGEST):
                if self._ahead:
                    raise IncompleteError(
                        f"{self._name}: breaks off inside frame {self._count + 1}, after {self._count} whole ones"
                    )
                return None
        line = bytes(self._ahead[:end])
        del self._ahead[: end + 1]
        return line

    def _take(self, size: int) -> bytes | None:
        while len(self._ahead) < size:
            if not self._read(size - len(self._ahead)):
                return None
        data = bytes(self._ahead[:size])
        del self._ahead[:size]
        return data

    def _read(self, size: int) -> bool:
        data = self._pipe.read(size)
        self._ahead += data or b""
        return bool(data)


class Encoder:
    """A stream that is written frame by frame."""

    def __init__(self, pipe: Writable, header: Header) -> None:
        """Writes the header."""
        self._pipe = pipe
        self._codec = av.CodecContext.create("rawvideo", "w")
        self._codec.width, self._codec.height = header.width, header.height
        self._codec.pix_fmt, self._codec.time_base = header.pixel_format, 1 / header.rate
        self._send([header.as_bytes(), b"\n"])

    def write(self, frame: av.VideoFrame) -> None:
        """Writes a frame, in the pixel format of the header, whole and at once."""
        self._send([b"FRAME\n", *(bytes(packet) for packet in self._codec.encode(frame))])

    def _send(self, parts: Sequence[bytes]) -> None:
        self._pipe.write(b"".join(parts))


def _bytes_of(header: Header) -> int:
    """Bytes of a frame; a side that cannot be halved is rounded up."""
    form = av.VideoFormat(header.pixel_format, header.width, header.height)
    size = 2 if form.components[0].bits > 8 else 1
    planes = [(header.width, header.height)]
    if len(form.components) > 1:
        planes += [(form.chroma_width(), form.chroma_height())] * 2
    return size * sum(width * height for width, height in planes)
