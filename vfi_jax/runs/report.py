"""Report of a run, or of several side by side: curves and samples as PNG; recipe, environment and figures as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vfi_jax import config
from vfi_jax.errors import UserError
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.log import METRICS, SAMPLES, read_log
from vfi_jax.system.files import AnyPath, written_whole
from vfi_jax.system.markdown import markdown
from vfi_jax.viz.curves import save_comparison, save_curves

SHOWN = 3  # sheets of samples: the first, the middle and the newest
FIGURES, COMPARISON = "figures.md", "comparison.md"


def write(run: AnyPath, target: Path) -> str:
    """Writes `curves.png`, `samples_STEP.png`, `config.json`, `environment.txt`, `figures.md`; returns the last's text.

    Args:
      run: the run's folder, which is only read.
      target: the folder to write, made if needed.

    Raises:
      UserError: not a run, nothing logged yet, or a target that cannot be written.
    """
    run_folder.read_config(run)
    rows = _rows(run)
    _make(target)
    save_curves(target / run_folder.CURVES, rows)
    text = markdown([("figure", "value"), *figures(rows)]) + "\n"
    _put(target / FIGURES, text.encode())
    for name in (run_folder.CONFIG, run_folder.ENVIRONMENT):
        if (run / name).exists():
            _put(target / name, (run / name).read_bytes())
    for sheet in _spread(sorted((run / SAMPLES).glob("*.png"))):
        _put(target / f"{SAMPLES}_{sheet.name}", sheet.read_bytes())
    return text


def compare(runs: Sequence[AnyPath], target: Path) -> str:
    """Writes `curves.png` and `comparison.md` of several runs: curves, figures and differing fields of their configs.

    Args:
      runs: the folders of the runs, which are only read.
      target: the folder to write, made if needed.

    Returns:
      The text of `comparison.md`.

    Raises:
      UserError: one is no run or has logged nothing yet, or a target that cannot be written.
    """
    names = _short_names(runs)
    configs = [config.flat(run_folder.read_config(run)) for run in runs]
    logs = [_rows(run) for run in runs]
    _make(target)
    save_comparison(target / run_folder.CURVES, dict(zip(names, logs, strict=True)))
    summaries = [dict(figures(rows)) for rows in logs]
    labels = dict.fromkeys(label for summary in summaries for label in summary)
    table = [("figure", *names), *((label, *(each.get(label, "") for each in summaries)) for label in labels)]
    fields = dict.fromkeys(path for each in configs for path in each)
    values = {path: [str(each.get(path, "")) for each in configs] for path in fields}
    differing = [(path, *row) for path, row in values.items() if len(set(row)) > 1]
    differences = markdown([("config", *names), *differing]) if differing else "The configs are equal."
    text = f"{markdown(table)}\n\n{differences}\n"
    _put(target / COMPARISON, text.encode())
    return text


def _short_names(runs: Sequence[AnyPath]) -> list[str]:
    """Returns the names of folders, or their whole paths where two names are equal."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def _rows(run: AnyPath) -> list[dict[str, Any]]:
    logged = (run / METRICS).is_file() and (run / METRICS).stat().st_size > 0
    rows = read_log(run) if logged else []
    if not rows:
        raise UserError(f"{run / METRICS} holds no row of a run" if logged else f"{run} has logged nothing yet")
    return rows


def _make(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target} cannot be made: {error.strerror}") from None


def figures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Summarizes the rows of a log as names and values; measurements are medians."""
    steps = [row for row in rows if "samples_per_s" in row]
    validations = [(row["validation_psnr"], row["step"]) for row in rows if "validation_psnr" in row]
    summary = [("step", f"{max(row['step'] for row in rows)}")]
    if losses := [row["loss"] for row in steps if "loss" in row]:
        summary.append(("last loss", f"{losses[-1]:.5f}"))
    if validations:
        summary.append(("best validation", f"{max(validations)[0]:.3f} dB at step {max(validations)[1]}"))
        summary.append(("newest validation", f"{validations[-1][0]:.3f} dB at step {validations[-1][1]}"))
    for name, words, form in (
        ("samples_per_s", "samples per second", "{:.2f}"),
        ("samples_per_s_device", "samples per second and device", "{:.2f}"),
        ("wait_s", "waiting for data per step", "{:.4f} s"),
        ("compute_s", "computing per step", "{:.4f} s"),
        ("mfu", "fraction of the devices' peak", "{:.1%}"),
    ):
        if values := [row[name] for row in steps if name in row]:
            summary.append((words, form.format(statistics.median(values))))
    for name, words, form in (
        ("host_gb", "peak memory of the host", "{:.2f} GB"),
        ("device_gb", "peak memory of a device", "{:.2f} GB"),
        ("compiles", "programs compiled by steps, since the last start", "{}"),
        ("skipped", "steps skipped", "{}"),
        ("rollback", "rollbacks", "{}"),
    ):
        if values := [row[name] for row in rows if name in row]:
            summary.append((words, form.format(values[-1])))
    return summary


def _spread(sheets: Sequence[AnyPath]) -> list[AnyPath]:
    """Returns at most `SHOWN` of them, evenly spread, with both ends."""
    last = len(sheets) - 1
    return [sheets[index] for index in sorted({part * last // (SHOWN - 1) for part in range(SHOWN)})] if sheets else []


def _put(path: Path, content: bytes) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(content)
