"""Progress: a bar on a terminal, a line every few seconds in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

SECONDS = 10.0  # between two lines in a file
PACE = {"mininterval": SECONDS, "maxinterval": SECONDS, "delay": SECONDS}


def bar(items: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """Returns tqdm's progress bar on stderr.

    Where stderr is no terminal the bar's text is written as a line of its own every `SECONDS` and at the end;
    work that takes less than that writes none.

    Args:
      items: what to iterate over; None: the caller updates the bar.
      **options: of `tqdm`.
    """
    if sys.stderr.isatty():
        return tqdm(items, dynamic_ncols=True, **options)
    return tqdm(items, file=_Lines(sys.stderr), ncols=100, **{**PACE, **options})


class _Lines:
    """A text file that gets each state of a bar as a line, where tqdm overwrites the one before by a return."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        if line := text.strip():
            self._file.write(f"{line}\n")

    def flush(self) -> None:
        self._file.flush()
