"""Models on benchmarks: kept results, means by motion and group, additional metrics, paired differences."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from eval_program import ROOT, SIZE, write_sets
from test_api import units

import vfi_jax
from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, Benchmark, BenchmarkSample
from vfi_jax.data.images import load_image
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import cache, evaluate, results, speed, statistics, tables
from vfi_jax.evaluation.extra_metrics import ExtraMetric
from vfi_jax.inference.wrappers import FlipEnsemble, Recursive
from vfi_jax.models import registry
from vfi_jax.system import flops
from vfi_jax.weights import files as weight_files

NARROW = {"widths": (16, 16), "level_scales": (2, 1)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def average():
    """A model without weights."""
    return evaluate.load_model("average")


@pytest.fixture
def ucf101(data):
    return [(BENCHMARKS["ucf101"], BENCHMARKS["ucf101"].find(data))]


def evaluated(models, wanted, folder, **plan):
    folders = {folder / model.label: model for model in models}
    return list(evaluate.evaluate(folders, wanted, evaluate.Plan(batch_size=2, **plan)))


def stamp(folder):
    return (folder / "average/ucf101.csv").stat().st_mtime_ns


def test_fingerprint_is_of_the_weights():
    _, variables = vfi_jax.create("rife_v4_6", seed=1, **NARROW)
    digest = weight_files.fingerprint(variables)
    assert digest == weight_files.fingerprint(vfi_jax.create("rife_v4_6", seed=1, **NARROW)[1])
    variables["params"]["block0"]["lastconv"]["bias"][3] += 1e-6
    assert digest != weight_files.fingerprint(variables)


def test_results_are_kept(average, ucf101, tmp_path):
    models = [average, evaluate.load_model("dis")]
    first = evaluated(models, ucf101, tmp_path)
    assert [(r.benchmark, r.label) for r in first] == [("ucf101", "average"), ("ucf101", "dis")]
    assert first[1].entry["psnr"] > first[0].entry["psnr"]  # DIS follows what moves
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.csv")}
    again = evaluated(models, ucf101, tmp_path)
    assert [r.entry for r in again] == [r.entry for r in first]
    assert [r.rows for r in again] == [list(r.rows) for r in first]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    (tmp_path / "dis/ucf101.csv").write_text("name,psnr\n")  # as if cut short
    third = evaluated(models, ucf101, tmp_path)
    assert third[1].entry["psnr"] == first[1].entry["psnr"]
    assert stamp(tmp_path) == stamps[tmp_path / "average/ucf101.csv"]


@pytest.mark.parametrize("changed", ["protocol", "data", "weights", "precision", "versions", "metrics", "code"])
def test_a_change_recomputes(average, ucf101, tmp_path, monkeypatch, changed):
    """Results are used again only under the same protocol, data, weights, precision, versions, metrics and code."""
    evaluated([average], ucf101, tmp_path)
    before = stamp(tmp_path)
    ((benchmark, samples),), model, plan = ucf101, average, {}
    if changed == "protocol":
        benchmark = dataclasses.replace(benchmark, version=2)
    elif changed == "data":
        samples = samples[:2]
    elif changed == "weights":
        model = dataclasses.replace(average, about={**average.about, "weights": {"sha256": "other"}})
    elif changed == "metrics":
        plan["metrics"] = [ExtraMetric("ones", lambda frame, truth, _: {"ones": np.ones(len(frame))}, "")]
    elif changed == "code":
        monkeypatch.setattr(cache, "code_fingerprint", lambda: "other")
    else:
        model = dataclasses.replace(average, about={**average.about, changed: "other"})
    (result,) = evaluated([model], [(benchmark, samples)], tmp_path, **plan)
    assert stamp(tmp_path) > before
    assert result.entry["images"] == len(samples)


def test_where_weights_were_read_from_changes_nothing(average, ucf101, tmp_path):
    evaluated([average], ucf101, tmp_path)
    before = stamp(tmp_path)
    weights = {**average.about["weights"], "from": "elsewhere.pkl"}
    evaluated([dataclasses.replace(average, about={**average.about, "weights": weights})], ucf101, tmp_path)
    assert stamp(tmp_path) == before


def test_fingerprint_of_code(tmp_path):
    """It follows statements, not docstrings, comments or layout."""
    code = '"""{0}"""\n\n\nclass A:\n    """{0}"""\n\n    def f(self, x):\n        """{0}"""\n        return {1}\n'
    versions = {
        "plain": code.format("One.", "x + 1"),
        "docstrings": code.format("Two.", "x + 1"),
        "layout": code.format("One.", "(x +\n            1)  # a comment"),
        "statement": code.format("One.", "x + 2"),
        "string": code.format("One.", "'x'"),
    }
    found = {}
    for name, text in versions.items():
        (tmp_path / "a.py").write_text(text)
        found[name] = cache.source_fingerprint([tmp_path / "a.py"])
    assert found["plain"] == found["docstrings"] == found["layout"]
    assert len({found[name] for name in ("plain", "statement", "string")}) == 3


def test_code_that_figures_depend_on_is_fingerprinted():
    """All packages that those packages and an evaluation import, but those that read weights, draw or organize."""
    others = {"config", "errors", "evaluation", "losses", "runs", "system", "torch_io", "types", "viz", "weights"}
    for name in ("evaluation", *cache.DEPENDENCIES):
        paths = list((cache.ROOT / name).rglob("*.py"))
        assert paths
        assert {unit for path in paths for unit in units(path)} - others <= set(cache.DEPENDENCIES)


def test_results_of_other_versions_are_dropped(average, ucf101, tmp_path):
    """A folder's results share one set of versions; others are not reported under it."""
    older = dataclasses.replace(average, about={**average.about, "versions": {"jax": "0.1"}})
    evaluated([older], ucf101, tmp_path)
    ((benchmark, samples),) = ucf101
    evaluated([average], [(dataclasses.replace(benchmark, name="other"), samples)], tmp_path)
    assert list(json.loads((tmp_path / "average/results.json").read_text())["results"]) == ["other"]
    with pytest.raises(UsageError, match="two models have one name"):
        evaluate.check_unique(["average", "average"], "models")


def test_the_model_under_a_protocol(tmp_path):
    """Scale where the model has one, flipped frames, recursion for other times, and the precision's dtype."""
    vfi_jax.save(tmp_path / "w.safetensors", *vfi_jax.create("rife_v4_6", seed=1, **NARROW))
    one = evaluate.load_model(f"rife_v4_6={tmp_path / 'w.safetensors'}", precision="bfloat16", tta=True)
    assert one.label == "rife_v4_6-w"
    assert one.model.dtype == jnp.bfloat16
    middle, other = (BenchmarkSample("x", 0, 1, 2, t=t) for t in (0.5, 0.25))
    plain, scaled = BENCHMARKS["snu_film_easy"], BENCHMARKS["snu_film_easy_ifrnet"]
    assert isinstance(evaluate.interpolator(one, plain, [middle]).model, FlipEnsemble)

    def model_of(name, benchmark, sample):
        model = dataclasses.replace(one, model=registry.build(name), variables={}, precision="float32", tta=False)
        return evaluate.interpolator(model, benchmark, [sample]).model

    def built(name):
        return registry.build(name, dtype=jnp.float32)

    assert model_of("ifrnet_s", scaled, middle).scale == 0.8
    assert model_of("ifrnet_s", plain, middle).scale == 1
    for name, scale in (("snu_film_easy_ema", 0.5), ("xiph_4k_ema", 0.5), ("xtest_4k_ema", 0.25)):
        assert model_of("ema_vfi", BENCHMARKS[name], middle).scale == scale
    upside_down = evaluate.interpolator(one, BENCHMARKS["vimeo90k_amt_tta"], [middle]).model
    assert upside_down == FlipEnsemble(evaluate.interpolator(one, plain, [middle]).model.model, columns=False)
    assert model_of("cain", scaled, middle) == built("cain")
    assert isinstance(model_of("cain", plain, other), Recursive)
    assert model_of("dbvi_2x", plain, other) == built("dbvi_2x")  # it refuses the time by itself
    assert model_of("rife_m", plain, other) == built("rife_m")


def test_additional_metrics(average, ucf101, tmp_path):
    """They are in the means, in the file of images, in the table's columns and in comparisons."""

    def compute(frame, truth, first):
        assert frame.shape == truth.shape == first.shape
        distance = np.abs(frame.astype(int) - first).mean((1, 2, 3))
        return {"lpips_alex": distance, "ours": 2 * distance}

    metrics = [ExtraMetric("lpips_alex", compute, "1"), ExtraMetric("ours", lambda *_: {}, "2")]
    (result,) = evaluated([average], ucf101, tmp_path, metrics=metrics)
    rows = results.load(tmp_path / "average")[0].rows
    for name in ("lpips_alex", "ours"):
        assert result.entry[name] == pytest.approx(np.mean([row.extra[name] for row in rows]))
    assert tables.table([result])[0][-2:] == ["LPIPS (Alex)", "ours"]
    assert {"lpips_alex", "ours"} <= {one.figure for one in statistics.differences([result], [result])}
    assert "lpips_alex" not in evaluated([average], ucf101, tmp_path)[0].entry


def test_means_by_motion_and_by_group(average, tmp_path):
    """Scenes of known motion; the mean over groups is that of the groups' means."""
    frames = {i: np.uint8(np.full((*SIZE, 3), 2 if i > 9 else i)) for i in range(16)}
    samples = [BenchmarkSample(f"s{i}", 0, i, 10 + i, group="ab"[i > 2]) for i in (1, 2, 3, 4)]
    benchmark = Benchmark(
        "synthetic", "", lambda _: samples, load=frames.get, motion=lambda s: 3.0 * s.truth, by_group=True
    )
    (result,) = evaluated([average], [(benchmark, samples)], tmp_path)
    by_motion = result.entry["by_motion"]
    assert {name: part["images"] for name, part in by_motion.items()} == {"2-4": 1, "4-8": 1, "8-16": 2}
    assert by_motion["8-16"]["ie"] == 2.5
    assert {name: part["ie"] for name, part in result.entry["by_group"].items()} == {"a": 0.5, "b": 2.5}
    assert result.entry["ie"] == 1.5
    assert tables.part_table([result], "by_motion")[0] == ["benchmark", "model", "2-4", "4-8", "8-16"]


def with_psnr(values):
    """A result with given PSNR."""
    rows = [benchmarks.Score(str(i), value, *[0.5] * 7) for i, value in enumerate(values)]
    return results.Result("m", "b", {"images": len(rows)}, rows)


def test_significance_of_differences():
    rng = np.random.default_rng(0)
    hard = rng.normal(30, 6, 60)
    steady = statistics.difference(with_psnr(hard), with_psnr(hard + 0.2 + rng.normal(0, 0.1, 60)), "psnr")
    assert steady.is_significant  # though 0.2 dB is far below the spread of the images
    assert steady.low < 0.2 < steady.high
    assert steady.high - steady.low == pytest.approx(2 * 1.96 * 0.1 / 60**0.5, rel=0.3)  # of a mean of 60
    noisy = statistics.difference(with_psnr(hard), with_psnr(hard + 0.2 + rng.normal(0, 6, 60)), "psnr")
    assert not noisy.is_significant
    shorter = statistics.difference(with_psnr(hard), with_psnr(hard[:10]), "psnr")
    assert (shorter.images, shorter.mean, shorter.low, shorter.high) == (10, 0, 0, 0)
    assert statistics.difference(with_psnr([np.inf]), with_psnr([np.inf]), "psnr") is None
    assert not statistics.difference(with_psnr([30.0]), with_psnr([31.0]), "psnr").is_significant


@pytest.mark.slow
def test_speed_in_a_process_of_its_own(tmp_path):
    vfi_jax.save(tmp_path / "w.safetensors", *vfi_jax.create("rife_v4_25_lite", seed=1))
    given = f"rife_v4_25_lite={tmp_path / 'w.safetensors'}"
    found = speed.measure({"given": given, "size": "96x64", "batch_size": 2})
    model, variables = vfi_jax.create("rife_v4_25_lite", seed=1)
    assert found["params_m"] == pytest.approx(sum(leaf.size for leaf in jax.tree.leaves(variables)) / 1e6)
    # Padded to 128x128.
    macs = flops.multiply_adds(
        lambda v, x: model.apply(v, x, 0.5).frame, variables, np.zeros((1, 2, 128, 128, 3), "f4")
    )
    assert found["gmac"] == pytest.approx(macs / 1e9)
    assert found["seconds"] > 0
    assert 0.05 < found["peak_gb"] < 20
    result = results.Result("m", "b", {"images": 1, "psnr": 30.0}, [])
    tables.plot(tmp_path / "p.png", [result], {"m": found})
    assert load_image(tmp_path / "p.png").std() > 5
    with pytest.raises(UserError, match="speed of nothing: no model is called"):
        speed.measure({"given": "nothing", "size": "96x64", "batch_size": 1})


DEVICES = """
import sys
from pathlib import Path
import jax
import numpy as np
from vfi_jax.benchmarks import BENCHMARKS
from vfi_jax.evaluation import evaluate

benchmark = BENCHMARKS["ucf101"]
assert jax.device_count() == 2
model = evaluate.load_model("average")
sets = [(benchmark, benchmark.find(Path(sys.argv[1])))]
print(next(evaluate.evaluate({Path(sys.argv[2]): model}, sets, evaluate.Plan(batch_size=3))).entry["psnr"])
interpolate = evaluate.interpolator(model, benchmark, [])
times = np.full((4, 1, 1, 1), 0.5, "f4")
out = jax.jit(interpolate.model.apply)({}, jax.numpy.zeros((4, 2, 32, 32, 3)), times).frame
assert out.addressable_shards[0].data.shape[0] == 2
"""


@pytest.mark.slow
def test_batches_split_over_devices(average, ucf101, data, tmp_path):
    """On two devices the figures are those of one; every batch is a multiple of the devices."""
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-c", DEVICES, str(data), str(tmp_path / "two")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    (result,) = evaluated([average], ucf101, tmp_path)
    assert float(done.stdout) == pytest.approx(result.entry["psnr"], abs=1e-6)
