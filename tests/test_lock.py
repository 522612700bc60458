"""One owner of an output folder at a time; the owners are real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from etils import epath
from tiny_runs import RUN, quiet

from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UserError
from vfi_jax.system import lock
from vfi_jax.training import fit

OWNER = """
import pathlib, sys, time
from vfi_jax.system import lock
with lock.held(pathlib.Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def owned(tmp_path_factory):
    """A folder, and another process that owns it."""
    folder = tmp_path_factory.mktemp("owned")
    process = subprocess.Popen([sys.executable, "-c", OWNER, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield folder, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_a_killed_one_is_not_waited_for(owned, tmp_path):
    folder, process = owned
    line = rf"owned0 is in use by another process \(host {socket.gethostname()}, process {process.pid}, since 20"
    with pytest.raises(UserError, match=line), lock.held(folder, quiet):
        pass
    with pytest.raises(UserError, match=line):
        fit.fit(RUN, folder, quiet)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    process.send_signal(signal.SIGKILL)  # nobody has waited for it: a zombie
    while lock._born(process.pid) != "Z":
        time.sleep(0.01)
    lines = []
    with lock.held(folder, lines.append) as ours:
        ours.check()
        assert json.loads((folder / ".lock").read_text())["pid"] == os.getpid()
        with pytest.raises(UserError, match=f"process {os.getpid()}, since"), lock.held(folder, quiet):
            pass
    assert len(lines) == 1
    assert f"process {process.pid}, since" in lines[0]
    assert lines[0].endswith("which has ended; it is taken over")
    assert not list(folder.iterdir())


def test_a_number_that_is_used_again_is_no_owner(tmp_path):
    me = lock.Owner("here", os.getpid(), "then", lock._machine(), "1", "a")
    (tmp_path / ".lock").write_text(json.dumps(vars(me)))
    lines = []
    with lock.held(tmp_path, lines.append):
        assert "was left behind by host here" in lines[0]


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The lock of a process on another machine."""
    monkeypatch.setattr(lock, "STALE", 0.3)
    monkeypatch.setattr(lock, "POLL", 0.02)
    path = tmp_path / ".lock"
    path.write_text(json.dumps(vars(lock.Owner("far", 7, "then", "another machine", "5", "a"))))
    return path


def test_an_owner_on_another_machine_is_watched(elsewhere):
    lines = []
    with lock.held(elsewhere.parent, lines.append):
        assert "waiting up to 0 s for a sign" in lines[0]
        assert "was left behind by host far, process 7, since then, which has ended" in lines[1]
    elsewhere.write_text(json.dumps(vars(lock.Owner("far", 7, "then", "another machine", "5", "a"))))
    beat = threading.Timer(0.1, lambda: os.utime(elsewhere))
    beat.start()
    with pytest.raises(UserError, match="host far, process 7, since then"), lock.held(elsewhere.parent, quiet):
        pass
    beat.join()
    os.utime(elsewhere, (1e9, 1e9))  # years ago
    begun = time.monotonic()
    with lock.held(elsewhere.parent, quiet):
        assert time.monotonic() - begun < 0.3


def test_of_two_that_find_a_dead_owner_one_wins(elsewhere):
    taken, refused, done = [], [], threading.Barrier(8)

    def take():
        try:
            with lock.held(elsewhere.parent, quiet):
                taken.append(1)
                done.wait()
        except UserError as error:
            refused.append(str(error))
            done.wait()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    assert [path.name for path in elsewhere.parent.iterdir()] == []


def test_a_suspended_owner_notices_that_it_was_replaced(tmp_path):
    with lock.held(tmp_path, quiet) as ours:
        (tmp_path / ".lock").write_text(json.dumps(vars(lock.Owner("far", 7, "then", "m", "5", "b"))))
        with pytest.raises(UserError, match=r"now belongs to another process \(host far, process 7"):
            ours.check()
    assert (tmp_path / ".lock").exists()  # the other's


def test_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with lock.held(tmp_path, quiet):
        os.utime(tmp_path / ".lock", (1e9, 1e9))
        time.sleep(0.3)
        assert time.time() - (tmp_path / ".lock").stat().st_mtime < 10


def test_an_object_store(tmp_path, monkeypatch):
    """`epath` over a local folder takes the way of object stores: written, and read again."""
    monkeypatch.setattr(lock, "SETTLE", 0.2)
    monkeypatch.setattr(lock, "BEAT", 0.05)
    there, outcomes, done = epath.Path(tmp_path), [], threading.Barrier(2)

    def take():
        try:
            with lock.held(there, quiet):
                outcomes.append("held")
                done.wait()
        except UserError as error:
            outcomes.append(str(error))
            done.wait()

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    held, refused = sorted(outcomes, key=len)
    assert held == "held"
    assert f"is in use by another process (host {socket.gethostname()}" in refused
    assert not list(tmp_path.iterdir())


def test_prepare_owns_its_output(tmp_path, capsys):
    output = tmp_path / "scenes.safetensors"
    (tmp_path / ".scenes.1.part.safetensors").write_bytes(b"half")
    arguments = ["prepare", "scenes", "-o", str(output), "--count", "1", "--size", "16"]
    with lock.held(output, quiet):
        assert [path.name for path in tmp_path.glob(".*.lock")] == [".scenes.safetensors.lock"]
        assert cli_main.main(arguments) == 1
    assert f"{output} is in use by another process (host" in capsys.readouterr().err
    assert cli_main.main(arguments) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["scenes.safetensors"]
    folder = tmp_path / "records"
    folder.mkdir()
    with lock.held(folder, quiet):
        assert cli_main.main(["prepare", "records", "synthetic:2", "-o", str(folder), "--frames", "3"]) == 1
    assert f"{folder} is in use by another process (host" in capsys.readouterr().err
