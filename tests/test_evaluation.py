"""Evaluation: protocols on small sets in the published layouts, and the command line."""

import csv
import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfi_jax
from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, Benchmark, Sample
from vfi_jax.data.images import load_image
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import evaluate as evaluate_
from vfi_jax.evaluation import results as results_
from vfi_jax.evaluation import speed
from vfi_jax.inference import Interpolator
from vfi_jax.inference.wrappers import FlipEnsemble, Recursive
from vfi_jax.metrics import ssim_matlab
from vfi_jax.models import registry
from vfi_jax.ops.pad import Padding
from vfi_jax.system import flops
from vfi_jax.types import Output
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import load

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


@pytest.mark.parametrize("name", ["vimeo90k", "vimeo_septuplet", "ucf101", "middlebury", "middlebury_native"])
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
    digest = weight_files.fingerprint(variables)
    assert digest == weight_files.fingerprint(vfi_jax.create("rife_v4_25_lite", seed=1)[1])
    variables["params"]["block0"]["lastconv"]["bias"][3] += 1e-6
    assert digest != weight_files.fingerprint(variables)


def shell(*arguments):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache/jax")}
    command = [sys.executable, str(ROOT / "eval.py"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)


def table_of(text):
    """Cells of the first table of a text."""
    lines = itertools.takewhile(lambda line: line.startswith("|"), text.splitlines())
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_command_line(data, tmp_path):
    model, variables = vfi_jax.create("rife_v4_25_lite", seed=1)
    load.save(tmp_path / "w.safetensors", model, variables)
    arguments = [
        "--model=rife_v4_25_lite", f"--weights={tmp_path / 'w.safetensors'}", "--benchmarks=vimeo90k,ucf101",
        f"--data={data}", f"--output={tmp_path / 'out'}", "--batch_size=1", "--per_image",
    ]  # fmt: skip
    done = shell(*arguments)
    assert done.returncode == 0, done.stderr
    rows = table_of(done.stdout[done.stdout.index("## Results") :].split("\n", 2)[2])
    assert [row[:2] for row in rows[2:]] == [["vimeo90k", "rife_v4_25_lite"], ["ucf101", "rife_v4_25_lite"]]
    found = json.loads((tmp_path / "out/results.json").read_text())
    assert found["weights"]["sha256"] == weight_files.fingerprint(variables)
    assert found["versions"]["vfi_jax"] == vfi_jax.__version__
    assert found["results"]["ucf101"]["settings"]["rounded"] is True
    with (tmp_path / "out/ucf101.csv").open() as file:
        images = list(csv.DictReader(file))
    assert [row["name"] for row in images] == ["1", "2", "11"]
    mean = np.mean([float(row["psnr"]) for row in images])
    assert found["results"]["ucf101"]["psnr"] == pytest.approx(mean)
    assert f"{mean:.3f}" in done.stdout
    assert f"{float(images[2]['psnr']):.4f}" in done.stdout  # --per_image
    assert load_image(tmp_path / "out/ucf101_worst.png").shape[1] > 5 * 48
    with (tmp_path / "out/table.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["benchmark"] for row in table if not row["part"]] == ["vimeo90k", "ucf101"]
    assert {row["command"].split()[0] for row in table} == {"eval.py"}
    assert float(table[-1]["psnr"]) > 0  # a bin of motion
    assert "PSNR by mean motion" in (tmp_path / "out/table.md").read_text()


@pytest.fixture
def plain(data):
    """Two models without weights, in folders of their own, and a benchmark of three images."""
    wanted = [(BENCHMARKS["ucf101"], BENCHMARKS["ucf101"].find(data))]
    return {name: evaluate_.subject(name) for name in ("average", "dis")}, wanted


def evaluated(plain, folder, **plan):
    subjects, wanted = plain
    return list(evaluate_.run({folder / name: s for name, s in subjects.items()}, wanted, evaluate_.Plan(**plan)))


def test_several_models_and_what_is_taken_up_again(plain, tmp_path, monkeypatch):
    first = evaluated(plain, tmp_path)
    assert [(r.benchmark, r.label) for r in first] == [("ucf101", "average"), ("ucf101", "dis")]
    assert first[1].entry["psnr"] > first[0].entry["psnr"]  # what moves is followed
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    again = evaluated(plain, tmp_path)
    assert [r.entry for r in again] == [r.entry for r in first]
    assert [r.rows for r in again] == [list(r.rows) for r in first]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    # An interrupted run lacks a benchmark's entry; other data, or a file cut short, are computed again too.
    (tmp_path / "dis/ucf101.csv").write_text("name,psnr\n")
    third = evaluated(plain, tmp_path)
    assert third[1].entry["psnr"] == first[1].entry["psnr"]
    assert (tmp_path / "average/ucf101.csv").stat().st_mtime_ns == stamps[tmp_path / "average/ucf101.csv"]
    changed = dataclasses.replace(plain[1][0][0], version=2)
    subjects, wanted = plain
    fourth = evaluated((subjects, [(changed, wanted[0][1][:2])]), tmp_path)
    assert [r.entry["images"] for r in fourth] == [2, 2]


def test_what_a_protocol_makes_of_a_model(tmp_path):
    """Scale where the model has one, the turned pair, halving for other times, and the precision's dtype."""
    one = evaluate_.subject("rife_v4_25_lite=" + str(weights_of(tmp_path)), precision="bfloat16", tta=True)
    assert one.label == "rife_v4_25_lite-w"
    assert one.model.dtype == jnp.bfloat16
    middle, other = (Sample("x", 0, 1, 2, t=t) for t in (0.5, 0.25))
    plain, scaled = BENCHMARKS["snu_film_easy"], BENCHMARKS["snu_film_easy_ifrnet"]
    assert isinstance(evaluate_.interpolator(one, plain, [middle]).model, FlipEnsemble)

    def made(name, benchmark, sample):
        return evaluate_.interpolator(
            dataclasses.replace(one, model=registry.build(name), tta=False), benchmark, [sample]
        )

    assert made("ifrnet_s", scaled, middle).model.scale == 0.8
    assert made("ifrnet_s", plain, middle).model.scale == 1
    assert made("cain", scaled, middle).model == registry.build("cain")
    assert isinstance(made("cain", plain, other).model, Recursive)
    assert made("dbvi_2x", plain, other).model == registry.build("dbvi_2x")  # which says that it cannot
    assert made("rife_m", plain, other).model == registry.build("rife_m")


def test_what_else_is_told_of_a_batch(plain, tmp_path):
    """It is in the means, in the file of images, and a column of the table."""

    def judge(made, truth, before):
        assert made.shape == truth.shape == before.shape
        return {"lpips_alex": np.abs(made.astype(int) - before).mean((1, 2, 3))}

    (found, _) = evaluated(plain, tmp_path, judges={"lpips_alex": judge})
    values = [row.more["lpips_alex"] for row in results_.load(tmp_path / "average")[0].rows]
    assert found.entry["lpips_alex"] == pytest.approx(np.mean(values))
    assert results_.table([found])[0][-1] == "LPIPS (Alex)"
    assert "lpips_alex" not in evaluated(plain, tmp_path)[0].entry  # asked otherwise, computed anew


def test_results_of_other_versions_are_dropped(plain, tmp_path):
    """A folder's results are of one set of versions: what was made with others is not passed on under the new ones."""
    subjects, wanted = plain
    one, folder = subjects["average"], tmp_path / "average"
    older = dataclasses.replace(one, about={**one.about, "versions": {"jax": "0.1"}})
    list(evaluate_.run({folder: older}, wanted, evaluate_.Plan()))
    other = [(dataclasses.replace(wanted[0][0], name="other"), wanted[0][1])]
    list(evaluate_.run({folder: one}, other, evaluate_.Plan()))
    assert list(json.loads((folder / "results.json").read_text())["results"]) == ["other"]
    with pytest.raises(UsageError, match="two models have one name"):
        evaluate_.check_names(["average", "average"], "models")


def test_results_by_motion_and_by_group(tmp_path):
    """Of scenes that move by known lengths; the mean over groups is that of the groups' means."""
    frames = {i: np.uint8(np.full((32, 32, 3), 2 if i > 9 else i)) for i in range(16)}
    samples = [Sample(f"s{i}", 0, i, 10 + i, group="ab"[i > 2]) for i in (1, 2, 3, 4)]
    benchmark = Benchmark(
        "made", "made up", lambda _: samples, load=frames.get, motion=lambda s: 3.0 * s.truth, by_group=True
    )
    (found,) = evaluated(({"average": evaluate_.subject("average")}, [(benchmark, samples)]), tmp_path)
    own = found.entry["by_motion"]
    assert {name: part["images"] for name, part in own.items()} == {"2-4": 1, "4-8": 1, "8-16": 2}
    assert own["8-16"]["ie"] == 2.5
    assert {name: part["ie"] for name, part in found.entry["by_group"].items()} == {"a": 0.5, "b": 2.5}
    assert found.entry["ie"] == 1.5
    shown = results_.parts([found], "by_motion")
    assert shown[0] == ["benchmark", "model", "2-4", "4-8", "8-16"]


def test_motion_is_that_of_the_flow(data):
    """Of a picture that is moved by five pixels."""
    picture = draw(3, (64, 96), 1)[0]
    frames = {"a": picture[:, 8:-8], "b": picture[:, 3:-13]}
    benchmark = Benchmark("moved", "", lambda _: [], load=frames.get)
    assert benchmarks.motion_of(benchmark, Sample("x", "a", "a", "b")) == pytest.approx(5, abs=0.5)


def test_unrounded_protocols_and_times(data):
    """Floats are judged as they are; times reach the model; the average follows them."""

    class Mixing(Averaging):
        any_time = True

        def apply(self, variables, frames, t):
            return Output((1 - t) * frames[:, 0] + t * frames[:, 1])

    ramp = {i: np.full((32, 32, 3), 10 * i, np.uint8) for i in range(9)}
    samples = [Sample(f"t{i}", 0, i, 8, t=i / 8 + 1 / 400) for i in (1, 4, 7)]
    for rounded, wanted in ((True, 0.0), (False, 0.2)):
        benchmark = Benchmark("times", "", lambda _: samples, load=ramp.get, rounded=rounded)
        found = list(benchmarks.scores(Interpolator(Mixing(), {}), benchmark, samples, 2))
        assert [score.ie for score in found] == pytest.approx(3 * [wanted], abs=1e-4)
        assert [score.average_psnr for score in found] == 3 * [np.inf]
    coarse = Benchmark("times", "", lambda _: samples, load=lambda i: np.float32(ramp[i] / 255))
    assert [s.ie for s in benchmarks.scores(Interpolator(Mixing(), {}), coarse, samples, 2)] == pytest.approx(3 * [0])


def test_padding_of_a_protocol(data):
    """Comes before the model's own and is undone after it."""
    seen = []

    class Watching(Averaging):
        def apply(self, variables, frames, t):
            seen.append(frames.shape[2:4])
            return super().apply(variables, frames, t)

    padded = dataclasses.replace(BENCHMARKS["ucf101"], padding=Padding(100, "edge", "center"))
    plain, other = (
        list(benchmarks.scores(Interpolator(Watching(), {}), benchmark, benchmark.find(data), 1))
        for benchmark in (BENCHMARKS["ucf101"], padded)
    )
    assert seen == [(64, 64), (128, 128)]
    assert [s.psnr for s in plain] == [s.psnr for s in other]


def test_fingerprint_follows_the_files(data, tmp_path):
    save_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    sample = Sample("x", tmp_path / "a.png", tmp_path / "b.png", tmp_path / "b.png")
    found = [benchmarks.fingerprint([sample]), benchmarks.fingerprint([dataclasses.replace(sample, t=0.25)])]
    save_png(tmp_path / "c.png", np.zeros((9, 8, 3), np.uint8))
    found.append(benchmarks.fingerprint([dataclasses.replace(sample, second=tmp_path / "c.png")]))
    assert len(set(found)) == 3


def scored(values):
    """A result with given PSNR."""
    rows = [benchmarks.Score(str(i), value, *[0.5] * 7) for i, value in enumerate(values)]
    return results_.Result("m", "b", {"images": len(rows)}, rows)


def test_differences_are_told_from_spread():
    rng = np.random.default_rng(0)
    hard = rng.normal(30, 6, 60)
    steady = results_.difference(scored(hard), scored(hard + 0.2 + rng.normal(0, 0.1, 60)), "psnr")
    assert steady.is_clear  # though 0.2 dB is far below the spread of the images
    assert steady.low < 0.2 < steady.high
    assert steady.high - steady.low == pytest.approx(2 * 1.96 * 0.1 / 60**0.5, rel=0.3)  # of a mean of 60
    noisy = results_.difference(scored(hard), scored(hard + 0.2 + rng.normal(0, 6, 60)), "psnr")
    assert not noisy.is_clear
    shorter = results_.difference(scored(hard), scored(hard[:10]), "psnr")
    assert (shorter.images, shorter.mean, shorter.low, shorter.high) == (10, 0, 0, 0)
    assert results_.difference(scored([np.inf]), scored([np.inf]), "psnr") is None
    assert not results_.difference(scored([30.0]), scored([31.0]), "psnr").is_clear


def test_comparison_of_two_folders(plain, tmp_path):
    evaluated(plain, tmp_path)
    done = shell(f"--compare={tmp_path / 'average'},{tmp_path / 'dis'}")
    assert done.returncode == 0, done.stderr
    rows = table_of(done.stdout.split("\n\n", 1)[1])
    assert done.stdout.startswith("dis less average")
    psnr = next(row for row in rows if row[1] == "psnr")
    assert float(psnr[3]) > 0


@pytest.mark.slow
def test_speed_in_a_process_of_its_own(tmp_path):
    found = speed.measured({"given": "rife_v4_25_lite=" + str(weights_of(tmp_path)), "size": "96x64", "batch_size": 2})
    model, variables = vfi_jax.create("rife_v4_25_lite", seed=1)
    assert found["params_m"] == pytest.approx(sum(leaf.size for leaf in jax.tree.leaves(variables)) / 1e6)
    # Padded to 128x128.
    macs = flops.multiply_adds(
        lambda v, x: model.apply(v, x, 0.5).frame, variables, np.zeros((1, 2, 128, 128, 3), "f4")
    )
    assert found["gmac"] == pytest.approx(macs / 1e9)
    assert found["seconds"] > 0
    assert 0.05 < found["peak_gb"] < 20
    result = results_.Result("m", "b", {"images": 1, "psnr": 30.0}, [])
    results_.plot(tmp_path / "p.png", [result], {"m": found})
    assert load_image(tmp_path / "p.png").std() > 5
    with pytest.raises(UserError, match="speed of nothing: no model is called"):
        speed.measured({"given": "nothing", "size": "96x64", "batch_size": 1})


def weights_of(folder):
    load.save(folder / "w.safetensors", *vfi_jax.create("rife_v4_25_lite", seed=1))
    return folder / "w.safetensors"


@pytest.mark.slow
def test_batches_split_over_devices(data, tmp_path):
    """On two devices the figures are those of one; a batch is split, and no batch is too small to be."""
    code = (
        "import sys, jax\nfrom pathlib import Path\nfrom vfi_jax import evaluation\n"
        "from vfi_jax.benchmarks import BENCHMARKS\n"
        "set_ = BENCHMARKS['ucf101']\nassert jax.device_count() == 2\n"
        "one = evaluation.subject('average')\n"
        "found = evaluation.run({Path(sys.argv[2]): one}, [(set_, set_.find(Path(sys.argv[1])))],"
        " evaluation.Plan(batch_size=3))\nprint(next(found).entry['psnr'])\n"
        "made = evaluation.interpolator(one, set_, [])\n"
        "import numpy as np\nframes = jax.numpy.zeros((4, 2, 32, 32, 3))\n"
        "out = jax.jit(made.model.apply)({}, frames, np.full((4, 1, 1, 1), 0.5, 'f4')).frame\n"
        "assert out.addressable_shards[0].data.shape[0] == 2\n"
    )
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", code, str(data), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    wanted = benchmarks.means(run_of("average", data))["psnr"]
    assert float(done.stdout) == pytest.approx(wanted, abs=1e-6)


def run_of(name, data):
    benchmark = BENCHMARKS["ucf101"]
    samples = benchmark.find(data)
    interpolate = evaluate_.interpolator(evaluate_.subject(name), benchmark, samples)
    return list(benchmarks.scores(interpolate, benchmark, samples, 2))


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
        (["--models=average,dis", "--weights=a.pkl", "--benchmarks=ucf101"], 2, "--weights is of one model"),
        (["--compare=a,b"], 1, "a holds no results"),
    ],
)
def test_wrong_use_is_told_in_one_line(arguments, code, line):
    """Weights are looked at before data."""
    done = shell(*arguments)
    assert done.returncode == code, done.stderr
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
