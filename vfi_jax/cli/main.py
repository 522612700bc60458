"""`vfi-jax`: the parser, the table of commands, and what happens when one fails.

The modules of the commands import JAX and all that is slow only when their command runs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from vfi_jax import __version__, errors
from vfi_jax.cli import (
    compare,
    compare_video,
    convert,
    demo,
    doctor,
    export,
    flow,
    interpolate,
    models,
    prepare,
    report,
    verify,
    weights,
)
from vfi_jax.cli.common import Parser
from vfi_jax.system import interrupts

COMMANDS = (
    interpolate, verify, compare_video, flow, demo, models, weights, convert, export, report, doctor, prepare, compare,
)  # fmt: skip


def parser() -> Parser:
    """Returns the parser of all commands."""
    program = Parser(prog="vfi-jax", description="Video frame interpolation in JAX.")
    program.add_argument("--version", action="version", version=__version__)
    commands = program.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return program


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; a failure is one line on stderr.

    Returns:
      The exit status: 0, 2 for wrong usage, 130 when interrupted, 70 for an error of ours, 1 for any other failure.
    """
    interrupts.catch("vfi-jax")
    try:
        options = parser().parse_args(arguments)
        from vfi_jax.system import machine

        machine.keep_programs()
        machine.share_memory()
        options.run(options)
        sys.stdout.flush()
    except errors.ANY as error:
        return errors.report("vfi-jax", error, interrupted="; nothing was left under the final name")
    return 0


if __name__ == "__main__":
    sys.exit(main())
