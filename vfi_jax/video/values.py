"""Values of options: texts as exact numbers, places in a clip, pairs, and what a field says of its flag."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from fractions import Fraction
from numbers import Rational
from typing import Any, NamedTuple

from vfi_jax.errors import UsageError

Number = Fraction | int | float | str
MAX_QUALITY = 100
_NUMBER = re.compile(r"\d{1,12}(\.\d{0,12})?|\.\d{1,12}|\d{1,12}/\d{1,12}", re.ASCII)
_CLOCK = re.compile(r"(?:(?:(\d{1,4}):)?(\d{1,4}):)?(\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})", re.ASCII)
_FRAME = re.compile(r"(\d{1,12})f", re.ASCII)


class Position(NamedTuple):
    """A place in a clip.

    Attributes:
      value: seconds on the source's clock, or the number of a frame, from 0.
      is_frame: whether `value` is the number of a frame.
    """

    value: Fraction
    is_frame: bool

    def is_behind(self, number: int, time: Fraction) -> bool:
        """Whether it lies behind the frame of a number, counted from 0, and a time, seconds."""
        return (number if self.is_frame else time) < self.value


def about(help: str, *, flag: str = "", metavar: str | None = None, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the metadata of a field of `Options`: what the command and the docs show of it.

    Args:
      help: of the flag; that of a bool takes no value.
      flag: where it is not the field's name with hyphens.
      metavar: what stands for the value in the help.
      choices: values that are allowed, where they are few.
    """
    return {"help": help, "flag": flag, "metavar": metavar, "choices": choices}


def flag_of(entry: dataclasses.Field) -> str:
    """Returns the flag of a field of `Options`."""
    return entry.metadata["flag"] or f"--{entry.name.replace('_', '-')}"


def ratio(name: str, value: Number) -> Fraction:
    """Returns a number as the fraction that is written: 59.94 is 2997/50.

    Args:
      name: of the option, for the error.
      value: a number, or text such as 2, 2.5 or 5/2.

    Raises:
      UsageError: it is no number, not above 0, or has more than 12 digits.
    """
    text = str(value)
    number = Fraction(0)
    if isinstance(value, Rational) and not isinstance(value, bool):
        number = Fraction(value)
    elif _NUMBER.fullmatch(text) and not re.search(r"/0+$", text):
        number = Fraction(text)
    if number <= 0:
        raise UsageError(f"{name} {text[:40]}: a number above 0 is needed, such as 2, 2.5 or 5/2")
    return number


def position(name: str, value: Number | Position) -> Position:
    """Returns a place in a clip from seconds, "hh:mm:ss.fff", or the number of a frame such as "120f".

    Raises:
      UsageError: it is neither.
    """
    if isinstance(value, Position):
        return value
    text = str(value)
    if isinstance(value, Rational) and not isinstance(value, bool) and value >= 0:
        return Position(Fraction(value), is_frame=False)
    if frame := _FRAME.fullmatch(text):
        return Position(Fraction(frame[1]), is_frame=True)
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = (Fraction(part or 0) for part in clock.groups())
        return Position(3600 * hours + 60 * minutes + seconds, is_frame=False)
    raise UsageError(f"{name} {text[:40]}: seconds, hh:mm:ss.fff or a frame such as 120f is needed")


def pairs(value: str | Mapping[str, str]) -> dict[str, str]:
    """Returns options of an encoder by name, from a mapping or from "name=value:name=value".

    Raises:
      UsageError: a part without a name or a value, or a name that stands there twice.
    """
    if isinstance(value, Mapping):
        return {str(name): str(entry) for name, entry in value.items()}
    options: dict[str, str] = {}
    for part in re.split(r"(?<!\\):", value):
        name, _, text = part.replace("\\:", ":").partition("=")
        if not name or not text or name in options:
            wrong = "stands there twice" if name in options else "name=value is needed, such as preset=slow:g=48"
            raise UsageError(f"--encoder-options {part[:40]!r}: {wrong}")
        options[name] = text
    return options


def quality(value: Number) -> Fraction:
    """Returns a quality; 0 is one.

    Raises:
      UsageError: it does not lie from 0 to `MAX_QUALITY`.
    """
    text = str(value)
    is_zero = re.fullmatch(r"0{1,12}(\.0{0,12})?", text, re.ASCII)
    if not is_zero and not (_NUMBER.fullmatch(text) and ratio("quality", value) <= MAX_QUALITY):
        raise UsageError(f"quality {text[:40]}: must lie from 0 to {MAX_QUALITY}")
    return Fraction(0) if is_zero else ratio("quality", value)


def bounded(name: str, value: Number, least: int, most: int) -> Fraction:
    """Returns a number above `least`, and `most` at most; otherwise raises UsageError with its name."""
    number = ratio(name, value)
    if not least < number <= most:
        raise UsageError(f"{name} {value}: must lie above {least} and be {most} at most")
    return number


def check_choice(entry: dataclasses.Field, value: Any) -> None:
    """Raises UsageError for a value that is none of those which a field allows."""
    choices = entry.metadata["choices"]
    if choices and value not in choices:
        raise UsageError(f"{entry.name} {value}: must be one of {', '.join(choices)}")
