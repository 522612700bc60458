"""`vfi-jax demo`: a synthetic clip whose middle frames are known."""

from __future__ import annotations

import argparse
from pathlib import Path

from vfi_jax.cli import common


def add(commands: argparse._SubParsersAction) -> None:
    """Adds `demo` to the commands of the shell."""
    command = commands.add_parser("demo", help="interpolate a synthetic clip; write demo.mp4 and demo.png")
    command.add_argument("-o", "--output", type=common.local_path, default=Path(), metavar="DIR", help="folder (here)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Writes the clip and the picture, and prints the scores.

    Raises:
      UserError: the folder cannot be made or written.
    """
    from vfi_jax.inference import Interpolator
    from vfi_jax.video import demo

    common.make_folder(options.output)
    interpolator = Interpolator()
    with common.progress(None) as progress:
        scores = demo.run(interpolator, options.output, progress)
    print(f"wrote {options.output / 'demo.mp4'} (49 frames from 25) and {options.output / 'demo.png'}")
    print(
        f"{interpolator.model.variant}: {scores.ours:.2f} dB against the true middle frames, "
        f"averaging the neighbors: {scores.average:.2f} dB; {scores.seconds:.3f} s per frame at 448x256"
    )
