"""Results of evaluations: read, written, laid out as tables, compared and drawn."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from vfi_jax.benchmarks import Score
from vfi_jax.errors import UserError
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown

RESULTS = "results.json"
TEXT = ("name", "group")
# Of the table: a figure's name, its head, its format
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
# Shown where a result has them
RARE = (
    ("vmaf", "VMAF", ".1f"),
    ("tof", "tOF, px", ".3f"),
    ("psnr_luma", "PSNR of Y, dB", ".3f"),
    ("ssim_uniform", "SSIM (7x7)", ".4f"),
    ("lpips_alex", "LPIPS (Alex)", ".4f"),
    ("lpips_vgg", "LPIPS (VGG)", ".4f"),
    ("flolpips_raft", "FloLPIPS (RAFT)", ".4f"),
)
COMPARED = (
    "psnr",
    "ssim_matlab",
    "ssim_gaussian",
    "ssim_gray",
    "sharpness",
    "ie",
    "lpips_alex",
    "lpips_vgg",
    "flolpips_raft",
)
RESAMPLES = 9999
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Result:
    """A model on a benchmark.

    Attributes:
      label: of the model.
      benchmark: its name.
      entry: means and what they are of, as in `results.json`.
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


@dataclasses.dataclass(frozen=True)
class Difference:
    """Second less first, over the images that both have.

    Attributes:
      benchmark: name.
      figure: name.
      images: number.
      mean: of the differences.
      low: end of the 95 % interval of the mean (paired bootstrap over images).
      high: the other end.
    """

    benchmark: str
    figure: str
    images: int
    mean: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the difference is larger than the spread over images explains."""
        return self.low > 0 or self.high < 0


def write_scores(path: Path, rows: Sequence[Score]) -> None:
    """A CSV with a row an image."""
    records = [{"name": row.name, **row.figures(), "t": row.t, "group": row.group} for row in rows]
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def read_scores(path: Path) -> list[Score]:
    """The inverse of `write_scores`.

    Raises:
      OSError: there is no such file.
      ValueError, KeyError, TypeError: it is another kind of file.
    """
    own = {field.name for field in dataclasses.fields(Score)} - {"more"}
    with path.open(newline="") as file:
        records = [
            {name: value if name in TEXT else float(value) for name, value in record.items()}
            for record in csv.DictReader(file)
        ]
    return [
        Score(
            **{name: value for name, value in record.items() if name in own},
            more={name: value for name, value in record.items() if name not in own},
        )
        for record in records
    ]


def load(folder: Path) -> list[Result]:
    """What `eval.py` left in a model's folder.

    Raises:
      UserError: it is none, or a damaged one.
    """
    try:
        about = json.loads((folder / RESULTS).read_text())
        return [
            Result(about.get("label", about["model"]), name, entry, read_scores(folder / f"{name}.csv"))
            for name, entry in about["results"].items()
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no results of eval.py of one model, or damaged ones ({error})") from None


def heads(results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """The columns of a table of results."""
    return [*COLUMNS, *(column for column in RARE if any(column[0] in result.entry for result in results))]


def row_of(result: Result, columns: Sequence[tuple[str, str, str]]) -> list[str]:
    """A row of the table: benchmark, model, number of images, figures."""
    values = [format(result.entry[name], form) if name in result.entry else "" for name, _, form in columns]
    return [result.benchmark, result.label, str(result.entry["images"]), *values]


def table(results: Sequence[Result]) -> list[list[str]]:
    """Head and rows."""
    columns = heads(results)
    return [["benchmark", "model", "images", *(head for _, head, _ in columns)], *(row_of(r, columns) for r in results)]


def image_table(result: Result) -> list[list[str]]:
    """Head and rows of one result's images."""
    names = list(result.rows[0].figures())
    return [["image", *names], *([row.name, *(f"{row.figures()[name]:.4f}" for name in names)] for row in result.rows)]


def parts(results: Sequence[Result], key: str, figure: str = "psnr") -> list[list[str]]:
    """A table of one figure by parts of a benchmark: "by_motion" or "by_group"; number of images in brackets."""
    names = list(dict.fromkeys(name for result in results for name in result.entry.get(key, {})))
    if key == "by_motion":
        names.sort(key=lambda name: float(name.rstrip("+").split("-")[0]))
    rows = [["benchmark", "model", *names]]
    for result in results:
        own = result.entry.get(key, {})
        if own:
            cells = [f"{own[n][figure]:.2f} ({own[n]['images']})" if figure in own.get(n, {}) else "" for n in names]
            rows.append([result.benchmark, result.label, *cells])
    return rows


def interval(differences: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """The 95 % bootstrap interval (bias-corrected, accelerated) of a mean; (-inf, inf) of fewer than two values."""
    if len(differences) < 2:
        return -np.inf, np.inf
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    from scipy.stats import bootstrap  # takes longer to import than everything else here

    rng = np.random.default_rng(0)
    found = bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, batch=100, rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


def difference(first: Result, second: Result, figure: str) -> Difference | None:
    """What `second` has more than `first` of a figure; None where they share no image that has it."""
    values = [{row.name: row.figures().get(figure, np.nan) for row in result.rows} for result in (first, second)]
    shared = [name for name in values[0] if name in values[1]]
    steps = np.array([values[1][name] - values[0][name] for name in shared])
    steps = steps[np.isfinite(steps)]
    if not len(steps):
        return None
    return Difference(first.benchmark, figure, len(steps), float(steps.mean()), *interval(steps))


def differences(first: Iterable[Result], second: Iterable[Result]) -> list[Difference]:
    """Of all benchmarks that both have, under the same version of the protocol."""
    others = {result.benchmark: result for result in second}
    pairs = [(one, others[one.benchmark]) for one in first if one.benchmark in others]
    kept = [(a, b) for a, b in pairs if a.entry.get("settings") == b.entry.get("settings")]
    return [found for a, b in kept for figure in COMPARED if (found := difference(a, b, figure))]


def difference_table(found: Sequence[Difference]) -> list[list[str]]:
    """Head and rows."""
    rows = [["benchmark", "figure", "images", "difference", "95 % interval", "clear"]]
    for one in found:
        bounds = f"{one.low:+.4f} to {one.high:+.4f}"
        verdict = "yes" if one.is_clear else "no"
        rows.append([one.benchmark, one.figure, str(one.images), f"{one.mean:+.4f}", bounds, verdict])
    return rows


def summary(results: Sequence[Result], speeds: Mapping[str, Mapping[str, float]]) -> str:
    """All tables as Markdown."""
    blocks = ["## Results", markdown(table(results))]
    if speeds:
        blocks += ["## Speed", markdown(speed_table(speeds))]
    blocks += ["## PSNR by mean motion, pixels (images)", markdown(parts(results, "by_motion"))]
    for name in dict.fromkeys(result.benchmark for result in results if result.entry.get("by_group")):
        own = [result for result in results if result.benchmark == name]
        for figure, head in (("psnr", "PSNR"), ("vmaf", "VMAF"), ("tof", "tOF")):
            if figure in own[0].entry:
                blocks += [f"## {name}: {head} by group (images)", markdown(parts(own, "by_group", figure))]
    labels = list(dict.fromkeys(result.label for result in results))
    for label in labels[1:]:
        first, second = ([r for r in results if r.label == name] for name in (labels[0], label))
        found = differences(first, second)
        if found:
            blocks += [f"## {label} less {labels[0]}", markdown(difference_table(found))]
    return "\n\n".join(blocks) + "\n"


SPEED = (
    ("size", "size", ""),
    ("seconds", "s/frame", ".4f"),
    ("fps", "frames/s", ".2f"),
    ("peak_gb", "peak memory, GB", ".2f"),
    ("gmac", "GMAC", ".1f"),
    ("params_m", "parameters, M", ".2f"),
)


def speed_table(speeds: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Head and rows."""
    rows = [["model", *(head for _, head, _ in SPEED)]]
    return rows + [[label, *(format(speed[name], form) for name, _, form in SPEED)] for label, speed in speeds.items()]


def write(
    folder: Path, results: Sequence[Result], speeds: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]
) -> None:
    """`table.md`, `table.csv` (with `about` in each row), and with speeds `speed.png`.

    Raises:
      UserError: the folder cannot be written.
    """
    with written_whole(folder / "table.md") as partial:
        partial.write_text(summary(results, speeds))
    _write_csv(folder / "table.csv", results, speeds, about)
    if speeds:
        plot(folder / "speed.png", results, speeds)


def _write_csv(
    path: Path, results: Sequence[Result], speeds: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]
) -> None:
    """A row a model and benchmark, and, named under `part`, one for each of its groups and bins of motion."""
    figures, costs = [name for name, _, _ in heads(results)], [name for name, _, _ in SPEED]
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


def plot(path: Path, results: Sequence[Result], speeds: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws PSNR against seconds a frame, a panel a benchmark, as PNG."""
    names = list(dict.fromkeys(result.benchmark for result in results))
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for result in results:
            if result.benchmark == name and result.label in speeds:
                place = speeds[result.label]["seconds"], result.entry[result.headline]
                axes.plot(*place, "o")
                axes.annotate(result.label, place, textcoords="offset points", xytext=(4, 4), fontsize="small")
        sizes = {str(speed["size"]) for speed in speeds.values()}
        axes.set(title=name, xlabel=f"seconds a frame at {', '.join(sorted(sizes))}", ylabel="PSNR, dB", xscale="log")
        axes.grid(alpha=0.3)
    with written_whole(path) as partial:
        figure.savefig(partial)
