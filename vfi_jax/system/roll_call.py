"""The roll call of a run's processes before JAX connects them, so that those which are missing can be named.

JAX itself waits for minutes and then aborts the process. The first process listens at the coordinator's address, which
JAX uses only later; each of the others connects, says its number and how many there are, and waits for the answer: a
line that is empty if all are there, else what is wrong.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterable

from vfi_jax.errors import UserError

PAUSE = 0.2  # seconds between attempts to reach the first process
LONGEST = 4096  # bytes of a line


def check(coordinator: str, processes: int, process: int, seconds: float) -> None:
    """Returns once all processes of a run are there; every process has to call it.

    Args:
      coordinator: address of the first process, `HOST:PORT`.
      processes: their number.
      process: index of this process, from 0.
      seconds: to wait for the others.

    Raises:
      UserError: some are missing, the first cannot be reached, or they disagree on their number.
    """
    host, _, port = coordinator.rpartition(":")
    if not port.isdecimal():
        raise UserError(f"{coordinator}: the first process's address is HOST:PORT")
    deadline = time.monotonic() + seconds
    if process:
        problem = _answer(host.strip("[]"), int(port), f"{process} {processes}", deadline, seconds)
    else:
        with contextlib.ExitStack() as stack:
            present: dict[int, socket.socket] = {}
            problem = _gathered(stack, coordinator, int(port), processes, present, deadline)
            problem = problem or _missing(set(range(1, processes)) - present.keys(), processes, seconds)
            _dismiss(present.values(), problem)
    if problem:
        raise UserError(problem)


def _missing(absent: set[int], processes: int, seconds: float) -> str:
    if not absent:
        return ""
    numbers = ", ".join(f"number {number}" for number in sorted(absent))
    return (
        f"{len(absent)} of {processes} processes did not start within {seconds:g} s ({numbers}): "
        "start the same command on every host, or remove what names other hosts (flags, the cluster's variables)"
    )


def _gathered(
    stack: contextlib.ExitStack,
    coordinator: str,
    port: int,
    processes: int,
    present: dict[int, socket.socket],
    deadline: float,
) -> str:
    """Fills in who is there until all are or time is up; returns what is wrong beside that."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = stack.enter_context(socket.create_server(("", port), family=family, dualstack_ipv6=both))
    except OSError as error:
        raise UserError(
            f"{coordinator} cannot be listened at ({error.strerror or error}): is another run there?"
        ) from None
    while len(present) < processes - 1 and (left := deadline - time.monotonic()) > 0:
        server.settimeout(left)
        with contextlib.suppress(TimeoutError):
            connection = stack.enter_context(server.accept()[0])
            number, count = _introduction(connection)
            if number is not None and count != processes:
                present[number] = connection
                return f"process {number} was started as one of {count}, process 0 as one of {processes}"
            if number is not None and 0 < number < processes:
                present[number] = connection
    return ""


def _introduction(connection: socket.socket) -> tuple[int | None, int]:
    connection.settimeout(PAUSE * 10)
    words = _line(connection).split()
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None, 0  # somebody else's connection
    return int(words[0]), int(words[1])


def _dismiss(present: Iterable[socket.socket], problem: str) -> None:
    """Answers all; they hang up first, so that the port is free for JAX at once."""
    connections = list(present)
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(f"{problem}\n".encode())
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.recv(1)


def _answer(host: str, port: int, introduction: str, deadline: float, seconds: float) -> str:
    """The reply of the first process; the connection waits for the others there, and a little longer than it does."""
    reached = False
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=left) as connection:
            reached = True
            connection.sendall(f"{introduction}\n".encode())
            connection.settimeout(seconds + PAUSE * 50)
            if (line := _line(connection)).endswith("\n"):
                return line.strip()
        time.sleep(PAUSE)
    state = "ended" if reached else "could not be reached"
    return (
        f"process 0 at {host}:{port} {state} within {seconds:g} s: start the same command there, or correct the address"
    )


def _line(connection: socket.socket) -> str:
    """A line, or what came before the connection ended or time was up."""
    text = b""
    with contextlib.suppress(OSError):
        while not text.endswith(b"\n") and len(text) < LONGEST and (part := connection.recv(1)):
            text += part
    return text.decode(errors="replace")
