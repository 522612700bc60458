"""The options of `interpolate_video` and of `vfi-jax interpolate`: one dataclass, whose fields are the command's flags.

A default, a bound or a help text stands here and nowhere else. Each field is checked, and texts are parsed, when
`Options` is created, before any file is opened.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from fractions import Fraction
from numbers import Rational
from typing import Any

from vfi_jax.errors import UsageError

Number = Fraction | int | float | str
MAX_FACTOR = 1024
_NUMBER = re.compile(r"(\d{1,12}(\.\d{0,12})?|\.\d{1,12}|\d{1,12}/\d{1,12})", re.ASCII)


def about(help: str, *, flag: str = "", metavar: str | None = None, choices: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the metadata of a field of `Options`: what the command and the docs show of it.

    Args:
      help: of the flag; that of a bool takes no value.
      flag: where it is not the field's name with hyphens.
      metavar: what stands for the value in the help.
      choices: values that are allowed, where they are few.
    """
    return {"help": help, "flag": flag, "metavar": metavar, "choices": choices}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `interpolate_video` does beside its source, its target and its model.

    Attributes:
      factor: n frames become `floor((n - 1) * factor) + 1`; above 1, up to `MAX_FACTOR`; None: 2.
      overwrite: whether an existing target is replaced.
      strict: whether it is an error if the target would lack anything of the source.

    Raises:
      UsageError: a value out of bounds.
    """

    factor: Number | None = field(default=None, metadata=about("n frames become floor((n-1)*N)+1 (2)", metavar="N"))
    overwrite: bool = field(default=False, metadata=about("replace an output that exists"))
    strict: bool = field(
        default=False, metadata=about("make it an error if the output would lack anything of the input")
    )

    def __post_init__(self) -> None:
        """Parses and checks the values, and those that exclude each other."""
        for entry in dataclasses.fields(self):
            _check_choice(entry, getattr(self, entry.name))
        if self.factor is not None:
            object.__setattr__(self, "factor", _factor(self.factor))

    @property
    def multiple(self) -> Fraction:
        """Frames of the target per frame of the source."""
        return Fraction(2 if self.factor is None else self.factor)


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
    if isinstance(value, Rational) and not isinstance(value, bool):
        number = Fraction(value)
    else:
        number = Fraction(text) if _NUMBER.fullmatch(text) and not re.search(r"/0+$", text) else Fraction(0)
    if number <= 0:
        raise UsageError(f"{name} {text[:40]}: a number above 0 is needed, such as 2, 2.5 or 5/2")
    return number


def _factor(value: Number) -> Fraction:
    factor = ratio("factor", value)
    if not 1 < factor <= MAX_FACTOR:
        raise UsageError(f"factor {value}: must lie above 1 and be {MAX_FACTOR} at most")
    return factor


def _check_choice(entry: dataclasses.Field, value: Any) -> None:
    choices = entry.metadata["choices"]
    if choices and value not in choices:
        raise UsageError(f"{entry.name} {value}: must be one of {', '.join(choices)}")
