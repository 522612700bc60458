"""Orders to another process and its answers, a line of JSON each; arrays go through files.

The process may run under another Python and without this package, so this file needs the standard library only.
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

GRACE_SECONDS = 10.0  # for a process to end by itself


class WorkerError(Exception):
    """A failure in the other process, in one line."""


class WorkerProcess:
    """A process that runs `serve`; a context manager that ends it."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts the process.

        Args:
          name: for messages.
          command: the program and its arguments.
          environment: variables added to those of this process.

        Raises:
          WorkerError: there is no such program.
        """
        self.name = name
        self.about: dict[str, Any] = {}  # the answer to its first order: versions and device
        self._stderr = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115, closed by `close`
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

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets the process end by itself, or kills it."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def ask(self, order: str, *, minutes: float | None = None, **arguments: Any) -> Any:
        """Runs a handler in the process and returns its result.

        Args:
          order: the handler's name.
          minutes: after which the process is killed; None: never.
          **arguments: of the handler, ready for JSON.

        Raises:
          WorkerError: the handler failed or took too long, or the process has ended.
        """
        if minutes is None:
            return self._answer(order, arguments)
        late = threading.Event()
        timer = threading.Timer(60 * minutes, lambda: (late.set(), self._process.kill()))
        timer.start()
        try:
            return self._answer(order, arguments)
        except WorkerError:
            if late.is_set():
                raise WorkerError(f"{self.name} was killed after {minutes:g} minutes") from None
            raise
        finally:
            timer.cancel()

    def _answer(self, order: str, arguments: Mapping[str, Any]) -> Any:
        with contextlib.suppress(OSError):  # a process that has ended is reported below
            self._process.stdin.write(json.dumps({"order": order, "arguments": arguments}) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"the process with {self.name} ended ({self._exit_status()})")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer["result"]

    def _exit_status(self) -> str:
        status = self._process.wait()
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr if line.strip()]
        return f"exit status {status}" + (f": {lines[-1]}" if lines else "")


def serve(handlers: Mapping[str, Callable[..., Any]]) -> None:
    """Answers orders from stdin until it ends; handlers print to stderr.

    Args:
      handlers: functions by the name of their order; arguments and results are JSON.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"result": handlers[request["order"]](**request["arguments"])}
        except Exception as error:  # whatever code of others raises
            lines = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def limit_threads(count: int) -> None:
    """Restricts this process to `count` processors, where the system can; call it before anything computes."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def peak_memory() -> int:
    """Peak memory of this process in bytes.

    `ru_maxrss` alone would include the peak of the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource  # missing on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
