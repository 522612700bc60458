"""Ahead-of-time compilation for accelerators that are not attached."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tpu_compile

from vfi_jax.models import MODELS

ROOT = Path(__file__).parent.parent
SMALLEST = "rife_v4_12_lite"
TABLE = ROOT / "results/tpu_compile.csv"


def compiled(name, program, target):
    """The row of a program, compiled in its own process, which libtpu never leaves."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "results/tpu_compile.py"), "--one", name, program, target],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.tpu_compile
@pytest.mark.slow
@pytest.mark.parametrize("program", ["forward", pytest.param("train", marks=pytest.mark.long)])
def test_compiles_for_a_pod(program):
    pytest.importorskip("libtpu")
    row = compiled(SMALLEST, program, "v5e:8x8")
    check(row)
    assert row["seconds"] > 1


def check(row):
    """The program fits, reduces gradients in training only, and has no gathers, float64 or callbacks."""
    assert row["fits"] in (True, "True")
    assert (int(row["all_reduces"]) > 0) == (row["program"] == "train")
    assert [int(row[name]) for name in ("all_gathers", "float64", "callbacks")] == [0, 0, 0]


@pytest.mark.parametrize("name", MODELS)
def test_the_table(name):
    """All programs of a model in the table pass."""
    with TABLE.open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == name]
    assert {row["program"] for row in rows} <= set(tpu_compile.programs(name))
    for row in rows:
        if row["note"]:
            assert "left out" in row["note"]
        elif row["target"] != tpu_compile.CUDA:
            check(row)
        else:
            assert (row["float64"], row["callbacks"]) == ("0", "0")


@pytest.mark.slow
def test_lowers_for_a_gpu():
    row = compiled(SMALLEST, "train", tpu_compile.CUDA)
    assert (row["float64"], row["callbacks"]) == (0, 0)
    assert (row["batch"], row["crop"]) == (1, 192)


def test_sizes_are_those_of_a_recipe():
    """The model's own recipe, one for an extension of its network, or the defaults."""
    assert tpu_compile.recipe("dbvi_8x") == (512, 16)
    assert tpu_compile.recipe(SMALLEST) == tpu_compile.recipe("rife_lap") == (192, 8)
    assert tpu_compile.recipe("raft") == (tpu_compile.CROP, tpu_compile.BATCH)


def test_networks_that_differ_in_weights_alone_share_a_program(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(
        tpu_compile, "_run_process", lambda row, seconds: names.append(row["model"]) or {**row, "gflop": 1.0}
    )
    for _ in range(2):
        arguments = ["-o", str(tmp_path), "--topologies", "cuda", "--models", "rife_v4_25,rife_v4_26,rife_v4_22"]
        assert tpu_compile.main(arguments) == 0
    assert sorted(names) == ["rife_v4_22", "rife_v4_22", "rife_v4_25", "rife_v4_25"]
    with (tmp_path / "tpu_compile.csv").open() as file:
        rows = {(row["model"], row["program"]): row for row in csv.DictReader(file)}
    assert len(rows) == 6
    assert rows["rife_v4_26", "train"] == {**rows["rife_v4_25", "train"], "model": "rife_v4_26"}


def test_count_operations():
    """Lines as the compiler prints them."""
    text = """
  %all-reduce.1 = f32[64]{0} all-reduce(f32[64]{0} %a), to_apply=%add
  %all-gather-start = (f32[8], f32[64]) all-gather-start(f32[8] %b)
  %c = f64[2]{0} convert(f32[2]{0} %d)
  %e = (f32[]) custom-call(), custom_call_target="xla_ffi_python_cpu_callback"
"""
    assert tpu_compile.count_operations(text) == {"all_reduces": 1, "all_gathers": 1, "float64": 1, "callbacks": 1}
