"""Linear light: EXR's floats as 16-bit codes that networks and encoders take, and back.

EXR holds light, 1.0 for white; other pictures hold codes near to what the eye sees. Light becomes the codes of SMPTE ST
2084 (PQ), in which 1.0 is 100 cd/m2, so that highlights up to 100 times white survive. Other codes become light by the
curve of sRGB.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt16

PQ = 16  # AVColorTransferCharacteristic
BRIGHTEST = 100.0  # PQ ends at 10,000 cd/m2
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_MOST = 65535
_MAGIC, _NOT_LINES = b"\x76\x2f\x31\x01", 0x1A00  # of EXR; flags of tiles, deep data and several parts


def is_whole_exr(data: bytes) -> bool:
    """Returns False for an EXR whose last block of lines is missing, which FFmpeg takes for black; True otherwise."""
    if data[:4] != _MAGIC or int.from_bytes(data[4:8], "little") & _NOT_LINES:
        return True
    try:
        at = 8
        while data[at]:  # an attribute: name, type, size and value
            at = data.index(0, data.index(0, at) + 1) + 1
            at += 4 + int.from_bytes(data[at : at + 4], "little")
        first = int.from_bytes(data[at + 1 : at + 9], "little")
        last = int(np.frombuffer(data[at + 1 : first], "<u8").max())
        return last + 8 + int.from_bytes(data[last + 4 : last + 8], "little") <= len(data)
    except (IndexError, ValueError):
        return False


def to_codes(light: Float[np.ndarray, "*s"]) -> UInt16[np.ndarray, "*s"]:
    """Returns PQ's codes, of which 65535 is `BRIGHTEST`; light below 0 and NaN become 0."""
    scaled = np.clip(np.nan_to_num(light.astype(np.float64), nan=0.0), 0, BRIGHTEST) / BRIGHTEST
    power = scaled**_M1
    return np.uint16(np.rint(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2 * _MOST))


def to_light(codes: UInt16[np.ndarray, "*s"], transfer: int) -> Float[np.ndarray, "*s"]:
    """Returns light, float32, of codes whose transfer characteristic is FFmpeg's number: PQ, or a curve near sRGB's."""
    values = codes.astype(np.float64) / _MOST
    if transfer != PQ:
        return np.float32(np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4))
    root = values ** (1 / _M2)
    return np.float32(BRIGHTEST * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1))
