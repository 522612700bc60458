"""The display time of the last frame of APNG and WebP, which FFmpeg's muxers take for that of the others."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

_MOST = 65535  # of a numerator or denominator in APNG
_APNG, _WEBP = "apng", "webp"
MUXERS = (_APNG, _WEBP)


def set_last(path: Path, muxer: str, length: Fraction) -> None:
    """Sets the duration of the last frame of a file such that all of it lasts `length` seconds.

    Args:
      path: of a complete file.
      muxer: one of `MUXERS`.
      length: from the time of the first frame to the end of the last one.
    """
    with path.open("r+b") as file:
        frames = list(_apng(file) if muxer == _APNG else _webp(file))
        if not frames:
            return
        last = length - sum((duration for _, duration in frames[:-1]), Fraction(0))
        if last > 0:
            (_write_apng if muxer == _APNG else _write_webp)(file, frames[-1][0], last)


def _apng(file: BinaryIO) -> Iterator[tuple[int, Fraction]]:
    """Yields where each frame's control chunk begins, and the frame's duration."""
    at = 8
    while len(head := _read(file, at, 8)) == 8:
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"fcTL":
            delay = _read(file, at + 28, 4)
            numerator, denominator = (int.from_bytes(delay[i : i + 2], "big") for i in (0, 2))
            yield at, Fraction(numerator, denominator or 100)
        at += 12 + size


def _write_apng(file: BinaryIO, at: int, duration: Fraction) -> None:
    short = duration.limit_denominator(_MOST)
    while short.numerator > _MOST:  # more than 18 hours at this precision
        short = short.limit_denominator(max(1, short.denominator // 2))
    chunk = bytearray(_read(file, at + 4, 30))
    chunk[24:28] = short.numerator.to_bytes(2, "big") + short.denominator.to_bytes(2, "big")
    file.seek(at + 4)
    file.write(bytes(chunk) + zlib.crc32(chunk).to_bytes(4, "big"))


def _webp(file: BinaryIO) -> Iterator[tuple[int, Fraction]]:
    """Yields where each frame's duration stands, and the duration."""
    at = 12
    while len(head := _read(file, at, 8)) == 8:
        size = int.from_bytes(head[4:], "little")
        if head[:4] == b"ANMF":
            yield at + 20, Fraction(int.from_bytes(_read(file, at + 20, 3), "little"), 1000)
        at += 8 + size + size % 2


def _write_webp(file: BinaryIO, at: int, duration: Fraction) -> None:
    file.seek(at)
    file.write(min(2**24 - 1, round(duration * 1000)).to_bytes(3, "little"))


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
