"""The README's tables are those of `results/quality.csv`."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent / "results/tables.py"


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("results_tables", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_has_what_the_file_says(tables):
    text = tables.README.read_text()
    assert text.split(tables.BEGIN)[1].split(tables.END)[0] == tables.block(tables.read())


def test_every_row_says_how_it_was_measured(tables):
    for row in tables.read():
        assert all(row[name] for name in ("benchmark", "model", "images", "date", "versions", "machine", "command"))
        assert "eval.py" in row["command"]
        assert row["version"]


def test_costs_are_told_and_drawn(tables, tmp_path):
    rows = [{**row, "seconds": "0.5", "size": "1280x720"} for row in tables.read()]
    costs = dict.fromkeys(("peak_gb", "gmac", "params_m"), "1.5")
    assert "Cost at 1280x720" in tables.block([{**row, **costs} for row in rows])
    tables.plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
