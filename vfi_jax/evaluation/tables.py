"""Tables of results as Markdown and CSV, and a plot of PSNR over time."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.evaluation.results import Result
from vfi_jax.evaluation.statistics import difference_table, differences
from vfi_jax.metrics import MAX_PSNR
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown
from vfi_jax.viz.figures import Figure

# A figure's name, its heading and its format.
COLUMNS = (
    ("psnr", "PSNR, dB", ".3f"),
    ("ssim_matlab", "SSIM (matlab)", ".4f"),
    ("ie", "IE", ".3f"),
    ("average_psnr", "averaging, dB", ".3f"),
    ("sharpness", "sharpness", ".3f"),
    ("ssim_gaussian", "SSIM (Gaussian)", ".4f"),
    ("ssim_gray", "SSIM (gray)", ".4f"),
    ("nie", "NIE", ".3f"),
)
# Shown if any result has them.
OPTIONAL_COLUMNS = (
    ("vmaf", "VMAF", ".1f"),
    ("tof", "tOF, px", ".3f"),
    ("psnr_luma", "PSNR of Y, dB", ".3f"),
    ("ssim_uniform", "SSIM (7x7)", ".4f"),
    ("lpips_alex", "LPIPS (Alex)", ".4f"),
    ("lpips_vgg", "LPIPS (VGG)", ".4f"),
    ("flolpips_raft", "FloLPIPS (RAFT)", ".4f"),
)
# Shown if it is not zero everywhere.
CAPPED = ("capped", f"images at {MAX_PSNR:g} dB", "d")
UNDEFINED = "-"  # a mean over no images
SPEED_COLUMNS = (
    ("size", "size", ""),
    ("seconds", "s/frame", ".4f"),
    ("fps", "frames/s", ".2f"),
    ("peak_gb", "peak memory, GB", ".2f"),
    ("gmac", "GMAC", ".1f"),
    ("params_m", "parameters, M", ".2f"),
)
Column = tuple[str, str, str]
Speeds = Mapping[str, Mapping[str, Any]]  # by the model's label


def columns(results: Sequence[Result]) -> list[Column]:
    """The columns of a table: name, heading and format; additional metrics come last."""
    known = [COLUMNS[0], CAPPED, *COLUMNS[1:]] if any(one.entry.get(CAPPED[0]) for one in results) else [*COLUMNS]
    known += [column for column in OPTIONAL_COLUMNS if any(column[0] in one.entry for one in results)]
    names = {name for name, _, _ in known}
    additional = dict.fromkeys(name for result in results for name in result.metrics if name in result.entry)
    return [*known, *((name, name, ".4f") for name in additional if name not in names)]


def table(results: Sequence[Result]) -> list[list[str]]:
    """Heading and a row per model and benchmark."""
    shown = columns(results)
    heading = ["benchmark", "model", "images", *(heading for _, heading, _ in shown)]
    return [heading, *(_row(result, shown) for result in results)]


def _row(result: Result, shown: Sequence[Column]) -> list[str]:
    values = [_cell(result.entry[name], form) if name in result.entry else "" for name, _, form in shown]
    return [result.benchmark, result.label, str(result.entry["images"]), *values]


def _cell(value: float | None, form: str) -> str:
    return UNDEFINED if value is None else format(value, form)


def image_table(result: Result) -> list[list[str]]:
    """Heading and a row per image."""
    names = list(result.rows[0].figures())
    return [["image", *names], *([row.name, *(f"{row.figures()[name]:.4f}" for name in names)] for row in result.rows)]


def part_table(results: Sequence[Result], key: str, figure: str = "psnr") -> list[list[str]]:
    """One figure by parts of a benchmark, with the number of images in parentheses.

    Args:
      results: a row each, where they have parts.
      key: "by_motion" or "by_group".
      figure: its name.
    """
    names = list(dict.fromkeys(name for result in results for name in result.entry.get(key, {})))
    if key == "by_motion":
        names.sort(key=lambda name: float(name.rstrip("+").split("-")[0]))
    rows = [["benchmark", "model", *names]]
    for result in results:
        if parts := result.entry.get(key, {}):
            rows.append([result.benchmark, result.label, *(_part(parts.get(name, {}), figure) for name in names)])
    return rows


def _part(part: Mapping[str, Any], figure: str) -> str:
    return f"{_cell(part[figure], '.2f')} ({part['images']})" if figure in part else ""


def speed_table(speeds: Speeds) -> list[list[str]]:
    """Heading and a row per model."""
    rows = [["model", *(heading for _, heading, _ in SPEED_COLUMNS)]]
    return rows + [[label, *(format(speed[name], form) for name, _, form in SPEED_COLUMNS)]
                   for label, speed in speeds.items()]  # fmt: skip


def summary(results: Sequence[Result], speeds: Speeds) -> str:
    """All tables as Markdown; from the second model on, with its differences from the first."""
    blocks = ["## Results", markdown(table(results))]
    if speeds:
        blocks += ["## Speed", markdown(speed_table(speeds))]
    blocks += ["## PSNR by mean motion, pixels (images)", markdown(part_table(results, "by_motion"))]
    for name in dict.fromkeys(result.benchmark for result in results if result.entry.get("by_group")):
        of_benchmark = [result for result in results if result.benchmark == name]
        for figure, heading in (("psnr", "PSNR"), ("vmaf", "VMAF"), ("tof", "tOF")):
            if figure in of_benchmark[0].entry:
                blocks += [f"## {name}: {heading} by group (images)"]
                blocks += [markdown(part_table(of_benchmark, "by_group", figure))]
    first, *others = dict.fromkeys(result.label for result in results)
    for label in others:
        pair = ([result for result in results if result.label == name] for name in (first, label))
        if shown := differences(*pair):
            blocks += [f"## {label} minus {first}", markdown(difference_table(shown))]
    return "\n\n".join(blocks) + "\n"


def write(folder: Path, results: Sequence[Result], speeds: Speeds, about: Mapping[str, str]) -> None:
    """Writes `table.md`, `table.csv` (with `about` in each row) and, with speeds, `speed.png`.

    Raises:
      UserError: the folder cannot be written.
    """
    with written_whole(folder / "table.md") as partial:
        partial.write_text(summary(results, speeds))
    _write_csv(folder / "table.csv", results, speeds, about)
    if speeds:
        plot(folder / "speed.png", results, speeds)


def _write_csv(path: Path, results: Sequence[Result], speeds: Speeds, about: Mapping[str, str]) -> None:
    """A row per model and benchmark, and one per group and bin of motion, named in the column `part`."""
    figures, costs = [name for name, _, _ in columns(results)], [name for name, _, _ in SPEED_COLUMNS]
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["benchmark", "part", "model", "images", *figures, *costs, "version", *about])
        for result in results:
            groups = result.entry.get("by_group", {})
            motions = {f"motion {name} px": part for name, part in result.entry.get("by_motion", {}).items()}
            for name, part in {"": result.entry, **groups, **motions}.items():
                values = [part.get(figure, "") for figure in figures]
                values += [speeds.get(result.label, {}).get(cost, "") for cost in costs]
                row = [result.benchmark, name, result.label, part["images"], *values, result.entry.get("version", "")]
                writer.writerow([*(f"{v:.6g}" if isinstance(v, float) else v for v in row), *about.values()])


def plot(path: Path, results: Sequence[Result], speeds: Speeds) -> None:
    """Draws the headline figure over seconds per frame as PNG, a panel per benchmark."""
    names = list(dict.fromkeys(result.benchmark for result in results))
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for result in results:
            if result.benchmark == name and result.label in speeds:
                point = speeds[result.label]["seconds"], result.entry[result.headline]
                axes.plot(*point, "o")
                axes.annotate(result.label, point, textcoords="offset points", xytext=(4, 4), fontsize="small")
        sizes = ", ".join(sorted({str(speed["size"]) for speed in speeds.values()}))
        axes.set(title=name, xlabel=f"seconds per frame at {sizes}", ylabel="PSNR, dB", xscale="log")
        axes.grid(alpha=0.3)
    with written_whole(path) as partial:
        figure.savefig(partial)
