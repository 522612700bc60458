"""Files that appear under their name only when they are complete, and their hashes; locally and in object stores.

Local paths are `pathlib`'s. An address such as gs://BUCKET/FOLDER is a path of `epath`, which Orbax uses too.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

from vfi_jax.errors import UserError

AnyPath = PurePath  # common base of pathlib's and epath's paths


def path_of(text: str | os.PathLike[str]) -> AnyPath:
    """Parses a path or an address.

    Raises:
      UserError: the address cannot be reached with the installed packages.
    """
    if "://" not in str(text):
        return Path(text)
    from etils import epath  # not needed for local paths

    try:
        path = epath.Path(text)
        path.exists()
    except Exception as error:  # from the store's package, its network or its permissions
        missing = isinstance(error, ImportError | ValueError | NotImplementedError)
        advice = "; gs:// needs gcsfs: pip install 'vfi_jax[gcs]'" if missing else ""
        raise UserError(f"{text} cannot be reached: {str(error).splitlines()[0]}{advice}") from None
    return path


def is_remote(path: AnyPath) -> bool:
    """Returns whether a path lies in an object store."""
    return not isinstance(path, Path)


@contextmanager
def written_whole(path: AnyPath) -> Iterator[Path]:
    """Context manager: gives a temporary file beside `path`, which replaces `path` if the block succeeds.

    The temporary file is named by `partial_of`; it is flushed to the disk before it is renamed, and removed if
    the block fails. For an object store, where an object appears only when its upload is complete, the temporary file
    is on the local disk.

    Raises:
      UserError: the folder is missing, `path` is a folder, or writing fails (disk full, no permission).
    """
    if is_remote(path):
        with _uploaded(path) as partial:
            yield partial
        return
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it")
    partial = partial_of(path)
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


def partial_of(path: Path, process: int | None = None) -> Path:
    """Returns the temporary file of a process (None: of this one) that writes `path`, with a name that is short enough.

    It is `.NAME.PID.part.SUFFIX`; where that exceeds the file system's limit, a hash replaces the end of the name.
    """
    end = f".{os.getpid() if process is None else process}.part{path.suffix}"
    stem, most = os.fsencode(path.stem), _longest_name(path.parent) - len(os.fsencode(end)) - 1
    if len(stem) > most:
        mark = f"~{hashlib.sha256(stem).hexdigest()[:8]}"
        stem = os.fsencode(stem[: max(0, most - len(mark))].decode(errors="ignore") + mark)
    return path.with_name(f".{os.fsdecode(stem)}{end}")


def _longest_name(folder: Path) -> int:
    """Returns the bytes that a file's name may have."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (OSError, ValueError, AttributeError):
        return 255


def print_to_stderr(line: str) -> None:
    """Prints a line on standard error."""
    print(line, file=sys.stderr)


def remove_partials(folder: AnyPath, *patterns: str, log: Callable[[str], None] = print_to_stderr) -> None:
    """Removes the temporary files that a killed `written_whole` left, and logs each; the caller owns the folder.

    Args:
      folder: where they are; nothing is left behind in an object store.
      patterns: names of the files that were to be written, as `fnmatch` takes them.
      log: prints a line.
    """
    if is_remote(folder):
        return
    for path in sorted(folder.glob(".*.part*")):
        parts = re.fullmatch(r"\.(.+)\.\d+\.part(\.[^.]*)?", path.name)
        if parts and any(fnmatch.fnmatch(parts[1] + (parts[2] or ""), pattern) for pattern in patterns):
            path.unlink(missing_ok=True)
            log(f"warning: {path} was half-written when a process was killed; it is removed")


def _sync(path: Path) -> None:
    """Flushes a file or folder to the disk."""
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
    """Copies a file into an object store, in one piece.

    Raises:
      UserError: the upload failed.
    """
    try:
        target.write_bytes(source.read_bytes())
    except Exception as error:  # the store's package may raise anything
        raise UserError(f"{target} cannot be written: {str(error).splitlines()[0]}") from None


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """Context manager: gives the path itself, or a temporary local copy of a remote file."""
    if not is_remote(path):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes())
        yield copy


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
