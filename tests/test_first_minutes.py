"""Lines that a run prints before and around its first steps."""

import dataclasses
import sys
import time
import types

import numpy as np
import pytest
from flax import traverse_util
from tiny_runs import RUN, TINY, idle_step, quiet

import vfi_jax
from vfi_jax.config import Milestones, Optimizer, Plateau, Pretrained
from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs import log
from vfi_jax.runs.log import read_log
from vfi_jax.training import fit, meter, summary
from vfi_jax.training.meter import Meter
from vfi_jax.training.run import Run


def test_a_new_run_begins_with_a_summary_and_a_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "make_step", idle_step(0))
    lines = []

    def interrupt(line):
        lines.append(line)
        if line.startswith("step 2/"):
            raise KeyboardInterrupt

    run = dataclasses.replace(RUN, validate_at_start=True)
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n{"step": 1}\n')  # of a run that saved nothing
    with pytest.raises(KeyboardInterrupt):
        fit.fit(run, tmp_path, interrupt)
    assert lines[:5] == [
        "training set: synthetic:12, 10 windows of 10 clips",
        "validation: held out, 2 windows of 2 clips: scene000010, scene000011",
        "steps: 4, 0.8 epochs of 5; batch 2 on 1 cpu (2 each), 1 process",
        "model: rife_lap, 51,376 parameters; float32; fresh weights (seed 0)",
        "learning rate: a warm-up of 1 step, then a cosine from 0.001 to 0 at step 4",
    ]
    assert lines[5].startswith("step 0: validation PSNR ")
    assert lines[6] == "compiling the training step ..."
    assert lines[7].startswith("compiled, and the first step done, in ")
    assert "samples/s" not in lines[8]
    assert "samples/s" in lines[9]
    assert [row["step"] for row in read_log(tmp_path)] == [0, 1, 2]


def test_a_warm_up_beyond_the_end_is_a_warning(tmp_path):
    run = dataclasses.replace(RUN, optimizer=Optimizer(rate=1e-3, warmup=10), accumulate=2)
    with fit.open_run(run, tmp_path, quiet) as opened:
        *_, steps, _, _, warning = summary.lines(opened)
    assert steps.endswith("(2 each, in 2 parts), 1 process")
    assert warning == (
        "warning: the warm-up of 10 steps is longer than the run of 4: the learning rate never exceeds 0.0003; lower "
        "--config.optimizer.warmup"
    )


def test_schedules_are_described():
    constant = Optimizer(rate=1e-4, final_rate=1e-4, milestones=Milestones((3, 5), 0.5), plateau=Plateau(0.2))
    assert summary.schedule(constant, 9) == "0.0001, times 0.5 after epochs 3, 5, times 0.2 on plateaus"


def test_a_slow_compilation_is_explained(monkeypatch):
    monkeypatch.setattr(meter, "ALARM", 0)
    lines = []
    with Meter(1).compiling(lines.append):
        while len(lines) < 2:
            pass
    assert lines[1] == "still compiling after 0 s; XLA's alarm about that is no fault"


def test_rates_leave_the_first_step_out():
    measured = Meter(4)
    with measured.waiting():
        pass
    with measured.compiling(quiet):
        time.sleep(0.2)
    for _ in range(2):
        with measured.waiting():
            time.sleep(0.005)
    assert 0.005 < measured.lap()["wait_s"] < 0.05
    with measured.compiling(quiet):
        pass
    assert "samples_per_s" not in measured.lap()


def test_parts_of_weights_are_taken_over(tmp_path):
    """By patterns of paths; the others are those of the seed."""
    model, given = vfi_jax.create("rife_lap", seed=5, **TINY)
    vfi_jax.save(tmp_path / "w.safetensors", model, given)
    start = Pretrained("rife_lap", str(tmp_path / "w.safetensors"))

    def taken(**patterns):
        run = dataclasses.replace(RUN, init_from=dataclasses.replace(start, **patterns))
        params, fresh = fit.build(run, tmp_path)[2]["params"], vfi_jax.create("rife_lap", seed=0, **TINY)[1]["params"]
        flat = [traverse_util.flatten_dict(tree, sep="/") for tree in (params, given["params"], fresh)]
        for path, value in flat[0].items():
            assert np.array_equal(value, flat[1][path]) or np.array_equal(value, flat[2][path])
        return {path for path, value in flat[0].items() if np.array_equal(value, flat[1][path])} - {
            path for path in flat[1] if np.array_equal(flat[1][path], flat[2][path])
        }

    every = taken()
    first = next(iter(every)).split("/")[0]
    mine = {path for path in every if path.startswith(f"{first}/")}
    assert mine < every
    assert taken(only=(f"^{first}/",)) == mine
    assert taken(skip=(f"^{first}/",)) == every - mine
    with pytest.raises(UsageError, match=r"init_from.skip: no parameter's path in rife_lap has 'moon' in it"):
        taken(skip=("moon",))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"keep_every": 3}, r"keep_every is 3: it must be a multiple of --config.checkpoint_every, 2"),
        ({"init_from": Pretrained("rife_lap", only=("(",))}, r"init_from.only has '\('.*in this regular expression"),
        ({"init_from": Pretrained(skip=("a",))}, "choose parameters of --config.init_from.model, which is empty"),
        ({"teacher": Pretrained("rife_lap", skip=("a",))}, "a teacher is loaded whole"),
        ({"optimizer": Optimizer(freeze=("[",))}, r"optimizer.freeze has '\['"),
    ],
)
def test_patterns_that_cannot_be_used(tmp_path, change, line):
    with pytest.raises(UsageError, match=line):
        fit.fit(dataclasses.replace(RUN, **change), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_and_biases(tmp_path, monkeypatch):
    """Beside the log; a continued run has the same id, a new one in the same folder another."""
    calls, ids = [], []

    class Run:
        def log(self, values, *, step):
            if step == 3:
                raise ConnectionError("no network\nat all")
            calls.append((step, values))

        def finish(self):
            raise ConnectionError

    def init(**options):
        ids.append(options.pop("id"))
        assert options == {
            "project": "p", "name": tmp_path.name, "resume": "allow", "config": {"seed": 1}, "dir": str(tmp_path)
        }  # fmt: skip
        return Run()

    stub = types.SimpleNamespace(init=init, Image=lambda image: image.shape)
    monkeypatch.setitem(sys.modules, "wandb", stub)
    for step in (-1, 1, -1):
        written = log.Log(tmp_path, step, wandb="p", config={"seed": 1})
        written.write({"step": 2, "loss": 0.5})
        written.picture(2, np.zeros((4, 5, 3), np.uint8))
        with pytest.raises(UserError, match=r"^wandb: no network$"):
            written.write({"step": 3, "loss": 0.5})
        written.close()
    assert calls[:2] == [(2, {"loss": 0.5}), (2, {"samples": (4, 5, 3)})]
    assert ids[0] == ids[1] != ids[2]
    assert [row["step"] for row in read_log(tmp_path)] == [2, 3]
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"--config.wandb needs wandb: pip install 'vfi_jax\[logging\]'"):
        log.Log(tmp_path, 1, wandb="p")
