"""eval.py: tables and files, metrics of other packages, comparison of folders, wrong usage."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from eval_program import ROOT, run_eval, table_of, write_sets

import vfi_jax
from vfi_jax.data.images import load_image
from vfi_jax.system import lock
from vfi_jax.weights import files as weight_files

NARROW = {"widths": (16, 16), "level_scales": (2, 1)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("data"))


def test_command_line(data, tmp_path, capsys):
    model, variables = vfi_jax.create("rife_v4_6", seed=1, **NARROW)
    vfi_jax.save(tmp_path / "w.safetensors", model, variables)
    arguments = [
        "--model=rife_v4_6", f"--weights={tmp_path / 'w.safetensors'}", "--benchmarks=vimeo90k,ucf101",
        f"--data={data}", f"--output={tmp_path / 'out'}", "--batch_size=2", "--per_image",
    ]  # fmt: skip
    assert run_eval(*arguments) == 0
    out = capsys.readouterr().out
    rows = table_of(out[out.index("## Results") :])
    assert [row[:2] for row in rows[2:]] == [["vimeo90k", "rife_v4_6"], ["ucf101", "rife_v4_6"]]
    kept = json.loads((tmp_path / "out/results.json").read_text())
    assert kept["weights"]["sha256"] == weight_files.fingerprint(variables)
    assert kept["versions"]["vfi_jax"] == vfi_jax.__version__
    assert kept["results"]["ucf101"]["settings"]["rounded"] is True
    with (tmp_path / "out/ucf101.csv").open() as file:
        images = list(csv.DictReader(file))
    assert [row["name"] for row in images] == ["1", "2", "11"]
    mean = np.mean([float(row["psnr"]) for row in images])
    assert kept["results"]["ucf101"]["psnr"] == pytest.approx(mean)
    assert f"{mean:.3f}" in out
    assert f"{float(images[2]['psnr']):.4f}" in out  # --per_image
    assert load_image(tmp_path / "out/ucf101_worst.png").shape[1] > 5 * 48
    with (tmp_path / "out/table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["benchmark"] for row in table if not row["part"]] == ["vimeo90k", "ucf101"]
    assert {row["command"].split()[0] for row in table} == {"eval.py"}
    assert float(table[-1]["psnr"]) > 0  # a bin of motion
    assert "PSNR by mean motion" in (tmp_path / "out/table.md").read_text()
    with lock.held(tmp_path / "out"):
        assert run_eval(*arguments) == 1
    assert f"{tmp_path / 'out'} is in use by another process (host " in capsys.readouterr().err


def test_comparison_of_two_folders(data, tmp_path, capsys):
    common = ["--benchmarks=ucf101", f"--data={data}", f"--output={tmp_path}", "--batch_size=2"]
    assert run_eval("--models=average,dis", *common) == 0
    assert "## dis minus average" in capsys.readouterr().out
    assert run_eval(f"--compare={tmp_path / 'average'},{tmp_path / 'dis'}") == 0
    out = capsys.readouterr().out
    assert out.startswith("dis minus average")
    psnr = next(row for row in table_of(out) if row[1] == "psnr")
    assert float(psnr[3]) > 0


def test_a_metric_of_another_package(data, tmp_path, capsys, monkeypatch):
    """A column in tables, CSV and JSON; a changed docstring recomputes nothing, a changed function everything."""
    module, out = tmp_path / "outside_metrics.py", tmp_path / "out"
    text = (
        '"""One."""\nimport numpy as np\ndef worst(frame, truth):\n    return abs(frame - 1.0 * truth).max((1, 2, 3))\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    arguments = [
        "--models=average", "--benchmarks=ucf101", f"--data={data}", f"--output={out}", "--batch_size=2",
        "--metrics=outside_metrics:worst",
    ]  # fmt: skip
    stamps = []
    for written in (text, text.replace("One", "Another"), text.replace("max", "min")):
        module.write_text(written)
        assert run_eval(*arguments) == 0
        stamps.append((out / "ucf101.csv").stat().st_mtime_ns)
    assert stamps[0] == stamps[1] < stamps[2]
    printed = capsys.readouterr().out
    assert table_of(printed[printed.index("## Results") :])[0][-1] == "worst"
    entry = json.loads((out / "results.json").read_text())["results"]["ucf101"]
    with (out / "ucf101.csv").open() as file:
        values = [float(row["worst"]) for row in csv.DictReader(file)]
    assert entry["worst"] == pytest.approx(np.mean(values))
    with (out / "table.csv").open() as file:
        assert float(next(csv.DictReader(file))["worst"]) == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize(
    ("reference", "code", "message"),
    [
        ("nowhere.parts:f", 2, "metric nowhere.parts:f: nowhere.parts cannot be imported"),
        ("math:pi", 2, "metric math:pi is no Callable, but of type float"),
        ("unknown", 2, "no metric is called 'unknown'"),
        ("vfi_jax.metrics:psnr", 2, "'psnr' is a name of evaluation's own"),
        ("numpy:subtract", 1, "metric numpy:subtract: the result has shape (2, 32, 48, 3), not (2,)"),
    ],
)
def test_a_metric_that_cannot_be_used(data, tmp_path, capsys, reference, code, message):
    arguments = ("--models=average", "--benchmarks=ucf101", f"--data={data}", f"--output={tmp_path}", "--batch_size=2")
    assert run_eval(*arguments, f"--metrics={reference}") == code
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("eval.py: ")]
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--model=rief", "--benchmarks=ucf101"], 2, "no model is called 'rief'"),
        (["--model=rife"], 2, "--benchmarks is needed"),
        (["--model=rife", "--benchmarks=ucf"], 2, "no benchmark is called 'ucf'"),
        (["--model=rife", "--benchmarks=ucf101,ucf101"], 2, "have one name"),
        (["--model=rife", "--benchmarks=ucf101", "--batch_size=0"], 2, "batch_size"),
        (["--model=rife", "--weights=nowhere.pkl", "--benchmarks=ucf101", "--data=nowhere"], 1, "nowhere.pkl"),
        (["--modle=rife"], 2, "modle"),
        (["--model=rife", "--batch_size=many"], 2, "many"),
        (["--models=average,dis", "--weights=a.pkl", "--benchmarks=ucf101"], 2, "--weights is for one model"),
        (["--compare=a,b"], 1, "a holds no results"),
        (["--compare=a"], 2, "--compare takes two folders, not 1"),
        (["more"], 2, "'more' is no flag"),
    ],
)
def test_wrong_usage_is_one_line(capsys, arguments, code, message):
    """Weights are read before data."""
    assert run_eval(*arguments) == code
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("eval.py: ")
    assert message in line


def test_the_program_is_run_as_a_file():
    done = subprocess.run([sys.executable, "eval.py", "--model=rief", "--benchmarks=ucf101"], cwd=ROOT,
                          capture_output=True, text=True, env=os.environ)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("eval.py: no model is called 'rief'")
    assert len(done.stderr.strip().splitlines()) == 1
