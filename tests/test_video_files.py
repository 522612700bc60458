"""Files of the video tool: what is left when a run ends early, names, links, and outputs that exist."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import clips
import pytest

from vfi_jax.errors import UserError
from vfi_jax.system import files, unnamed
from vfi_jax.video import Options, interpolate_video

ROOT = Path(__file__).parent.parent
SCRIPT = """
    import os, pathlib, sys, time
    from vfi_jax import video
    from vfi_jax.system import interrupts, unnamed
    if sys.argv[1] == "named":
        unnamed._open_unnamed = lambda *_: None
    def between(frames, times):
        print("ready", flush=True)
        time.sleep(60)
    with interrupts.cleanup_on_terminate("vfi-jax"):
        video.interpolate_video(pathlib.Path("in.mp4"), pathlib.Path("out.mp4"), between)
"""
HAS_UNNAMED = sys.platform == "linux"


def hold(frames, times):
    """In-betweens that repeat the frame before."""
    for _ in times:
        yield frames[0]


def make(path):
    return clips.make_clip(path, frames=3, size=(32, 16))


def run(source, target, **options):
    return interpolate_video(source, target, hold, Options(**options))


def killed(folder, number, kind):
    """Exit status, process and standard error of a run that a signal ends between two frames; its files."""
    make(folder / "in.mp4")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), kind],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        error = process.stderr.read()
    return process.returncode, process.pid, error, sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["named", "unnamed"])
def test_a_request_to_terminate_leaves_nothing(tmp_path, kind):
    code, _, error, names = killed(tmp_path, signal.SIGTERM, kind)
    assert names == ["in.mp4"]
    assert code == 128 + signal.SIGTERM
    assert error == "vfi-jax: ended by SIGTERM; nothing was left under the final name\n"


@pytest.mark.skipif(not HAS_UNNAMED, reason="no files without a name")
def test_an_abort_leaves_nothing(tmp_path):
    code, _, _, names = killed(tmp_path, signal.SIGABRT, "unnamed")
    assert (code, names) == (-signal.SIGABRT, ["in.mp4"])


def test_what_a_kill_left_is_removed_and_named(tmp_path, monkeypatch, capsys):
    """Where files cannot be without a name."""
    _, process, _, names = killed(tmp_path, signal.SIGKILL, "named")
    assert names == [f".out.{process}.part.mp4", "in.mp4"]
    monkeypatch.setattr(unnamed, "_open_unnamed", lambda *_: None)
    other = tmp_path / f".out.{os.getppid()}.part.mp4"
    other.write_bytes(b"of a process that runs")
    run(tmp_path / "in.mp4", tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, "in.mp4", "out.mp4"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f".out.{process}.part.mp4 was half-written" in line


@pytest.mark.parametrize("kind", ["named", "unnamed"])
@pytest.mark.parametrize("name", ["a" * 246 + ".mp4", "\u00e9" * 123 + ".mp4", "b" * 251 + ".mp4"])
def test_the_longest_names(tmp_path, monkeypatch, name, kind):
    if kind == "named":
        monkeypatch.setattr(unnamed, "_open_unnamed", lambda *_: None)
    source = make(tmp_path / "in.mp4")
    for _ in range(2):
        assert run(source, tmp_path / name, overwrite=True).frames == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "in.mp4"])


def test_temporary_names_fit_and_differ(tmp_path):
    names = [files.partial_of(tmp_path / f"{'n' * 240}{i}.safetensors").name for i in range(3)]
    assert len(set(names)) == 3
    assert all(len(name) <= 255 and name.endswith(".part.safetensors") for name in names)
    assert files.partial_of(Path("a/out.mp4"), 7) == Path("a/.out.7.part.mp4")


def test_an_output_that_exists_is_kept(tmp_path):
    source, target = make(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    target.write_bytes(b"old")
    with pytest.raises(UserError, match=r"exists.*--overwrite"):
        run(source, target)
    assert target.read_bytes() == b"old"
    run(source, target, overwrite=True)
    assert len(clips.shown(target)) == 5


@pytest.mark.skipif(not HAS_UNNAMED, reason="no files without a name")
def test_an_output_that_appears_meanwhile_is_kept(tmp_path):
    source, target = make(tmp_path / "in.mp4"), tmp_path / "out.mp4"

    def between(frames, times):
        target.write_bytes(b"of another run")
        yield frames[0]

    with pytest.raises(UserError, match="exists by now"):
        interpolate_video(source, target, between)
    assert target.read_bytes() == b"of another run"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("is_there", [True, False])
def test_links_are_written_through(tmp_path, is_there):
    source, link = make(tmp_path / "in.mp4"), tmp_path / "link.mp4"
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real.mp4"
    if is_there:
        real.write_bytes(b"old")
    link.symlink_to(Path("folder") / "real.mp4")
    run(source, link, overwrite=is_there)
    assert link.is_symlink()
    assert clips.shown(real)[-1][0] == Fraction(2, 25)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "in.mp4", "link.mp4"]
    assert [path.name for path in real.parent.iterdir()] == ["real.mp4"]


def test_links_that_cannot_be_written_are_refused(tmp_path):
    source = make(tmp_path / "in.mp4")
    (tmp_path / "hard.mp4").write_bytes(b"old")
    os.link(tmp_path / "hard.mp4", tmp_path / "other.mp4")
    with pytest.raises(UserError, match="several names"):
        run(source, tmp_path / "hard.mp4", overwrite=True)
    (tmp_path / "nowhere.mp4").symlink_to("absent/real.mp4")
    with pytest.raises(UserError, match="no such folder"):
        run(source, tmp_path / "nowhere.mp4")
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    with pytest.raises(UserError, match="in a circle"):
        run(source, tmp_path / "circle.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(UserError, match="regular file"):
        run(source, tmp_path / "pipe.mp4", overwrite=True)
    assert (tmp_path / "hard.mp4").read_bytes() == b"old"
    assert (tmp_path / "circle.mp4").is_symlink()
