"""Options of models and weights, and the progress bar, for several commands."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm


def add_model(command: argparse._ActionsContainer, default: str = "") -> None:
    """Adds `--model`, which is required where there is no default."""
    shown = f"a model in `vfi-jax models`, or package.module:NAME{f' ({default})' if default else ''}"
    command.add_argument("--model", required=not default, default=default or None, metavar="NAME", help=shown)


def add_weights(command: argparse.ArgumentParser) -> None:
    """Adds `--weights`."""
    shown = "the model's weights: a file, or a run's folder (those shipped or installed)"
    command.add_argument("--weights", type=Path, metavar="FILE", help=shown)


def add_frozen(command: argparse.ArgumentParser) -> None:
    """Adds `--frozen`."""
    command.add_argument(
        "--frozen",
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="weights of a frozen flow network, such as raft=raft-things.pth (those in the model's file, or installed)",
    )


def add_step(command: argparse.ArgumentParser) -> None:
    """Adds `--step`."""
    shown = "step of a run: a number, `newest`, or `best` by validation, the newest where none was validated (best)"
    command.add_argument("--step", metavar="N", help=shown)


@contextlib.contextmanager
def progress(total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar with the time left, and gives a function that takes frames written and their total, if known."""
    with tqdm(total=total, unit="frame", dynamic_ncols=True) as bar:

        def update(done: int, total: int | None) -> None:
            bar.total = total if total is None else max(done, total)
            bar.update(done - bar.n)

        yield update
