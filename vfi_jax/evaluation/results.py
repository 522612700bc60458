"""Results of an evaluation and their files: `results.json`, and a CSV with a row per image."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vfi_jax.benchmarks import Score
from vfi_jax.errors import UserError
from vfi_jax.system.files import written_whole

RESULTS = "results.json"
TEXT = ("name", "group")  # columns that are not numbers


@dataclasses.dataclass(frozen=True)
class Result:
    """A model's result on a benchmark.

    Attributes:
      label: the model's name in reports.
      benchmark: the benchmark's name.
      entry: means and what they depend on, as in `results.json`.
      rows: figures of each image.
    """

    label: str
    benchmark: str
    entry: Mapping[str, Any]
    rows: Sequence[Score]

    @property
    def headline(self) -> str:
        """The figure that the protocol's tables report."""
        return self.entry.get("settings", {}).get("headline", "psnr")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of additional metrics: those that the protocol does not ask for."""
        return tuple(self.entry.get("metrics", ()))


def write_scores(path: Path, rows: Sequence[Score]) -> None:
    """Writes a CSV with a row per image.

    Raises:
      UserError: the file cannot be written.
    """
    records = [{"name": row.name, **row.figures(), "t": row.t, "group": row.group} for row in rows]
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def read_scores(path: Path) -> list[Score]:
    """Reads what `write_scores` wrote.

    Raises:
      OSError: there is no such file.
      ValueError, KeyError, TypeError: it is another kind of file.
    """
    fields = {field.name for field in dataclasses.fields(Score)} - {"extra"}
    with path.open(newline="") as file:
        records = [
            {name: value if name in TEXT else float(value) for name, value in record.items()}
            for record in csv.DictReader(file)
        ]
    return [
        Score(
            **{name: value for name, value in record.items() if name in fields},
            extra={name: value for name, value in record.items() if name not in fields},
        )
        for record in records
    ]


def load(folder: Path) -> list[Result]:
    """Reads the results in a model's folder.

    Raises:
      UserError: the folder holds no results, or damaged ones.
    """
    try:
        about = json.loads((folder / RESULTS).read_text())
        return [
            Result(about.get("label", about["model"]), name, entry, read_scores(folder / f"{name}.csv"))
            for name, entry in about["results"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no results of eval.py of one model, or damaged ones ({error})") from None
