"""`vfi-jax verify`: an output of `vfi-jax interpolate` beside its input."""

from __future__ import annotations

import argparse
import dataclasses

from vfi_jax.cli import common
from vfi_jax.cli.interpolate import add_field
from vfi_jax.errors import UserError
from vfi_jax.video.options import Options

MIN_PSNR = 30.0  # as in `video.verify`, which takes long to import
_NOT_OF_TIME = ("overwrite", "strict", "latency")


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `verify` to the commands of the shell."""
    command = commands.add_parser("verify", help="check an interpolated video against its input")
    command.add_argument("input", type=common.local_path, help="the video that was interpolated")
    command.add_argument("output", type=common.local_path, help="what `vfi-jax interpolate` wrote")
    for entry in fields():
        add_field(command, entry)
    command.add_argument(
        "--min-psnr",
        type=common.positive,
        default=MIN_PSNR,
        metavar="DB",
        help="of each original frame, where encoding is lossy (%(default)s)",
    )
    common.add_json(command)
    command.set_defaults(run=run)


def fields() -> list[dataclasses.Field]:
    """The fields of `Options` that decide which frames there are, and when."""
    return [entry for entry in dataclasses.fields(Options) if entry.name not in _NOT_OF_TIME]


def run(options: argparse.Namespace) -> None:
    """Prints a table of both files.

    Raises:
      UserError: a property differs that no loss announces; see `video.verification.verify` for others.
    """
    from vfi_jax.video.verification.verify import verify

    asked = Options(**{entry.name: getattr(options, entry.name) for entry in fields()})
    report = verify(options.input, options.output, asked, min_psnr=options.min_psnr)
    common.finish(report.table(), report.as_json(), options.json)
    if report.differing:
        raise UserError(f"{options.output}: differs from its input in {', '.join(report.differing)}")
