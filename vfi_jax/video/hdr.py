"""HDR10's static metadata: the mastering display and the content light level.

Decoders attach them to frames as FFmpeg's structures; x264 takes them as text. Units are those of SMPTE ST 2086:
chromaticities in steps of 0.00002, luminances of the mastering display in steps of 0.0001 cd/m2, light levels in cd/m2.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

MASTERING, LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
_CHROMATICITY, _LUMINANCE = 50000, 10000  # steps per unit
_STRUCTURE = 22  # AVMasteringDisplayMetadata: ten fractions and two flags, as int32
_PARAMETERS = {"libx264": "x264-params"}  # encoder: its option, for parameters in x264's spelling


def carried(side_data: Mapping[str, bytes], encoder: str) -> set[str]:
    """Names the side data that `options` passes to an encoder."""
    return set(side_data) & {MASTERING, LIGHT} if options(side_data, encoder) else set()


def options(side_data: Mapping[str, bytes], encoder: str) -> dict[str, str]:
    """Returns the encoder's option that writes HDR10's metadata; nothing for an encoder without one.

    Args:
      side_data: FFmpeg's structures by the names of `av.sidedata`.
      encoder: FFmpeg's name.
    """
    parameters = []
    if (display := _mastering(side_data.get(MASTERING, b""))) is not None:
        parameters.append(f"mastering-display={display}")
    if len(light := np.frombuffer(side_data.get(LIGHT, b""), np.uint32)) >= 2:
        parameters.append(f"cll={light[0]},{light[1]}")
    return {_PARAMETERS[encoder]: ":".join(parameters)} if parameters and encoder in _PARAMETERS else {}


def _mastering(data: bytes) -> str | None:
    """Formats a mastering display as x264 reads it; None if the structure is incomplete."""
    numbers = np.frombuffer(data, np.int32).tolist()
    if len(numbers) < _STRUCTURE or not all(numbers[20:22]) or not all(numbers[1:20:2]):
        return None
    values = [Fraction(numbers[i], numbers[i + 1]) for i in range(0, 20, 2)]
    red, green, blue, white = (_point(values[i : i + 2]) for i in range(0, 8, 2))
    darkest, brightest = (round(value * _LUMINANCE) for value in values[8:])
    return f"G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"


def _point(values: list[Fraction]) -> str:
    x, y = (round(value * _CHROMATICITY) for value in values)
    return f"({x},{y})"
