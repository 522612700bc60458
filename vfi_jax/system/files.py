"""Files that appear under their name only when they are whole, and their hashes; here and in object stores.

A path is `pathlib`'s, or, where it is an address such as gs://BUCKET/FOLDER, `epath`'s, which Orbax works with too.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from vfi_jax.errors import UserError

AnyPath = PurePath  # what pathlib's and epath's paths have in common


def path_of(text: str | os.PathLike[str]) -> AnyPath:
    """The path that a text names; nothing is looked up.

    Raises:
      UserError: an address that the installed packages cannot reach.
    """
    if "://" not in str(text):
        return Path(text)
    from etils import epath  # local work does without

    try:
        path = epath.Path(text)
        path.exists()
    except Exception as error:  # of the store's own package, of its network, of its permissions
        missing = isinstance(error, ImportError | ValueError | NotImplementedError)
        advice = "; gs:// needs gcsfs: pip install 'vfi_jax[gcs]'" if missing else ""
        raise UserError(f"{text} cannot be reached: {str(error).splitlines()[0]}{advice}") from None
    return path


def is_remote(path: AnyPath) -> bool:
    """Whether a path is in an object store."""
    return not isinstance(path, Path)


@contextmanager
def written_whole(path: AnyPath) -> Iterator[Path]:
    """Gives a temporary name beside `path`; on leaving well it is flushed to the disk and renamed, else removed.

    The temporary name keeps the suffix, hidden and marked with the process: `.NAME.PID.part.SUFFIX`. An object store
    has no renaming, and needs none: an object is there when its upload is complete, and not before. The temporary file
    is on the local disk then.

    Raises:
      UserError: the folder does not exist, `path` is a folder, or writing fails (disk full, no permission).
    """
    if is_remote(path):
        with _uploaded(path) as partial:
            yield partial
        return
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        if os.name == "posix":
            _sync(path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Has the disk itself hold what was written."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _uploaded(path: AnyPath) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / path.name
        yield partial
        upload(partial, path)


def upload(source: Path, target: AnyPath) -> None:
    """Puts a file into an object store, in one piece.

    Raises:
      UserError: that failed.
    """
    try:
        target.write_bytes(source.read_bytes())
    except Exception as error:  # whatever the store's own package raises
        raise UserError(f"{target} cannot be written: {str(error).splitlines()[0]}") from None


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """The path itself, or a copy on the local disk of what is elsewhere."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
