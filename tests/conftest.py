"""Shared by all tests: CPU, a compilation cache, no weights but those a test installs."""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import sys
from pathlib import Path

import jax
import pytest

jax.config.update("jax_compilation_cache_dir", str(Path(__file__).parent.parent / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)

MOST = 3e9  # bytes
PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}


def pytest_addoption(parser):
    parser.addoption("--platform", default="cpu", choices=PLATFORMS, help="what JAX computes on (%(default)s)")
    parser.addoption("--py312", action="store_true", help="run what can differ on another Python: see tests/py312.py")


def pytest_collection_modifyitems(config, items):
    """Keeps the selection of `--py312`; tests of other markers are left out afterwards."""
    if config.getoption("--py312"):
        import py312

        fast = [item for item in items if not item.get_closest_marker("slow")]
        try:
            items[:], rest = py312.select(fast)
        except LookupError as error:
            raise pytest.UsageError(str(error)) from None
        config.hook.pytest_deselected(items=rest)


def pytest_configure(config):
    """Before JAX looks for devices; for the processes that tests start, too."""
    platform = config.getoption("--platform")
    os.environ["JAX_PLATFORMS"] = PLATFORMS[platform]
    jax.config.update("jax_platforms", PLATFORMS[platform])
    if platform != "cpu":  # stored cases are of float32 throughout
        jax.config.update("jax_default_matmul_precision", "float32")
        if jax.default_backend() != platform:
            raise pytest.UsageError(f"--platform {platform}: JAX finds none here")


def pytest_terminal_summary(terminalreporter):
    """Prints the seconds of each family of tests beside its budget, if VFI_JAX_BUDGET is set."""
    if os.environ.get("VFI_JAX_BUDGET"):
        import budget

        reports = [report for kind in ("passed", "failed", "") for report in terminalreporter.stats.get(kind, ())]
        phases = [(report.nodeid, "slow" in report.keywords, report.duration) for report in reports]
        terminalreporter.write_sep("=", "seconds of tests, summed over processes / budget in CONTRIBUTING.md")
        for line in budget.lines(phases, budget.CONTRIBUTING.read_text()):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True, scope="module")
def _programs_of_modules():
    """Drops compiled programs when they take much memory: two processes that keep all exceed a small machine."""
    yield
    if _resident() > MOST:
        jax.clear_caches()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what is freed
        if trim:
            trim(0)


def _resident() -> float:
    """Bytes of this process; infinite where the system does not say so in a file."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm.exists() else math.inf


@pytest.fixture
def weights_folder(tmp_path, monkeypatch) -> Path:
    """An empty weights folder of the test's own."""
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """The folder of `tiny_runs.RUN`, trained without a break; tests copy what they change."""
    from tiny_runs import RUN, quiet  # not before pytest has arranged for shapes to be checked

    from vfi_jax.training import fit

    folder = tmp_path_factory.mktemp("runs") / "whole"
    fit.fit(RUN, folder, quiet)
    return folder


@pytest.fixture(scope="session")
def train_module():
    """The module train.py; a process can define its flags once, so it is shared with docs/generate.py."""
    if "train" not in sys.modules:
        spec = importlib.util.spec_from_file_location("train", Path(__file__).parent.parent / "train.py")
        sys.modules["train"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["train"])
    return sys.modules["train"]


@pytest.fixture
def train(train_module):
    """The module train.py, whose flags are forgotten afterwards; as are those of recipes."""
    from absl import flags

    flags.FLAGS.mark_as_parsed()
    yield train_module
    for name in [name for name in flags.FLAGS if name == "config" or name.startswith("config.")]:
        delattr(flags.FLAGS, name)
    flags.FLAGS.unparse_flags()


@pytest.fixture
def nothing_held(monkeypatch):
    """Clips that stand still are interpolated like others, for tests of what a new frame goes through."""
    monkeypatch.setattr("vfi_jax.video.content.holds.is_alike", lambda a, b: False)
