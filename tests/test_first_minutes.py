"""What a run shows before and around its first steps."""

import dataclasses
import time

import pytest
from tiny_runs import RUN, quiet

from vfi_jax.config import Milestones, Optimizer, Plateau
from vfi_jax.runs.log import read_log
from vfi_jax.training import fit, meter, summary
from vfi_jax.training.meter import Meter


def test_a_new_run_begins_with_a_summary_and_a_validation(tmp_path):
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
