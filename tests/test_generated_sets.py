"""Synthetic benchmarks, and clips."""

import os
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip

from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, clips, generated
from vfi_jax.data.synthetic.patterns import KINDS, pattern_scene
from vfi_jax.errors import UserError
from vfi_jax.evaluation import evaluate
from vfi_jax.metrics import psnr
from vfi_jax.ops import warp
from vfi_jax.viz.sheets import save_png

DATA = os.environ.get("VFI_JAX_DATA")


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        save_png(folder / f"{seed}.png", np.random.default_rng(seed).integers(0, 255, (64, 80, 3), np.uint8))
    return tmp_path


def test_motion_in_bins(photos):
    samples = generated.motion_samples(photos, 64, 96, 2)
    assert [sample.group for sample in samples[::2]] == ["8 px", "16 px", "32 px", "64 px", "128 px"]
    assert len({sample.first.seed for sample in samples}) == len(samples)
    assert min(sample.first.seed for sample in samples) >= generated.FIRST_SEED
    motions = [np.mean([generated.motion(sample) for sample in samples[i : i + 2]]) for i in (0, 8)]
    assert motions[1] == pytest.approx(16 * motions[0], rel=0.8)  # other scenes, drawn alike
    first, truth = (generated.load(frame) for frame in (samples[0].first, samples[0].truth))
    assert first.dtype == np.uint8
    assert first.shape == (64, 96, 3)
    assert not np.array_equal(first, truth)


def test_motion_needs_photos(tmp_path):
    with pytest.raises(UserError, match="photos: no such folder"):
        BENCHMARKS["motion_720p"].find(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_patterns_repeat_and_their_motion_is_exact(kind):
    """A frame resampled by the true flow is the other; moved by a whole period the panel's inside looks the same."""
    scene = pattern_scene(1, kind, 1.0, 128, 192)
    first, second = scene.frame(0), scene.frame(1)
    seen = scene.visible(0, 1)
    back = np.asarray(warp(second[None], scene.flow(0, 1)[None]))[0]
    assert psnr(np.where(seen[..., None], back, first), first, 1.0) > 28  # of hard edges, sampled bilinearly
    inside = np.s_[56:72, 88:104]
    assert np.abs(first - second)[inside].mean() < 0.1
    half = pattern_scene(1, kind, 0.5, 128, 192)
    assert np.abs(half.frame(0) - half.frame(1))[inside].mean() > 0.15


def test_patterns_are_a_set():
    samples = BENCHMARKS["patterns"].find(Path())
    assert len(samples) == 16
    assert len({sample.name for sample in samples}) == 16
    assert {sample.group for sample in samples} == {"0.25 periods", "0.5 periods", "0.75 periods", "1.5 periods"}


def test_clips_are_predicted(tmp_path):
    """Odd frames, of the first 41, from their neighbors, and those beyond for models of four frames."""
    make_clip(tmp_path / "long.mp4", frames=50, size=(48, 32))
    make_clip(tmp_path / "short.mp4", frames=6, size=(48, 32))
    benchmark = benchmarks.named(f"clips={tmp_path}")
    samples = benchmark.find(Path())
    long = [sample for sample in samples if sample.group == "long"]
    assert [sample.truth.index for sample in long] == list(range(1, 40, 2))
    assert [sample.truth.index for sample in samples if sample.group == "short"] == [1, 3]
    assert [f.index for f in (long[1].before, long[1].first, long[1].second, long[1].after)] == [0, 2, 4, 6]
    assert [f.index for f in (long[0].before, long[-1].after)] == [0, 40]
    models = {tmp_path / "out": evaluate.load_model("average")}
    (found,) = evaluate.evaluate(models, [(benchmark, samples)], evaluate.Plan(batch_size=2))
    parts = found.entry["by_group"]
    assert found.entry["psnr"] == pytest.approx(np.mean([part["psnr"] for part in parts.values()]))
    assert ("vmaf" in found.entry) == clips.has_vmaf()


def test_large_clips_are_reduced(tmp_path):
    make_clip(tmp_path / "tall.mp4", frames=3, size=(100, 1080))
    (sample,) = benchmarks.named(f"clips={tmp_path}").find(Path())
    assert clips.load(sample.truth).shape == (540, 50, 3)


def test_short_clips_are_refused(tmp_path):
    make_clip(tmp_path / "two.mp4", frames=2)
    with pytest.raises(UserError, match=r"two\.mp4 has 2 frames: 3 are needed"):
        clips.samples(tmp_path)
    with pytest.raises(UserError, match="no video files"):
        clips.samples(tmp_path / "nowhere")


def test_vmaf_of_clips():
    """100 or so of equal clips, and less, the more they are blurred; another process's opinion, so loosely."""
    pytest.importorskip("imageio_ffmpeg")
    rng = np.random.default_rng(0)
    truth = [np.repeat(np.repeat(rng.integers(0, 255, (18, 32, 3), np.uint8), 8, 0), 8, 1) for _ in range(3)]
    noisy = [np.uint8(np.clip(frame + rng.normal(0, 30, frame.shape), 0, 255)) for frame in truth]
    same, worse = clips.vmaf(truth, truth), clips.vmaf(noisy, truth)
    assert same > 95
    assert worse < same - 10


@pytest.mark.skipif(not DATA, reason="VFI_JAX_DATA names no folder of benchmarks")
@pytest.mark.slow
def test_averaging_as_measured_by_others(tmp_path):
    """PSNR, VMAF and sharpness of plain averaging by scripts that share no code with this project."""
    pytest.importorskip("imageio_ffmpeg")
    wanted = [benchmarks.named(f"{kind}={DATA}/devset{rest}") for kind, rest in (("clips", "/clips"), ("triplets", ""))]
    sets = [(benchmark, benchmark.find(Path())) for benchmark in wanted]
    models = {tmp_path: evaluate.load_model("average")}
    found = list(evaluate.evaluate(models, sets, evaluate.Plan(batch_size=1)))
    parts = found[0].entry["by_group"]
    # They did not round the average.
    for name, (decibels, vmaf) in {"bee": (26.14, 18.4), "bug_video_640": (30.56, 74.8)}.items():
        assert parts[name]["psnr"] == pytest.approx(decibels, abs=0.02)
        assert parts[name]["vmaf"] == pytest.approx(vmaf, abs=0.2)
    assert found[1].entry["sharpness"] == pytest.approx(0.845, abs=1.5e-3)
