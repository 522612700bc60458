"""Files without a name until they are complete, of which nothing is left however the process ends."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vfi_jax.errors import UserError
from vfi_jax.system.files import partial_of, print_to_stderr, written_whole
from vfi_jax.system.processes import is_running


@contextmanager
def written_at_once(path: Path, *, replace: bool, log: Callable[[str], None] = print_to_stderr) -> Iterator[Path]:
    """Context manager: gives a file to write, which gets the name `path` if the block succeeds.

    Where the system has files without a name (Linux, on most file systems), a kill or a crash leaves nothing. Elsewhere
    the file is that of `written_whole`, and one that a killed process left is removed the next time.

    Args:
      path: in a folder that exists. If it is a link, the file it points to is written, and the link stays.
      replace: whether an existing file is replaced; otherwise it is an error, also if it appeared in the meantime.
      log: prints a line about a removed file.

    Raises:
      UserError: `path` exists, or cannot be written.
    """
    path = Path(os.path.realpath(path))
    with contextlib.ExitStack() as stack:
        if (unnamed := _open_unnamed(path, stack)) is None:
            _remove_partials(path, log)
            yield stack.enter_context(written_whole(path))
            return
        try:
            yield _address(unnamed)
            os.fsync(unnamed)
            _name(unnamed, path, replace)
        except FileExistsError:
            raise UserError(f"{path}: exists by now; choose another output") from None
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _address(handle: int) -> Path:
    return Path(f"/proc/self/fd/{handle}")


def _open_unnamed(path: Path, stack: contextlib.ExitStack) -> int | None:
    """Opens a file without a name in the folder of `path`; returns None if it could not be given one there."""
    try:
        for purpose in ("trial", "file"):
            handle = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            stack.callback(os.close, handle)
            if purpose == "trial":
                trial = partial_of(path)
                _link(handle, trial)
                trial.unlink()
    except (OSError, AttributeError, NotImplementedError):  # not Linux, no /proc, or not this file system
        return None
    return handle


def _link(handle: int, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:  # with a folder given, Python follows the link in /proc
        os.link(_address(handle), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _name(handle: int, path: Path, replace: bool) -> None:
    if not replace:
        _link(handle, path)
    else:
        partial = partial_of(path)
        try:
            _link(handle, partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _remove_partials(path: Path, log: Callable[[str], None]) -> None:
    """Removes the temporary files of `path` whose processes have ended, and logs each."""
    for other in path.parent.iterdir():
        number = re.search(r"\.(\d+)\.part[^.]*(\.[^.]*)?$", other.name)
        if number and other == partial_of(path, int(number[1])) and not is_running(int(number[1])):
            other.unlink(missing_ok=True)
            log(f"warning: {other} was half-written when a process was killed; it is removed")
