"""The measurement of sets."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from vfi_jax.cli.main import main
from vfi_jax.config import Footage
from vfi_jax.data import packed
from vfi_jax.errors import UsageError
from vfi_jax.prepare.records import write_records
from vfi_jax.training import throughput


def test_every_kind_of_set_is_measured(tmp_path, capsys):
    frames = np.zeros((8, 3, 48, 48, 3), np.uint8)
    save_file(
        {"frames": frames},
        tmp_path / "p.safetensors",
        {packed.METADATA_KEY: json.dumps({"names": [str(i) for i in range(8)]})},
    )
    write_records("synthetic:10", tmp_path / "records", Footage(frames=3))
    sets = [str(tmp_path / "p.safetensors"), str(tmp_path / "records"), "synthetic:10"]
    options = ["--workers", "0", "--batch", "2", "--crop", "32", "--frames", "3", "--seconds", "0.2", "--demand", "2"]
    capsys.readouterr()
    assert main(["prepare", "bench", *sets, *options]) == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[1:3] for row in rows] == [
        ["packed, on the device", "-"],
        ["ArrayRecord, png", "0"],
        ["scenes, drawn on demand", "0"],
    ]
    for *_, rate, fed in rows:
        assert float(fed) == pytest.approx(float(rate) / 2, abs=0.06)


def test_rates_count_samples(monkeypatch):
    """Batches of 4 that take a second each."""
    clock = iter(range(100))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(clock) / 2)  # asked twice a batch
    endless = iter(lambda: {"target": np.zeros(1)}, None)
    assert throughput._timed(endless, 4, 10.0) == pytest.approx(4 / 0.5, rel=0.1)


def test_wrong_use(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "bench", "synthetic:10", "--workers", "two"])
    assert "--workers: two: whole numbers are needed, such as 0,2" in capsys.readouterr().err
    with pytest.raises(UsageError, match="a pair and a frame between need 3"):
        throughput.measure("synthetic:10", [0], batch_size=2, crop=32, frames=2, seconds=0.1)
