"""Fields of dataclasses whose values have bounds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

INT_MAX = 2**31 - 1


def bounded(default: float | tuple, least: float = 0, most: float = math.inf) -> Any:
    """A dataclass field whose value, or each of whose values, lies between two bounds, both allowed."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


def fraction(default: float) -> Any:
    """A dataclass field between 0 and 1."""
    return bounded(default, 0, 1)
