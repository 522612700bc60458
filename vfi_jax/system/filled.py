"""Folders whose new files appear together, when all of them are complete."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vfi_jax.errors import UserError
from vfi_jax.system.files import partial_of, print_to_stderr
from vfi_jax.system.processes import is_running


@contextmanager
def filled_at_once(
    folder: Path, is_old: Callable[[Path], bool], *, log: Callable[[str], None] = print_to_stderr
) -> Iterator[Path]:
    """Context manager: gives a hidden folder to fill, whose files move to `folder` if the block succeeds.

    A folder that is not there appears whole, by one renaming. In one that is there, the old files are removed when the
    new ones are complete; others stay. What a killed process left is removed the next time.

    Args:
      folder: its parent exists. If it is a link, the folder it points to is filled.
      is_old: whether a file of `folder` is to be replaced by the new ones.
      log: prints a line about what is removed.

    Raises:
      UserError: the folder cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    partial = partial_of(folder)
    try:
        _remove_abandoned(folder, log)
        partial.mkdir()
        yield partial
        for file in partial.iterdir():
            _sync(file)
        if not folder.exists():
            partial.rename(folder)
        else:
            _replace(folder, partial, is_old)
        _sync(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(folder: Path, new: Path, is_old: Callable[[Path], bool]) -> None:
    """Moves files into a folder in place of its old ones."""
    names = {file.name for file in new.iterdir()}
    for file in list(folder.iterdir()):
        if file.name not in names and is_old(file):
            file.unlink()
    for name in sorted(names):
        os.replace(new / name, folder / name)


def _remove_abandoned(folder: Path, log: Callable[[str], None]) -> None:
    for other in folder.parent.glob(".*.part*"):
        number = re.search(r"\.(\d+)\.part[^.]*(\.[^.]*)?$", other.name)
        if number and other.is_dir() and other == partial_of(folder, int(number[1])) and not is_running(int(number[1])):
            shutil.rmtree(other, ignore_errors=True)
            log(f"warning: {other} was half-written when a process was killed; it is removed")


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # folders cannot be opened everywhere
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
