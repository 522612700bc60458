"""Locks: an output folder or file has one owner at a time, known by host, process and heartbeat.

`held` creates `.lock` in the folder (`.NAME.lock` beside a file) and removes it at the end. While it is held, a thread
gives a sign of life every `BEAT` seconds. A second process is refused. The lock of a killed process does not last:

* on the same machine it is taken over at once, as the process is gone (the number, the start and the state of a process
  are compared, so that a number that is used again, or a zombie, does not count);
* on another machine it is taken over when no sign of life was seen for `STALE` seconds, which the second process waits
  for, or at once when the last sign is older than `ABANDONED` seconds by the clock.

In a folder the lock is created exclusively (O_EXCL). In an object store it is written, and read again after `SETTLE`
seconds: of several writers the last one owns it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from vfi_jax.errors import UserError
from vfi_jax.system import distributed, strict_json
from vfi_jax.system.files import AnyPath, is_remote, print_to_stderr

LOCK = ".lock"
BEAT = 10.0  # seconds between signs of life
STALE = 60.0  # seconds without one, after which an owner on another machine counts as dead
ABANDONED = 3600.0  # seconds by the clock; machines whose clocks differ by less agree on it
SETTLE = 2.0  # seconds in which writers of one object have finished
POLL = 0.5  # seconds between looks at the lock of an owner on another machine
ATTEMPTS = 8  # a lock may be released and taken again between two looks


@dataclasses.dataclass(frozen=True)
class Owner:
    """Content of a lock: its owner.

    Attributes:
      host: name of the machine.
      pid: number of the process.
      since: when the lock was taken, UTC.
      machine: identifies the booted machine and its space of process numbers.
      born: when the process started, as its machine counts; "": unknown.
      token: of this lock alone.
    """

    host: str = "an unknown host"
    pid: int = 0
    since: str = "an unknown time"
    machine: str = ""
    born: str = ""
    token: str = ""

    def __str__(self) -> str:
        return f"host {self.host}, process {self.pid}, since {self.since}"

    def is_gone(self) -> bool | None:
        """Returns whether the process has ended; None where that cannot be looked up from here."""
        if self.machine != _machine() or os.name != "posix" or self.pid <= 0:
            return None
        try:
            os.kill(self.pid, 0)  # sends nothing
        except ProcessLookupError:
            return True
        except OSError:  # a process of another user
            pass
        born = _born(self.pid)
        return bool(born and self.born and born != self.born)


class Lock:
    """A lock that this process holds."""

    def __init__(self, path: AnyPath, log: Callable[[str], None]) -> None:
        """Takes the lock.

        Raises:
          UserError: another process holds it, or it cannot be written.
        """
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        pid = os.getpid()
        self._path, self._lost = path, False
        self._owner = Owner(socket.gethostname(), pid, now, _machine(), _born(pid), uuid.uuid4().hex)
        try:
            self._acquire(log)
        except UserError:
            raise
        except Exception as error:  # packages of object stores have exceptions of their own
            why = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise UserError(f"{path} cannot be written: {why}") from None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Makes sure that this process still owns the lock, which it loses if it was suspended for too long.

        Raises:
          UserError: it does not.
        """
        owner, _ = self._read()
        if self._lost or owner.token not in ("", self._owner.token):
            self._lost = True
            raise UserError(f"{_target(self._path)} now belongs to another process ({owner}): this one stops")

    def release(self) -> None:
        """Gives the lock back."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(Exception):
            if self._read()[0].token == self._owner.token:
                self._path.unlink()

    def _acquire(self, log: Callable[[str], None]) -> None:
        owner = Owner()
        for _ in range(ATTEMPTS):
            if self._create():
                return
            owner, sign = self._read()
            if sign is None:
                continue
            gone = owner.is_gone()
            if gone is None:
                gone = time.time() - sign > ABANDONED or self._is_silent(owner, sign, log)
            if not gone:
                break
            log(f"warning: {self._path} was left behind by {owner}, which has ended; it is taken over")
            self._remove(owner)
        owner = self._read()[0] if not owner.pid else owner
        raise UserError(
            f"{_target(self._path)} is in use by another process ({owner}): wait until it ends, or choose another place"
        )

    def _create(self) -> bool:
        """Writes the lock unless there is one; returns whether it is ours."""
        if is_remote(self._path):
            if self._path.exists():
                return False
            self._write_remote()
            time.sleep(SETTLE)
            return self._read()[0].token == self._owner.token
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return False
        try:
            with os.fdopen(handle, "w") as file:
                file.write(strict_json.dumps(dataclasses.asdict(self._owner)))
        except OSError:
            os.unlink(self._path)
            raise
        return True

    def _write_remote(self) -> None:
        self._path.write_text(strict_json.dumps({**dataclasses.asdict(self._owner), "beat": time.time()}))

    def _read(self) -> tuple[Owner, float | None]:
        """Returns the owner and its newest sign of life, seconds by its clock; None where there is no lock."""
        try:
            sign = None if is_remote(self._path) else os.stat(self._path).st_mtime
            text = self._path.read_text()
        except OSError:
            return Owner(), None
        try:
            values = json.loads(text)
            sign = float(values.pop("beat")) if sign is None else sign
            return Owner(**values), sign
        except (ValueError, TypeError, KeyError, AttributeError):  # being written, or damaged
            return Owner(), sign or 0.0

    def _is_silent(self, owner: Owner, sign: float, log: Callable[[str], None]) -> bool:
        """Watches the lock of a process on another machine; returns whether it gives no sign of life."""
        log(f"{_target(self._path)} has an owner on another machine ({owner}): waiting up to {STALE:.0f} s for a sign")
        begun = time.monotonic()
        while time.monotonic() - begun < STALE:
            time.sleep(min(POLL, STALE))
            if self._read() != (owner, sign):
                return False
        return True

    def _remove(self, owner: Owner) -> None:
        """Removes the lock of a dead owner, unless another process was faster and has its own there."""
        if is_remote(self._path):
            if self._read()[0] == owner:
                self._path.unlink(missing_ok=True)
            return
        aside = Path(f"{self._path}.{self._owner.token}")
        try:
            os.rename(self._path, aside)
        except FileNotFoundError:
            return
        try:
            if _parse_token(aside) != owner.token:
                with contextlib.suppress(FileExistsError):
                    os.link(aside, self._path)
        finally:
            aside.unlink()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            with contextlib.suppress(Exception):  # a network that fails for a while
                owner, sign = self._read()
                if owner.token not in ("", self._owner.token):
                    self._lost = True
                    return
                if sign is None:  # removed by hand
                    continue
                if is_remote(self._path):
                    self._write_remote()
                else:
                    os.utime(self._path)


@contextlib.contextmanager
def held(path: AnyPath, log: Callable[[str], None] = print_to_stderr) -> Iterator[Lock | None]:
    """Context manager: holds the lock of an output folder or file; every process of a run calls it, the main one locks.

    Args:
      path: an existing folder, or a file that may not exist yet in one; in an object store always a folder.
      log: prints a line, about the lock of a killed process or about waiting for a sign of life.

    Yields:
      The lock in the main process, None in the others.

    Raises:
      UserError: another process holds it (the message names host, process and time), or it cannot be written.
    """
    lock, problem = None, None
    alone = not jax.distributed.is_initialized()  # otherwise asking which process this is would start the devices
    if alone or distributed.is_main():
        try:
            is_folder = is_remote(path) or path.is_dir()
            lock = Lock(path / LOCK if is_folder else path.with_name(f".{path.name}{LOCK}"), log)
        except UserError as error:
            problem = error
    agreed = alone or distributed.all_agree(problem is None)
    if problem or not agreed:
        if lock:
            lock.release()
        raise problem or UserError(f"{path} could not be locked by the main process")
    try:
        yield lock
    finally:
        if lock:
            lock.release()


def _target(path: AnyPath) -> AnyPath:
    """Returns what a lock is for."""
    return path.parent if path.name == LOCK else path.with_name(path.name[1 : -len(LOCK)])


def _parse_token(path: Path) -> Any:
    try:
        return json.loads(path.read_text()).get("token", "")
    except (OSError, ValueError, AttributeError):
        return ""


def _machine() -> str:
    """Identifies the machine since it was booted, and the container, as process numbers are counted per container."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str:
    """Returns when a process started, in ticks since the machine was booted; "" unknown, "Z" for one that has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "Z" if fields[0] in "ZX" else fields[19]
