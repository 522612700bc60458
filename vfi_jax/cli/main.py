"""`vfi-jax`: the parser, the table of commands, and what happens when one fails."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from vfi_jax import __version__, errors
from vfi_jax.cli import compare, convert, demo, doctor, flow, interpolate, models, prepare, report, weights
from vfi_jax.system import machine

COMMANDS = (interpolate, flow, demo, models, weights, convert, report, doctor, prepare, compare)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 and one line, where argparse prints the usage too."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
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
      The exit status: 0, 2 for wrong usage, 1 for any other failure, 130 when interrupted.
    """
    options = parser().parse_args(arguments)
    machine.keep_programs()
    try:
        options.run(options)
    except errors.EXPECTED as error:
        return errors.report("vfi-jax", error, interrupted="; nothing was left under the final name")
    return 0


if __name__ == "__main__":
    sys.exit(main())
