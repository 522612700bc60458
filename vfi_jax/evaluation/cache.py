"""Kept results, and the rule by which they are used again.

A result in a model's folder is used again if everything that its figures depend on is the same:

* the model: weights (SHA-256), precision, test-time augmentation, package versions and machine;
* the protocol: all settings of the benchmark, its `version` among them;
* the data: names of the samples and contents of the files, wherever these lie;
* metrics beyond the benchmark's own: their names, weights and source;
* the code: syntax trees of the packages in `DEPENDENCIES`, without docstrings (`code_fingerprint`).

Editing a comment or a docstring, or anything outside those packages, therefore recomputes nothing.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vfi_jax.benchmarks import Benchmark, BenchmarkSample, fingerprint
from vfi_jax.evaluation.results import RESULTS, Result, read_file, read_scores, write_scores
from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole

ROOT = Path(__file__).parent.parent
# What turns data and weights into figures. Weights count as numbers, so the code that reads them does not.
DEPENDENCIES = ("benchmarks", "data", "inference", "metrics", "models", "nn", "ops", "video")


def identity(benchmark: Benchmark, samples: Sequence[BenchmarkSample], metrics: Mapping[str, str]) -> dict[str, Any]:
    """The inputs of a result besides its model, ready for JSON.

    Args:
      benchmark: the protocol.
      samples: its data.
      metrics: names of additional metrics and the identity of each (of its weights or its source).
    """
    return as_json(
        {
            "settings": benchmark.settings(),
            "data": fingerprint(samples),
            "metrics": dict(metrics),
            "code": code_fingerprint(),
        }
    )


@functools.cache
def code_fingerprint() -> str:
    """SHA-256 of the code in `DEPENDENCIES`."""
    return source_fingerprint(path for name in DEPENDENCIES for path in sorted((ROOT / name).rglob("*.py")))


def source_fingerprint(paths: Iterable[Path]) -> str:
    """SHA-256 of the syntax trees of Python files, in order; comments, layout and docstrings do not count."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return tree


def read(
    folder: Path, label: str, about: Mapping[str, Any], benchmark: str, identity: Mapping[str, Any]
) -> Result | None:
    """The kept result of a model on a benchmark; None where there is none or it has another identity.

    Args:
      folder: the model's folder of results.
      label: the model's name in reports.
      about: what identifies the model, as in `EvaluatedModel`.
      benchmark: its name.
      identity: what `identity` returns.
    """
    kept = _read_file(folder)
    entry = kept.get("results", {}).get(benchmark)
    if not entry or not _is_same_model(kept, about) or any(entry.get(name) != identity[name] for name in identity):
        return None
    try:
        rows = read_scores(folder / f"{benchmark}.csv")
    except (OSError, ValueError):
        return None
    return Result(label, benchmark, entry, rows) if len(rows) == entry["images"] else None


def write(folder: Path, result: Result, about: Mapping[str, Any]) -> None:
    """Adds a result to a model's folder: `BENCHMARK.csv`, then an entry in `results.json`.

    Entries of another model (other weights, precision, versions or machine) are dropped.

    Raises:
      UserError: the folder cannot be written.
    """
    write_scores(folder / f"{result.benchmark}.csv", result.rows)
    kept = _read_file(folder)
    entries = kept.get("results", {}) if _is_same_model(kept, about) else {}
    with written_whole(folder / RESULTS) as partial:
        content = {**about, "label": result.label, "results": {**entries, result.benchmark: result.entry}}
        partial.write_text(strict_json.dumps(content, indent=2))


def _read_file(folder: Path) -> dict[str, Any]:
    try:
        return read_file(folder)
    except (OSError, ValueError):
        return {}


def _is_same_model(kept: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    """Whether a file of results is of this model; where its weights were read from does not matter."""
    wanted = as_json(about)
    return kept.get("weights", {}).get("sha256") == wanted["weights"]["sha256"] and all(
        kept.get(name) == value for name, value in wanted.items() if name != "weights"
    )


def as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping as it is when it has been written and read: lists for tuples, None for numbers that are not finite."""
    return strict_json.parse_object(strict_json.dumps(value))
