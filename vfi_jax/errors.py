"""Exceptions that a user sees as one line, the exit status that belongs to each, and the last resort for all others."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path


class UserError(ValueError):
    """A fault that the user can mend: the message is one line that names the thing and what to do. Exit status 1."""


class UsageError(UserError):
    """A wrong argument, recognized from the arguments alone. Exit status 2."""


class DamagedError(UserError):
    """A picture or window that cannot be read, or is unfit. Training replaces it, up to a fraction of the samples."""


class IncompleteError(UserError):
    """A source that is damaged or cut short: what could be read is done and written. Exit status 3."""


class NotFiniteError(UserError):
    """A prediction that holds NaN or infinity, of which no picture is made."""


EXPECTED = (UserError, OSError, MemoryError, KeyboardInterrupt)  # a program reports these without a traceback
ANY = (Exception, KeyboardInterrupt)  # what a program reports at its top: all but SystemExit
INTERRUPTED = 130
INCOMPLETE = 3
INTERNAL = 70  # EX_SOFTWARE of sysexits.h
LONGEST = 300  # characters of a message in a line


def usage(program: str, message: str) -> str:
    """Returns the message of arguments that cannot be parsed in one line, which names the help to read."""
    line = " ".join(message.split())
    return f"{line if len(line) <= LONGEST else line[: LONGEST - 3] + '...'} (see {program} --help)"


def one_line(error: BaseException) -> str:
    """Returns the message of an error in one line; errors that are not ours are named by their type as well."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}" if text else type(error).__name__


def exit_code(error: BaseException) -> int:
    """Returns the exit status of a program that ends with an error.

    130 interrupted, 2 wrong usage, 3 a damaged source of which all that can be read is done, 70 an error that nobody
    expected, 1 anything else.
    """
    if _is_interrupt(error):
        return INTERRUPTED
    error = _translated(error)
    if not isinstance(error, EXPECTED):
        return INTERNAL
    if isinstance(error, IncompleteError):
        return INCOMPLETE
    return 2 if isinstance(error, UsageError) else 1


def report(program: str, error: BaseException, *, interrupted: str = "") -> int:
    """Prints `program: message` on stderr, in one line, and returns the exit status.

    The traceback of an error that is not `EXPECTED` goes to a file, which the line names.

    Args:
      program: name of the program, perhaps with the number of its process.
      error: any exception.
      interrupted: added to the message of a `KeyboardInterrupt`, which has none of its own.
    """
    code = exit_code(error)
    if isinstance(error, BrokenPipeError):  # the reader of the output has left: there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    if code == INTERRUPTED:
        message = f"interrupted{interrupted}"
    elif code == INTERNAL:
        message = f"internal error, {_summary(error)}; {_keep_traceback(error)}"
    else:
        shown = _translated(error)
        message = " ".join(str(shown).splitlines()) or type(shown).__name__
    line = f"{program}: {message}".encode(errors="backslashreplace").decode()  # names of files may hold any bytes
    print(line, file=sys.stderr)
    return code


def _translated(error: BaseException) -> BaseException:
    """The error that a user understands, for those that JAX raises about devices and memory."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't start new thread" in text):
        return UserError(f"not enough memory{f' ({text[:LONGEST]})' if text else ''}: use smaller frames or batches")
    if isinstance(error, EXPECTED):
        return error
    if _is_raised_in(error, "xla_bridge.py"):
        wanted = os.environ.get("JAX_PLATFORMS", "")
        asked = f"no device for JAX_PLATFORMS={wanted}" if wanted else "JAX cannot use its devices"
        reason = f" ({text.splitlines()[0][:LONGEST]})" if text else ""
        return UserError(f"{asked}{reason}; JAX_PLATFORMS=cpu computes on the CPU")
    if "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return UserError(f"not enough memory ({text.splitlines()[0][:LONGEST]}): use smaller frames or batches")
    return error


def _is_raised_in(error: BaseException, file: str) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and Path(frames[-1].f_code.co_filename).name == file


def _is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is the cause; an extension that is being imported may raise another error for it."""
    return any(isinstance(one, KeyboardInterrupt) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _summary(error: BaseException) -> str:
    message = " ".join(str(error).split())[:LONGEST]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _keep_traceback(error: BaseException) -> str:
    """Writes the traceback to a file; returns where it is, in words."""
    text = f"{shlex.join(sys.argv)}\nPython {sys.version}\n\n{''.join(traceback.format_exception(error))}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="vfi_jax_", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            file.write(text)
    except OSError as problem:
        return f"its traceback cannot be written ({problem.strerror or problem})"
    return f"please report it with its traceback, {file.name}"
