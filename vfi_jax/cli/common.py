"""The parser, types of arguments, options of models and weights, and the progress bar, for several commands."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from vfi_jax.errors import UserError, usage

MODEL, FAST = "rife_lap", "rife_lap_s"  # as in `weights.table`, which takes long to import
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, which names the command whose help to read."""

    def error(self, message: str) -> NoReturn:
        """Exits with status 2 and one line, where argparse prints the usage too."""
        self.exit(2, f"{self.prog}: {usage(self.prog, message)}\n")

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses; an unknown option is an error of the command that was given it, with the option it resembles."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [text for action in self._actions for text in action.option_strings if text.startswith("--")]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_suggestion(unknown[0].partition('=')[0], known)}")
        return options, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Checks a choice; the error suggests the one that was meant."""
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            meant = _suggestion(str(value), choices)
            raise argparse.ArgumentError(action, f"invalid choice: {value!r}{meant} (choose from {', '.join(choices)})")


def _suggestion(text: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(text, known, 1)
    return f"; did you mean {close[0]}?" if close else ""


def local_path(text: str) -> Path:
    """The type of an argument that names a local file or folder."""
    return Path(local(text))


def local(text: str) -> str:
    """Checks that an argument names something on this machine, and not an address."""
    if ADDRESS.match(text) and not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} is an address, which is not read: download it first")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no path")
    return text


def weights_path(text: str) -> Path | str:
    """The type of an argument that names weights: a local file or folder, or a run in a bucket, `gs://BUCKET/RUN`."""
    return text if text.startswith("gs://") else local_path(text)


def run_address(text: str) -> str:
    """The type of an argument that names a run's folder, local or in a bucket."""
    return text if text.startswith("gs://") else local(text)


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of an argument that takes whole numbers between two bounds, both allowed."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}: must lie between {least} and {most}")
        return value

    number.__name__ = "int"  # argparse names it where the text is no number
    return number


def positive(text: str) -> float:
    """The type of an argument that takes finite numbers above 0."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number above 0")
    return value


positive.__name__ = "float"


def indices(text: str) -> tuple[int, ...]:
    """The type of an argument that takes whole numbers from 0 up, separated by commas."""
    parts = text.split(",") if text else []
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in parts):
        raise argparse.ArgumentTypeError(f"{text}: whole numbers are needed, such as 0,2")
    return tuple(map(int, parts))


def make_folder(folder: Path) -> None:
    """Makes the folder that `-o` names, with those above it.

    Raises:
      UserError: it cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror or error}") from None


def add_model(command: argparse._ActionsContainer, default: str = "") -> None:
    """Adds `--model`, which is required where there is no default."""
    shown = f"a model in `vfi-jax models`, or package.module:NAME{f' ({default})' if default else ''}"
    command.add_argument("--model", required=not default, default=default or None, metavar="NAME", help=shown)


def add_weights(command: argparse.ArgumentParser) -> None:
    """Adds `--weights`."""
    shown = "the model's weights: a file, or a run's folder (those shipped or installed)"
    command.add_argument("--weights", type=weights_path, metavar="FILE", help=shown)


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


def add_json(command: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    shown = "write the outcome for programs: a file, or - for stdout, which then holds nothing else"
    command.add_argument("--json", metavar="FILE", help=shown)


def finish(
    text: str, outcome: Mapping[str, Any] | Sequence[Any], json: str | None, *, takes_stdout: bool = True
) -> None:
    """Prints the outcome of a command, as text or, if `--json -` was given, as JSON on stdout.

    Args:
      text: for people.
      outcome: for programs.
      json: the file of `--json`, `-` for stdout, or None.
      takes_stdout: whether the text goes there; otherwise, to stderr.

    Raises:
      UserError: the file cannot be written.
    """
    from vfi_jax.system import strict_json

    if json == "-":
        print(strict_json.dumps(outcome, indent=2))
        return
    print(text, file=sys.stdout if takes_stdout else sys.stderr)
    if json is not None:
        try:
            Path(json).write_text(strict_json.dumps(outcome, indent=2) + "\n")
        except OSError as error:
            raise UserError(f"{json}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def progress(total: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """Shows a bar with rate, time left and memory, and gives a function that takes frames written and their total.

    Compiling counts neither in the rate nor in the time left. The total is None where it is not known.
    """
    from vfi_jax.system import machine
    from vfi_jax.system.compiling import Stopwatch
    from vfi_jax.system.progress import bar

    def memory() -> str:
        return ", ".join(f"{kind[:-3]} {size:.1f} GB" for kind, size in machine.peak_memory().items())

    with (
        Stopwatch() as compiling,
        bar(total=total, unit="frame", aside=lambda: compiling.seconds, text=memory) as shown,
    ):

        def update(done: int, total: int | None) -> None:
            shown.total = total if total is None else max(done, total)
            shown.update(done - shown.n)

        yield update
