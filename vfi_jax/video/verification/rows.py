"""Rows of a verification: a property in both files, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

SAME, CLOSE, ANNOUNCED, DIFFERS = "same", "close", "announced", "DIFFERS"


@dataclass(frozen=True)
class Row:
    """A property in both files.

    Attributes:
      property: its name.
      source: its value in the source, or what follows from it.
      target: its value in the output.
      verdict: same; close, as lossy compression leaves it; announced, a loss that the list of losses names; or DIFFERS.
    """

    property: str
    source: str
    target: str
    verdict: str


def verdict(is_same: bool, is_announced: bool = False) -> str:
    """Returns the verdict of a property that is to be the same; a loss may have announced that it is not."""
    return SAME if is_same else ANNOUNCED if is_announced else DIFFERS
