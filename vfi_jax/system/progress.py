"""Progress: a bar on a terminal, a line every few seconds in a file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tqdm import tqdm

SECONDS = 10.0  # between two lines in a file
PACE = {"mininterval": SECONDS, "maxinterval": SECONDS, "delay": SECONDS}


class Bar(tqdm):
    """A bar whose rate, and the time left by it, are those of the work alone, and which has a text at its end."""

    def __init__(
        self,
        items: Iterable[Any] | None = None,
        *,
        aside: Callable[[], float] = lambda: 0.0,
        text: Callable[[], str] = lambda: "",
        **options: Any,
    ) -> None:
        """Takes the bar's options.

        Args:
          items: what to iterate over; None: the caller updates the bar.
          aside: gives the seconds since the beginning that were spent on something else, such as compiling.
          text: gives what stands behind the rate.
          **options: of `tqdm`.
        """
        self._aside, self._text = aside, text
        super().__init__(items, **options)

    @property
    def format_dict(self) -> Mapping[str, Any]:
        """The state that is shown, as `tqdm` has it."""
        state = {**super().format_dict, "postfix": self._text() or None}
        worked = state["elapsed"] - self._aside()
        if (done := state["n"] - state["initial"]) and worked > 0:
            state["rate"] = done / worked
        return state


def bar(items: Iterable[Any] | None = None, **options: Any) -> Bar:
    """Returns a progress bar on stderr.

    Where stderr is no terminal the bar's text is written as a line of its own every `SECONDS` and at the end;
    work that takes less than that writes none.

    Args:
      items: what to iterate over; None: the caller updates the bar.
      **options: of `Bar`.
    """
    if sys.stderr.isatty():
        return Bar(items, dynamic_ncols=True, **options)
    return Bar(items, file=_Lines(sys.stderr), ncols=100, **{**PACE, **options})


class _Lines:
    """A text file that gets each state of a bar as a line, where tqdm overwrites the one before by a return."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, text: str) -> None:
        if line := text.strip():
            self._file.write(f"{line}\n")

    def flush(self) -> None:
        self._file.flush()
