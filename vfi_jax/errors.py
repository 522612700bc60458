"""Exceptions that a user sees as one line, and the exit status that belongs to each."""

from __future__ import annotations

import sys


class UserError(ValueError):
    """A fault that the user can mend: the message is one line that names the thing and what to do. Exit status 1."""


class UsageError(UserError):
    """A wrong argument, recognized from the arguments alone. Exit status 2."""


class DamagedError(UserError):
    """A picture or a record that cannot be read. Training replaces it, up to a maximum fraction of the samples."""


EXPECTED = (UserError, OSError, MemoryError, KeyboardInterrupt)  # a program reports these without a traceback
INTERRUPTED = 130


def exit_code(error: BaseException) -> int:
    """Returns the exit status of a program that ends with an error: 130 interrupted, 2 wrong usage, 1 anything else."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    return 2 if isinstance(error, UsageError) else 1


def report(program: str, error: BaseException, *, interrupted: str = "") -> int:
    """Prints `program: message` on stderr and returns the exit status.

    Args:
      program: name of the program, perhaps with the number of its process.
      error: one of `EXPECTED`.
      interrupted: added to the message of a `KeyboardInterrupt`, which has none of its own.
    """
    message = f"interrupted{interrupted}" if isinstance(error, KeyboardInterrupt) else str(error)
    print(f"{program}: {message or type(error).__name__}", file=sys.stderr)
    return exit_code(error)
