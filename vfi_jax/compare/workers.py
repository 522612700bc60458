"""Orders to another process and its answers, a line of JSON each; arrays go through files.

The process may run under another Python, without this package: this file needs the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 10.0  # seconds that a process gets to end by itself


class WorkerError(Exception):
    """What went wrong in the other process, in one line."""


class Worker:
    """A process that `serve`s, to be used in a `with` statement; or `close` it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts it.

        Args:
          name: for messages.
          command: what to run.
          environment: added to this process's.

        Raises:
          WorkerError: there is no such program.
        """
        self.name = name
        self.about: dict[str, Any] = {}  # what it said of itself when it was loaded
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed on leaving
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            self._stderr.close()
            raise WorkerError(f"{command[0]} cannot be run: {error.strerror}") from None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the process end, or ends it."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def ask(self, order: str, *, minutes: float | None = None, **arguments: Any) -> Any:
        """Has one handler of the process run, and waits for what it returns; after `minutes` the process is ended.

        Raises:
          WorkerError: it failed, took too long, or the process is gone.
        """
        if minutes is None:
            return self._asked(order, arguments)
        late = threading.Event()
        timer = threading.Timer(60 * minutes, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            return self._asked(order, arguments)
        except WorkerError:
            if late.is_set():
                raise WorkerError(f"{self.name} was ended after {minutes:g} minutes") from None
            raise
        finally:
            timer.cancel()

    def _asked(self, order: str, arguments: Mapping[str, Any]) -> Any:
        with contextlib.suppress(OSError):  # a process that is gone is told below
            self._process.stdin.write(json.dumps({"order": order, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the process with {self.name} ended ({self._end()})")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer["result"]

    def _end(self) -> str:
        status = self._process.wait()
        self._stderr.seek(0)
        said = [line.strip() for line in self._stderr if line.strip()]
        return f"exit status {status}" + (f": {said[-1]}" if said else "")


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answers orders until there are none; what handlers print goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"result": handlers[asked["order"]](**asked["arguments"])}
        except Exception as error:  # any failure of foreign code is told to the other side
            lines = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def limit_threads(count: int) -> None:
    """Keeps this process on `count` of its processors, where the system can; call it before anything computes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def peak_memory() -> int:
    """The most bytes of memory that this process has held.

    `ru_maxrss` would begin with what the process that started this one held.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # not everywhere

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
