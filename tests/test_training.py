"""Training: the step, and runs that stop, continue and go wrong."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from clips import make_clip
from tiny_runs import ROOT, RUN, losses, newest, quiet, random_batch

import vfi_jax
from vfi_jax import config
from vfi_jax.config import Augment, Data, Footage, Mix, Optimizer, Plateau, Pretrained, Window
from vfi_jax.data import parts, sources
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.log import read_log
from vfi_jax.system import sharding
from vfi_jax.training import fit, validate
from vfi_jax.training.data import open_data


@pytest.mark.slow
def test_plateaus_and_skipping_resume_bit_for_bit(tmp_path, monkeypatch):
    """The rate falls at the first validation that is no better; some steps are skipped."""
    optimizer = Optimizer(1e-2, 1e-2, plateau=Plateau(0.5, 0), skip_above=1.2)
    run = dataclasses.replace(RUN, optimizer=optimizer, steps=7, checkpoint_every=1, validate_every=1)
    fit.fit(run, tmp_path / "whole", quiet)

    def interrupt(line):
        if line.startswith("step 5/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(run, tmp_path / "run", interrupt)
    part, calls = validate._part, []

    def die(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return part(*arguments)

    with monkeypatch.context() as patch:  # in the validation of a step that is saved
        patch.setattr(validate, "_part", die)
        with pytest.raises(KeyboardInterrupt):
            fit.fit(run, tmp_path / "run", quiet)
    fit.fit(run, tmp_path / "run", quiet)
    ours, theirs = newest(tmp_path / "run"), newest(tmp_path / "whole")
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    rows = read_log(tmp_path / "run")
    rates = [row["rate"] for row in rows if "rate" in row]
    assert rates == [row["rate"] for row in read_log(tmp_path / "whole") if "rate" in row]
    errors = [row["validation_l1"] for row in rows if "validation_l1" in row]
    falls = [error >= min(errors[:at]) * (1 - 1e-4) for at, error in enumerate(errors) if at]
    assert any(falls)
    wanted = 1e-2 * 0.5 ** np.cumsum([0, 0, *falls[:-1]])  # the first validation is better than none
    assert rates == pytest.approx(wanted.tolist(), rel=1e-6)


def test_a_run_leaves_what_is_promised(whole):
    assert {"config.json", "metrics.jsonl", "curves.png", "samples", "checkpoints"} <= set(os.listdir(whole))
    rows = read_log(whole)
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4]
    for row in rows:
        if "loss" in row:
            terms = [value for name, value in row.items() if name.startswith("loss/")]
            assert sum(terms) == pytest.approx(row["loss"], rel=1e-5)
            rates = {"samples_per_s", "wait_s", "compute_s"} if row["step"] > 1 else set()  # the first step compiles
            assert {"rate", "gradient_norm", *rates} <= row.keys()
    assert [row["step"] for row in rows if "validation_psnr" in row] == [4]
    assert run_folder.read_config(whole) == RUN


def test_resume_continues_bit_for_bit(whole, tmp_path):
    """Interrupted after a step that was not saved: that step is made again, and the end is that of an unbroken run."""

    def interrupt(line):
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(RUN, tmp_path / "run", interrupt)
    assert losses(tmp_path / "run") == losses(whole)[:3]
    lines = []
    fit.fit(RUN, tmp_path / "run", lines.append)
    assert lines[0] == "continuing from step 2"
    assert losses(tmp_path / "run") == losses(whole)
    ours, theirs = newest(tmp_path / "run"), newest(whole)
    assert ours["position"] == theirs["position"]
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_seeds(whole, tmp_path):
    """Equal seeds train the same; another one has other weights and another order of samples."""
    fit.fit(RUN, tmp_path / "same", quiet)
    assert losses(tmp_path / "same") == losses(whole)
    names, kernels = [], []
    for recipe in (RUN, dataclasses.replace(RUN, seed=1)):
        with fit.open_run(recipe, tmp_path / f"{recipe.seed}", quiet) as run:
            names.append([name for _ in range(4) for name in next(run.data.batches)["name"].tolist()])
            kernels.append(jax.tree.leaves(run.variables["params"]))
    assert names[0] != names[1]
    assert any(not np.array_equal(*pair) for pair in zip(*kernels, strict=True))


def test_load_takes_a_run(whole):
    model, variables = vfi_jax.load("rife_lap", whole)
    saved = newest(whole)
    jax.tree.map(np.testing.assert_array_equal, variables["params"], jax.tree.map(np.asarray, saved["ema"]))
    assert model.widths == (16, 16)
    frame = np.zeros((40, 48, 3), np.uint8)
    assert vfi_jax.Interpolator(model, variables)(frame, frame, t=0.3).shape == frame.shape
    earlier = vfi_jax.load("rife_lap", whole, step=2)[1]["params"]
    assert any(not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (earlier, saved["ema"])), strict=True))
    best = vfi_jax.load("rife_lap", whole, step="best")[1]["params"]
    jax.tree.map(np.testing.assert_array_equal, best, variables["params"])
    with pytest.raises(UsageError, match=r"holds weights of rife_lap, not of rife: pass --model rife_lap"):
        vfi_jax.load("rife", whole)
    with pytest.raises(UserError, match="has no step 3; it has: 2, 4"):
        vfi_jax.load("rife_lap", whole, step=3)


def test_fine_tuning_starts_from_a_run(whole):
    start = dataclasses.replace(RUN, init_from=Pretrained("rife_lap", str(whole)))
    _, _, variables, _ = fit.build(start, Path())
    jax.tree.map(np.testing.assert_array_equal, variables, vfi_jax.load("rife_lap", whole)[1])
    with pytest.raises(UsageError, match="do not fit rife_v4_25"):
        fit.build(dataclasses.replace(start, model="rife_v4_25", fields={}), Path())


@pytest.mark.slow
def test_bfloat16(tmp_path):
    """Parameters stay float32."""
    fit.fit(dataclasses.replace(RUN, precision="bfloat16", steps=2, validate_every=2), tmp_path, quiet)
    assert np.isfinite(losses(tmp_path)).all()
    _, variables = vfi_jax.load("rife_lap", tmp_path)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_averaged_parameters(tmp_path):
    """Each step makes 0.9 a + 0.1 b of the average a and the new parameters b."""
    with fit.open_run(RUN, tmp_path, quiet) as run:
        state, step = run.init_state(), run.make_step()
        before = jax.tree.map(np.array, state.params)
        for _ in range(2):  # the first has learning rate 0
            averaged = jax.tree.map(np.array, state.ema)
            state, _ = step(state, sharding.shard_batch(random_batch(), run.mesh))
    for old, ema, new in zip(*map(jax.tree.leaves, (averaged, state.ema, state.params)), strict=True):
        np.testing.assert_allclose(ema, 0.9 * old + 0.1 * np.asarray(new), rtol=1e-5, atol=1e-7)
    assert any((old != new).any() for old, new in zip(*map(jax.tree.leaves, (before, state.params)), strict=True))


@pytest.mark.slow
def test_a_teacher_that_is_the_pupil_has_nothing_to_teach(whole, tmp_path):
    """At the first step its frame is the pupil's, and so is its last flow, of which the objective sees two levels.

    The run has an extra loss, one that is left out, and no averaged weights.
    """
    start = Pretrained("rife_lap", str(whole))
    more = {"ema": 0.0, "extra_losses": {"census": 0.5, "l1": 0.0}}
    fit.fit(dataclasses.replace(RUN, init_from=start, teacher=start, **more), tmp_path, quiet)
    rows = [row for row in read_log(tmp_path) if "loss" in row]
    assert rows[0]["loss/teacher"] < 1e-5 * rows[0]["loss/reconstruction"] < rows[-1]["loss/teacher"]
    assert 0 < rows[0]["loss/distillation"] < rows[0]["loss/reconstruction"]
    assert 0 < rows[0]["loss/census"] < 0.5
    assert "loss/l1" not in rows[0]
    assert not (tmp_path / "checkpoints/4/ema").exists()
    assert vfi_jax.load("rife_lap", tmp_path)[0].widths == (16, 16)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"steps": 0}, "either --config.steps or --config.epochs"),
        ({"model": "rief"}, "no model is called 'rief'"),
        ({"fields": {"width": 3}}, "rife_lap has no field 'width'"),
        ({"precision": "float16"}, "no precision is called 'float16': float32, default or bfloat16"),
        ({"loss": {"weigth": 1.0}}, "config.loss has no 'weigth' for rife_lap"),
        ({"extra_losses": {"lpips": 1.0}}, "no loss is called 'lpips'"),
        ({"extra_losses": {"no_such:loss": 1.0}}, "loss no_such:loss: no_such cannot be imported"),
        ({"extra_losses": {"math:pi": 1.0}}, "loss math:pi is no Callable"),
        ({"extra_losses": {"jax.numpy:subtract": 1.0}}, "loss jax.numpy:subtract returns an array of shape"),
        ({"model": "no_such:MODEL"}, "model no_such:MODEL: no_such cannot be imported"),
        ({"batch_size": 0}, "--config.batch_size is 0: 1 or more is needed"),
        ({"data": dataclasses.replace(RUN.data, holdout=2.0)}, "--config.data.holdout is 2.0: a number from 0 to 1"),
        ({"data": dataclasses.replace(RUN.data, window=Window(5, (0, 1, 3, 4), 2))}, "4 inputs: rife_lap takes 2"),
        (
            {"model": "rife", "fields": {}, "data": dataclasses.replace(RUN.data, window=Window(5, sorted_share=0.1))},
            "other times than 0.5, which rife does not support",
        ),
        ({"data": dataclasses.replace(RUN.data, validation="set.safetensors")}, "make records of it first"),
        ({"validate_every": 3}, "multiple of --config.checkpoint_every"),
        ({"optimizer": Optimizer(rate_factors={"steam": 1.0})}, "no parameter's path has 'steam' in it"),
        ({"batch_size": 50}, "do not fill a batch of 50"),
        ({"data": Data(path="synthetic:12", augment=Augment(crop=100))}, "rife_lap needs a multiple of 64"),
        ({"loss": {"pyramid_levels": 6}}, "a pyramid of 6 levels needs sides divisible by 64 and of 96 or more"),
        ({"data": Data(path="nowhere", augment=Augment(crop=64))}, "nowhere: no such folder"),
        ({"data": Data(path="nowhere.safetensors", augment=Augment(crop=64))}, "not a complete packed set"),
        ({"init_from": Pretrained("rife", "nowhere.pkl")}, "nowhere.pkl: no such weights file"),
        ({"teacher": Pretrained("rife_lap", "nowhere.pkl")}, "nowhere.pkl: no such weights file"),
        ({"teacher": Pretrained("raft")}, "raft"),
        (
            {"data": dataclasses.replace(RUN.data, mix=(Mix("a", 0.5), Mix("b", 0.5)))},
            r"shares \[0.5, 0.5\]: each must",
        ),
        ({"teacher": Pretrained("dbvi_2x")}, "it takes other inputs than rife_lap"),
        ({"model": "cain", "fields": {}, "teacher": Pretrained("rife_lap")}, "the objective of cain takes no teacher"),
        (
            {"teacher": Pretrained("rife_lap"), "data": dataclasses.replace(RUN.data, labels="dis")},
            "teacher and --config.data.labels both give flows",
        ),
    ],
)
def test_bad_recipes_are_one_line(tmp_path, change, line):
    with pytest.raises(UserError, match=line):
        fit.fit(dataclasses.replace(RUN, **change), tmp_path / "run", quiet)


def test_a_mended_config_may_use_the_same_folder(tmp_path):
    """As long as nothing was saved there."""
    with pytest.raises(UserError, match=r"too small for data\.augment\.crop = 320"):
        fit.fit(
            dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, augment=Augment(crop=320))), tmp_path, quiet
        )
    fit.fit(RUN, tmp_path, quiet)
    assert run_folder.read_config(tmp_path).data.augment.crop == 64


def test_folders_of_other_runs(whole, tmp_path):
    with pytest.raises(UsageError, match=r"holds a run with another config \(batch_size: 2, now 1\)"):
        fit.fit(dataclasses.replace(RUN, batch_size=1), whole, quiet)
    with pytest.raises(UserError, match="cannot be written"):
        fit.fit(RUN, Path("/proc/run"), quiet)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        run_folder.read_config(tmp_path / "run")


def test_what_a_continued_run_may_change(whole, tmp_path):
    """Lengths, and what differs between machines; each change is logged, and the learning rate before and after."""
    folder, lines = tmp_path / "run", []
    shutil.copytree(whole, folder)
    fit.fit(RUN, folder, lines.append)
    assert lines == ["complete: step 4 of 4 is saved; raise --config.steps to train further"]
    with pytest.raises(UsageError, match=r"holds a run of 4 steps, and --config\.steps=2 asks for fewer"):
        fit.fit(dataclasses.replace(RUN, steps=2), folder, quiet)
    changed = {"batch_size": 1, "data": dataclasses.replace(RUN.data, augment=Augment(crop=128))}
    named = r"\(batch_size: 2, now 1; data\.augment\.crop: 64, now 128\): pass --config\.batch_size=2 to continue"
    with pytest.raises(UsageError, match=named):
        fit.fit(dataclasses.replace(RUN, **changed), folder, quiet)
    with pytest.raises(UsageError, match=r"another data\.path \(12 windows, .*, now 13 windows, .* start anew"):
        fit.fit(dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path="synthetic:13")), folder, quiet)
    assert run_folder.read_config(folder) == RUN
    longer = dataclasses.replace(RUN, steps=6, data=dataclasses.replace(RUN.data, workers=1))
    lines.clear()
    with fit.open_run(longer, folder, lines.append):
        pass
    assert sorted(lines) == [
        "config.data.workers is 1 now (0 before)",
        "config.steps is 6 now (4 before)",
        "the schedule of the learning rate ends at step 6 instead of 4: it was 0.00025 at step 4 and is 0.000345 at "
        "step 5",
    ]
    assert run_folder.read_config(folder) == longer


def test_a_set_may_move(whole, folders, tmp_path):
    """The names of its windows say that it is the same one."""
    shutil.copytree(whole, tmp_path / "run")
    recipe = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path=str(folders)))
    moved = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path=str(tmp_path / "moved")))
    sets = open_data(recipe, tmp_path, labeled_validation=False).sets
    run_folder.write(tmp_path / "run", recipe, sets)
    folders.rename(tmp_path / "moved")
    lines = []
    with fit.open_run(moved, tmp_path / "run", lines.append):
        pass
    assert lines == [f'config.data.path is "{tmp_path}/moved" now ("{folders}" before)']
    shutil.rmtree(tmp_path / "moved/clip0")
    with pytest.raises(UsageError, match=r"another data\.path \(8 windows, .*, now 7 windows"):
        fit.fit(moved, tmp_path / "run", quiet)


@pytest.mark.parametrize("damage", [pytest.param("manifest", marks=pytest.mark.slow), "data"])
def test_a_damaged_checkpoint_is_reported(whole, tmp_path, damage):
    """In one line: `load` takes the step before, `convert`, which writes down which step it took, ends."""
    shutil.copytree(whole, tmp_path / "run")
    for file in (tmp_path / "run/checkpoints/4/ema").rglob("manifest.ocdbt" if damage == "manifest" else "d/*"):
        os.truncate(file, file.stat().st_size // 2)
    load = f"import vfi_jax; vfi_jax.load('rife_lap', {str(tmp_path / 'run')!r})"
    # Now and then Orbax leaves a read behind that has failed as well.
    late = "import asyncio; asyncio.new_event_loop().create_future().set_exception(ValueError('DATA_LOSS: ... ocdbt'))"
    done = subprocess.run([sys.executable, "-c", f"{load}\n{late}"], capture_output=True, text=True)
    assert done.returncode == 0
    assert re.search(r"warning: .*checkpoints/4 cannot be restored: .* in ema.*; trying step 2 instead\n", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    command = ["vfi_jax.cli.main", "convert", "--model=rife_lap", f"--weights={tmp_path / 'run'}"]
    command.append(f"--output={tmp_path / 'o.safetensors'}")
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "checkpoints/4 cannot be restored: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "o.safetensors").exists()


def test_a_damaged_newest_step_is_made_again(whole, tmp_path):
    """The run continues from the one before, and ends like one that nothing happened to."""
    shutil.copytree(whole, tmp_path / "run")
    file = max((tmp_path / "run/checkpoints/4/optimizer").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes(data)
    lines = []
    fit.fit(RUN, tmp_path / "run", lines.append)
    assert "checkpoints/4 cannot be restored: optimizer/" in lines[0]
    assert lines[1].endswith("damaged/4")
    assert lines[2] == "continuing from step 2"
    jax.tree.map(np.testing.assert_array_equal, newest(tmp_path / "run"), newest(whole))
    assert losses(tmp_path / "run") == losses(whole)


def test_an_empty_step_that_a_crash_left_is_no_step(whole, tmp_path):
    """Orbax would take it for the newest, and save nothing before it."""
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/checkpoints/4")
    (tmp_path / "run/checkpoints/4").mkdir()
    lines = []
    fit.fit(RUN, tmp_path / "run", lines.append)
    assert lines[0] == "continuing from step 2"
    jax.tree.map(np.testing.assert_array_equal, newest(tmp_path / "run"), newest(whole))


@pytest.mark.slow
def test_footage_is_looked_at_once(tmp_path):
    """Records that were made for a run are what it continues with, whatever becomes of the videos."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed in range(3):
        scene = random_scene(seed, 72, 80, speed=60)
        frames = [np.rint(255 * scene.frame(at)).astype(np.uint8) for at in np.linspace(0, 1, 16)]
        make_clip(folder / f"{seed}.mkv", frames=16, size=(80, 72), picture=lambda i, _, f=frames: f[i],
                  codec="ffv1", pix_fmt="bgr0")  # fmt: skip
    data = dataclasses.replace(RUN.data, path=str(folder), footage=Footage(step=3))
    run = dataclasses.replace(RUN, data=data)
    fit.fit(run, tmp_path / "whole", quiet)

    def interrupt(line):
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit.fit(run, tmp_path / "run", interrupt)
    shutil.rmtree(folder)
    fit.fit(run, tmp_path / "run", quiet)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.slow
def test_a_run_that_skips_every_step_is_stopped(tmp_path):
    """Its first step leads to where the loss stays too high."""
    wild = dataclasses.replace(RUN, optimizer=Optimizer(rate=1.0, skip_above=1.01), steps=20)
    with pytest.raises(
        UserError, match=r"steps were skipped because their loss was more than 1\.01 times the first: lower"
    ):
        fit.fit(wild, tmp_path, quiet)


@pytest.fixture
def folders(tmp_path):
    """Eight windows of pictures, two of which are damaged."""
    scene = random_scene(0, 72, 80, speed=6)
    for index in range(8):
        folder = tmp_path / f"set/clip{index}"
        folder.mkdir(parents=True)
        for number in range(3):
            frame = np.rint(255 * scene.frame(index + number / 2)).astype(np.uint8)
            cv2.imwrite(str(folder / f"im{number}.png"), frame)
    for index in (2, 5):
        file = tmp_path / f"set/clip{index}/im1.png"
        file.write_bytes(file.read_bytes()[:200])
    return tmp_path / "set"


def test_damaged_pictures_are_replaced_logged_and_counted(folders, tmp_path):
    data, lines = dataclasses.replace(RUN.data, path=str(folders), damaged=0.5), []
    batches = open_data(
        dataclasses.replace(RUN, data=data), tmp_path, labeled_validation=False, log=lines.append
    ).batches
    for _ in range(8):  # an epoch is three batches
        assert "damaged" not in next(batches)
    place = batches.get_state()
    batches.close()
    assert place["seen"] == 16
    assert 2 < place["damaged"] < 8
    assert len(lines) == 2  # each reason once
    assert all(line.startswith("replaced (") for line in lines)
    assert any("clip2/im1.png: the image is cut short" in line for line in lines)
    strict = dataclasses.replace(RUN, data=dataclasses.replace(data, damaged=0.0))
    with pytest.raises(
        UserError, match=r"samples cannot be used, more than --config\.data\.damaged=0 allows: repair the set"
    ):
        fit.fit(strict, tmp_path / "strict", quiet)


def test_a_damaged_window_is_always_replaced_by_the_same(folders):
    source = parts.Tolerant(sources.open_source(str(folders), 3))
    first, again, other = source[2], source[2], source[5]
    assert first["name"] == again["name"] not in ("clip2", "clip5")
    assert first["damaged"] == again["damaged"]
    assert "clip5" in other["damaged"]
    assert source[0]["damaged"] == ""
    for file in folders.rglob("im1.png"):
        file.unlink()
        file.with_name("im1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"clip2.* the file is empty; nor can 8 others of the set"):
        source[2]


# What differs between recipes after a kill: the data (triplets of frames, or clips of a video) and random layers. Every
# family's smoke variant is run on two processes in test_hosts.py.
KILLED = ("rife_footage", "rife_vimeo90k", "ugsp")


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        path.stem if path.stem in KILLED else pytest.param(path.stem, marks=pytest.mark.long)
        for path in sorted((ROOT / "configs").glob("*.py"))
    ],
)
def test_smoke_recipes_survive_a_kill(recipe, tmp_path):
    """The command line: killed in the middle, the same command finishes."""
    command = [sys.executable, "train.py", f"--config=configs/{recipe}.py:smoke", f"--workdir={tmp_path}"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache/jax")}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (tmp_path / "checkpoints/5").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "continuing from step " in done.stdout  # perhaps after a warning of a half-written step
    steps = [row["step"] for row in read_log(tmp_path) if "loss" in row]
    assert steps == list(range(1, 21))


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")  # of ml_collections
@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        ([], 2, "--config FILE and --workdir FOLDER are needed"),
        (["--config=configs/nowhere.py", "--workdir=W"], 2, "nowhere.py"),
        (["--config=configs/rife_footage.py:scratch", "--workdir=W"], 2, "data.path is empty"),
        (["--config=configs/rife_footage.py", "extra"], 2, "'extra' is not a flag"),
        (["--config=configs/rife_footage.py", "--print_config", "--config.ema=2"], 2, "--config.ema is 2.0: a number"),
    ],
)
def test_wrong_arguments_are_one_line(train, tmp_path, monkeypatch, capsys, arguments, code, line):
    monkeypatch.chdir(ROOT)
    arguments = ["train.py", *(argument.replace("=W", f"={tmp_path / 'run'}") for argument in arguments)]
    with pytest.raises(SystemExit) as caught:
        train.main(train.parse_flags(arguments))
    message = capsys.readouterr().err
    assert caught.value.code == code, message
    assert line in message
    assert len(message.strip().splitlines()) == 1


@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")  # of ml_collections
def test_the_config_is_printed(train, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    arguments = ["train.py", "--config=configs/rife_footage.py:smoke", "--config.seed=7", "--print_config"]
    train.main(train.parse_flags(arguments))
    values = json.loads(capsys.readouterr().out)
    assert config.parse(config.Train, values).seed == values["seed"] == 7


def test_a_dry_run_does_everything_but_the_steps(tmp_path):
    lines = []
    fit.fit(RUN, tmp_path, lines.append, dry=True)
    assert lines[0] == "training set: synthetic:12, 10 windows of 10 clips"
    assert lines[5].startswith("validation of the weights to start from: PSNR ")
    assert lines[6] == "compiling the training step ..."
    assert re.match(r"loss of the first step 0.\d{5}; peak memory: host_gb ", lines[8])
    assert lines[9] == "dry run: nothing was trained or saved; a run starts from step 0"
    assert {path.name for path in tmp_path.iterdir()} <= {"config.json", "environment.txt", "sets.json", "checkpoints"}
    assert not list((tmp_path / "checkpoints").iterdir())


def test_the_command_ends_with_one_line(tmp_path):
    arguments = ["--config=configs/rife_footage.py:scratch", f"--workdir={tmp_path}", "--config.data.path=nowhere"]
    done = subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr == "train.py: nowhere: no such folder\n"
