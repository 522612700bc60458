"""Scores of benchmarks: protocols on small sets in the published layouts."""

import dataclasses
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
from eval_program import SIZE, draw, write, write_sets

from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, Benchmark, BenchmarkSample
from vfi_jax.data.images import load_image
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import ssim
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Output
from vfi_jax.viz.sheets import save_png


class Averaging:
    """A model whose predictions are known."""

    variant, channel_order, any_time = "rife_lap", "rgb", False

    def apply(self, variables, frames, t):
        return Output(frames.mean(1))


AVERAGE = Interpolator(Averaging(), {}, precision=None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("data"))


def scores(name, data, interpolate=AVERAGE):
    benchmark = benchmarks.named(name)
    return list(benchmarks.scores(interpolate, benchmark, benchmark.find(data), 2))


@pytest.mark.parametrize("name", ["vimeo90k", "vimeo_septuplet", "ucf101", "middlebury", "middlebury_native"])
def test_scores_of_averaging(data, name):
    for score in scores(name, data):
        # Half levels are rounded either way in float32: one level in a few pixels, where errors are few levels.
        assert score.psnr == pytest.approx(score.average_psnr, abs=0.15)
        assert 10 < score.psnr < 60
        assert 0 < score.ssim_matlab < 1


def test_order_and_names(data):
    assert [score.name for score in scores("vimeo90k", data)] == ["00001/0002", "00001/0000"]
    assert [score.name for score in scores("ucf101", data)] == ["1", "2", "11"]
    assert [score.name for score in scores("middlebury", data)] == ["Beanbags", "Venus", "Walking"]
    folder = data / "vimeo_triplet"
    assert [score.name for score in scores(f"triplets={folder}", Path("nowhere"))] == ["00001/0002", "00001/0000"]


def test_figures_of_an_image(data):
    """A model that repeats the first frame is exact under rounding."""

    class Repeating(Averaging):
        def apply(self, variables, frames, t):
            return Output(frames[:, 0])

    folder = data / "ucf101_interp_ours/2"
    first, truth = (load_image(folder / f"{name}.png") for name in ("frame_00", "frame_01_gt"))
    score = scores("ucf101", data, Interpolator(Repeating(), {}, precision=None))[1]
    assert score.psnr == pytest.approx(cv2.PSNR(first, truth), abs=1e-9)
    assert score.ie == pytest.approx(cv2.absdiff(first, truth).mean())
    assert score.ssim_matlab == pytest.approx(float(ssim(first[None], truth[None])[0]), abs=1e-6)


@pytest.mark.parametrize(("name", "wanted"), [("vimeo_septuplet", (0, 2, 4, 6)), ("vimeo90k", (0, 0, 2, 2))])
def test_inputs_of_a_four_frame_model(data, name, wanted):
    """The frames at -1, 0, 1, 2; where a set has triplets only, the inner ones twice."""
    seen = []

    class Watching(Averaging):
        variant = "dbvi_2x"

        def apply(self, variables, frames, t):
            jax.debug.callback(lambda frames: seen.append(np.asarray(frames)), frames)
            return Output(frames[:, 1:3].mean(1))

    scores(name, data, Interpolator(Watching(), {}, precision=None))
    jax.effects_barrier()
    sample = BENCHMARKS[name].find(data)[0]
    files = sorted(sample.first.parent.glob("im*.png"))
    stored = np.stack([load_image(files[index]) for index in wanted])
    np.testing.assert_allclose(seen[0][0] * 255, stored, atol=1e-3)
    assert sample.truth == files[len(files) // 2]


class Tracing(Averaging):
    """Records the shape of the frames at each trace."""

    def __init__(self):
        self.shapes = []

    def apply(self, variables, frames, t):
        self.shapes.append(frames.shape)
        return super().apply(variables, frames, t)


@pytest.mark.parametrize(("name", "size"), [("middlebury", (512, 640)), ("middlebury_native", (64, 64))])
def test_middlebury_has_two_protocols(data, name, size):
    """On the canvas the network sees zeros beyond the picture; at its own size it sees the picture alone."""
    model = Tracing()
    scores(name, data, Interpolator(model, {}, precision=None))
    assert {shape[2:4] for shape in model.shapes} == {size}  # multiples of the model's 64


def test_the_last_batch_runs_the_same_program(data):
    model = Tracing()
    assert len(scores("ucf101", data, Interpolator(model, {}, precision=None))) == 3
    assert [shape[0] for shape in model.shapes] == [2]  # traced once


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
    write(tmp_path / "set/a", ("im1", "im2", "im3"), 0)
    save_png(tmp_path / "set/a/im2.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"a mixes sizes \(48x32, 8x8, 48x32\)"):
        scores(f"triplets={tmp_path / 'set'}", tmp_path)
    save_png(tmp_path / "set/a/im4.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="a has 4 pictures"):
        scores(f"triplets={tmp_path / 'set'}", tmp_path)


def test_motion_is_that_of_the_flow():
    """A picture moved by five pixels."""
    picture = draw(3, (64, 96), 1)[0]
    frames = {"a": picture[:, 8:-8], "b": picture[:, 3:-13]}
    benchmark = Benchmark("moved", "", lambda _: [], load=frames.get)
    assert benchmarks.motion_of(benchmark, BenchmarkSample("x", "a", "a", "b")) == pytest.approx(5, abs=0.5)


def test_unrounded_protocols_and_times():
    """Floats are scored as they are; times reach the model; the average follows them."""

    class Mixing(Averaging):
        any_time = True

        def apply(self, variables, frames, t):
            return Output((1 - t) * frames[:, 0] + t * frames[:, 1])

    mixing = Interpolator(Mixing(), {}, precision=None)
    ramp = {i: np.full((*SIZE, 3), 10 * i, np.uint8) for i in range(9)}
    samples = [BenchmarkSample(f"t{i}", 0, i, 8, t=i / 8 + 1 / 400) for i in (1, 4, 7)]
    for rounded, wanted in ((True, 0.0), (False, 0.2)):
        benchmark = Benchmark("times", "", lambda _: samples, load=ramp.get, rounded=rounded)
        rows = list(benchmarks.scores(mixing, benchmark, samples, 2))
        assert [score.ie for score in rows] == pytest.approx(3 * [wanted], abs=1e-4)
        assert [score.average_psnr for score in rows] == 3 * [100]
    floats = Benchmark("times", "", lambda _: samples, load=lambda i: np.float32(ramp[i] / 255))
    assert [score.ie for score in benchmarks.scores(mixing, floats, samples, 2)] == pytest.approx(3 * [0])


def test_padding_of_a_protocol(data):
    """It comes before the model's own and is undone after it."""
    model = Tracing()
    padded = dataclasses.replace(BENCHMARKS["ucf101"], padding=Padding(100, "edge", "center"))
    plain, other = (
        list(benchmarks.scores(Interpolator(model, {}, precision=None), benchmark, benchmark.find(data), 2))
        for benchmark in (BENCHMARKS["ucf101"], padded)
    )
    assert [shape[2:4] for shape in model.shapes] == [(64, 64), (128, 128)]
    assert [score.psnr for score in plain] == [score.psnr for score in other]


def test_fingerprint_follows_the_files(tmp_path):
    save_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    sample = BenchmarkSample("x", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "b.png")
    found = [benchmarks.fingerprint([sample]), benchmarks.fingerprint([dataclasses.replace(sample, t=0.25)])]
    save_png(tmp_path / "c.png", np.zeros((9, 8, 3), np.uint8))
    found.append(benchmarks.fingerprint([dataclasses.replace(sample, second=tmp_path / "c.png")]))
    assert len(set(found)) == 3
