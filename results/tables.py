"""Writes the tables of README.md and docs/*.md and the plots from what was measured: `python results/tables.py`.

`quality.csv` is `table.csv` of a run of eval.py, `cost.csv` that of one with `--speed`, `compare.csv` what
`beside_pytorch.py` writes, `compare_gpu.csv` the same of runs on a GPU, `end_to_end.csv` what the script of its name
does; every row says when, how and with what it was measured.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vfi_jax.compare.report import OURS, PUBLISHED
from vfi_jax.system.markdown import markdown

ROOT = Path(__file__).parent.parent
QUALITY = ROOT / "results/quality.csv"
COST = ROOT / "results/cost.csv"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
COMPARE, COMPARE_GPU = ROOT / "results/compare.csv", ROOT / "results/compare_gpu.csv"
WHOLE = ROOT / "results/end_to_end.csv"
COLUMNS = 3  # of panels
KEY = ("model", "direction", "size", "batch", "precision", "jax")  # of a comparison
BEGIN, END = "<!-- from results/{} -->\n", "<!-- end -->\n"
SETS = {
    "devset": "devset (448x256 triplets of real clips)",
    "ucf101": "UCF101 (DVF's test set, 256x256)",
    "middlebury_native": 'Middlebury "other", own sizes',
    "clips": "clips (every second frame rebuilt)",
    "patterns": "patterns (made up)",
    "motion_720p": "motion_720p (made up)",
}

Row = Mapping[str, str]


def read(path: Path) -> list[Row]:
    """The rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def block(rows: Sequence[Row]) -> str:
    """The tables of quality: by set and by motion."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    whole = {(row["benchmark"], row["model"]): row for row in rows if not row["part"]}
    moved = {(row["part"], row["model"]): row for row in rows if row["benchmark"] == "motion_720p"}
    speeds = [part for part, _ in moved if part.endswith(" px") and not part.startswith("motion")]
    quality = [["set", "images", *models]]
    for name, about in SETS.items():
        own = [whole[name, model] for model in models if (name, model) in whole]
        if not own:
            continue
        quality.append([about, own[0]["images"], *map(_quality, own)])
    motion = [["speed", *models]]
    motion += [[name, *(f"{float(moved[name, m]['psnr']):.2f}" for m in models)] for name in dict.fromkeys(speeds)]
    return "\n\n".join(
        [
            'PSNR in dB (SSIM "matlab", sharpness; of clips VMAF too):',
            markdown(quality),
            "PSNR by speed of the fastest layer, from the first frame to the second, on `motion_720p`:",
            markdown(motion),
            _told(rows[0]),
        ]
    )


def _quality(row: Row) -> str:
    more = f", VMAF {float(row['vmaf']):.1f}" if row.get("vmaf") else ""
    return f"{float(row['psnr']):.2f} ({float(row['ssim_matlab']):.4f}, {float(row['sharpness']):.3f}{more})"


def costs(rows: Sequence[Row]) -> str:
    """The table of cost: a row per model."""
    names = {"s/frame": "seconds", "peak memory, GB": "peak_gb", "GMAC": "gmac", "parameters, M": "params_m"}
    table = [["model", *names]]
    for row in _by_model(rows).values():
        table.append([row["model"], *(f"{float(row[name]):.3g}" for name in names.values())])
    return "\n\n".join([f"Cost at {rows[0]['size']}:", markdown(table), _told(rows[0])])


def _by_model(rows: Sequence[Row]) -> dict[str, Row]:
    """The first row of each."""
    found: dict[str, Row] = {}
    for row in rows:
        found.setdefault(row["model"], row)
    return found


def _told(row: Row) -> str:
    return f"{row['date']}; {row['versions']}; {row['machine']}; `python {row['command']}`.\n"


def plot(rows: Sequence[Row], costs: Sequence[Row], path: Path) -> None:
    """PSNR over seconds a frame, a panel a set."""
    spent = _by_model(costs)
    names = [name for name in SETS if any(row["benchmark"] == name for row in rows)]
    lines = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 4 * lines), layout="constrained")
    for axes, name in zip(figure.subplots(lines, COLUMNS, squeeze=False).flat, names, strict=False):
        for row in rows:
            if row["benchmark"] == name and not row["part"]:
                place = float(spent[row["model"]]["seconds"]), float(row["psnr"])
                axes.plot(*place, "o")
                axes.annotate(row["model"], place, textcoords="offset points", xytext=(4, 4), fontsize="small")
        axes.set(title=name, xlabel=f"seconds a frame at {costs[0]['size']}", ylabel="PSNR, dB", xscale="log")
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def beside(rows: Sequence[Row]) -> str:
    """The table of times beside PyTorch: a row per model, run and size."""
    lines = [[*KEY, "ours, s", "PyTorch as published, s", "ratio", "best form", "ratio", "memory"]]
    for group in runs(rows):
        ours, published = group[OURS], group[PUBLISHED]
        best = fastest(group)
        seconds = [f"{float(row['seconds']):.3g}" for row in (ours, published)]
        memory = f"{float(ours['memory_mb']) / float(published['memory_mb']):.2f}"
        lines.append([*(ours[name] for name in KEY), *seconds, _ratio(published), best["side"], _ratio(best), memory])
    told = "Seconds a frame, medians; ratios: ours over theirs within a round (quartiles); memory: ours over PyTorch's."
    met = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("date", "versions", "machine")}
    how = f"{met['date']}; {met['versions']}; {met['machine']}; `{rows[0]['command']}`."
    return "\n\n".join([markdown(lines), told, how + "\n"])


def whole(rows: Sequence[Row]) -> str:
    """The table of whole tools on one clip."""
    lines = [["tool", "jax", "seconds", "peak memory, GB", "frames", "sound", "PSNR, dB"]]
    for row in rows:
        version = row["jax"] if row["tool"].startswith(OURS) else "-"
        sound = {"True": "kept", "False": "lost"}[row["sound"]]
        memory = f"{float(row['memory_mb']) / 1e3:.2f}"
        lines.append([row["tool"], version, row["seconds"], memory, row["frames"], sound, row["psnr"]])
    told = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("clip", "date", "machine")}
    return f"{markdown(lines)}\n\n{'; '.join(told.values())}; `{rows[0]['command']}`.\n"


def runs(rows: Sequence[Row]) -> list[dict[str, Row]]:
    """Rows by side, for each `KEY`; those without figures left out."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if not row["failed"]:
            found.setdefault(tuple(row[name] for name in KEY), {})[row["side"]] = row
    return list(found.values())


def fastest(group: Mapping[str, Row]) -> Row:
    """The row of PyTorch's fastest form."""
    return min((row for name, row in group.items() if name != OURS), key=lambda row: float(row["seconds"]))


def _ratio(row: Row) -> str:
    return f"{float(row['ratio']):.2f} ({float(row['ratio_low']):.2f}, {float(row['ratio_high']):.2f})"


def plot_beside(rows: Sequence[Row], path: Path) -> None:
    """Ratios of times, ours over the published implementation in its forms."""
    groups = runs(rows)
    figure = Figure(figsize=(9, 1 + 0.3 * len(groups)), layout="constrained")
    axes = figure.subplots()
    sides = [side for side in dict.fromkeys(row["side"] for row in rows) if side != OURS]
    for side, marker in zip(sides, "osx", strict=False):
        there = [(float(group[side]["ratio"]), place) for place, group in enumerate(groups) if side in group]
        axes.plot(*zip(*there, strict=True), marker, label=f"PyTorch, {side}")
    first = [group[OURS] for group in groups]
    axes.set_yticks(range(len(groups)), [_label(row) for row in first])
    axes.invert_yaxis()
    axes.axvline(1, color="gray")
    axes.set(xlabel="time of ours over PyTorch's (below 1: ours is faster)", xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _label(row: Row) -> str:
    return f"{row['model']}, {row['direction']}, {row['size']} x{row['batch']}, jax {row['jax']}"


def put(text: str, name: str, block: str) -> str:
    """Replaces the block of a file of measurements in a page."""
    begin = BEGIN.format(name)
    before, rest = text.split(begin)
    return before + begin + block + END + rest.split(END, 1)[1]


def page_with(name: str) -> Path:
    """The one page that has a place for the block of a file of measurements."""
    (page,) = [page for page in PAGES if BEGIN.format(name) in page.read_text()]
    return page


def blocks() -> dict[str, str]:
    """Name of each file of measurements to its tables."""
    return {
        QUALITY.name: block(read(QUALITY)),
        COST.name: costs(read(COST)),
        COMPARE.name: beside(read(COMPARE)),
        COMPARE_GPU.name: beside(read(COMPARE_GPU)),
        WHOLE.name: whole(read(WHOLE)),
    }


def main() -> None:
    """Rewrites the blocks in README.md and docs/*.md, and draws the plots."""
    for name, tables in blocks().items():
        page = page_with(name)
        page.write_text(put(page.read_text(), name, tables))
    plot(read(QUALITY), read(COST), QUALITY.with_suffix(".png"))
    plot_beside(read(COMPARE), COMPARE.with_suffix(".png"))


if __name__ == "__main__":
    main()
