"""Evaluates models: `python eval.py --models rife_lap,rife=FILE --benchmarks ucf101,middlebury --data DIR`.

DIR holds the sets as their authors name them. `triplets=FOLDER` is any folder in Vimeo90K's layout, `frames=FOLDER` one
of numbered pictures, `clips=FOLDER` one of video files.

Prints tables and writes them as `table.md` and `table.csv` into the output folder; for each model also `results.json`
and for each benchmark `BENCHMARK.csv` (a row per image) and `BENCHMARK_worst.png`. Several models get a folder each.
Results that are there are used again if weights, precision, protocol, data, metrics and the code that computes them
are the same.

`--compare A,B` compares the results in two models' folders. `--metrics package.module:NAME` adds a metric of another
package: a function of predictions and truths, see `vfi_jax.evaluation.extra_metrics`.
"""

from __future__ import annotations

from vfi_jax.system import aborts, interrupts

if __name__ == "__main__":
    interrupts.catch("eval.py")
    aborts.catch("eval.py")

import contextlib
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags, logging

from vfi_jax import benchmarks, errors
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import evaluate, extra_metrics, perceptual, results, speed, statistics, tables
from vfi_jax.nn import precision
from vfi_jax.system import lock, machine
from vfi_jax.system.files import remove_partials
from vfi_jax.system.markdown import markdown

PROGRAM = "eval.py"

MODELS = flags.DEFINE_list("models", ["rife_lap"], "models of `vfi-jax models`, each NAME or NAME=WEIGHTS")
flags.DEFINE_alias("model", "models")
WEIGHTS = flags.DEFINE_string("weights", None, "weights file or run's folder of the one model")
FROZEN = flags.DEFINE_list("frozen", [], "weights of frozen flow networks, such as raft=raft-things.pth")
STEP = flags.DEFINE_string(
    "step", None, "step of a run: a number, `best` or `newest`; by default the best by validation, else the newest"
)
BENCHMARKS = flags.DEFINE_list("benchmarks", None, f"any of {', '.join(benchmarks.BENCHMARKS)}, {benchmarks.KINDS}")
DATA = flags.DEFINE_list("data", ["."], "folders that hold the sets")
OUTPUT = flags.DEFINE_string("output", None, "output folder; by default runs/eval, for one model runs/eval/MODEL")
BATCH = flags.DEFINE_integer("batch_size", 4, "images per batch, where their sizes agree", lower_bound=1)
TTA = flags.DEFINE_bool(
    "tta", False, "test-time augmentation: average with the prediction for the flipped frames (RIFE's 2T)"
)
PRECISION = flags.DEFINE_enum(
    "precision", precision.DEFAULT, [*precision.PRECISIONS], "precision of convolutions and matrix products"
)
PER_IMAGE = flags.DEFINE_bool("per_image", False, "also print a row per image")
WORST = flags.DEFINE_integer("worst", 4, "number of worst images to show per benchmark", lower_bound=1)
METRICS = flags.DEFINE_list(
    "metrics", [], "additional metrics, each package.module:NAME or an installed name: functions (frame, truth) -> [b]"
)
LPIPS = flags.DEFINE_string(
    "lpips", None, "folder with LPIPS weights: alexnet-*.pth and alex.pth, vgg16-*.pth and vgg.pth; RAFT's for FloLPIPS"
)
SPEED = flags.DEFINE_bool("speed", False, "measure time, memory and multiply-adds of each model in its own process")
SIZE = flags.DEFINE_string("speed_size", "1280x720", "frame size for --speed")
COMPARE = flags.DEFINE_list(
    "compare", [], "two models' output folders: print their differences and which are significant"
)


def main(arguments: Sequence[str]) -> None:
    """Runs; a failure is one line on stderr and an exit status of `errors.exit_code`."""
    logging.set_verbosity(logging.ERROR)  # JAX logs the backends that are missing
    try:
        if len(arguments) > 1:
            raise UsageError(f"{arguments[1]!r} is no flag: see --help")
        machine.keep_programs()
        compare_folders() if COMPARE.value else evaluate_models()
    except errors.ANY as error:
        sys.exit(errors.report(PROGRAM, error))


def evaluate_models() -> None:
    """Evaluates models on benchmarks; reads all weights and finds all data before it computes anything."""
    wanted = _benchmarks()
    speed.parse_size(SIZE.value)
    _check_local([*DATA.value, *BENCHMARKS.value, *MODELS.value, WEIGHTS.value or "", OUTPUT.value or ""])
    options = {"weights": WEIGHTS.value, "frozen": FROZEN.value, "step": STEP.value}
    options |= {"precision": PRECISION.value, "tta": TTA.value}
    metrics = [extra_metrics.load_metric(reference) for reference in METRICS.value]
    models = [evaluate.load_model(given, **options) for given in MODELS.value]
    evaluate.check_unique([model.label for model in models], "models")
    metrics += perceptual.metrics(Path(LPIPS.value)) if LPIPS.value else []
    evaluate.check_unique([metric.name for metric in metrics], "metrics")
    data = [Path(name) for name in DATA.value]
    sets = [(benchmark, evaluate.find_samples(benchmark, data)) for benchmark in wanted]
    folder = _output(models)
    folders = {folder / model.label if len(models) > 1 else folder: model for model in models}
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    finished = []
    with _owned({folder, *folders}):
        for result in evaluate.evaluate(folders, sets, evaluate.Plan(BATCH.value, WORST.value, metrics)):
            finished.append(result)
            _print(result)
        speeds = _speeds(models, options) if SPEED.value else {}
        tables.write(folder, finished, speeds, {**evaluate.provenance(models[0]), "command": command})
    print("\n" + tables.summary(finished, speeds), end="")


@contextlib.contextmanager
def _owned(folders: Iterable[Path]) -> Iterator[None]:
    """Makes the output folders, and owns all of them."""
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock.held(folder))
            remove_partials(folder, "results.json", "table.md", "*.csv", "*.png")
        yield


def _benchmarks() -> list[benchmarks.Benchmark]:
    if not BENCHMARKS.value:
        raise UsageError(f"--benchmarks is needed: {', '.join(benchmarks.BENCHMARKS)}, {benchmarks.KINDS}")
    if WEIGHTS.value and len(MODELS.value) > 1:
        raise UsageError("--weights is for one model: for several, write --models NAME=WEIGHTS,NAME=WEIGHTS")
    wanted = [benchmarks.named(name) for name in BENCHMARKS.value]
    evaluate.check_unique([benchmark.name for benchmark in wanted], "benchmarks")
    return wanted


def _check_local(values: Sequence[str]) -> None:
    for value in values:
        if re.search("(https?|ftp)://", value):
            raise UsageError(f"{value} is an address, which is not read: download it first")


def _output(models: Sequence[evaluate.EvaluatedModel]) -> Path:
    return Path(OUTPUT.value or ("runs/eval" if len(models) > 1 else f"runs/eval/{models[0].label}"))


def _print(result: results.Result) -> None:
    capped = f" ({count} of {result.entry['images']} images at 100 dB)" if (count := result.entry["capped"]) else ""
    print(f"{result.label}, {result.benchmark}: {result.entry[result.headline]:.3f} dB{capped}", flush=True)
    if PER_IMAGE.value:
        print("\n" + markdown(tables.image_table(result)) + "\n", flush=True)


def _speeds(models: Sequence[evaluate.EvaluatedModel], options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    common = {**options, "size": SIZE.value, "batch_size": BATCH.value}
    pairs = zip(models, MODELS.value, strict=True)
    return {model.label: speed.measure({"given": given, **common}) for model, given in pairs}


def compare_folders() -> None:
    """Prints the differences between two models' results."""
    if len(COMPARE.value) != 2:
        raise UsageError(f"--compare takes two folders, not {len(COMPARE.value)}")
    first, second = (results.load(Path(name)) for name in COMPARE.value)
    differences = statistics.differences(first, second)
    if not differences:
        raise UserError("these results have no benchmark in common, under one version of its protocol")
    print(f"{second[0].label} minus {first[0].label}:\n\n{markdown(statistics.difference_table(differences))}")


def parse_flags(arguments: Sequence[str]) -> list[str]:
    """Parses the flags as absl does, with one line for whatever is wrong."""
    try:
        return flags.FLAGS(list(arguments))
    except (flags.Error, ValueError) as error:
        sys.exit(errors.report(PROGRAM, UsageError(errors.usage(PROGRAM, str(error)))))


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
