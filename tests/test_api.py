"""Lint of the package itself: docstrings, keyword-only options, and imports that point one way."""

import ast
import inspect
from pathlib import Path

import pytest

import vfi_jax

ROOT = Path(vfi_jax.__file__).parent
# Each line may import from the lines before it, and from itself.
LAYERS = [
    {"types", "config"},
    {"files", "tables", "torch_pickle", "hosts", "machine"},
    {"picture", "meter"},
    {"integrity"},
    {"steps"},
    {"runs"},
    {"ops", "nn", "precision"},
    {"losses", "metrics"},
    {"models"},
    {"torch_files", "torch_writer", "cost"},
    {"checkpoint", "torch_import"},
    {"weights"},
    {"zoo"},
    {"inference"},
    {"flow"},
    {"perceptual", "temporal"},
    {"data"},
    {"optim", "packed", "training"},
    {"video", "benchmarks", "prepare", "packing", "labels", "report", "convert"},
    {"results"},
    {"evaluation"},
    {"speed"},
    {"sets", "feed", "compare", "overview", "doctor"},
    {"loop"},
    {"demo", "fit"},
    {"cli_prepare", "cli_compare", "aot"},
    {"cli"},
]
FILES = sorted(ROOT.rglob("*.py"))


def unit(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    """Units of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vfi_jax":
            rest = node.module.split(".")[1:]
            yield from rest[:1] or (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    if path == ROOT / "__init__.py":
        return
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    own = unit(path)
    for name in imported(path):
        assert name in rank or name == "__version__", f"{path} imports {name}, which has no layer"
        if name != "__version__":
            assert rank[name] <= rank[own], f"{own} imports {name}, which comes later"


@pytest.mark.parametrize("path", sorted((ROOT / "data").rglob("*.py")), ids=lambda path: path.name)
def test_data_never_imports_jax_or_models(path):
    modules = {
        alias.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not {"jax", "flax"} & modules
    assert set(imported(path)) <= {"types", "config", "data"}


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.name)
def test_models_import_neither_data_nor_training(path):
    text = path.read_text()
    assert not any(f"import {name}" in text for name in ("optax", "orbax", "vfi_jax.data"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_definitions_have_docstrings(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, f"{path} says not what it is"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name}"
            for method in node.body if isinstance(node, ast.ClassDef) else ():
                public = isinstance(method, ast.FunctionDef) and not method.name.startswith("_")
                if public and method.name != "setup":
                    assert ast.get_docstring(method), f"{path}: {node.name}.{method.name}"


def test_public_calls():
    """Names and arguments that others rely on."""
    signatures = {name: str(inspect.signature(getattr(vfi_jax, name))) for name in ("create", "load", "from_torch")}
    assert list(inspect.signature(vfi_jax.create).parameters) == ["name", "seed", "fields"], signatures
    assert list(inspect.signature(vfi_jax.load).parameters)[:2] == ["name", "path"]
    assert list(inspect.signature(vfi_jax.from_torch).parameters)[:2] == ["name", "state_dict"]
    assert list(inspect.signature(vfi_jax.to_torch).parameters) == ["name", "variables"]
    for spec in vfi_jax.MODELS.values():
        assert list(inspect.signature(spec.loss).parameters) == ["model", "variables", "batch", "config", "step", "rng"]
