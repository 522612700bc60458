"""Files that appear under their name only when they are whole, and their hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vfi_jax.types import UserError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Gives a temporary name beside `path`; on leaving well it is flushed to the disk and renamed, else removed.

    The temporary name keeps the suffix, hidden and marked with the process: `.NAME.PID.part.SUFFIX`.

    Raises:
      UserError: the folder does not exist, `path` is a folder, or writing fails (disk full, no permission).
    """
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
