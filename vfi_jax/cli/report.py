"""`vfi-jax report`: a training run in one folder."""

from __future__ import annotations

import argparse
import sys

from vfi_jax.cli import common
from vfi_jax.errors import UsageError


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `report` to the commands of the shell."""
    command = commands.add_parser("report", help="a run's curves, samples, configuration and figures in one folder")
    command.add_argument(
        "folders",
        nargs="+",
        type=common.run_address,
        metavar="RUN",
        help="a run's folder, finished or running, or its address (gs://...); several are shown side by side",
    )
    command.add_argument(
        "-o", "--output", type=common.local_path, metavar="DIR", help="folder to write (RUN/report; needed for several)"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the report and prints its text.

    Raises:
      UsageError: a remote run, or several runs, without `-o`.
      UserError: no run there, or the folder cannot be written.
    """
    from vfi_jax.runs import report
    from vfi_jax.system.files import is_remote, path_of

    folders = [path_of(folder) for folder in options.folders]
    if options.output is None and (len(folders) > 1 or is_remote(folders[0])):
        raise UsageError("-o DIR is needed for several runs, or where the run is elsewhere")
    target = options.output or folders[0] / "report"
    print(report.write(folders[0], target) if len(folders) == 1 else report.compare(folders, target), end="")
    print(f"wrote {target}", file=sys.stderr)
