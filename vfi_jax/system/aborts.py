"""Lack of memory in native code, which ends a process by a signal: one line and exit status 1 instead.

Where a process may use as much as there is, Linux lets every allocation succeed. Under a limit (`ulimit -v`), or where
the system commits no more than it has, allocations fail, and native libraries abort or use what they did not get. Then
a program runs in a child process, and its parent reports how that ended.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

FAILED = 1  # as in `errors`, which takes longer to import
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
NATIVE = ("SIGABRT", "SIGSEGV", "SIGBUS")  # how native code ends that has no memory
BY_PROCESS = 0  # `si_code` of a signal that a process sent; the terminal's go to parent and child alike
SET_PARENT_DEATH_SIGNAL = 1  # of prctl
SET_TERMINATE = "_ZSt13set_terminatePFvvE"  # std::set_terminate


def catch(program: str) -> None:
    """Continues in a child process where the memory is limited; the parent never returns.

    To be called once, at the beginning of the main module of a program, before anything has started a thread.
    """
    limit = limits()
    if not limit or not hasattr(signal, "sigwaitinfo"):
        return
    signals = {*(getattr(signal, name) for name in FORWARDED), signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    parent, child = os.getpid(), os.fork()
    if child:
        _end_like(program, _wait(child, signals), limit)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _end_quietly(parent)


def limits() -> str:
    """Returns what limits the memory of this process so that allocations fail, in words; "" where nothing does."""
    with contextlib.suppress(ImportError, AttributeError):  # Windows
        import resource

        for kind, option in ((resource.RLIMIT_AS, "-v"), (resource.RLIMIT_DATA, "-d")):
            if (most := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
                return f"`ulimit {option}` allows {most / 1e9:.2f} GB"
    with contextlib.suppress(OSError):
        if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
            return "the system commits no more memory than it has"
    return ""


def _end_quietly(parent: int) -> None:
    """Makes this process end with its parent, and C++ end without a word about what its parent reports."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(FAILED)
        ctypes.CDLL("libstdc++.so.6")[SET_TERMINATE](ctypes.cast(libc.abort, ctypes.c_void_p))


def _wait(child: int, signals: set[signal.Signals]) -> int:
    """Waits for the child, forwards what other processes send, and returns how the child ended."""
    while True:
        received = signal.sigwaitinfo(signals)
        if received.si_signo != signal.SIGCHLD:
            if received.si_code == BY_PROCESS:
                os.kill(child, received.si_signo)
            continue
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status


def _end_like(program: str, status: int, limit: str) -> None:
    """Ends as the child did, or reports that native code had no memory."""
    if not os.WIFSIGNALED(status):
        os._exit(os.waitstatus_to_exitcode(status))
    number = signal.Signals(os.WTERMSIG(status))
    if number.name in NATIVE:
        line = (
            f"{program}: not enough memory, as native code ended by {number.name} while {limit}: use smaller frames or "
            "batches, or raise the limit\n"
        )
        os.write(2, line.encode())
        os._exit(FAILED)
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # of a signal that ends nothing
