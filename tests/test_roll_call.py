"""The roll call: processes that are missing are named, within the stated time, by all that are there."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from vfi_jax.errors import UserError
from vfi_jax.system import distributed, roll_call

WAIT = 1.0


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def called(address, started, wait=WAIT):
    """Messages of the processes by number, "" where all are there; `started` maps a number to how many it counts."""
    messages = {}

    def one(number, count):
        try:
            roll_call.check(address, count, number, wait)
            messages[number] = ""
        except UserError as error:
            messages[number] = str(error)

    threads = [threading.Thread(target=one, args=item) for item in started.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return messages


def test_all_are_there(address):
    """And the address is free at once, for JAX."""
    assert called(address, {2: 3, 1: 3, 0: 3}, wait=20) == {0: "", 1: "", 2: ""}
    host, _, port = address.partition(":")
    with socket.socket() as server:
        server.bind((host, int(port)))


def test_missing_ones_are_named_by_all(address):
    begun = time.monotonic()
    messages = called(address, {0: 4, 2: 4})
    assert time.monotonic() - begun < 5
    assert messages[0] == messages[2]
    assert messages[0].startswith(
        "2 of 4 processes did not start within 1 s (number 1, number 3): start the same command"
    )
    assert "\n" not in messages[0]


def test_without_the_first(address):
    assert called(address, {1: 2})[1].startswith(f"process 0 at {address} could not be reached within 1 s: start")


def test_processes_that_count_differently(address):
    messages = called(address, {0: 3, 1: 2}, wait=20)
    assert set(messages.values()) == {"process 1 was started as one of 2, process 0 as one of 3"}


def test_other_connections_are_left_alone(address):
    host, _, port = address.partition(":")
    done = {}
    first = threading.Thread(target=lambda: done.update(called(address, {0: 2}, wait=20)))
    first.start()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.1\n")
                break
        except OSError:
            time.sleep(0.05)
    assert called(address, {1: 2}, wait=20) == {1: ""}
    first.join(20)
    assert done == {0: ""}


def test_an_address_that_is_in_use(address):
    host, _, port = address.partition(":")
    with (
        socket.create_server((host, int(port))),
        pytest.raises(UserError, match=r"cannot be listened at .*another run"),
    ):
        roll_call.check(address, 2, 0, WAIT)
    with pytest.raises(UserError, match="is HOST:PORT"):
        roll_call.check("host", 2, 0, WAIT)


def test_variables_of_a_cluster_that_is_gone(monkeypatch):
    """As `srun` leaves them, on one host alone."""
    variables = {"JOB_ID": "77", "STEP_NODELIST": "localhost", "NTASKS": "2", "STEP_NUM_NODES": "1"}
    for name, value in {**variables, "PROCID": "0", "LOCALID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(UserError, match=r"1 of 2 processes did not start within 0.5 s \(number 1\)"):
        distributed.initialize(wait=0.5)
