"""README.md and docs/: code runs, links lead somewhere, flags and defaults are those of the parsers."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import budget
import jax
import numpy as np
import pytest
from tiny_runs import RUN, TINY, quiet

import vfi_jax
from vfi_jax.training import fit
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights import convert
from vfi_jax.weights.save import save

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
LARGEST_README = 12_288  # bytes
FENCE = re.compile(r"^```(\w*)[ \t]*([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: [^>]+ -->\n\Z")
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\]\([^)]*\))*\]\(([^)\s]+)\)")
PROGRAMS = ("python train.py", "python eval.py", "vfi-jax")


def script(path):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate():
    return script(DOCS / "generate.py")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    """(title, code) of the fenced blocks of a language that are to be run."""
    text = page.read_text()
    for match in FENCE.finditer(text):
        if match[1] == language and not NOT_RUN.search(text[: match.start()]):
            yield match[2].removeprefix('title="').removesuffix('"'), match[3]


def prose(page):
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def slug(heading):
    """The anchor that GitHub and mkdocs give a heading."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", text)).strip("-")


def anchors(page):
    return {slug(match[1]) for match in re.finditer(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)}


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= LARGEST_README


def test_second_bash_block_is_the_test_command():
    """The one that CI runs."""
    commands = [code for _, code in blocks(ROOT / "README.md", "bash")]
    assert len(commands) == 2
    assert commands[0].strip().endswith("vfi-jax demo")
    assert commands[1].strip().endswith('-m pytest -n 2 -m "not slow and not network"')


def test_generated_blocks_are_up_to_date(generate):
    """Otherwise: `python docs/generate.py`."""
    assert not generate.stale()


def test_a_stale_block_is_seen(generate):
    text = "before\n" + generate.BEGIN.format("direction") + "old\n" + generate.END + "after\n"
    fresh = generate.generated(text)
    assert fresh != text
    assert "errors types config" in fresh
    assert generate.generated(fresh) == fresh


def test_every_block_has_a_page(generate):
    text = "".join(page.read_text() for page in PAGES)
    assert [name for name in generate.BLOCKS if text.count(generate.BEGIN.format(name)) != 1] == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / "results").glob("*.md"))], ids=name_of)
def test_local_links_lead_somewhere(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{name_of(page)} links to {target}"
        assert ROOT in file.parents, f"{name_of(page)} links out of the project: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name_of(page)} links to {target}; there are {sorted(anchors(file))}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_path_of_a_machine(page):
    assert not re.findall(r"(?<![\w.:/-])/(?:home|root|work|opt|tmp|Users)/\S*", page.read_text())


def commands(page):
    """Command lines of our programs in fenced blocks, continued lines joined."""
    for match in FENCE.finditer(page.read_text()):
        if match[1] in ("", "bash"):
            for line in match[3].replace("\\\n", " ").splitlines():
                for start in PROGRAMS:
                    if start in line:
                        yield re.split(r" (?:#|&& |\| )", line[line.index(start) :])[0]


@pytest.fixture(scope="module")
def flags(generate):
    """Name of each program, and of each command of `vfi-jax`, to its flags."""
    found = {}
    for name in ("train", "eval"):
        found[f"python {name}.py"] = {f"--{flag.name}" for flag in generate.absl_flags(name)} | {"--help"}
    for name, parser in generate.parsers(generate.cli.parser()).items():
        found[name] = set(parser._option_string_actions)
    return found


@pytest.fixture(scope="module")
def fields(generate):
    return {row[0].strip("`") for row in generate.recipe_rows()}


def known_flag(flag, mine, fields):
    if flag.startswith("--config."):
        field = flag.removeprefix("--config.")
        parents = {field.rsplit(".", depth)[0] for depth in range(1, field.count(".") + 1)}
        return field in fields or bool(parents & fields)  # `extra_losses.census`: a key of a field
    return flag in mine


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_have_the_flags_they_are_given(page, flags, fields):
    for line in commands(page):
        program = max((name for name in flags if line.startswith(name)), key=len)
        for flag in re.findall(r"(?<!\S)\[?(--?[a-zA-Z][\w.-]*)", line):
            assert known_flag(flag, flags[program], fields), f"{name_of(page)}: {program} has no {flag}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_in_prose_exist(page, flags, fields):
    everywhere = set().union(*flags.values())
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        if code.startswith(("--", "train.py", *PROGRAMS)):
            for flag in re.findall(r"(?<!\S)(--[a-zA-Z][\w.-]*)", code):
                assert known_flag(flag, everywhere, fields), f"{name_of(page)}: no program has {flag}"


DEFAULTS = re.compile(r"`([^`]+)` \(the default\)")


def test_defaults_in_prose(generate):
    """The default that a page's table of flags gives is the parser's."""
    known, seen = {flag.name: flag.default for flag in generate.absl_flags("eval")}, {}
    for flag, about in re.findall(r"^\| `--(\w+)[^|]*\| (.*) \|$", (DOCS / "evaluate.md").read_text(), re.MULTILINE):
        if named := DEFAULTS.search(about):
            seen[flag] = named[1].split()[0]
    assert "precision" in seen
    for flag, value in seen.items():
        assert known[flag] == value, f"docs/evaluate.md: --{flag}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_are_python_with_public_names(page):
    for _, code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "vfi_jax":
                assert hasattr(vfi_jax, node.attr), f"{name_of(page)}: vfi_jax.{node.attr}"


def frames(count, height=64, width=128):
    """Frames of a texture that moves two pixels per frame, uint8."""
    noise = np.random.default_rng(0).random((height // 8 + 1, width // 8 + 4))
    texture = np.kron(noise, np.ones((8, 8)))
    views = [texture[:height, 2 * shift : width + 2 * shift] for shift in range(count)]
    return [np.repeat((255 * view).astype(np.uint8)[..., None], 3, -1) for view in views]


def namespace():
    """Names that pages use without defining them."""
    before, frame0, frame1, after = frames(4)
    pair = np.stack([frame0, frame1]).astype(np.float32)[None] / 255
    t = np.full((1, 1, 1, 1), 0.5, np.float32)
    batch = {"frames": pair, "target": pair[:, 0], "t": t}
    return {
        "before": before,
        "frame0": frame0,
        "frame1": frame1,
        "after": after,
        "map0": np.ones([-(-side // 2) for side in frame0.shape[:2]], np.uint8),
        "map1": np.ones([-(-side // 2) for side in frame1.shape[:2]], np.uint8),
        "frames": pair,
        "t": t,
        "batch": batch,
    }


PACKAGE = DOCS / "add-a-model.md"


@pytest.fixture
def blended(tmp_path, monkeypatch):
    """The package of the page, installed: what pip leaves in site-packages."""
    files = {title: code for language in ("python", "toml") for title, code in blocks(PACKAGE, language) if title}
    (tmp_path / "blended").mkdir()
    for name, code in files.items():
        if name != "use":
            (tmp_path / name).write_text(code)
    project = tomllib.loads(files["pyproject.toml"])["project"]
    about = tmp_path / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {reference}" for name, reference in points.items())]
    about.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield files
    for name in [name for name in sys.modules if name.partition(".")[0] == "blended"]:
        del sys.modules[name]


def test_the_package_of_the_page(blended):
    values = namespace()
    exec(compile(blended["use"], "add-a-model.md", "exec"), values)
    assert values["middle"].shape == values["frame0"].shape
    assert values["model"].variant == "blend"
    assert vfi_jax.MODELS["blend"].params == sum(leaf.size for leaf in jax.tree.leaves(values["variables"]))


def stand_in(name, folder):
    """A file or run that a page names, with fresh weights."""
    target = folder / name
    if name == "runs/footage":
        run = dataclasses.replace(RUN, fields={**TINY, "any_time": True}, steps=2, checkpoint_every=1, validate_every=2)
        fit.fit(run, target, quiet)
        return
    model = STAND_INS[name]
    module, variables = vfi_jax.create(model, seed=1)
    save(folder / "fresh.safetensors", module, variables)
    convert.convert(model, [folder / "fresh.safetensors"], target, to_torch=True)


STAND_INS = {"flownet.pkl": "rife_m", "raft-things.pth": "raft", "d_rife.pkl": "d_rife", "dr_rife.pkl": "dr_rife"}
FILES = (*STAND_INS, "runs/footage")
EXECUTED = [page for page in PAGES if page != PACKAGE and any(blocks(page, "python"))]


@pytest.mark.slow
@pytest.mark.parametrize("page", EXECUTED, ids=name_of)
def test_python_blocks_run(page, tmp_path, monkeypatch, weights_folder):
    """In order, with one namespace for a page."""
    monkeypatch.chdir(tmp_path)
    code = [text for _, text in blocks(page, "python")]
    for name in FILES:
        if any(f'"{name}"' in text for text in code):
            stand_in(name, tmp_path)
    values = namespace() | {"state_dict": vfi_jax.to_torch("rife_m", vfi_jax.create("rife_m")[1])}
    for text in code:
        exec(compile(text, name_of(page), "exec"), values)
    assert values["middle"].shape == values["frame0"].shape


@pytest.mark.slow
def test_the_package_of_the_page_trains(blended, tmp_path, monkeypatch):
    """The page's command, with its loss and its source; then its metric in an evaluation."""
    triplet = tmp_path / "set/sequences/00001/0001"
    triplet.mkdir(parents=True)
    for number, frame in enumerate(frames(3, 128, 128), 1):
        save_png(triplet / f"im{number}.png", frame)
    triplet.parents[2].joinpath("tri_testlist.txt").write_text("00001/0001\n")
    lines = [line for line in commands(PACKAGE) if line.startswith("python ")]
    assert len(lines) == 2
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    for line in lines:
        line = line.replace("=FOLDER", f"={tmp_path / 'set'}").replace("configs/", f"{ROOT}/configs/")
        arguments = line.split()
        subprocess.run([sys.executable, ROOT / arguments[1], *arguments[2:]], cwd=tmp_path, env=environment, check=True)
    assert "worst" in next((tmp_path / "runs/eval").rglob("table.csv")).read_text()


@pytest.mark.slow
def test_notebook_runs(tmp_path):
    """Without an error; the stored outputs are those of this code: a picture and a table where it has them."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    stored = nbformat.read(DOCS / "quickstart.ipynb", 4)
    fresh = nbformat.from_dict({**stored, "cells": [{**cell} for cell in stored.cells]})
    nbclient.NotebookClient(fresh, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        if old.cell_type == "code":
            assert [kinds(output) for output in old.outputs] == [kinds(output) for output in new.outputs]
    assert sum("image/png" in kinds(output) for cell in stored.cells for output in cell.get("outputs", ())) >= 3


def kinds(output):
    return sorted(output.get("data", {output.output_type: None}))


def test_notebook_is_small():
    assert (DOCS / "quickstart.ipynb").stat().st_size < 400_000
    assert (DOCS / "images/demo.png").stat().st_size < 400_000


def test_budgets_of_families():
    limits = budget.budgets((ROOT / "CONTRIBUTING.md").read_text())
    assert set(limits) == {*budget.FAMILIES, budget.OTHER}
    reports = [("tests/test_rife.py::test_a[x]", False, 2.0), ("tests/test_rife.py::test_b", True, 1e6)]
    reports += [("tests/test_rife_v4.py::test_a", False, 1.5), ("tests/test_new.py::test_a", False, 0.5)]
    assert budget.used(reports) == {"models: rife": (3.5, 1e6), "other": (0.5, 0.0)}
    fast, slow, other = budget.lines(reports, "| models: rife | 60 | 300 |\n| other | 30 | 60 |")
    assert fast.split() == ["models:", "rife", "fast", "3.5", "/", "60", "s"]
    assert slow.split()[-2:] == ["over", "budget"]
    assert other.split()[0] == "other"
