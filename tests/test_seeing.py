"""Logs, reports and curves of a run, and `vfi-jax doctor`."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import av
import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import ROOT, RUN, TINY

from vfi_jax.cli import doctor
from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UserError
from vfi_jax.models import registry
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.log import METRICS, read_log
from vfi_jax.runs.report import figures
from vfi_jax.system import flops, machine
from vfi_jax.training import fit
from vfi_jax.training.meter import Meter
from vfi_jax.training.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on a device of 1 TFLOP/s, whose third step compiles something else; folder and lines."""
    folder, lines, make_step, counts = tmp_path_factory.mktemp("runs") / "seen", [], Run.make_step, itertools.count(1)
    other = jax.jit(lambda array: array + 1)

    def patched(run):
        step = make_step(run)

        def stepped(state, batch):
            other(np.ones(3 if next(counts) < 3 else 4))
            return step(state, batch)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "make_step", patched)
        patch.setattr(machine, "PEAKS", (("cpu", 1e12),))
        fit.fit(RUN, folder, lines.append, profile=1)
    return folder, lines


def test_rows_of_the_log(run):
    """The share of the peak follows from the model's multiply-adds: twice, three times; the loss has some too."""
    first, *rows = [row for row in read_log(run[0]) if "rate" in row]
    assert "samples_per_s" not in first  # it compiles
    frames = jax.ShapeDtypeStruct((1, 2, 64, 64, 3), jnp.float32)
    model, shapes = registry.build("rife_lap", **TINY), registry.shapes("rife_lap", **TINY)
    one = flops.multiply_adds(lambda v, f: model.apply(v, f, 0.5).frame, shapes, frames)
    for row in rows:
        assert row["samples_per_s_device"] == row["samples_per_s"] / jax.device_count()
        each = row["mfu"] * 1e12 / row["samples_per_s_device"]
        assert 6 * one < each < 1.5 * 6 * one
        assert 0.1 < row["host_gb"] < 1000


def test_a_second_compilation_is_logged(run):
    warnings = [line for line in run[1] if line.startswith("warning")]
    assert len(warnings) == 1
    assert warnings[0].startswith(
        "warning: step 3 compiled the program anew, which costs time; its batch: frames (2, 2, 64"
    )
    compiles = [row["compiles"] for row in read_log(run[0]) if "rate" in row]
    assert (compiles[1] - compiles[0], compiles[2] - compiles[1], compiles[3] - compiles[2]) == (0, 1, 0)


def test_a_trace_is_kept(run):
    assert any(line.startswith("trace of 1 steps: ") for line in run[1])
    assert [path.stat().st_size > 1000 for path in (run[0] / "profile").rglob("*.xplane.pb")] == [True]


def test_report(run, tmp_path, capsys):
    folder, target = run[0], tmp_path / "page"
    assert cli_main.main(["report", str(folder), "-o", str(target)]) == 0
    text = capsys.readouterr().out
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "curves.png",
        "environment.txt",
        "figures.md",
        "samples_0000004.png",
    ]
    assert (target / "figures.md").read_text() == text
    cells = dict([cell.strip() for cell in line.split("|")[1:3]] for line in text.splitlines())
    rows = read_log(folder)
    assert cells["step"] == "4"
    assert cells["last loss"] == f"{[row['loss'] for row in rows if 'loss' in row][-1]:.5f}"
    assert cells["best validation"].endswith("dB at step 4")
    assert all(cv2.imread(str(path)) is not None for path in target.glob("*.png"))
    assert json.loads((target / "config.json").read_text())["model"] == "rife_lap"
    environment = dict(line.split(": ", 1) for line in (target / "environment.txt").read_text().splitlines())
    assert environment["jax"] == jax.__version__
    assert environment["command"].split()[0] == Path(sys.argv[0]).name
    if (ROOT / ".git").exists():
        assert len(environment["git commit"].split()[0]) == 40
    assert environment["devices"].startswith(f"{jax.device_count()} x cpu")


def test_no_report(tmp_path, capsys):
    assert cli_main.main(["report", str(tmp_path)]) == 1
    assert "is not the folder of a run" in capsys.readouterr().err


LINES = {
    b'{"step": 3, "loss": 0.5, "rate": 0.1}': {"step": 3, "loss": 0.5, "rate": 0.1},
    b'{"step": 3, "loss": "x", "rate": null, "wait_s": [1], "compute_s": true, "mfu": NaN, "host_gb": 1e999}': {
        "step": 3
    },
    b"\xff\xfe\x00": {},
    b'{"loss": 0.5}': {},
    b'{"step": "three"}': {},
    b'{"step": 1.5}': {},
    b'{"step": -1}': {},
    b'{"step": 99999999999999999999999}': {},
    b'{"step": true}': {},
    b"[1, 2]": {},
    b'"step"': {},
    b"null": {},
    b"[" * 9999: {},
    b'{"step": 4, "lo': {},
    b"": {},
}


@pytest.mark.parametrize("line", LINES)
def test_lines_that_are_no_rows(tmp_path, line):
    (tmp_path / METRICS).write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 9}\n')
    rows = [row for row in ({"step": 1}, LINES[line], {"step": 9}) if row]
    assert read_log(tmp_path) == rows
    assert all(type(value) is str for pair in figures(rows) for value in pair)


def test_only_programs_of_steps_count():
    function = jax.jit(lambda array: array * 2)
    with Meter(1) as meter:
        function(jnp.ones(2))
        for size, wanted in ((3, 1), (3, 1), (4, 2)):
            ones = jnp.ones(size)
            with meter.stepping():
                function(ones)
            assert meter.compiles == wanted
    with meter.stepping():
        function(jnp.ones(5))
    assert meter.compiles == 2


def test_memory_is_that_of_the_process():
    """Not what the process held that started it, which a process that is started begins with."""
    child = "from vfi_jax.system import machine; print(machine.peak_memory()['host_gb'])"
    parent = f"import subprocess, sys; b'x' * (1 << 30); subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    assert 0.1 < float(done.stdout) < 0.8


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v6 lite", 918e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA A10G", 125e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("cpu", None),
    ],
)
def test_peaks(device, peak):
    assert machine.peak_of(device) == peak


def test_doctor(tmp_path, capsys, monkeypatch, weights_folder):
    (tmp_path / "middlebury").mkdir()
    assert cli_main.main(["doctor", "--data", str(tmp_path)]) == 0
    found = dict([cell.strip() for cell in line.split("|")[1:3]] for line in capsys.readouterr().out.splitlines())
    assert (found["jax"], found["encoder libx264"], found["encoder libvpx-vp9"]) == (jax.__version__, "ok", "ok")
    assert found[str(jax.devices()[0])] == "ok"
    assert found["weights"].endswith("none installed")
    assert found["data ucf101"].startswith("not there: ")
    assert cli_main.main(["doctor", "--data", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.endswith("none: no such folder\n")
    monkeypatch.setattr(doctor, "multiplies_correctly", lambda _: False)
    monkeypatch.setattr(av, "codecs_available", set())
    assert cli_main.main(["doctor"]) == 1
    message = capsys.readouterr().err
    assert "multiplies wrongly; FFmpeg has no libx264, which .mp4, .m4v, .mov, .mkv, .ts need" in message


def test_programs_are_kept(tmp_path, monkeypatch):
    chosen = jax.config.jax_compilation_cache_dir
    machine.keep_programs()
    assert jax.config.jax_compilation_cache_dir == chosen
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        machine.keep_programs()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "vfi_jax/programs" / str(machine.processors()))
    finally:
        jax.config.update("jax_compilation_cache_dir", chosen)


def test_profile_needs_a_folder_here(tmp_path):
    from etils import epath

    with pytest.raises(UserError, match="--profile needs a local --workdir"):
        fit.fit(RUN, epath.Path(tmp_path), profile=1)


def test_a_report_of_several_runs(tmp_path, capsys):
    """Runs that are nothing but a config and a log."""
    for name, rate in (("a", 1e-3), ("b", 2e-3)):
        recipe = dataclasses.replace(RUN, optimizer=dataclasses.replace(RUN.optimizer, rate=rate))
        with run_folder.open_run(tmp_path / name, pytest.fail):
            run_folder.write(tmp_path / name, recipe, {})
            rows = [{"step": 1, "loss": rate}, {"step": 2, "validation_psnr": 1e4 * rate}]
            (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = [str(tmp_path / name) for name in "ab"]
    assert cli_main.main(["report", *runs, "-o", str(tmp_path / "page")]) == 0
    text = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["best validation", "10.000 dB at step 2", "20.000 dB at step 2"] in cells
    assert [row for row in cells if row and "optimizer" in row[0]] == [["optimizer.rate", "0.001", "0.002"]]
    assert (tmp_path / "page/comparison.md").read_text() == text
    assert cv2.imread(str(tmp_path / "page/curves.png")) is not None
    assert cli_main.main(["report", *runs]) == 2
    assert "-o DIR is needed for several runs" in capsys.readouterr().err
