"""Evaluates models: `python eval.py --models rife_lap,rife=FILE --benchmarks ucf101,middlebury --data DIR`.

DIR holds the sets as their authors name them; `triplets=FOLDER` is any folder in Vimeo90K's layout, `clips=FOLDER` one
of video files. Prints tables, and writes `table.md` and `table.csv`; for each model `results.json`, and for each
benchmark `BENCHMARK.csv` (a row an image) and `BENCHMARK_worst.png`, into the output folder; of several models, into
a folder of each. What is there already is not computed again as long as weights, protocol, data and code are the same.
`--compare A,B` compares two models' folders.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging

from vfi_jax import benchmarks, errors
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import evaluate as evaluate_
from vfi_jax.evaluation import perceptual, speed
from vfi_jax.evaluation import results as results_
from vfi_jax.nn import precision
from vfi_jax.system import machine
from vfi_jax.system.markdown import markdown

PROGRAM = "eval.py"

MODELS = flags.DEFINE_list("models", ["rife_lap"], "models in `vfi-jax models`, each NAME or NAME=WEIGHTS")
flags.DEFINE_alias("model", "models")
WEIGHTS = flags.DEFINE_string("weights", None, "of one model: a weights file or a run's folder")
FROZEN = flags.DEFINE_list("frozen", [], "weights of frozen flow networks, such as raft=raft-things.pth")
STEP = flags.DEFINE_string("step", None, "of a run: a number, or `best`; by default the newest")
NAMES = flags.DEFINE_list("benchmarks", None, f"of {', '.join(benchmarks.BENCHMARKS)}, {benchmarks.KINDS}")
DATA = flags.DEFINE_list("data", ["."], "folders that hold the sets")
OUTPUT = flags.DEFINE_string("output", None, "folder for what is written; by default runs/eval, of one model with name")
BATCH = flags.DEFINE_integer("batch_size", 4, "images at once, where sizes agree", lower_bound=1)
ENSEMBLE = flags.DEFINE_bool("flip_ensemble", False, "average with the turned pair's frame (RIFE's 2T)")
flags.DEFINE_alias("tta", "flip_ensemble")
PRECISION = flags.DEFINE_enum(
    "precision", precision.DEFAULT, [*precision.PRECISIONS], "of convolutions and matrix products"
)
PER_IMAGE = flags.DEFINE_bool("per_image", False, "print a row an image too")
WORST = flags.DEFINE_integer("worst", 4, "images shown of each benchmark, worst first", lower_bound=1)
LPIPS = flags.DEFINE_string("lpips", None, "folder with weights: alexnet-*.pth, alex.pth; vgg16-*.pth, vgg.pth; RAFT's")
SPEED = flags.DEFINE_bool("speed", False, "measure time, memory, multiply-adds, each model in a process of its own")
SIZE = flags.DEFINE_string("speed_size", "1280x720", "of the frames that --speed uses")
COMPARE = flags.DEFINE_list(
    "compare", [], "two models' output folders: which differences exceed the spread over images"
)


def main(arguments: Sequence[str]) -> None:
    """Runs; a failure is one line on stderr: exit status 2 for wrong usage, 1 for any other."""
    logging.set_verbosity(logging.ERROR)  # jax tells which backends there are not
    try:
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is no flag: see --help")
        machine.keep_programs()
        compare() if COMPARE.value else evaluate()
    except errors.EXPECTED as error:
        sys.exit(errors.report(PROGRAM, error))


def evaluate() -> None:
    """Weights first, then the data of all benchmarks, then the work."""
    wanted = _wanted()
    options = {"weights": WEIGHTS.value, "frozen": FROZEN.value, "step": STEP.value, "precision": PRECISION.value}
    options["tta"] = ENSEMBLE.value
    subjects = [evaluate_.subject(given, **options) for given in MODELS.value]
    evaluate_.check_names([one.label for one in subjects], "models")
    judges = perceptual.judges(Path(LPIPS.value)) if LPIPS.value else {}
    sets = [(benchmark, evaluate_.found(benchmark, [Path(name) for name in DATA.value])) for benchmark in wanted]
    several = len(subjects) > 1
    folder = Path(OUTPUT.value or ("runs/eval" if several else f"runs/eval/{subjects[0].label}"))
    folders = {folder / one.label if several else folder: one for one in subjects}
    found = []
    for result in evaluate_.run(folders, sets, evaluate_.Plan(BATCH.value, WORST.value, judges)):
        found.append(result)
        print(f"{result.label}, {result.benchmark}: {result.entry[result.headline]:.3f} dB", flush=True)
        if PER_IMAGE.value:
            print("\n" + markdown(results_.image_table(result)) + "\n", flush=True)
    speeds = {}
    for one, given in zip(subjects, MODELS.value, strict=True) if SPEED.value else ():
        speeds[one.label] = speed.measured({"given": given, **options, "size": SIZE.value, "batch_size": BATCH.value})
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    results_.write(folder, found, speeds, {**evaluate_.provenance(subjects[0]), "command": command})
    print("\n" + results_.summary(found, speeds), end="")


def _wanted() -> list[benchmarks.Benchmark]:
    if not NAMES.value:
        raise UsageError(f"--benchmarks is needed: {', '.join(benchmarks.BENCHMARKS)}, {benchmarks.KINDS}")
    if WEIGHTS.value and len(MODELS.value) > 1:
        raise UsageError("--weights is of one model: of several, write --models NAME=WEIGHTS,NAME=WEIGHTS")
    wanted = [benchmarks.named(name) for name in NAMES.value]
    evaluate_.check_names([benchmark.name for benchmark in wanted], "benchmarks")
    return wanted


def compare() -> None:
    """Tells two models' results apart."""
    if len(COMPARE.value) != 2:
        raise UsageError(f"--compare takes two folders, not {len(COMPARE.value)}")
    first, second = (results_.load(Path(name)) for name in COMPARE.value)
    found = results_.differences(first, second)
    if not found:
        raise UserError("these results have no benchmark in common, under one version of its protocol")
    print(f"{second[0].label} less {first[0].label}:\n\n{markdown(results_.difference_table(found))}")


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, with one line for whatever is wrong."""
    try:
        return flags.FLAGS(list(arguments))
    except (flags.Error, ValueError) as error:
        sys.exit(errors.report(PROGRAM, UsageError(" ".join(str(error).split()))))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
