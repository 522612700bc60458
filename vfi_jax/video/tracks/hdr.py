"""HDR10's static metadata: the mastering display and the content light level.

Decoders attach them to frames as FFmpeg's structures; encoders take them as text. Units are those of SMPTE ST 2086:
chromaticities in steps of 0.00002, luminances of the mastering display in steps of 0.0001 cd/m2, light levels in cd/m2;
SVT-AV1 takes fractions of 1 and cd/m2.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

import numpy as np

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_CHROMATICITY, _LUMINANCE = 50000, 10000  # steps per unit
_STRUCTURE = 22  # AVMasteringDisplayMetadata: ten fractions and two flags, as int32


class _Spelling(NamedTuple):
    """How an encoder takes the metadata: its option, the names of both within it, and whether numbers count steps."""

    option: str
    mastering: str
    light: str
    in_steps: bool = True


_SPELLINGS = {
    "libx264": _Spelling("x264-params", "mastering-display", "cll"),
    "libx265": _Spelling("x265-params", "master-display", "max-cll"),
    "libsvtav1": _Spelling("svtav1-params", "mastering-display", "content-light", in_steps=False),
}


def carried(side_data: Mapping[str, bytes], encoder: str) -> set[str]:
    """Names the side data that `options` passes to an encoder."""
    return {name for name in (MASTERING, LIGHT) if name in side_data and options({name: side_data[name]}, encoder)}


def options(side_data: Mapping[str, bytes], encoder: str) -> dict[str, str]:
    """Returns the encoder's option that writes HDR10's metadata; nothing for an encoder without one.

    Args:
      side_data: FFmpeg's structures by the names of `av.sidedata`.
      encoder: FFmpeg's name.
    """
    if (spelling := _SPELLINGS.get(encoder)) is None:
        return {}
    parameters = []
    if (display := _mastering(side_data.get(MASTERING, b""), in_steps=spelling.in_steps)) is not None:
        parameters.append(f"{spelling.mastering}={display}")
    if len(light := np.frombuffer(side_data.get(LIGHT, b""), np.uint32)) >= 2:
        parameters.append(f"{spelling.light}={light[0]},{light[1]}")
    return {spelling.option: ":".join(parameters)} if parameters else {}


def is_same(name: str, before: bytes, after: bytes | None) -> bool:
    """Whether two structures of side data are the same; of mastering displays, within half a step of each number.

    AV1 counts in other steps than H.264 and HEVC.
    """
    if name != MASTERING or after is None or before == after:
        return before == after
    first, second = (np.frombuffer(data, np.int32)[:20].reshape(10, 2).astype(np.float64) for data in (before, after))
    if not (first[:, 1].all() and second[:, 1].all()):
        return False
    error = np.abs(first[:, 0] / first[:, 1] - second[:, 0] / second[:, 1])
    return bool(
        (error[:8] <= 0.5 / _CHROMATICITY).all() and (error[8:] <= 1e-4 * first[8:, 0] / first[8:, 1] + 1e-3).all()
    )


def _mastering(data: bytes, *, in_steps: bool) -> str | None:
    """Formats a mastering display as encoders read it; None if the structure is incomplete."""
    numbers = np.frombuffer(data, np.int32).tolist()
    if len(numbers) < _STRUCTURE or not all(numbers[20:22]) or not all(numbers[1:20:2]):
        return None
    values = [Fraction(numbers[i], numbers[i + 1]) for i in range(0, 20, 2)]
    texts = [_number(value, _CHROMATICITY, in_steps=in_steps) for value in values[:8]]
    texts += [_number(value, _LUMINANCE, in_steps=in_steps) for value in values[8:]]
    red, green, blue, white = (f"({x},{y})" for x, y in zip(texts[0:8:2], texts[1:8:2], strict=True))
    return f"G{green}B{blue}R{red}WP{white}L({texts[9]},{texts[8]})"


def _number(value: Fraction, steps: int, *, in_steps: bool) -> str:
    return str(round(value * steps)) if in_steps else f"{float(value):.5f}"
