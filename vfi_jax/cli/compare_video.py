"""`vfi-jax compare-video`: two videos in a page for a browser."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from vfi_jax.cli import common
from vfi_jax.cli.interpolate import add_field
from vfi_jax.errors import UsageError, UserError
from vfi_jax.video.options import Options

_FIELDS = ("start", "stop", "input_fps", "overwrite")  # of `Options`


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `compare-video` to the commands of the shell."""
    command = commands.add_parser("compare-video", help="show two videos in a page, with a slider and their difference")
    command.add_argument("first", type=common.local_path, metavar="A", help="a video, or a folder of pictures")
    command.add_argument("second", type=common.local_path, metavar="B", help="the same in another form")
    command.add_argument(
        "-o", "--output", type=common.local_path, metavar="FILE", help="the page, .html (A's and B's names, here)"
    )
    for entry in _fields():
        add_field(command, entry)
    common.add_json(command)
    command.set_defaults(run=run)


def _fields() -> list[dataclasses.Field]:
    return [entry for entry in dataclasses.fields(Options) if entry.name in _FIELDS]


def run(options: argparse.Namespace) -> None:
    """Writes the page.

    Raises:
      UsageError: the page's name is that of another kind of file.
      UserError: a video is missing or damaged, their shapes differ, or the page exists or cannot be written.
    """
    asked = Options(**{entry.name: getattr(options, entry.name) for entry in _fields()})
    page = options.output or Path(f"{options.first.stem}-{options.second.stem}.html")
    if page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page}: a page ends in .html")
    if page.exists() and not asked.overwrite:
        raise UserError(f"{page}: exists; choose another output, or replace it with --overwrite")
    from vfi_jax.video.comparison import page as pages
    from vfi_jax.video.comparison.pair import open_pair

    pair = open_pair(options.first, options.second, asked)
    with common.progress(None) as progress:
        comparison = pages.write(pair, page, progress)
    worst = comparison.worst
    line = (
        f"{page}: {len(comparison.psnr)} frames at {float(comparison.rate):g} per second; the two differ most at frame "
        f"{worst}, {comparison.psnr[worst]:.1f} dB"
    )
    common.finish(line, comparison.as_json(), options.json)
