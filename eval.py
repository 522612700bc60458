"""Evaluates a model: `python eval.py --model rife --weights FILE --benchmarks ucf101,middlebury --data DIR`.

DIR holds the sets as their authors name them; `triplets=FOLDER` is any folder in Vimeo90K's layout. Prints a table, and
writes `BENCHMARK.csv` (a row an image), `BENCHMARK_worst.png` and `results.json` into the output folder.
"""

from __future__ import annotations

import csv
import dataclasses
import importlib.metadata
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags, logging
from tqdm import tqdm

from vfi_jax import benchmarks, checkpoint, machine, report, zoo
from vfi_jax.benchmarks import Score
from vfi_jax.files import written_whole
from vfi_jax.inference import Interpolator, flip_ensemble
from vfi_jax.picture import save_png
from vfi_jax.types import UsageError, UserError

MODEL = flags.DEFINE_string("model", "rife_lap", "a model in `vfi-jax models`")
WEIGHTS = flags.DEFINE_string("weights", None, "a weights file or a run's folder (those shipped or installed)")
FROZEN = flags.DEFINE_list("frozen", [], "weights of frozen helpers, such as raft=raft-things.pth")
STEP = flags.DEFINE_string("step", None, "of a run: a number, or `best`; by default the newest")
NAMES = flags.DEFINE_list("benchmarks", None, f"of {', '.join(benchmarks.BENCHMARKS)}, triplets=FOLDER")
DATA = flags.DEFINE_string("data", ".", "the folder that holds the sets")
OUTPUT = flags.DEFINE_string("output", None, "folder for what is written; by default runs/eval/MODEL")
BATCH = flags.DEFINE_integer("batch_size", 4, "images at once, where sizes agree", lower_bound=1)
ENSEMBLE = flags.DEFINE_bool("flip_ensemble", False, "average with the turned pair's frame (RIFE's 2T)")
WORST = 4  # shown
PACKAGES = ("vfi_jax", "jax", "jaxlib", "flax", "numpy", "opencv-python-headless")


def main(arguments: Sequence[str]) -> None:
    """Runs; failures are told in one line: exit code 2 for wrong usage, 1 for any other."""
    logging.set_verbosity(logging.ERROR)  # jax tells which backends there are not
    try:
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is no flag: see --help")
        machine.keep_programs()
        evaluate()
    except KeyboardInterrupt:
        sys.exit(_told("interrupted", 130))
    except UsageError as error:
        sys.exit(_told(error, 2))
    except (UserError, OSError, MemoryError) as error:
        sys.exit(_told(error, 1))


def evaluate() -> None:
    """Weights first, then the data of all benchmarks, then the work."""
    if not NAMES.value:
        raise UsageError(f"--benchmarks is needed: {', '.join(benchmarks.BENCHMARKS)}, triplets=FOLDER")
    wanted = [benchmarks.named(name) for name in NAMES.value]
    if len({benchmark.name for benchmark in wanted}) < len(wanted):
        raise UsageError("two benchmarks have one name, and their results would overwrite each other: run them apart")
    step = int(STEP.value) if STEP.value and STEP.value.isdigit() else STEP.value
    model, variables = zoo.load(MODEL.value, WEIGHTS.value, zoo.helper_files(FROZEN.value), step=step)
    zoo.require_helper(model, variables)
    interpolate = Interpolator(flip_ensemble(model) if ENSEMBLE.value else model, variables)
    found = [(benchmark, benchmark.find(Path(DATA.value))) for benchmark in wanted]
    folder = Path(OUTPUT.value or f"runs/eval/{MODEL.value}")
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    print("| benchmark | images | PSNR, dB | SSIM (matlab) | IE | averaging, dB |\n" + "|---" * 6 + "|")
    for benchmark, samples in found:
        scores = benchmarks.scores(interpolate, benchmark, samples, BATCH.value)
        rows = list(tqdm(scores, total=len(samples), unit="image", desc=benchmark.name, leave=False))
        means = benchmarks.means(rows)
        print(
            f"| {benchmark.name} | {len(rows)} | {means['psnr']:.3f} | {means['ssim_matlab']:.4f} "
            f"| {means['ie']:.3f} | {means['average_psnr']:.3f} |",
            flush=True,
        )
        results[benchmark.name] = {"protocol": benchmark.protocol, "images": len(rows), **means}
        _write_rows(folder / f"{benchmark.name}.csv", rows)
        worst = sorted(zip(rows, samples, strict=True), key=lambda pair: pair[0].psnr)[:WORST]
        strips = report.strips([benchmarks.strip(interpolate, benchmark, sample) for _, sample in worst])
        save_png(folder / f"{benchmark.name}_worst.png", strips)
    about = {
        "model": MODEL.value,
        "weights": {"from": WEIGHTS.value, "step": STEP.value, "sha256": checkpoint.fingerprint(variables)},
        "flip_ensemble": ENSEMBLE.value,
        "rounding": "8 bits, half to even",
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, {jax.devices()[0].device_kind}, Python {platform.python_version()}",
    }
    with written_whole(folder / "results.json") as partial:
        partial.write_text(json.dumps({**about, "results": results}, indent=2))


def _write_rows(path: Path, rows: Sequence[Score]) -> None:
    with written_whole(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in dataclasses.fields(Score)])
        writer.writerows(dataclasses.astuple(row) for row in rows)


def _told(error: object, code: int) -> int:
    print(f"eval.py: {error}", file=sys.stderr)
    return code


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """The parser of absl with one line for whatever is wrong."""
    try:
        return flags.FLAGS(list(arguments))
    except (flags.Error, ValueError) as error:
        sys.exit(_told(" ".join(str(error).split()), 2))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
