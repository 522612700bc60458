"""`vfi-jax convert`: published files or training runs as one checked weights file."""

from __future__ import annotations

import argparse

from vfi_jax.cli import common


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `convert` to the commands of the shell."""
    command = commands.add_parser("convert", help="published files or runs to one checked file, installed or named")
    common.add_model(command)
    shown = "published files, files of ours, or runs' folders; several are averaged"
    command.add_argument("--weights", type=common.weights_path, required=True, nargs="+", metavar="PATH", help=shown)
    common.add_frozen(command)
    common.add_step(command)
    command.add_argument("--half", action="store_true", help="write float16: half the size")
    shown = ".safetensors (default: a file in the weights folder, where --model finds it)"
    command.add_argument("-o", "--output", type=common.local_path, metavar="FILE", help=shown)
    shown = "write what the model's own PyTorch loader reads; -o names a folder, or a .pth, .pkl or .pt file"
    command.add_argument("--to-torch", action="store_true", help=shown)
    shown = "accept the license of published weights for non-commercial use"
    command.add_argument("--accept-licence", default="", metavar="NAME", help=shown)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Converts, checks and writes the weights.

    Raises:
      UserError, UsageError: see `weights.convert.convert`.
    """
    from vfi_jax.runs.selection import parse_step
    from vfi_jax.system.files import path_of
    from vfi_jax.weights.convert import convert
    from vfi_jax.weights.flow_network import frozen_files

    if options.to_torch and options.output and not options.output.suffix:
        common.make_folder(options.output)
    convert(
        options.model,
        [path_of(path) for path in options.weights],
        options.output,
        frozen=frozen_files(options.frozen),
        step=parse_step(options.step),
        half=options.half,
        to_torch=options.to_torch,
        accepted=options.accept_licence,
    )
