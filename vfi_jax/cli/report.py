"""`vfi-jax report`: a training run in one folder."""

from __future__ import annotations

import argparse
import sys

from vfi_jax.cli import common
from vfi_jax.errors import UsageError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `report` to the commands of the shell."""
    command = commands.add_parser("report", help="a run's curves, samples, configuration and figures in one folder")
    command.add_argument("folder", metavar="RUN", help="a run's folder, finished or running, or its address (gs://...)")
    command.add_argument("-o", "--output", type=common.local_path, metavar="DIR", help="folder to write (RUN/report)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the report and prints its text.

    Raises:
      UsageError: a remote run without `-o`.
      UserError: no run there, or the folder cannot be written.
    """
    from vfi_jax.runs import report
    from vfi_jax.system.files import is_remote, path_of

    folder = path_of(options.folder)
    if options.output is None and is_remote(folder):
        raise UsageError("-o DIR is needed where the run is elsewhere")
    target = options.output or folder / "report"
    print(report.write(folder, target), end="")
    print(f"wrote {target}", file=sys.stderr)
