"""Figures that are not numbers: PSNR of equal frames, undefined means, strict JSON, damaged files of results."""

import ast
import json
import math
import os
import shutil

import numpy as np
import pytest
from eval_program import draw, run_eval, table_of, write
from hypothesis import given, settings
from hypothesis import strategies as st

from vfi_jax import benchmarks
from vfi_jax.benchmarks import BENCHMARKS, Score
from vfi_jax.data.images import average
from vfi_jax.evaluation import cache, results, tables
from vfi_jax.metrics import psnr
from vfi_jax.system import contents, folders, strict_json
from vfi_jax.viz.sheets import save_png

NUMBERS = [math.nan, math.inf, -math.inf, 1.5]


def strictly(text):
    """Parses JSON and refuses the constants that are not in it."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """UCF101's layout: a moving triplet, a black one and a still one."""
    root = tmp_path_factory.mktemp("still")
    write(root / "ucf101_interp_ours/1", ("frame_00", "frame_01_gt", "frame_02"), 1)
    for number, image in ((2, np.zeros((32, 48, 3), np.uint8)), (3, draw(3)[0])):
        folder = root / f"ucf101_interp_ours/{number}"
        folder.mkdir()
        for name in ("frame_00", "frame_01_gt", "frame_02"):
            save_png(folder / f"{name}.png", image)
    return root


def evaluate(data, output, *arguments):
    return run_eval("--models=average", "--benchmarks=ucf101", f"--data={data}", f"--output={output}",
                    "--batch_size=2", *arguments)  # fmt: skip


def test_black_and_still_triplets(still, tmp_path, capsys):
    """Both count 100 dB, and their number stands beside the mean in every output."""
    assert evaluate(still, tmp_path) == 0
    first, truth, second = draw(1)
    each = {row.name: row.psnr for row in results.read_scores(tmp_path / "ucf101.csv")}
    assert each["1"] == pytest.approx(psnr(average(first, second), truth), abs=0.02)  # in float, then rounded
    assert each["2"] == each["3"] == 100
    entry = strictly((tmp_path / "results.json").read_text())["results"]["ucf101"]
    assert entry["psnr"] == pytest.approx((each["1"] + 200) / 3)
    assert (entry["capped"], entry["images"]) == (2, 3)
    assert entry["undefined"]["sharpness"] == 1  # the black truth has no gradients
    out = capsys.readouterr().out
    assert f"{entry['psnr']:.3f} dB (2 of 3 images at 100 dB)" in out
    heading, _, row = table_of(out[out.index("## Results") :])
    assert row[heading.index("images at 100 dB")] == "2"


def row(name, **figures):
    usual = dict.fromkeys(("psnr", "ssim_matlab", "ie", "average_psnr", "ssim_gaussian", "ssim_gray", "nie"), 1.0)
    return Score(name, **{**usual, "sharpness": math.nan, **figures})


def test_means_without_images():
    """A figure that no image has is null in the file and a dash in tables; groups without it do not count."""
    rows = [row("a", group="x"), row("b", group="y", sharpness=0.5), row("c", group="y", sharpness=math.inf)]
    assert benchmarks.means(rows)["sharpness"] == benchmarks.means(rows, by_group=True)["sharpness"] == 0.5
    assert benchmarks.undefined(rows) == {"sharpness": 2}
    entry = cache.as_json({**benchmarks.means(rows[:1]), "images": 1})
    assert entry["sharpness"] is None
    (_, cells), heading = (tables.table([results.Result("m", "b", entry, rows)])), tables.table([])[0]
    assert cells[heading.index("sharpness")] == "-"


def test_predictions_that_are_not_finite(still, tmp_path, monkeypatch, capsys):
    from vfi_jax.benchmarks import scoring

    monkeypatch.setattr(scoring, "predict", lambda interpolate, benchmark, inputs, times: inputs[:, 0] * np.nan)
    assert run_eval("--models=average", "--benchmarks=ucf101_float", f"--data={still}", f"--output={tmp_path}") == 1
    assert "the prediction of 1 is not finite: check the weights" in capsys.readouterr().err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_json_is_strict(value):
    assert strictly(strict_json.dumps({"a": value, "b": (1, 2)}))["b"] == [1, 2]


def test_numbers_that_are_not_finite():
    assert strictly(strict_json.dumps({"x": NUMBERS, "y": np.float64("nan")})) == {"x": [None] * 3 + [1.5], "y": None}


def test_all_json_of_the_package_is_strict():
    """`compare.workers`, which runs without this package, writes lines for the other process, no file."""
    for path in sorted(cache.ROOT.rglob("*.py")):
        if path.relative_to(cache.ROOT).as_posix() not in ("system/strict_json.py", "compare/workers.py"):
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
            names = {f"{call.value.id}.{call.attr}" for call in calls if isinstance(call.value, ast.Name)}
            assert not names & {"json.dumps", "json.dump"}, path


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe{}",
        b"[]",
        b"null",
        b'{"label": 3}',
        b'{"results": []}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b"",
    ],
    ids=["utf16", "list", "null", "label", "results", "deep", "digits", "empty"],
)
def test_damaged_results(still, tmp_path, capsys, damage):
    """`--compare` refuses them in one line; an evaluation computes them again."""
    assert evaluate(still, tmp_path) == 0
    good = (tmp_path / "results.json").read_bytes()
    (tmp_path / "results.json").write_bytes(damage)
    capsys.readouterr()
    assert run_eval(f"--compare={tmp_path},{tmp_path}") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path} holds no results of eval.py" in line
    assert evaluate(still, tmp_path) == 0
    again = strictly((tmp_path / "results.json").read_text())
    assert again["results"]["ucf101"]["psnr"] == json.loads(good)["results"]["ucf101"]["psnr"]


ENTRY = ("images", "capped", "by_motion", "by_group", "settings", "metrics", "psnr", "vmaf")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["label", "weights", "results", "entry", *ENTRY]), JSON)
def test_results_of_another_shape(tmp_path_factory, part, value):
    """Whatever stands in a place, reading gives results or raises ValueError."""
    folder = tmp_path_factory.mktemp("shape")
    entry = {"images": 0, "capped": 0, "by_motion": {}, "by_group": {}, "settings": {}, "metrics": {}, "psnr": 1.0}
    content = {"label": "m", "weights": {}, "results": {"b": entry}}
    place = {"entry": (content["results"], "b")}.get(part, (content if part in content else entry, part))
    place[0][place[1]] = value
    (folder / "results.json").write_text(strict_json.dumps(content))
    try:
        read = results.read_file(folder)
    except ValueError:
        return
    for kept in read["results"].values():
        tables.summary([results.Result("m", "b", kept, [])], {})


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60))
def test_scores_of_another_kind(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("scores") / "b.csv"
    path.write_bytes(b"name,psnr\n" + content)
    message = "b.csv is damaged"
    try:
        assert results.read_scores(path) == []  # nothing but line ends
    except ValueError as error:
        message = str(error)
    assert message.startswith("b.csv is damaged")


def test_replaced_pictures_are_noticed(still, tmp_path):
    """Pictures of the same size in bytes, even with the same time, have other scores; a copy elsewhere has the same."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(still, data)
    assert evaluate(data, out) == 0
    entry = json.loads((out / "results.json").read_text())["results"]["ucf101"]
    picture = data / "ucf101_interp_ours/1/frame_00.png"
    content, stat = picture.read_bytes(), picture.stat()
    other = bytearray((data / "ucf101_interp_ours/1/frame_02.png").read_bytes())
    size = max(len(content), len(other)) + 8  # both padded behind their end, which decoders do not read
    picture.write_bytes(content.ljust(size, b"\0"))
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert evaluate(data, out) == 0
    picture.write_bytes(bytes(other).ljust(size, b"\0"))
    os.utime(picture, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert evaluate(data, out) == 0
    replaced = json.loads((out / "results.json").read_text())["results"]["ucf101"]
    assert replaced["psnr"] != entry["psnr"]
    moved = tmp_path / "moved"
    data.rename(moved)
    stamp = (out / "ucf101.csv").stat().st_mtime_ns
    assert evaluate(moved, out) == 0
    assert (out / "ucf101.csv").stat().st_mtime_ns == stamp


def test_hashes_are_remembered(tmp_path, monkeypatch):
    """A file that has not changed is read once; one that has just changed is not remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read, files = [], [tmp_path / "a", tmp_path / "b"]
    real = contents.sha256_of
    monkeypatch.setattr(contents, "sha256_of", lambda path: read.append(path.name) or real(path))
    for file in files:
        file.write_text(file.name)
    first = contents.hashes(files)
    assert contents.hashes(files) == first
    assert sorted(read) == ["a", "a", "b", "b"]  # changed less than two seconds ago
    monkeypatch.setattr(contents, "SETTLED", -1.0)
    assert [contents.hashes(files) for _ in range(2)] == [first, first]
    assert len(read) == 6
    files[0].write_text("c")
    assert contents.hashes(files)[files[0]] != first[files[0]]
    assert read[6:] == ["a"]
    (memory,) = (tmp_path / "cache/vfi_jax/contents").iterdir()
    memory.write_bytes(b"\xff[")
    assert contents.hashes([*files, tmp_path / "none"])[tmp_path / "none"] == contents.MISSING
    assert sorted(read[7:]) == ["a", "b"]


def test_users_without_a_home(monkeypatch, tmp_path):
    """As in containers: no HOME, and a number that has no name. Nothing is remembered, and everything works."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(folders.Path, "home", homeless)
    assert folders.cache() is folders.data() is None
    (tmp_path / "a").write_text("a")
    assert len(contents.hashes([tmp_path / "a"])) == 1


def test_moved_frames_of_a_benchmark(tmp_path):
    """The fingerprint of folders of photos follows their pictures."""
    photos = tmp_path / "photos"
    photos.mkdir()
    save_png(photos / "a.png", np.zeros((8, 8, 3), np.uint8))
    benchmark = BENCHMARKS["motion_720p"]
    before = benchmarks.fingerprint(benchmark.find(tmp_path)[:1])
    save_png(photos / "a.png", np.full((8, 8, 3), 1, np.uint8))
    assert benchmarks.fingerprint(benchmark.find(tmp_path)[:1]) != before
