"""Holes in the timestamps of a source: places where frames seem to be missing."""

from __future__ import annotations

from fractions import Fraction

_FEW = Fraction(1, 50)  # of the frames; where more of them are followed by a hole, the rate is a variable one


class Holes:
    """Counts holes, and remembers the first."""

    def __init__(self) -> None:
        """Starts before the first frame."""
        self._count, self._begin, self._length = 0, Fraction(0), Fraction(0)

    def add(self, expected: Fraction, time: Fraction, allowed: Fraction) -> None:
        """Compares the time of a frame with the end of the one before, seconds; a hole is longer than `allowed`."""
        if time - expected <= allowed:
            return
        if not self._count:
            self._begin, self._length = expected, time - expected
        self._count += 1

    def notes(self, frames: int) -> list[str]:
        """Names the first hole, in a source with so many frames."""
        if not 0 < self._count <= max(1, frames * _FEW):
            return []
        more = f", and {self._count - 1} more" if self._count > 1 else ""
        return [f"the timestamps leave a hole of {float(self._length):.3f} s at {float(self._begin):.3f} s{more}"]
