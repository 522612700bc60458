"""Speed curves: rates over the time of a clip, and the place in the clip at each time of the target, exact."""

from __future__ import annotations

import bisect
import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vfi_jax.errors import UserError

_NUMBER = re.compile(r"-?(\d{1,9}(\.\d{0,9})?|\.\d{1,9}|\d{1,9}/\d{1,9})", re.ASCII)
_MOST = 1024


@dataclass(frozen=True)
class Curve:
    """A speed curve.

    Between two points the rate changes evenly over the target's time: it is the speed of a thing that is accelerated
    evenly. So the place is a polynomial of second degree of the time, and a fraction for each fraction.

    Attributes:
      points: (time in the clip, seconds from its first frame; rate, 1 for the clip's own), times increasing.
    """

    points: tuple[tuple[Fraction, Fraction], ...]

    def place(self, time: Fraction) -> Fraction:
        """Returns the place in the clip at a time of the target, both seconds from their beginnings."""
        starts = self._starts()
        at = max(0, bisect.bisect_right(starts, time) - 1)
        (place, rate), passed = self._points[at], time - starts[at]
        if at + 1 == len(starts):
            return place + rate * passed
        following = self._points[at + 1]
        acceleration = (following[1] - rate) / (starts[at + 1] - starts[at])
        return place + passed * (rate + acceleration * passed / 2)

    def length(self, seconds: Fraction) -> float:
        """Returns about how long the first seconds of the clip take in the target."""
        starts, points = self._starts(), self._points
        at = max(0, bisect.bisect_right([place for place, _ in points], seconds) - 1)
        place, rate = float(points[at][0]), float(points[at][1])
        rest = float(seconds) - place
        if at + 1 < len(points):  # v(s)^2 = v^2 + 2 a s of even acceleration
            slope = (float(points[at + 1][1]) ** 2 - rate**2) / (float(points[at + 1][0]) - place)
            return (
                float(starts[at]) + 2 * rest / (rate + max(0.0, rate**2 + slope * rest) ** 0.5)
                if rest
                else float(starts[at])
            )
        return float(starts[at]) + rest / rate

    @property
    def _points(self) -> tuple[tuple[Fraction, Fraction], ...]:
        """The points, with one at the beginning."""
        begins = self.points[0][0] <= 0
        return self.points if begins else ((Fraction(0), self.points[0][1]), *self.points)

    def _starts(self) -> list[Fraction]:
        """The times of the target at which the points are reached."""
        starts = [Fraction(0)]
        for (place, rate), (following, next_rate) in itertools.pairwise(self._points):
            starts.append(starts[-1] + 2 * (following - place) / (rate + next_rate))
        return starts


def read(path: Path) -> Curve:
    """Reads a speed curve: a line for each point, with time and rate, such as "2.5 0.25"; # begins a comment.

    Raises:
      UserError: the file cannot be read, has no points, a line is something else, or the curve runs backwards or stops.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'no text'})") from None
    points: list[tuple[Fraction, Fraction]] = []
    for number, line in enumerate(lines, 1):
        if words := line.partition("#")[0].replace(",", " ").split():
            points.append(_point(f"{path}, line {number}", words, points))
    if not points:
        raise UserError(f"{path}: holds no points; a line for each is needed, with time and rate, such as 2.5 0.25")
    stops = [a for a, b in itertools.pairwise(points) if not a[1] and not b[1]]
    if stops or not points[-1][1] or (points[0][0] and not points[0][1]):
        at = float((stops or [points[-1] if not points[-1][1] else points[0]])[0][0])
        raise UserError(
            f"{path}: stands still from {at:g} s on: a rate of 0 is a moment between others; give more than 0"
        )
    return Curve(tuple(points))


def _point(where: str, words: list[str], before: list[tuple[Fraction, Fraction]]) -> tuple[Fraction, Fraction]:
    if len(words) != 2 or not all(_NUMBER.fullmatch(word) and not re.search(r"/0+$", word) for word in words):
        raise UserError(f"{where}: {' '.join(words)[:40]!r} is no point; time and rate are needed, such as 2.5 0.25")
    time, rate = map(Fraction, words)
    if rate < 0 or time < 0 or (before and time <= before[-1][0]):
        wrong = (
            f"a rate of {words[1]}"
            if rate < 0
            else f"time {words[0]}" + f" after {float(before[-1][0]):g}" * bool(before)
        )
        raise UserError(f"{where}: the curve runs backwards ({wrong}); times increase, and rates are not below 0")
    if rate > _MOST:
        raise UserError(f"{where}: a rate of {words[1]} is more than {_MOST}, the highest")
    return time, rate
