"""Writes the measured tables of README.md and docs/*.md, and the plots: `python results/tables.py`.

`quality.csv` is `table.csv` of a run of eval.py, `cost.csv` of one with `--speed`. `beside_pytorch.py` writes
`compare.csv`, and `compare_gpu.csv` on a GPU; `cuts.py`, `end_to_end.py`, `distance.py`, `encoders.py`, `keeps.py`,
`pruning.py`, `regions.py`, `still.py` and `verify.py` write files of their names. Every row says when, how and with
what it was measured.
"""

from __future__ import annotations

import csv
import statistics
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
END_TO_END = ROOT / "results/end_to_end.csv"
DISTANCE = ROOT / "results/distance.csv"
CUTS, ENCODERS, KEEPS, VERIFY = (ROOT / f"results/{name}.csv" for name in ("cuts", "encoders", "keeps", "verify"))
PRUNING, REGIONS, STILL = (ROOT / f"results/{name}.csv" for name in ("pruning", "regions", "still"))
PANELS_PER_ROW = 3
KEY = ("model", "direction", "size", "batch", "precision", "jax")  # identifies a comparison
BEGIN, END = "<!-- from results/{} -->\n", "<!-- end -->\n"
SETS = {
    "devset": "devset (448x256 triplets of real clips)",
    "ucf101": "UCF101 (DVF's test set, 256x256)",
    "middlebury_native": 'Middlebury "other", own sizes',
    "clips": "clips (every second frame predicted)",
    "patterns": "patterns (synthetic)",
    "motion_720p": "motion_720p (synthetic)",
}

Row = Mapping[str, str]


def read(path: Path) -> list[Row]:
    """Reads the rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def quality(rows: Sequence[Row]) -> str:
    """The tables of quality: by set and by motion."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    of_sets = {(row["benchmark"], row["model"]): row for row in rows if not row["part"]}
    of_speeds = {(row["part"], row["model"]): row for row in rows if row["benchmark"] == "motion_720p"}
    speeds = [part for part, _ in of_speeds if part.endswith(" px") and not part.startswith("motion")]
    by_set = [["set", "images", *models]]
    for name, about in SETS.items():
        if of_set := [of_sets[name, model] for model in models if (name, model) in of_sets]:
            by_set.append([about, of_set[0]["images"], *map(_quality, of_set)])
    by_speed = [["speed", *models]]
    for name in dict.fromkeys(speeds):
        by_speed.append([name, *(f"{float(of_speeds[name, model]['psnr']):.2f}" for model in models)])
    return "\n\n".join(
        [
            'PSNR in dB (SSIM "matlab", sharpness; for clips also VMAF):',
            markdown(by_set),
            "PSNR in dB on `motion_720p`, by the motion of the fastest layer from the first frame to the second:",
            markdown(by_speed),
            _provenance(rows[0]),
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
    return "\n\n".join([f"Cost at {rows[0]['size']}:", markdown(table), _provenance(rows[0])])


def distances(rows: Sequence[Row]) -> str:
    """The table of training with distance maps: means over times and seeds, a row per training and maps."""
    names = ("network", "run", "maps")
    table = [["network", "trained with", "maps", *(f"{name}: PSNR" for name in ("scenes", "clips"))]]
    table[0] += [f"{name}: sharpness" for name in ("scenes", "clips")]
    for key in dict.fromkeys(tuple(row[name] for name in names) for row in rows):
        group = [row for row in rows if tuple(row[name] for name in names) == key]
        table.append([*key, *(_mean(group, "psnr", kind, 2) for kind in ("scenes", "clips"))])
        table[-1] += [_mean(group, "sharpness", kind, 3) for kind in ("scenes", "clips")]
    return f"{markdown(table)}\n\n{_provenance(rows[0])}"


def _mean(rows: Sequence[Row], figure: str, kind: str, digits: int) -> str:
    """The mean of a figure on a set; with several seeds, also the standard deviation of their means."""
    of_seeds: dict[str, list[float]] = {}
    for row in rows:
        if row["set"] == kind:
            of_seeds.setdefault(row["seed"], []).append(float(row[figure]))
    means = [statistics.mean(values) for values in of_seeds.values()]
    spread = f" ± {statistics.stdev(means):.{digits}f}" if len(means) > 1 else ""
    return f"{statistics.mean(means):.{digits}f}{spread}"


def regions(rows: Sequence[Row]) -> str:
    """The table of training with region maps: means over seeds, a row per training and test; the spread over codes."""
    figures = {"psnr": 2, "psnr_edges": 2, "psnr_one_frame": 2, "ssim": 4, "epe": 2}
    names = ["all pixels", "near edges", "seen in one frame", "SSIM", "flow error, px"]
    table = [["row", "maps in training", "maps in test", *names, "all pixels - A"]]
    tested = [row for row in rows if row["codes"] == "0"]
    base = {row["seed"]: float(row["psnr"]) for row in tested if row["row"] == "A"}
    for name in dict.fromkeys(row["row"] for row in tested):
        group = [row for row in tested if row["row"] == name]
        gains = [float(row["psnr"]) - base[row["seed"]] for row in group]
        cells = [_of_seeds([float(row[figure]) for row in group], digits) for figure, digits in figures.items()]
        table.append([name, group[0]["trained"], group[0]["tested"], *cells, _of_seeds(gains, 2)])
    codes = [float(row["psnr"]) for row in rows if row["row"] == "D" and row["seed"] == "0"]
    about = f"{rows[0]['steps']} steps, {rows[0]['scenes']} scenes, {len(base)} seed(s): mean ± half their range."
    spread = f"Over {len(codes)} tables of codes PSNR of row D differs by {max(codes) - min(codes):.3f} dB."
    return f"{markdown(table)}\n\n{about} {spread}\n\n{_provenance(rows[0])}"


def _of_seeds(values: Sequence[float], digits: int) -> str:
    spread = f" ± {(max(values) - min(values)) / 2:.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _by_model(rows: Sequence[Row]) -> dict[str, Row]:
    """The first row of each model."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["model"], row)
    return first


def _provenance(row: Row) -> str:
    return f"{row['date']}; {row['versions']}; {row['machine']}; `python {row['command']}`.\n"


def plot(rows: Sequence[Row], costs: Sequence[Row], path: Path) -> None:
    """Draws PSNR over seconds per frame, a panel per set."""
    spent = _by_model(costs)
    names = [name for name in SETS if any(row["benchmark"] == name for row in rows)]
    panel_rows = -(-len(names) // PANELS_PER_ROW)
    figure = Figure(figsize=(5 * PANELS_PER_ROW, 4 * panel_rows), layout="constrained")
    for axes, name in zip(figure.subplots(panel_rows, PANELS_PER_ROW, squeeze=False).flat, names, strict=False):
        for row in rows:
            if row["benchmark"] == name and not row["part"]:
                point = float(spent[row["model"]]["seconds"]), float(row["psnr"])
                axes.plot(*point, "o")
                axes.annotate(row["model"], point, textcoords="offset points", xytext=(4, 4), fontsize="small")
        axes.set(title=name, xlabel=f"seconds per frame at {costs[0]['size']}", ylabel="PSNR, dB", xscale="log")
        axes.margins(x=0.2)
        axes.grid(alpha=0.3)
    figure.savefig(path)


def times_beside_pytorch(rows: Sequence[Row]) -> str:
    """The table of times beside PyTorch: a row per model, run and size."""
    lines = [[*KEY, "ours, s", "PyTorch as published, s", "ratio", "best form", "ratio", "memory"]]
    for group in runs(rows):
        ours, published = group[OURS], group[PUBLISHED]
        best = fastest(group)
        seconds = [f"{float(row['seconds']):.3g}" for row in (ours, published)]
        memory = f"{float(ours['memory_mb']) / float(published['memory_mb']):.2f}"
        lines.append([*(ours[name] for name in KEY), *seconds, _ratio(published), best["side"], _ratio(best), memory])
    note = (
        "Median seconds per frame. Ratios: our time over theirs in the same round, median (quartiles). "
        "Memory: ours over PyTorch's, as published."
    )
    about = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("date", "versions", "machine")}
    how = f"{about['date']}; {about['versions']}; {about['machine']}; `{rows[0]['command']}`."
    return "\n\n".join([markdown(lines), note, how + "\n"])


def end_to_end(rows: Sequence[Row]) -> str:
    """The table of whole tools on one clip."""
    lines = [["tool", "jax", "seconds", "peak memory, GB", "frames", "sound", "PSNR, dB"]]
    for row in rows:
        version = row["jax"] if row["tool"].startswith(OURS) else "-"
        sound = {"True": "kept", "False": "lost"}[row["sound"]]
        memory = f"{float(row['memory_mb']) / 1e3:.2f}"
        lines.append([row["tool"], version, row["seconds"], memory, row["frames"], sound, row["psnr"]])
    about = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("clip", "date", "machine")}
    return f"{markdown(lines)}\n\n{'; '.join(about.values())}; `{rows[0]['command']}`.\n"


def encoders(rows: Sequence[Row]) -> str:
    """The table of encoders: a row per encoder and quality."""
    lines = [["encoder", "quality", "file", "pixels", "size", "PSNR, dB", "worst, dB", "processor s/frame"]]
    for row in rows:
        quality = f"{row['quality']} (default)" if row["default"] == "True" else row["quality"]
        figures = [row[name] if row[name] != "inf" else "exact" for name in ("psnr", "worst")]
        lines.append(
            [row["encoder"], quality, row["suffix"], row["pixel_format"], row["size"], *figures, row["cpu_seconds"]]
        )
    about = {
        name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("clip", "date", "versions", "machine")
    }
    return f"{markdown(lines)}\n\n{'; '.join(about.values())}; `{rows[0]['command']}`.\n"


def cuts(rows: Sequence[Row]) -> str:
    """The table of cuts: a row per kind of clip; cuts that each detector finds, and frames that it takes for one."""
    detectors = list(dict.fromkeys(row["detector"] for row in rows))
    cells = {(row["material"], row["detector"]): row for row in rows}
    lines = [["clips", "frames", "cuts", *(f"{name}: found, false" for name in detectors)]]
    for material in dict.fromkeys(row["material"] for row in rows):
        found = [cells[material, name] for name in detectors]
        lines.append(
            [material, found[0]["frames"], found[0]["cuts"], *(f"{row['found']}, {row['false']}" for row in found)]
        )
    ours = [row for row in rows if row["detector"] == detectors[0]]
    sums = {name: sum(int(row[name]) for row in ours) for name in ("cuts", "found", "false", "frames")}
    spent = sum(float(row["ms_per_frame"]) * int(row["frames"]) for row in ours) / sums["frames"]
    share = f"{sums['found'] / sums['cuts']:.3f} of all cuts are found, {sums['false']} are false"
    about = "; ".join(rows[0][name] for name in ("date", "versions"))
    return f"{markdown(lines)}\n\n{share}; {spent:.1f} ms per frame; {about}; `{rows[0]['command']}`.\n"


def keeps(rows: Sequence[Row]) -> str:
    """The table of what tools keep: a row per input, a column per tool."""
    tools = list(dict.fromkeys(row["tool"] for row in rows))
    cells = {(row["input"], row["tool"]): row for row in rows}
    lines = [["input", *tools]]
    for name in dict.fromkeys(row["input"] for row in rows):
        found = [cells[name, tool] for tool in tools]
        lines.append([name, *map(_verdict, found)])
    kept = [sum(row["verdict"] == "kept" for row in rows if row["tool"] == tool) for tool in tools]
    lines.append(["kept", *(f"{count} of {len(lines) - 1}" for count in kept)])
    frames = [_frames(rows, tool) for tool in tools]
    lines.append(["frames that are there", *frames])
    about = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("date", "versions", "machine")}
    return f"{markdown(lines)}\n\n{'; '.join(about.values())}; `{rows[0]['command']}`.\n"


def verified(rows: Sequence[Row]) -> str:
    """The table of outputs that were verified: a row per input, a column per output."""
    outputs = list(dict.fromkeys(row["output"] for row in rows))
    cells = {(row["input"], row["output"]): row["verdict"] for row in rows}
    lines = [["input", *outputs]]
    for name in dict.fromkeys(row["input"] for row in rows):
        lines.append([name, *(cells[name, output] for output in outputs)])
    verdicts = [row["verdict"] for row in rows]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    about = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in ("date", "versions")}
    return f"{markdown(lines)}\n\n{counts}; {'; '.join(about.values())}; `{rows[0]['command']}`.\n"


def pruned(rows: Sequence[Row]) -> str:
    """The table of UGSP that skips what it prunes: a row per clip, size, kind of masks and keep rate."""
    lines = [
        ["size", "masks", "keep rate", "pixels", "blocks", "GMAC", "s", "s, skipping", "ratio", "largest difference"]
    ]
    for row in rows:
        gmac = f"{float(row['GMAC skipping']):.0f} of {float(row['GMAC masked']):.0f}"
        seconds = [
            f"{float(row[name]):.2f}" for name in ("processor s masked", "processor s skipping", "processor ratio")
        ]
        shares = [f"{float(row[name]):.2f}" for name in ("keep rate", "share of pixels", "share of blocks")]
        lines.append([row["size"], row["masks"], *shares, gmac, *seconds, row["largest difference"]])
    names = ("video", "date", "versions", "machine")
    about = {name: "; ".join(dict.fromkeys(row[name] for row in rows)) for name in names}
    return f"{markdown(lines)}\n\n{'; '.join(about.values())}; `{rows[0]['command']}`.\n"


def copied(rows: Sequence[Row]) -> str:
    """The table of copying what is still: a row per model, clip and coding."""
    lines = [["model", "clip", "frames", "computed", "s", "s, copying", "ratio", "PSNR, dB", "PSNR, copying"]]
    for row in rows:
        figures = [f"{float(row[name]):.2f}" for name in ("computed", "s plain", "s copying", "ratio")]
        scores = [f"{float(row[name]):.2f}" for name in ("PSNR plain", "PSNR copying")]
        lines.append([row["model"], row["clip"], row["coding"], *figures, *scores])
    return f"{markdown(lines)}\n\n{rows[0]['size']}; {_provenance(rows[0])}"


def plot_pruned(rows: Sequence[Row], path: Path) -> None:
    """Draws the time of skipping over that of masking, against the keep rate."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for size, masks in dict.fromkeys((row["size"], row["masks"]) for row in rows):
        points = sorted(
            (float(row["keep rate"]), float(row["processor ratio"]))
            for row in rows
            if (row["size"], row["masks"]) == (size, masks)
        )
        axes.plot(*zip(*points, strict=True), "o-", label=f"{size}, masks by {masks}")
    axes.axhline(1, color="gray")
    axes.set(xlabel="keep rate", ylabel="time of skipping over that of masking", xlim=(0, 1.05), ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _verdict(row: Row) -> str:
    is_file = row["verdict"] in ("kept", "lost", "wrong")
    return row["verdict"] + ", announced" * (row["announced"] == "True") + ", error" * bool(is_file and row["message"])


def _frames(rows: Sequence[Row], tool: str) -> str:
    """How many outputs of a tool have all frames that doubling gives."""
    whole = [row for row in rows if row["tool"] == tool and int(row["frames"]) >= 2 * int(row["source_frames"]) - 1]
    return f"in {len(whole)} of {sum(row['tool'] == tool for row in rows)}"


def runs(rows: Sequence[Row]) -> list[dict[str, Row]]:
    """Rows by side for each `KEY`, without those that failed."""
    by_key: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if not row["failed"]:
            by_key.setdefault(tuple(row[name] for name in KEY), {})[row["side"]] = row
    return list(by_key.values())


def fastest(group: Mapping[str, Row]) -> Row:
    """The row of the fastest form of PyTorch."""
    return min((row for name, row in group.items() if name != OURS), key=lambda row: float(row["seconds"]))


def _ratio(row: Row) -> str:
    return f"{float(row['ratio']):.2f} ({float(row['ratio_low']):.2f}, {float(row['ratio_high']):.2f})"


def plot_ratios(rows: Sequence[Row], path: Path) -> None:
    """Draws our times over those of the published implementation in its forms."""
    groups = runs(rows)
    figure = Figure(figsize=(9, 1 + 0.3 * len(groups)), layout="constrained")
    axes = figure.subplots()
    sides = [side for side in dict.fromkeys(row["side"] for row in rows) if side != OURS]
    for side, marker in zip(sides, "osx", strict=False):
        points = [(float(group[side]["ratio"]), y) for y, group in enumerate(groups) if side in group]
        axes.plot(*zip(*points, strict=True), marker, label=f"PyTorch, {side}")
    first = [group[OURS] for group in groups]
    axes.set_yticks(range(len(groups)), [_label(row) for row in first])
    axes.invert_yaxis()
    axes.axvline(1, color="gray")
    axes.set(xlabel="our time over PyTorch's (below 1: ours is faster)", xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


def _label(row: Row) -> str:
    return f"{row['model']}, {row['direction']}, {row['size']} x{row['batch']}, jax {row['jax']}"


def replace_block(text: str, name: str, block: str) -> str:
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
        QUALITY.name: quality(read(QUALITY)),
        COST.name: costs(read(COST)),
        COMPARE.name: times_beside_pytorch(read(COMPARE)),
        COMPARE_GPU.name: times_beside_pytorch(read(COMPARE_GPU)),
        END_TO_END.name: end_to_end(read(END_TO_END)),
        DISTANCE.name: distances(read(DISTANCE)),
        CUTS.name: cuts(read(CUTS)),
        ENCODERS.name: encoders(read(ENCODERS)),
        KEEPS.name: keeps(read(KEEPS)),
        VERIFY.name: verified(read(VERIFY)),
        PRUNING.name: pruned(read(PRUNING)),
        STILL.name: copied(read(STILL)),
        REGIONS.name: regions(read(REGIONS)),
    }


def main() -> None:
    """Rewrites the blocks in README.md and docs/*.md, and draws the plots."""
    for name, tables in blocks().items():
        page = page_with(name)
        page.write_text(replace_block(page.read_text(), name, tables))
    plot(read(QUALITY), read(COST), QUALITY.with_suffix(".png"))
    plot_ratios(read(COMPARE), COMPARE.with_suffix(".png"))
    plot_pruned(read(PRUNING), ROOT / "docs/images/pruning.png")


if __name__ == "__main__":
    main()
