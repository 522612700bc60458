"""Outcomes of a run's validations, by step: `validations.json`, beside the checkpoints, which are written before."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from vfi_jax.system import distributed, strict_json
from vfi_jax.system.files import AnyPath, written_whole

VALIDATIONS = "validations.json"
SCORE, ERROR, COUNT, CAPPED = "psnr", "l1", "samples", "capped"
BEGUN = "begun"  # number of times that a validation was begun, until it has an outcome


class Validations:
    """Outcomes by step: `psnr` in dB, `l1`, `samples`, `capped`; psnr and l1 are None where the validation failed."""

    def __init__(self, folder: AnyPath) -> None:
        """Reads those of a run's folder; a damaged file counts as none."""
        self._path = folder / VALIDATIONS
        self._entries: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            entries = strict_json.read_object(self._path)
            self._entries = {step: entry for step, entry in entries.items() if isinstance(entry, dict)}

    def outcome(self, step: int) -> dict[str, Any] | None:
        """Returns the outcome of a step's validation; None where it has none yet."""
        entry = self._entries.get(str(step), {})
        return entry if SCORE in entry else None

    def score(self, step: int) -> float | None:
        """Returns the PSNR of a step; None where it was not validated, or the validation failed."""
        value = self._entries.get(str(step), {}).get(SCORE)
        return float(value) if isinstance(value, int | float) else None

    def scores(self, last: int) -> list[tuple[int, float]]:
        """Returns the scored steps up to `last`, rising, each with its PSNR."""
        steps = sorted(int(step) for step in self._entries if step.isdecimal())
        return [(step, score) for step in steps if step <= last and (score := self.score(step)) is not None]

    def begun(self, step: int) -> int:
        """Returns how many validations of a step have begun and did not end."""
        return int(self._entries.get(str(step), {}).get(BEGUN, 0))

    def begin(self, step: int) -> None:
        """Counts a validation that begins.

        Raises:
          UserError: the file cannot be written.
        """
        self._entries[str(step)] = {BEGUN: self.begun(step) + 1}
        self._write()

    def finish(self, step: int, outcome: Mapping[str, Any]) -> None:
        """Writes the outcome of a step; numbers that are not finite become None.

        Raises:
          UserError: the file cannot be written.
        """
        self._entries[str(step)] = dict(outcome)
        self._write()

    def forget(self, step: int) -> None:
        """Removes the outcome of a step that is about to be saved anew.

        Raises:
          UserError: the file cannot be written.
        """
        if self._entries.pop(str(step), None) is not None:
            self._write()

    def _write(self) -> None:
        if distributed.is_main():
            with written_whole(self._path) as partial:
                partial.write_text(strict_json.dumps(self._entries))
