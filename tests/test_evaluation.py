"""Evaluation: protocols on small sets in the published layouts, and the command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

import vfi_jax
from vfi_jax import benchmarks, checkpoint, zoo
from vfi_jax.benchmarks import BENCHMARKS
from vfi_jax.data.images import load_image
from vfi_jax.data.synthetic import random_scene
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import ssim_matlab
from vfi_jax.picture import save_png
from vfi_jax.types import Output, UsageError, UserError

ROOT = Path(__file__).parent.parent


class Averaging:
    """A model that is known through and through."""

    variant, channel_order, any_time = "rife_lap", "rgb", False

    def apply(self, variables, frames, t):
        return Output(frames.mean(1))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three UCF101 triplets, two of Middlebury's in two sizes, and Vimeo90K's layout with a test list."""
    root = tmp_path_factory.mktemp("data")
    for number in (1, 11, 2):
        write(root / f"ucf101_interp_ours/{number}", ("frame_00", "frame_01_gt", "frame_02"), number, (40, 48))
    for number, (scene, size) in enumerate({"Beanbags": (40, 56), "Venus": (32, 48)}.items()):
        first, truth, second = draw(number, size)
        inputs, truths = root / "middlebury/other-data" / scene, root / "middlebury/other-gt-interp" / scene
        for file, image in {
            inputs / "frame10.png": first, inputs / "frame11.png": second, truths / "frame10i11.png": truth
        }.items():  # fmt: skip
            file.parent.mkdir(parents=True, exist_ok=True)
            save_png(file, image)
    for number in range(3):
        write(root / f"vimeo_triplet/sequences/00001/000{number}", ("im1", "im2", "im3"), number, (32, 48))
    (root / "vimeo_triplet/tri_testlist.txt").write_text("00001/0002\n00001/0000\n\n")
    for number in range(2):
        names = [f"im{index}" for index in range(1, 8)]
        write(root / f"vimeo_septuplet/sequences/00001/000{number}", names, number, (32, 48))
    (root / "vimeo_septuplet/sep_testlist.txt").write_text("00001/0001\n00001/0000\n")
    return root


def draw(seed, size, count=3):
    scene = random_scene(seed, *size, speed=4)
    return [np.rint(255 * scene.frame(time)).astype(np.uint8) for time in np.linspace(0, 1, count)]


def write(folder, names, seed, size):
    folder.mkdir(parents=True)
    for name, image in zip(names, draw(seed, size, len(names)), strict=True):
        save_png(folder / f"{name}.png", image)


def run(name, data):
    benchmark = benchmarks.named(name)
    return list(benchmarks.scores(Interpolator(Averaging(), {}), benchmark, benchmark.find(data), 2))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_scores_of_averaging(data, name):
    for score in run(name, data):
        # Half levels are rounded either way in float32: one level in a few pixels, where errors are few levels.
        assert score.psnr == pytest.approx(score.average_psnr, abs=0.15)
        assert 10 < score.psnr < 60
        assert 0 < score.ssim_matlab < 1


def test_order_and_names(data):
    assert [score.name for score in run("vimeo90k", data)] == ["00001/0002", "00001/0000"]
    assert [score.name for score in run("ucf101", data)] == ["1", "2", "11"]
    assert [score.name for score in run("middlebury", data)] == ["Beanbags", "Venus"]
    folder = data / "vimeo_triplet"
    assert [score.name for score in run(f"triplets={folder}", Path("nowhere"))] == ["00001/0002", "00001/0000"]


def test_figures_of_an_image(data):
    """Of a model that repeats the first frame, which rounding leaves as it is."""

    class Repeating(Averaging):
        def apply(self, variables, frames, t):
            return Output(frames[:, 0])

    folder = data / "ucf101_interp_ours/2"
    first, truth = (load_image(folder / f"{name}.png") for name in ("frame_00", "frame_01_gt"))
    benchmark = BENCHMARKS["ucf101"]
    score = list(benchmarks.scores(Interpolator(Repeating(), {}), benchmark, benchmark.find(data), 2))[1]
    assert score.psnr == pytest.approx(cv2.PSNR(first, truth), abs=1e-9)
    assert score.ie == pytest.approx(cv2.absdiff(first, truth).mean())
    assert score.ssim_matlab == pytest.approx(float(ssim_matlab(first[None], truth[None])[0]), abs=1e-6)


@pytest.mark.parametrize(("name", "wanted"), [("vimeo_septuplet", (0, 2, 4, 6)), ("vimeo90k", (0, 0, 2, 2))])
def test_inputs_of_a_model_of_four_frames(data, name, wanted):
    """Those at -1, 0, 1, 2; where a set has triplets only, the inner ones twice."""
    seen = []

    class Watching(Averaging):
        variant = "dbvi_2x"

        def apply(self, variables, frames, t):
            jax.debug.callback(lambda frames: seen.append(np.asarray(frames)), frames)
            return Output(frames[:, 1:3].mean(1))

    benchmark = BENCHMARKS[name]
    list(benchmarks.scores(Interpolator(Watching(), {}), benchmark, benchmark.find(data), 1))
    jax.effects_barrier()
    sample = benchmark.find(data)[0]
    files = sorted(sample.first.parent.glob("im*.png"))
    stored = np.stack([load_image(files[index]) for index in wanted])
    np.testing.assert_allclose(seen[0][0] * 255, stored, atol=1e-3)
    assert sample.truth == files[len(files) // 2]


def test_middlebury_has_two_protocols(data):
    """The network sees zeros beyond the picture on the canvas, and nothing beyond it at the own size."""
    seen = []

    class Watching(Averaging):
        def apply(self, variables, frames, t):
            seen.append(frames.shape[2:4])
            return super().apply(variables, frames, t)

    for name in ("middlebury", "middlebury_native"):
        seen.clear()
        list(benchmarks.scores(Interpolator(Watching(), {}), BENCHMARKS[name], BENCHMARKS[name].find(data), 1))
        # Padded to the 64 of the model after the canvas.
        assert set(seen) == ({(512, 640)} if name == "middlebury" else {(64, 64)})


def test_the_last_batch_needs_no_program_of_its_own(data):
    shapes = []

    class Watching(Averaging):
        def apply(self, variables, frames, t):
            shapes.append(frames.shape[0])
            return super().apply(variables, frames, t)

    benchmark = BENCHMARKS["ucf101"]
    scores = list(benchmarks.scores(Interpolator(Watching(), {}), benchmark, benchmark.find(data), 2))
    assert len(scores) == 3
    assert shapes == [2]  # traced once


def test_bad_sets(data, tmp_path):
    with pytest.raises(UsageError, match="no benchmark is called 'vimeo'"):
        benchmarks.named("vimeo")
    with pytest.raises(UserError, match="ucf101_interp_ours: no such folder"):
        BENCHMARKS["ucf101"].find(tmp_path)
    for name, wanted in (("ucf101", "ucf101_interp_ours"), ("middlebury", "other-gt-interp")):
        for folder in (wanted, "other-data"):
            (tmp_path / folder).mkdir(exist_ok=True)
        with pytest.raises(UserError, match=f"{wanted}.* fetch the set again"):
            BENCHMARKS[name].find(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no samples"):
        benchmarks.named(f"triplets={tmp_path / 'empty'}").find(tmp_path)
    write(tmp_path / "set/a", ("im1", "im2", "im3"), 0, (32, 48))
    save_png(tmp_path / "set/a/im2.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"a mixes sizes \(48x32, 8x8, 48x32\)"):
        run(f"triplets={tmp_path / 'set'}", tmp_path)
    save_png(tmp_path / "set/a/im4.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="a has 4 pictures"):
        run(f"triplets={tmp_path / 'set'}", tmp_path)


def test_fingerprint_is_of_the_weights():
    _, variables = vfi_jax.create("rife_v4_25_lite", seed=1)
    digest = checkpoint.fingerprint(variables)
    assert digest == checkpoint.fingerprint(vfi_jax.create("rife_v4_25_lite", seed=1)[1])
    variables["params"]["block0"]["lastconv"]["bias"][3] += 1e-6
    assert digest != checkpoint.fingerprint(variables)


def shell(*arguments):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache/jax")}
    command = [sys.executable, "eval.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def test_command_line(data, tmp_path):
    model, variables = vfi_jax.create("rife_v4_25_lite", seed=1)
    zoo.save(tmp_path / "w.safetensors", model, variables)
    done = shell(
        "--model=rife_v4_25_lite", f"--weights={tmp_path / 'w.safetensors'}", "--benchmarks=vimeo90k,ucf101",
        f"--data={data}", f"--output={tmp_path / 'out'}", "--batch_size=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]] == ["vimeo90k", "ucf101"]
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert results["weights"]["sha256"] == checkpoint.fingerprint(variables)
    assert results["versions"]["vfi_jax"] == vfi_jax.__version__
    with (tmp_path / "out/ucf101.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["1", "2", "11"]
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert results["results"]["ucf101"]["psnr"] == pytest.approx(mean)
    assert f"{mean:.3f}" in done.stdout
    assert load_image(tmp_path / "out/ucf101_worst.png").shape[1] > 5 * 48


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--model=rief", "--benchmarks=ucf101"], 2, "no model is called 'rief'"),
        (["--model=rife"], 2, "--benchmarks is needed"),
        (["--model=rife", "--benchmarks=ucf"], 2, "no benchmark is called 'ucf'"),
        (["--model=rife", "--benchmarks=ucf101,ucf101"], 2, "have one name"),
        (["--model=rife", "--benchmarks=ucf101", "--batch_size=0"], 2, "batch_size"),
        (["--model=rife", "--weights=nowhere.pkl", "--benchmarks=ucf101", "--data=nowhere"], 1, "nowhere.pkl"),
        (["--modle=rife"], 2, "modle"),
        (["--model=rife", "--batch_size=many"], 2, "many"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments, code, line):
    """Weights are looked at before data."""
    done = shell(*arguments)
    assert done.returncode == code, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
