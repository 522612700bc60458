"""`vfi-jax export`: a model with its weights as a StableHLO program that runs without this package."""

from __future__ import annotations

import argparse
import re

from vfi_jax.cli import common
from vfi_jax.cli.interpolate import PRECISIONS

ENDING = ".stablehlo"


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `export` to the commands of the shell."""
    command = commands.add_parser("export", help="write a model as a program that JAX runs without this package")
    common.add_model(command, default=common.MODEL)
    common.add_weights(command)
    common.add_frozen(command)
    common.add_step(command)
    shown = "of the frames, such as 1280x720, padded as the model needs it; or any"
    command.add_argument("--size", type=size, required=True, metavar="WxH", help=shown)
    shown = "that it will run on: cpu, cuda, rocm, tpu (%(default)s)"
    command.add_argument("--platforms", type=_names, default="cpu,cuda,tpu", metavar="NAME,...", help=shown)
    command.add_argument(
        "--precision", choices=PRECISIONS, default=PRECISIONS[0], help="of convolutions and products (%(default)s)"
    )
    command.add_argument(
        "-o", "--output", type=common.local_path, required=True, metavar="FILE", help=f"the program, {ENDING}"
    )
    command.set_defaults(run=run)


def size(text: str) -> tuple[int, int] | None:
    """The type of an argument that takes width and height, or `any`."""
    if text == "any":
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}", text):
        raise argparse.ArgumentTypeError(f"{text}: a size is needed, such as 1280x720, or any")
    width, _, height = text.partition("x")
    return int(width), int(height)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def run(options: argparse.Namespace) -> None:
    """Writes the program and its description, and prints a line about them.

    Raises:
      UserError, UsageError: see `weights.load.load` and `inference.export.export`.
    """
    from vfi_jax.errors import UsageError
    from vfi_jax.inference.export import export
    from vfi_jax.runs.selection import parse_step
    from vfi_jax.weights import flow_network
    from vfi_jax.weights.load import load

    if options.output.suffix != ENDING:
        raise UsageError(f"{options.output}: exported programs are written as {ENDING}")
    frozen, step = flow_network.frozen_files(options.frozen), parse_step(options.step)
    model, variables = load(options.model, options.weights, frozen, step=step)
    flow_network.require(model, variables)
    about = export(
        options.output,
        model,
        variables,
        size=options.size,
        platforms=options.platforms,
        precision=options.precision,
    )
    frames = "{1}x{0}".format(*about.padded_size) if about.padded_size else "any size"
    megabytes = options.output.stat().st_size / 1e6
    print(f"{options.output}: {about.model} for {frames} on {', '.join(about.platforms)}, {megabytes:.1f} MB")
