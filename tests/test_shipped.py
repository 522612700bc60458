"""The weights that are part of the package: there, usable without anything else, and as good as their card says."""

import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import vfi_jax
from vfi_jax import benchmarks, weights
from vfi_jax.cli import main as cli_main
from vfi_jax.data.images import load_image
from vfi_jax.metrics import psnr
from vfi_jax.video import demo
from vfi_jax.video.coding.decode import Reader
from vfi_jax.weights import files as weight_files

DATA = os.environ.get("VFI_JAX_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="VFI_JAX_DATA names no folder of benchmarks")
SHIPPED = (weights.DEFAULT, weights.FAST)
# PSNR in dB of the weights as they were shipped: less would be a step back.
LEAST = {
    ("rife_lap", "devset"): 32.17,
    ("rife_lap", "ucf101"): 35.14,
    ("rife_lap", "middlebury_native"): 36.21,
    ("rife_lap_s", "devset"): 31.49,
}


def card(name):
    return weights.shipped(name).with_suffix(".md").read_text()


def test_default_needs_no_download(weights_folder):
    interpolate = vfi_jax.Interpolator()
    assert interpolate.model.variant == weights.DEFAULT == "rife_lap"
    assert {leaf.dtype for leaf in jax.tree.leaves(interpolate.variables)} == {np.dtype(np.float32)}
    assert not weights_folder.exists()


@pytest.mark.parametrize(("name", "megabytes"), [("rife_lap", 11.7), ("rife_lap_s", 3.2)])
def test_file_is_small_and_has_a_card(name, megabytes):
    path = weights.shipped(name)
    assert path.stat().st_size < 1e6 * megabytes
    _, metadata = weight_files.read_weights(path)
    assert metadata["model"] == name
    assert weight_files.fingerprint(vfi_jax.load(name)[1]) in card(name)
    for word in ("license", "train.py", "devset", "UCF101", "Middlebury", "RIFE v4.25", "MIT"):
        assert word in card(name), word


@pytest.mark.parametrize("name", SHIPPED)
def test_listed_as_shipped(capsys, weights_folder, name):
    cli_main.main(["weights"])
    assert re.search(rf"\| {name} .*\| part of this package", capsys.readouterr().out)


@pytest.mark.slow
def test_demo(weights_folder, tmp_path, capsys):
    assert cli_main.main(["demo", "-o", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"demo.mp4", "demo.png"}
    assert load_image(tmp_path / "demo.png").std() > 30
    out = capsys.readouterr().out
    print(out)
    assert "rife_lap" in out
    scores = demo.run(vfi_jax.Interpolator(), tmp_path)
    assert scores.ours > scores.average + 3


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("clip", "least"), [pytest.param("bee.mp4", 27.332, marks=pytest.mark.long), ("bug_video_640.mp4", 33.875)]
)
def test_clips(clip, least):
    """Every second frame taken out and rebuilt: at least what RIFE v4.25 as published gives."""
    with Reader(Path(DATA) / "devset/clips" / clip) as reader:
        frames = [frame.image for frame in reader.frames()]
    interpolate = vfi_jax.Interpolator()
    triplets = zip(frames[::2], frames[1::2], frames[2::2], strict=False)
    mean = np.mean([psnr(interpolate(first, second), truth) for first, truth, second in triplets])
    print(f"\n{clip}: {mean:.3f} dB")
    assert mean >= least
    assert f"{mean:.2f}" in card("rife_lap")


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(("model", "name"), LEAST)
def test_figures(model, name):
    data = Path(DATA)
    known = {"devset": f"triplets={data / 'devset'}"}
    benchmark = benchmarks.named(known.get(name, name))
    rows = list(benchmarks.scores(vfi_jax.Interpolator(model), benchmark, benchmark.find(data / "benchmarks"), 1))
    means = benchmarks.means(rows)
    print(f"\n{model} on {name}: {means}")
    # Half of the last figure that was given.
    assert means["psnr"] >= LEAST[model, name] - 0.005
    assert f"{means['psnr']:.2f}" in card(model)
