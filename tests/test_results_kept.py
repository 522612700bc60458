"""The tables of README.md and docs/*.md are those of the files in `results/`."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "results/tables.py"


@pytest.fixture(scope="module")
def tables():
    return script(PATH)


def script(path):
    spec = importlib.util.spec_from_file_location(f"results_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their fields' types up
    spec.loader.exec_module(module)
    return module


def test_pages_have_the_tables_of_the_files(tables):
    for name, block in tables.blocks().items():
        text = tables.page_with(name).read_text()
        assert text.split(tables.BEGIN.format(name))[1].split(tables.END)[0] == block


def test_every_row_names_its_measurement(tables):
    for row in [*tables.read(tables.QUALITY), *tables.read(tables.COST)]:
        assert all(row[name] for name in ("benchmark", "model", "images", "date", "versions", "machine", "command"))
        assert row["command"].startswith("eval.py ")  # no path of the machine
        assert row["version"]


def test_costs_in_a_table_and_a_plot(tables, tmp_path):
    rows = tables.read(tables.QUALITY)
    spent = dict.fromkeys(("seconds", "peak_gb", "gmac", "params_m"), "1.5")
    spent = [{**row, **spent, "size": "640x480"} for row in rows]
    assert "Cost at 640x480" in tables.costs(spent)
    tables.plot(rows, spent, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def side(name, seconds, ratio, **more):
    row = {"model": "cain", "direction": "forward", "size": "448x256", "batch": "1", "side": name, "failed": ""}
    row |= {"seconds": seconds, "ratio": ratio, "ratio_low": "0.4", "ratio_high": "0.6", "memory_mb": "100"}
    about = {name: name for name in ("date", "versions", "machine", "precision", "jax", "command")}
    return row | about | more


def test_times_beside_the_fastest_form(tables, tmp_path):
    rows = [side("ours", "1.0", "1"), side("published", "2.0", "0.5", memory_mb="400")]
    rows += [side("compiled", "0.8", "1.25"), side("channels_last", "", "", failed="out of memory")]
    line = next(line for line in tables.times_beside_pytorch(rows).splitlines() if "cain" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[4:] == ["precision", "jax", "1", "2", "0.50 (0.40, 0.60)", "compiled", "1.25 (0.40, 0.60)", "0.25"]
    tables.plot_ratios(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5_000


def test_ratios_above_their_limits_are_listed(monkeypatch):
    monkeypatch.syspath_prepend(PATH.parent)  # whose scripts import one another
    above = script(PATH.with_name("beside_pytorch.py")).above
    rows = [side("ours", "1.0", "1"), side("published", "1.2", "0.83"), side("compiled", "0.8", "1.25")]
    assert above(rows) == ["cain, forward, 448x256 x1, jax jax: 1.25 of PyTorch's time (compiled), limit 1.1"]
    assert not above([{**row, "direction": "forward + backward"} for row in rows])
    named = [{**row, "model": "rife_v4_25", "ratio": "0.7"} for row in rows]
    assert above(named) == ["rife_v4_25, forward, 448x256 x1, jax jax: 0.70 of PyTorch's time (published), limit 0.65"]


def test_kinds_of_operations(monkeypatch):
    """The operations in the computations that an instruction calls decide."""
    monkeypatch.syspath_prepend(PATH.parent)
    program = """
%fused_1 (p: f32[4]) -> f32[4] {
  ROOT %g.1 = f32[4]{0} gather(%p, %i), offset_dims={}
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %add_fusion.2 = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_1
  %conv.3 = f32[4]{0} convolution(%add_fusion.2, %k), window={size=3}
  %pad.4 = f32[8]{0} pad(%conv.3, %zero), padding=0_4
  ROOT %sum.5 = f32[8]{0} add(%pad.4, %pad.4)
}
"""
    kinds = script(PATH.with_name("cpu_profile.py")).kinds_of_instructions(program)
    found = [kinds[name] for name in ("add_fusion.2", "conv.3", "pad.4", "sum.5")]
    assert found == ["sampling", "convolutions", "moving", "rest"]
