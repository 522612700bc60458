"""Scores weighted means of two sets of parameters: `python results/blend.py WEIGHTS DATA [--other WEIGHTS] [SHARE...]`.

SHARE is the weight of WEIGHTS, which are weights of rife_lap; the other set is RIFE v4.25 as published by default. DATA
holds `devset` and `benchmarks` as for `eval.py --data`. Writes `blend.csv` and `blend.png`, PSNR over sharpness. The
refinement, which the published network lacks, keeps its parameters, except that its last layer is multiplied by SHARE.
"""

import argparse
import csv
from pathlib import Path

import jax
from matplotlib.figure import Figure

from vfi_jax import Interpolator, benchmarks
from vfi_jax.weights import load

SHARES = (0.25, 0.5, 0.75, 1.0)
FOLDER = Path(__file__).parent


def blended(trained, other, share):
    """`share * trained + (1 - share) * other`."""
    known = dict(jax.tree_util.tree_leaves_with_path(other))

    def mean(path, leaf):
        if path in known:
            return share * leaf + (1 - share) * known[path]
        return share * leaf if "last" in jax.tree_util.keystr(path) else leaf

    return jax.tree_util.tree_map_with_path(mean, trained)


def measured(weights, other, data, shares):
    """Rows: set, share, PSNR in dB, sharpness, IE; share 0 is the other network."""
    model, trained = load.load("rife_lap", weights)
    plain, published = load.load("rife_lap", other) if other else load.load("rife_v4_25")
    sets = [benchmarks.named(name) for name in (f"triplets={data / 'devset'}", "middlebury_native")]
    for share in (0.0, *shares):
        mixed = {"params": blended(trained["params"], published["params"], share)}
        interpolate = Interpolator(model, mixed) if share else Interpolator(plain, published)
        for benchmark in sets:
            rows = list(benchmarks.scores(interpolate, benchmark, benchmark.find(data / "benchmarks"), 1))
            means = benchmarks.means(rows)
            yield benchmark.name, share, *(round(float(means[name]), 4) for name in ("psnr", "sharpness", "ie"))


def main() -> None:
    """Scores, writes and draws."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("shares", type=float, nargs="*", default=SHARES)
    parser.add_argument("--other", type=Path)
    options = parser.parse_intermixed_args()
    rows = list(measured(options.weights, options.other, options.data, options.shares))
    with (FOLDER / "blend.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("set", "share", "psnr", "sharpness", "ie"), *rows])
    names = list(dict.fromkeys(row[0] for row in rows))
    figure = Figure(figsize=(5 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        of_set = [row for row in rows if row[0] == name]
        axes.plot([row[3] for row in of_set], [row[2] for row in of_set], "o-")
        for row in of_set:
            axes.annotate(f"{row[1]:g}", (row[3], row[2]), textcoords="offset points", xytext=(5, 5))
        axes.set(title=f"{name}, by share of WEIGHTS", xlabel="sharpness", ylabel="PSNR, dB")
        axes.grid(alpha=0.3)
    figure.savefig(FOLDER / "blend.png", dpi=110)


if __name__ == "__main__":
    main()
