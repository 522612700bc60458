"""Lint of the package itself: docstrings, keyword-only options, and imports that point one way."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import vfi_jax

ROOT = Path(vfi_jax.__file__).parent
# Each line may import from the lines before it, and from itself, without a circle.
DIRECTION = """
errors types config
system ops losses metrics
nn viz data
models runs
torch_io
weights
zoo
inference
video prepare benchmarks
training evaluation compare
vapoursynth comfyui
cli
"""
RANK = {name: rank for rank, line in enumerate(DIRECTION.split("\n")) for name in line.split()}
WITHOUT_JAX = {f"vfi_jax.system.plugins.{name}" for name in ("Registry", "named_entry_points")}
WITHOUT_JAX |= {f"vfi_jax.system.{name}" for name in ("progress", "strict_json")}
FILES = sorted(ROOT.rglob("*.py"))


def unit(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Modules that a file imports, in either form, at any depth: `a.b` of `import a.b` and of `from a import b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def units(path):
    """Files and folders of the package that a file imports."""
    for module in imports(path):
        root, _, rest = module.partition(".")
        if root == "vfi_jax" and rest != "__version__":
            assert rest, f"{path} imports the whole package"
            yield rest.partition(".")[0]


def test_folders_say_what_they_hold():
    folders = {path.parent for path in FILES} - {ROOT}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_both_forms_of_import_are_seen(tmp_path):
    file = tmp_path / "file.py"
    file.write_text(
        "import vfi_jax.ops.pad\ndef late():\n    from vfi_jax import zoo\n    from vfi_jax.nn.conv import Conv"
    )
    assert list(units(file)) == ["ops", "zoo", "nn"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    if path == ROOT / "__init__.py":
        return
    own = unit(path)
    for name in units(path):
        assert name in RANK, f"{path} imports {name}, which has no place"
        assert RANK[name] <= RANK[own], f"{own} imports {name}, which comes later"


def test_no_circles():
    """Where two of one line import from each other, neither can be read alone."""
    edges = {
        (unit(path), name) for path in FILES for name in units(path) if path.parent != ROOT or path.stem != "__init__"
    }
    circles = [edge for edge in edges if edge[0] != edge[1] and edge[::-1] in edges]
    assert not circles


def test_walls():
    """Sets and scores are made without anything of training."""
    for folder in ("prepare", "evaluation"):
        assert not [path for path in (ROOT / folder).rglob("*.py") if "training" in units(path)]


@pytest.mark.parametrize("path", sorted((ROOT / "data").rglob("*.py")), ids=lambda path: path.name)
def test_data_never_imports_jax_or_models(path):
    assert not {"jax", "flax"} & {module.partition(".")[0] for module in imports(path)}
    assert set(units(path)) <= {"errors", "types", "config", "data", "system"}
    assert {module for module in imports(path) if module.startswith("vfi_jax.system")} <= WITHOUT_JAX


@pytest.mark.parametrize("path", sorted((ROOT / "models").rglob("*.py")), ids=lambda path: path.name)
def test_models_import_neither_data_nor_training(path):
    assert not {"optax", "orbax"} & {module.partition(".")[0] for module in imports(path)}
    assert not {"data", "config"} & set(units(path))


def private_uses(tree):
    """Private names of other modules of the package: `from vfi_jax.x import _y`, and `x._y` of an imported module."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] == "vfi_jax":
            imported |= {alias.asname or alias.name for alias in node.names}
    private = re.compile("_(?!_)")
    yield from filter(private.match, imported)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and private.match(node.attr):
            yield from [f"{node.value.id}.{node.attr}"] * (node.value.id in imported)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_private_name_of_another_module(path):
    assert not list(private_uses(ast.parse(path.read_text())))


def test_private_uses_are_seen():
    text = "from vfi_jax.ops.warp import _clamp\nfrom vfi_jax.nn import conv\nconv._plain\nself._own"
    assert list(private_uses(ast.parse(text))) == ["_clamp", "conv._plain"]


def identifiers(tree):
    """Names that a file gives: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_identifiers_are_american(path):
    """As in optax, flax and jax.image; `licence`, of weights, is a public name."""
    british = re.compile("colour|grey|centre|initialis|optimis|normalis|neighbour|behaviour|synchronis|labell", re.I)
    assert not [name for name in identifiers(ast.parse(path.read_text())) if british.search(name)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_definitions_have_docstrings(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path} says not what it is"
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
