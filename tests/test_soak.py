"""A long run of two processes that much happens to ends like one that nothing happens to."""

import dataclasses
import random
import re

import cv2
import jax
import numpy as np
import pytest
from test_hosts import Processes
from test_integrity import flip
from tiny_runs import ROOT, RUN, losses, newest

from vfi_jax.config import Optimizer

# `train.py`, into whose data one batch comes that no finite loss can come of.
SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from absl import app
import numpy as np
import train
from vfi_jax.data import pipeline
following = pipeline.GrainBatches.__next__
def spoiled(self):
    bad = self.get_state()["global_next_index"] // {batch} == {number}
    batch = following(self)
    return {{**batch, "t": batch["t"] * np.nan}} if bad else batch
pipeline.GrainBatches.__next__ = spoiled
app.run(train.main, flags_parser=train.parse_flags)
"""


def pictures(folder):
    """Windows of noise, of whose images one is cut short."""
    rng = np.random.default_rng(0)
    for window in range(24):
        (folder / f"{window:02d}").mkdir(parents=True)
        for image in range(3):
            cv2.imwrite(str(folder / f"{window:02d}/{image}.png"), rng.integers(0, 256, (80, 80, 3), np.uint8))
    broken = folder / "05/1.png"
    broken.write_bytes(broken.read_bytes()[:2000])


def start(run, folder, script):
    return Processes(run, folder.parent / f"{folder.name}_recipe.py", folder, 2, 1, script=script)


@pytest.mark.slow
@pytest.mark.parametrize(("steps", "kills"), [(30, 2), pytest.param(300, 6, marks=pytest.mark.long)])
def test_a_run_that_much_happens_to(tmp_path, steps, kills):
    """Killed at random steps, a bit of its newest checkpoint flipped; in both runs a broken image and a bad batch."""
    pictures(tmp_path / "data")
    every = max(steps // 60, 2)
    run = dataclasses.replace(
        RUN,
        steps=steps,
        data=dataclasses.replace(RUN.data, path=str(tmp_path / "data"), damaged=0.2),
        optimizer=Optimizer(rate=1e-4, clip_norm=1.0),
        checkpoint_every=every,
        validate_every=5 * every,
    )
    script, rng = tmp_path / "script.py", random.Random(steps)
    script.write_text(SCRIPT.format(root=str(ROOT), batch=run.batch_size, number=rng.randrange(steps)))
    ends = start(run, tmp_path / "calm", script).ended()
    assert [code for code, _, _ in ends] == [0, 0], ends
    out = "".join(text for _, text, _ in ends)
    assert "05/1.png" in out
    places = sorted(rng.sample(range(3 * every, steps - 1), kills))
    for index, place in enumerate(places):
        several = start(run, tmp_path / "rough", script)
        for line in several.each[0].stdout:
            if re.match(rf"step {place}/", line):
                break
        for process in several.each:
            process.kill()
        several.ended()
        if index == kills // 2:
            saved = [int(path.name) for path in (tmp_path / "rough/checkpoints").glob("[0-9]*") if path.name.isdigit()]
            flip(tmp_path / f"rough/checkpoints/{max(saved)}")
            flipped = max(saved)
    ends = start(run, tmp_path / "rough", script).ended()
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert (tmp_path / f"rough/damaged/{flipped}").is_dir()
    ours, theirs = newest(tmp_path / "rough"), newest(tmp_path / "calm")
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert losses(tmp_path / "rough") == losses(tmp_path / "calm")
    assert ours["position"]["skipped"]["total"] == 1
    assert len(losses(tmp_path / "calm")) == steps - 1
