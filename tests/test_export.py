"""Exported programs: the same frames without the model's code, and one line for files that cannot be used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vfi_jax
from vfi_jax.cli.main import main
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.export import export, load_exported
from vfi_jax.inference.exported import description_path

pytest.importorskip("flatbuffers")
PAGE = Path(__file__).parent.parent / "docs/export.md"
SIZE = (100, 60)
FIELDS = {"widths": (8, 8), "level_scales": (2, 1)}  # a narrow network: nothing here depends on its width


@pytest.fixture(scope="module")
def network():
    return vfi_jax.create("rife_v4_25", seed=1, channel_order="bgr", **FIELDS)


@pytest.fixture(scope="module")
def pair():
    views = np.random.default_rng(0).random((2, SIZE[1] // 4, SIZE[0] // 4, 3)).repeat(4, 1).repeat(4, 2)
    return list((views * 255).astype(np.uint8))


@pytest.fixture(scope="module")
def expected(network, pair):
    return vfi_jax.Interpolator(*network)(*(frame.astype(np.float32) / 255 for frame in pair), t=0.25)


@pytest.fixture(scope="module")
def file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.stablehlo"
    export(path, *network, size=SIZE, platforms=["cpu", "tpu"])
    return path


@pytest.fixture
def copied(file, tmp_path):
    """The two files, to be changed."""
    path = tmp_path / file.name
    path.write_bytes(file.read_bytes())
    description_path(path).write_text(description_path(file).read_text())
    return path


def changed(path, **values):
    beside = description_path(path)
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **values}))


def test_the_page_in_plain_jax(file, pair, expected, tmp_path):
    """In a process that imports JAX and NumPy alone."""
    code = next(text for text in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S) if "json" in text)
    np.savez(tmp_path / "in.npz", *pair)
    script = f"""
import sys
import numpy as np
frame0, frame1 = np.load({str(tmp_path / "in.npz")!r}).values()
{code.replace("rife_lap_s.stablehlo", str(file)).replace("0.5, np", "0.25, np")}
assert not [name for name in sys.modules if name.partition(".")[0] in ("vfi_jax", "flax")]
np.save({str(tmp_path / "out.npy")!r}, plain)
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert np.abs(np.load(tmp_path / "out.npy") - expected).max() < 1e-6


def test_loaded(file, network, pair, expected):
    interpolate = load_exported(file)
    frame = interpolate(*pair, t=0.25)
    assert (frame.dtype, frame.shape) == (np.uint8, pair[0].shape)
    assert np.abs(frame / 255 - expected).max() < 0.51 / 255
    floats = [frame.astype(np.float32) / 255 for frame in pair]
    frames = list(interpolate.between(floats, [0.25, 0.5]))
    assert np.abs(frames[0] - expected).max() < 1e-6
    about = json.loads(description_path(file).read_text())
    assert (about["padded_size"], about["platforms"]) == ([64, 128], ["cpu", "tpu"])
    assert about["padding"] == {"multiple": 64, "mode": "constant", "position": "end"}


@pytest.mark.slow
def test_any_size(network, pair, expected, tmp_path):
    """By the command, in a process that checks no shapes: a symbol is no whole number for the checks."""
    vfi_jax.save(tmp_path / "model.safetensors", *network)
    command = "export --model rife_v4_25 --weights model.safetensors --size any --platforms cpu -o any.stablehlo"
    subprocess.run([sys.executable, "-m", "vfi_jax.cli", *command.split()], check=True, cwd=tmp_path)
    interpolate = load_exported(tmp_path / "any.stablehlo")
    floats = [frame.astype(np.float32) / 255 for frame in pair]
    assert np.abs(interpolate(*floats, t=0.25) - expected).max() < 1e-5
    batch = [np.stack([frame[:40, :50]] * 2) for frame in floats]
    assert np.abs(interpolate(*batch) - vfi_jax.Interpolator(*network)(*batch)).max() < 1e-5


def test_a_model_whose_code_is_missing(copied, pair):
    changed(copied, model="some_package:OTHER")
    assert load_exported(copied)(*pair).shape == pair[0].shape


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "has format 2, and vfi_jax .* reads 1: export again"),
        ({"sha256": "0" * 64}, "is damaged, or not the file that .*.json describes"),
        ({"calling_convention": 99, "versions": {"jax": "9.9"}}, r"was written by jax 9.9, and jax .* cannot read it"),
        ({"platforms": ["tpu"]}, "is for tpu, and JAX computes on cpu here: export it with --platforms tpu,cpu"),
        ({"other": 1}, "is damaged .*other"),
    ],
)
def test_files_that_cannot_be_used(copied, values, message):
    changed(copied, **values)
    with pytest.raises(UserError, match=message) as caught:
        load_exported(copied)
    assert "\n" not in str(caught.value)


def test_missing_files(copied):
    with pytest.raises(UserError, match="no such file"):
        load_exported(copied.parent / "none.stablehlo")
    description_path(copied).unlink()
    with pytest.raises(UserError, match=r"\.json is missing"):
        load_exported(copied)


def test_frames_and_inputs_that_do_not_fit(file, pair):
    interpolate = load_exported(file)
    with pytest.raises(UserError, match="padded to 128x64, and these are padded to 64x64"):
        interpolate(*(frame[:, :50] for frame in pair))
    with pytest.raises(UserError, match="maps and other inputs need the model itself"):
        interpolate(*pair, t=np.full((*pair[0].shape[:2], 1), 0.5))


def test_what_cannot_be_exported(tmp_path):
    with pytest.raises(UserError, match="dis cannot be exported") as caught:
        export(tmp_path / "a.stablehlo", *vfi_jax.create("dis"), size=(64, 64))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"cain cannot be exported for any size .*--size WIDTHxHEIGHT"):
        export(tmp_path / "a.stablehlo", *vfi_jax.create("cain", groups=1, blocks=1))
    with pytest.raises(UsageError, match="no platform is called 'gpu'"):
        export(tmp_path / "a.stablehlo", *vfi_jax.create("average"), size=(64, 64), platforms=["gpu"])
    assert not list(tmp_path.iterdir())


def test_the_command(tmp_path, capsys):
    path = tmp_path / "average.stablehlo"
    assert main(["export", "--model", "average", "--size", "64x48", "--platforms", "cpu", "-o", str(path)]) == 0
    assert re.fullmatch(rf"{path}: average for \d+x\d+ on cpu, 0.0 MB\n", capsys.readouterr().out)
    assert main(["export", "--model", "average", "--size", "64x48", "-o", str(tmp_path / "a.bin")]) == 2
    with pytest.raises(SystemExit, match="2"):
        main(["export", "--size", "64", "-o", str(path)])
    assert "64: a size is needed, such as 1280x720, or any" in capsys.readouterr().err
