"""Results of an evaluation and their files: `results.json`, and a CSV with a row per image."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vfi_jax.benchmarks import Score
from vfi_jax.errors import UserError
from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole

RESULTS = "results.json"
TEXT = ("name", "group")  # columns that are not numbers
# What an entry of results.json holds beside figures.
PARTS = {"images": int, "capped": int, "by_motion": dict, "by_group": dict, "settings": dict, "metrics": dict}
TEXTS = ("protocol", "version", "undefined", "data", "code")


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
    with written_whole(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def read_scores(path: Path) -> list[Score]:
    """Reads what `write_scores` wrote.

    Raises:
      OSError: there is no such file.
      ValueError: it is damaged, or another kind of file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_score(record) for record in csv.DictReader(file)]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path.name} is damaged: {error}") from None


def _score(record: Mapping[str, str]) -> Score:
    values = {name: value if name in TEXT else float(value) for name, value in record.items()}
    fields = {field.name for field in dataclasses.fields(Score)} - {"extra"}
    return Score(
        **{name: value for name, value in values.items() if name in fields},
        extra={name: value for name, value in values.items() if name not in fields},
    )


def load(folder: Path) -> list[Result]:
    """Reads the results in a model's folder.

    Raises:
      UserError: the folder holds no results, or damaged ones.
    """
    try:
        about = read_file(folder)
        return [
            Result(about["label"], name, entry, read_scores(folder / f"{name}.csv"))
            for name, entry in about["results"].items()
        ]
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no results of eval.py of one model, or damaged ones ({error})") from None


def read_file(folder: Path) -> dict[str, Any]:
    """Reads `results.json` of a model's folder: `label`, `results` by benchmark, and what identifies the model.

    Raises:
      OSError: there is no such file.
      ValueError: it is damaged, or another kind of file.
    """
    content = strict_json.read_object(folder / RESULTS)
    entries = content.get("results")
    if not isinstance(content.get("label"), str) or not isinstance(content.get("weights"), dict):
        raise ValueError(f"{RESULTS} is of another kind")
    if not isinstance(entries, dict) or not all(_is_entry(entry) for entry in entries.values()):
        raise ValueError(f"{RESULTS} is of another kind")
    return content


def _is_entry(entry: Any) -> bool:
    """Whether a value has the parts of an entry, and numbers or null for all figures."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), kind) for name, kind in PARTS.items()):
        return False
    parts = [*entry["by_motion"].values(), *entry["by_group"].values()]
    figures = [value for name, value in entry.items() if name not in {*PARTS, *TEXTS}]
    headline = entry["settings"].get("headline", "psnr")
    bins = all(re.fullmatch(r"[0-9]{1,9}(\+|-[0-9]{1,9})", name) for name in entry["by_motion"])
    has_headline = isinstance(headline, str) and isinstance(entry.get(headline), int | float)
    return has_headline and bins and all(map(_is_part, parts)) and all(map(_is_figure, figures))


def _is_part(part: Any) -> bool:
    return isinstance(part, dict) and all(map(_is_figure, part.values())) and "images" in part


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
