"""A finished or running run in one folder: curves and samples as PNG; configuration, environment, figures as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vfi_jax.errors import UserError
from vfi_jax.runs import folder as run_folder
from vfi_jax.system.files import AnyPath, written_whole
from vfi_jax.system.markdown import markdown
from vfi_jax.viz.curves import save_curves

SHOWN = 3  # sheets of samples: the first, the middle and the newest one
FIGURES = "figures.md"


def write(run: AnyPath, target: Path) -> str:
    """Writes `curves.png`, `samples_STEP.png`, `config.json`, `environment.txt`, `figures.md`; the last one's text.

    Args:
      run: the run's folder; only read.
      target: made if it is not there.

    Raises:
      UserError: no run, nothing logged yet, or a target that cannot be written.
    """
    run_folder.read_config(run)
    rows = run_folder.read_log(run) if (run / run_folder.METRICS).exists() else []
    if not rows:
        raise UserError(f"{run} has logged nothing yet")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target} cannot be made: {error.strerror}") from None
    save_curves(target / run_folder.CURVES, rows)
    text = markdown([("figure", "value"), *figures(rows)]) + "\n"
    _put(target / FIGURES, text.encode())
    for name in (run_folder.CONFIG, run_folder.ENVIRONMENT):
        if (run / name).exists():
            _put(target / name, (run / name).read_bytes())
    for sheet in _spread(sorted((run / run_folder.SAMPLES).glob("*.png"))):
        _put(target / f"{run_folder.SAMPLES}_{sheet.name}", sheet.read_bytes())
    return text


def figures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What the rows of a log come to, as names and values; medians of what is measured."""
    steps = [row for row in rows if "samples_per_s" in row]
    judged = [(row["validation_psnr"], row["step"]) for row in rows if "validation_psnr" in row]
    found = [("step", f"{max(row['step'] for row in rows)}")]
    if losses := [row["loss"] for row in steps if "loss" in row]:
        found.append(("last loss", f"{losses[-1]:.5f}"))
    if judged:
        found.append(("best validation", f"{max(judged)[0]:.3f} dB at step {max(judged)[1]}"))
        found.append(("newest validation", f"{judged[-1][0]:.3f} dB at step {judged[-1][1]}"))
    for name, words, form in (
        ("samples_per_s", "samples a second", "{:.2f}"),
        ("samples_per_s_device", "samples a second and device", "{:.2f}"),
        ("wait_s", "a step waits for data", "{:.4f} s"),
        ("compute_s", "a step computes", "{:.4f} s"),
        ("mfu", "share of the devices' peak", "{:.1%}"),
    ):
        if values := [row[name] for row in steps if name in row]:
            found.append((words, form.format(statistics.median(values))))
    for name, words, form in (
        ("host_gb", "memory of the host, at most", "{:.2f} GB"),
        ("device_gb", "memory of a device, at most", "{:.2f} GB"),
        ("compiles", "programs compiled by steps, since the last start", "{}"),
        ("skipped", "steps skipped", "{}"),
        ("rollback", "rollbacks", "{}"),
    ):
        if values := [row[name] for row in rows if name in row]:
            found.append((words, form.format(values[-1])))
    return found


def _spread(sheets: Sequence[AnyPath]) -> list[AnyPath]:
    """At most `SHOWN` of them, the ends among them."""
    last = len(sheets) - 1
    return [sheets[index] for index in sorted({part * last // (SHOWN - 1) for part in range(SHOWN)})] if sheets else []


def _put(path: Path, content: bytes) -> None:
    with written_whole(path) as partial:
        partial.write_bytes(content)
