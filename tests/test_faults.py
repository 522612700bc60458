"""Runs that things happen to: steps that are not finite, signals, kills, another number of devices."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import save_file
from tiny_runs import ROOT, RUN, Command, losses, newest, quiet, random_batch

import vfi_jax
from vfi_jax.config import Guard, Optimizer, Plateau
from vfi_jax.data import pipeline
from vfi_jax.data.packed import METADATA_KEY
from vfi_jax.errors import UserError
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.log import read_log
from vfi_jax.runs.validations import Validations
from vfi_jax.system import sharding
from vfi_jax.training import data as run_data
from vfi_jax.training import fit, logger, validate
from vfi_jax.training.optimizer import is_skipped, make_optimizer

NEXT = pipeline.GrainBatches.__next__


def number(batches):
    """Of the batch that comes next."""
    return batches.get_state()["global_next_index"] // RUN.batch_size


def spoil(monkeypatch, numbers):
    """Makes batches from which no finite loss can come."""

    def following(self):
        bad = number(self) in numbers
        batch = NEXT(self)
        return {**batch, "t": batch["t"] * np.nan} if bad else batch

    monkeypatch.setattr(pipeline.GrainBatches, "__next__", following)


def leave_out(monkeypatch, numbers):
    def following(self):
        while number(self) in numbers:
            NEXT(self)
        return NEXT(self)

    monkeypatch.setattr(pipeline.GrainBatches, "__next__", following)


def equal(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_bad_step_changes_nothing(tmp_path):
    """But its number, its count, and the place in the schedule of the learning rate."""
    with fit.open_run(RUN, tmp_path, quiet) as run:
        state, step, mesh = run.init_state(), run.make_step(), run.mesh
    batch = random_batch()
    bad = {**batch, "t": np.full((2, 1, 1, 1), np.nan, np.float32)}
    counts = []
    for count, each in enumerate((batch, bad, bad, batch), 1):
        before = jax.tree.map(np.array, state)
        state, _ = step(state, sharding.shard_batch(each, mesh))
        counts.append((int(state.step), int(state.skips.in_row), int(state.skips.total)))
        moved = [
            jax.tree_util.keystr(path)
            for (path, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(state), strict=True)
            if not np.array_equal(old, new)
        ]
        if each is bad:
            assert {path.split(".")[1].split("[")[0] for path in moved} == {"step", "skips", "optimizer"}
            assert all(path.endswith(".count") for path in moved if path.startswith(".optimizer"))
        else:
            assert sum("mu" in path for path in moved) > 10
        scheduled = optax.tree.get(state.optimizer, "count", filtering=lambda path, _: "Schedule" in str(path))
        assert scheduled == count
    assert counts == [(1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 0, 2)]


def test_bad_steps_are_logged(tmp_path, monkeypatch):
    spoil(monkeypatch, {1})
    lines = []
    fit.fit(RUN, tmp_path, lines.append)
    rows = [row for row in read_log(tmp_path) if "rate" in row]
    assert ["loss" in row for row in rows] == [True, False, True, True]
    assert [row["skipped"] for row in rows] == [0, 1, 1, 1]
    assert "loss not finite, skipped" in next(line for line in lines if line.startswith("step 2/"))
    assert newest(tmp_path)["position"]["skipped"] == {"in_row": 0, "total": 1}


def test_a_run_whose_steps_are_skipped_fails(tmp_path, monkeypatch):
    """Each line counts the skipped steps; the same command fails again; one of four is no failure (see above)."""
    spoil(monkeypatch, set(range(100)))
    lines = []
    with pytest.raises(UserError, match=r"^4 of 4 steps were skipped, .* lower --config\.optimizer\.rate"):
        fit.fit(RUN, tmp_path, lines.append)
    for count in range(1, 5):
        assert any(re.match(rf"step {count}/4  loss .*, skipped \({count} skipped so far\)", line) for line in lines)
    assert lines[-1] == "4 steps were skipped up to step 4"
    with pytest.raises(UserError, match="4 of 4 steps were skipped"):
        fit.fit(RUN, tmp_path, quiet)


def test_steps_that_are_too_high_are_seen():
    transform = make_optimizer(Optimizer(skip_above=2.0), 10, 1)
    params = {"a": jnp.ones(3)}
    state, seen = transform.init(params), []
    for loss in (1.0, 3.0, 2.5, 1.5):
        _, state = transform.update(params, state, params, value=jnp.float32(loss))
        seen.append(bool(is_skipped(state)))
    assert seen == [False, True, True, False]


def outcome(folder):
    return Validations(folder).outcome(4)


def test_a_failing_validation_costs_nothing(tmp_path, monkeypatch):
    """The step is on the disk before it is validated; strips and curves are warnings, too."""

    def fail(*_):
        assert (tmp_path / "run/checkpoints/4/params").is_dir()
        raise RuntimeError("out\nof memory")

    lines = []
    monkeypatch.setattr(validate, "_part", fail)
    fit.fit(dataclasses.replace(RUN, validate_at_start=False), tmp_path / "run", lines.append)
    warning = "warning: step 4 could not be validated: RuntimeError: out of memory; the run goes on without"
    assert warning in lines
    assert outcome(tmp_path / "run") == {"psnr": None, "l1": None, "samples": 0, "capped": 0}
    assert newest(tmp_path / "run")["step"] == 4
    lines.clear()
    fit.fit(RUN, tmp_path / "run", lines.append)
    assert lines[0].startswith("complete: step 4 of 4")
    assert warning not in lines


def test_failing_pictures_are_warnings(whole, tmp_path, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(logger, "sample_strips", fail)
    monkeypatch.setattr(logger, "save_curves", fail)
    lines = []
    fit.fit(RUN, tmp_path, lines.append)
    assert "warning: ZeroDivisionError" in lines
    assert outcome(tmp_path) == outcome(whole)


@pytest.mark.parametrize("deaths", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_validation_that_kills_the_run(whole, tmp_path, monkeypatch, deaths):
    """It is made up for; after the second time the run goes on without it."""

    def die(*_):
        raise KeyboardInterrupt

    recipe = dataclasses.replace(RUN, validate_at_start=False)
    with monkeypatch.context() as patch:
        patch.setattr(validate, "_part", die)
        for _ in range(deaths):
            with pytest.raises(KeyboardInterrupt):
                fit.fit(recipe, tmp_path, quiet)
    lines = []
    fit.fit(recipe, tmp_path, lines.append)
    equal(newest(tmp_path), newest(whole))
    if deaths == 1:
        assert outcome(tmp_path) == outcome(whole)
        assert [row for row in read_log(tmp_path) if row.get("validation_psnr") and row["step"] == 4]
    else:
        assert "warning: the validation of step 4 ended the run 2 times: it is left out" in lines
        assert outcome(tmp_path)["psnr"] is None


@pytest.mark.slow
def test_a_rollback_goes_on_past_the_bad_data(tmp_path, monkeypatch):
    """The end is that of a run that never saw them, killed or not."""
    run = dataclasses.replace(RUN, guard=Guard(bad_steps=2, rollbacks=1))
    with monkeypatch.context() as patch:
        leave_out(patch, {2, 3})
        fit.fit(run, tmp_path / "without", quiet)
    spoil(monkeypatch, {2, 3})
    lines = []
    fit.fit(run, tmp_path / "whole", lines.append)
    assert [line for line in lines if line.startswith("warning")] == [
        "warning: loss or gradient was not finite in the last 2 steps up to 4: back to step 2, and on with the data "
        "that follow"
    ]

    def interrupt(line):
        if line.startswith("warning"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(run, tmp_path / "killed", interrupt)
    fit.fit(run, tmp_path / "killed", quiet)
    for name in ("whole", "killed"):
        found = newest(tmp_path / name)
        assert losses(tmp_path / name) == losses(tmp_path / "without")
        rows = [row for row in read_log(tmp_path / name) if "rollback" in row]
        assert rows == [{"step": 2, "rollback": 1, "from_step": 4}]
        assert (found["position"].pop("skipped"), found["position"].pop("rollbacks")) == ({"in_row": 0, "total": 2}, 1)
        wanted = newest(tmp_path / "without")
        for end in (found, wanted):
            del end["position"]["data"]["seen"]  # the bad ones are among them
        equal(found, {**wanted, "position": found["position"]})
        assert found["position"].items() <= wanted["position"].items()


def test_bad_data_without_end_stop_the_run(tmp_path, monkeypatch):
    """After the last rollback; the samples of all the bad steps are listed."""
    spoil(monkeypatch, set(range(2, 100)))
    run = dataclasses.replace(RUN, guard=Guard(bad_steps=2, rollbacks=2))
    lines = []
    with pytest.raises(UserError, match=r"not finite in the last 2 steps, after 2 rollbacks: .*; step 2 is kept"):
        fit.fit(run, tmp_path, lines.append)
    assert sum("back to step 2" in line for line in lines) == 2
    batches = run_data.open_data(RUN, tmp_path, labeled_validation=False).batches
    names = [next(batches)["name"].tolist() for _ in range(8)]
    batches.close()
    wanted = [f"{3 + batch % 2} {name}" for batch in range(2, 8) for name in names[batch]]
    assert (tmp_path / "bad_samples.txt").read_text().splitlines() == wanted


@pytest.mark.slow
def test_weights_that_are_lost_end_the_run(tmp_path):
    """Not by the data's fault: also what was saved is finite, and a run without a checkpoint begins anew."""
    wild = dataclasses.replace(RUN, optimizer=Optimizer(rate=1e12, warmup=2), steps=40, log_every=100)
    wild = dataclasses.replace(wild, checkpoint_every=1, validate_every=1, guard=Guard(bad_steps=2, rollbacks=1))
    with pytest.raises(UserError, match=r"lower --config\.optimizer\.rate"):
        fit.fit(wild, tmp_path, quiet)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(vfi_jax.load("rife_lap", tmp_path)[1]))


@pytest.mark.parametrize("workers_end", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sigterm_saves_and_stops(whole, tmp_path, monkeypatch, workers_end):
    """SIGTERM: the step is finished and saved, where no save was due; the same command ends like an unbroken run.

    Where the signal went to all processes of the run, there may be no next batch.
    """
    lines, before = [], signal.getsignal(signal.SIGTERM)

    def stop(line):
        lines.append(line)
        if line.startswith("step 3/") and not workers_end:
            os.kill(os.getpid(), signal.SIGTERM)

    def following(self):
        if number(self) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
            raise RuntimeError("a worker process was terminated")
        return NEXT(self)

    with monkeypatch.context() as patch:
        if workers_end:
            patch.setattr(pipeline.GrainBatches, "__next__", following)
        fit.fit(RUN, tmp_path, stop)
    assert lines[-1] == "stopped at step 3; the same command continues"
    assert signal.getsignal(signal.SIGTERM) == before
    lines.clear()
    fit.fit(RUN, tmp_path, lines.append)
    assert lines[0] == "continuing from step 3"
    assert losses(tmp_path) == losses(whole)
    equal(newest(tmp_path), newest(whole))


LONG = dataclasses.replace(
    RUN,
    steps=24,
    checkpoint_every=3,
    validate_every=6,
    optimizer=dataclasses.replace(RUN.optimizer, rate=1e-2, plateau=Plateau(0.5, 0), skip_above=1.2),
)


def packed(folder):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (12, 3, 80, 80, 3), np.uint8)
    about = {METADATA_KEY: json.dumps({"names": [f"{clip}/0" for clip in range(12)]})}
    save_file({"frames": frames}, folder / "set.safetensors", about)
    return dataclasses.replace(LONG.data, path=str(folder / "set.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["host", "workers", "packed"])
def test_killed_at_random_steps(source, tmp_path):
    """By SIGKILL, and once by SIGTERM, which is to be quick: weights, averages, optimizer, losses, all bits."""
    data = {
        "host": lambda: LONG.data,
        "workers": lambda: dataclasses.replace(LONG.data, workers=1),
        "packed": lambda: packed(tmp_path),
    }[source]()
    run = dataclasses.replace(LONG, data=data)
    Command(run, tmp_path / "recipe.py", tmp_path / "whole").whole()
    command, rng = Command(run, tmp_path / "recipe.py", tmp_path / "killed"), random.Random(source)
    for lowest, number in ((2, signal.SIGKILL), (8, signal.SIGTERM), (14, signal.SIGKILL)):
        code, out, seconds = command.until(rf"step {rng.randint(lowest, lowest + 4)}/", number)
        assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        if number == signal.SIGTERM:
            assert re.search(r"^stopped at step \d+; the same command continues$", out, re.MULTILINE)
            assert seconds < 60
    assert "continuing from step " in command.whole()  # perhaps after a warning of a half-written step
    ours, theirs = newest(tmp_path / "killed"), newest(tmp_path / "whole")
    equal(ours, theirs)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    rows = [
        [{k: v for k, v in row.items() if not re.search(r"_s$|_s_device|_gb$|compiles", k)} for row in log]
        for log in (read_log(tmp_path / name) for name in ("killed", "whole"))
    ]
    assert rows[0] == rows[1]
    checkpoints = [Checkpoints(tmp_path / name) for name in ("killed", "whole")]
    assert checkpoints[0].chosen("best") == checkpoints[1].chosen("best")


def test_deterministic_kernels_are_asked_for_before_the_backend_starts():
    """By the flag of the command line, without kernels that other runs chose; a CPU has nothing to change."""
    code = f"""
import os, sys
sys.argv = ["train.py", "--config={ROOT}/configs/rife_footage.py:scratch", "--workdir=unused", "--deterministic"]
sys.path.insert(0, {str(ROOT)!r})
import jax, train
from absl import app
def fit(*_, profile, dry):
    assert not dry
    assert os.environ["XLA_FLAGS"] == train.DETERMINISTIC_OPTIONS
    assert jax.config.jax_persistent_cache_enable_xla_caches == "none"
    print(jax.device_count())
train.fit.fit = fit
app.run(train.main, flags_parser=train.parse_flags)
"""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
