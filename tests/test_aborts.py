"""Lack of memory: native code that aborts under a limit is one line and exit status 1; all else is as without one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from vfi_jax import errors
from vfi_jax.system import aborts

pytestmark = pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="needs Linux")
CODE = """
import os, resource, signal, sys, time
from vfi_jax.system import aborts
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
aborts.catch("x")
"""


def start(code, **options):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", CODE + code], **pipes, **options)


def outcome(code):
    with start(code) as process:
        return *process.communicate(), process.returncode


@pytest.mark.parametrize("end", ["SIGABRT", "SIGSEGV"])
def test_native_code_without_memory(end):
    assert outcome(f"print(1, flush=True); os.kill(os.getpid(), signal.{end})") == (
        "1\n",
        f"x: not enough memory, as native code ended by {end} while `ulimit -v` allows 3.22 GB: use smaller frames or "
        "batches, or raise the limit\n",
        1,
    )


def test_cpp_exceptions_are_silent():
    """The parent's line is the only one."""
    _, line, code = outcome("import ctypes; ctypes.CDLL('libstdc++.so.6')['_ZSt9terminatev']()")
    assert (line.count("\n"), code) == (1, 1)


@pytest.mark.parametrize("code", [0, 2, 70, 130])
def test_other_ends_stay_as_they_are(code):
    assert outcome(f"sys.exit({code})") == ("", "", code)


def test_killed_by_a_signal():
    assert outcome("os.kill(os.getpid(), signal.SIGKILL)") == ("", "", -signal.SIGKILL)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_signals_are_forwarded(name):
    code = f"signal.signal(signal.{name}, lambda *_: sys.exit(7)); print(os.getppid(), flush=True); time.sleep(60)"
    with start(code) as process:
        assert int(process.stdout.readline()) == process.pid
        process.send_signal(getattr(signal, name))
        assert process.wait(10) == 7


def test_the_child_ends_with_its_parent():
    with start("print(os.getpid(), flush=True); time.sleep(60)") as process:
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        end = time.monotonic() + 10
        while _runs(child):
            assert time.monotonic() < end
            time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_nothing_happens_without_a_limit(monkeypatch):
    monkeypatch.setattr(aborts, "limits", lambda: "")
    before = os.getpid()
    aborts.catch("x")
    assert os.getpid() == before


def test_python_without_memory(capsys):
    for error, reason in (
        (MemoryError(), "not enough memory"),
        (MemoryError("23 MiB"), "not enough memory (23 MiB)"),
        (RuntimeError("can't start new thread"), "not enough memory (can't start new thread)"),
    ):
        assert errors.report("x", error) == 1
        assert capsys.readouterr().err == f"x: {reason}: use smaller frames or batches\n"
