"""The README's tables and, with costs, `results/quality.png` from `results/quality.csv`: `python results/tables.py`.

`quality.csv` is `table.csv` of a run of eval.py; every row says when, how and with what it was measured.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from vfi_jax.tables import markdown

ROOT = Path(__file__).parent.parent
QUALITY = ROOT / "results/quality.csv"
README = ROOT / "README.md"
COLUMNS = 3  # of panels
BEGIN, END = "<!-- from results/quality.csv -->\n", "<!-- end -->\n"
SETS = {
    "devset": "devset (448x256 triplets of real clips)",
    "ucf101": "UCF101 (DVF's test set, 256x256)",
    "middlebury_native": 'Middlebury "other", own sizes',
    "clips": "clips (every second frame rebuilt)",
    "patterns": "patterns (made up)",
    "motion_720p": "motion_720p (made up)",
}

Row = Mapping[str, str]


def read(path: Path = QUALITY) -> list[Row]:
    """The rows."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def block(rows: Sequence[Row]) -> str:
    """What stands in the README: quality by set, by motion, and cost."""
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
    first = rows[0]
    cost = [f"Cost at {first['size']}:", markdown(_costs(whole, models))] if first["seconds"] else []
    told = f"{first['date']}; {first['versions']}; {first['machine']}; `python {first['command']}`"
    return "\n\n".join(
        [
            'PSNR in dB (SSIM "matlab", sharpness; of clips VMAF too):',
            markdown(quality),
            "PSNR by speed of the fastest layer, from the first frame to the second, on `motion_720p`:",
            markdown(motion),
            *cost,
            told + ".\n",
        ]
    )


def _quality(row: Row) -> str:
    more = f", VMAF {float(row['vmaf']):.1f}" if row.get("vmaf") else ""
    return f"{float(row['psnr']):.2f} ({float(row['ssim_matlab']):.4f}, {float(row['sharpness']):.3f}{more})"


def _costs(whole: Mapping[tuple[str, str], Row], models: Sequence[str]) -> list[list[str]]:
    table = [["model", "s/frame", "peak memory, GB", "GMAC", "parameters, M"]]
    for model in models:
        row = next(row for (_, name), row in whole.items() if name == model)
        table.append([model, *(f"{float(row[name]):.3g}" for name in ("seconds", "peak_gb", "gmac", "params_m"))])
    return table


def plot(rows: Sequence[Row], path: Path) -> None:
    """PSNR over seconds a frame, a panel a set; of a file with costs."""
    names = [name for name in SETS if any(row["benchmark"] == name for row in rows)]
    lines = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 4 * lines), layout="constrained")
    for axes, name in zip(figure.subplots(lines, COLUMNS, squeeze=False).flat, names, strict=False):
        for row in rows:
            if row["benchmark"] == name and not row["part"]:
                place = float(row["seconds"]), float(row["psnr"])
                axes.plot(*place, "o")
                axes.annotate(row["model"], place, textcoords="offset points", xytext=(4, 4), fontsize="small")
        axes.set(title=name, xlabel=f"seconds a frame at {rows[0]['size']}", ylabel="PSNR, dB", xscale="log")
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def main() -> None:
    """Rewrites the block in the README, and draws."""
    rows, text = read(), README.read_text()
    before, rest = text.split(BEGIN)
    README.write_text(before + BEGIN + block(rows) + END + rest.split(END, 1)[1])
    if rows[0]["seconds"]:
        plot(rows, QUALITY.with_suffix(".png"))


if __name__ == "__main__":
    main()
