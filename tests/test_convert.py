"""`vfi-jax convert`: what it installs and writes, the check before it, and the way back to PyTorch."""

import dataclasses
import hashlib
import json
import shutil
import zipfile

import jax
import numpy as np
import pytest
from parity import apart
from safetensors import safe_open
from tiny_runs import RUN, TINY, quiet

import vfi_jax
from vfi_jax import weights
from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.runs import checkpoints, checksums
from vfi_jax.torch_io import state_dict
from vfi_jax.torch_io.reader import read_torch
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.training import fit
from vfi_jax.weights import convert, load

SMALL = "rife_v4_12_lite"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metadata(path):
    with safe_open(path, "numpy") as file:
        return file.metadata()


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def published(folder, name, seed=1, change=lambda state: state, prefix="module."):
    """A file as its authors publish it, made up."""
    state = change(vfi_jax.to_torch(name, vfi_jax.create(name, seed)[1]))
    write_torch(folder / "flownet.pkl", {f"{prefix}{key}": value for key, value in state.items()})
    return folder / "flownet.pkl"


@pytest.fixture
def told():
    return []


# Into our form


def test_installs_where_load_finds_it(tmp_path, weights_folder, capsys):
    file = published(tmp_path, "rife_m")
    assert cli_main.main(["convert", "--model", "rife_m", "--weights", str(file)]) == 0
    target = weights_folder / "rife_m.safetensors"
    checked, written = capsys.readouterr().out.splitlines()
    assert checked.startswith("check on a moving texture of 128x128: frame ")
    assert str(target) in written
    assert [path.name for path in weights_folder.iterdir()] == [target.name]
    about = metadata(target)
    assert {key: about[key] for key in ("model", "channel_order", "any_time", "source", "sha256")} == {
        "model": "rife_m",
        "channel_order": "bgr",
        "any_time": "True",
        "source": str(file),
        "sha256": sha256(file),
    }
    model, variables = vfi_jax.load("rife_m")
    assert model.channel_order == "bgr"
    direct = vfi_jax.load("rife_m", file)[1]["params"]
    assert_equal(variables["params"], {key: value for key, value in direct.items() if key != "block_tea"})
    frames = convert.scene((0, 1))
    assert vfi_jax.Interpolator("rife_m")(*frames).shape == (128, 128, 3)


def test_names_that_the_published_loader_leaves_out(tmp_path):
    """`caltime` and `teacher` of the v4 files, and whatever does not carry the prefix."""

    def more(state):
        return {**state, "caltime.0.weight": np.zeros(3, "f4"), "teacher.a.b": np.zeros(2, "f4")}

    file = published(tmp_path, SMALL, change=more)
    convert.convert(SMALL, [file], tmp_path / "x.safetensors", tell=quiet)
    assert_equal(vfi_jax.load(SMALL, tmp_path / "x.safetensors")[1], vfi_jax.create(SMALL, 1)[1])


def test_mean_has_all_sources(tmp_path):
    (tmp_path / "b").mkdir()
    files = [published(tmp_path, SMALL, 1), published(tmp_path / "b", SMALL, 2)]
    target = convert.convert(SMALL, files, tmp_path / "x.safetensors", tell=quiet)
    assert metadata(target)["source"] == f"{files[0]} + {files[1]}"
    assert metadata(target)["sha256"] == f"{sha256(files[0])} + {sha256(files[1])}"
    one, other = (jax.tree.leaves(vfi_jax.create(SMALL, seed)[1]) for seed in (1, 2))
    for found, *both in zip(jax.tree.leaves(vfi_jax.load(SMALL, target)[1]), one, other, strict=True):
        np.testing.assert_allclose(found, np.mean(both, 0), rtol=1e-6, atol=1e-8)


def test_half_is_what_was_checked(tmp_path):
    target = convert.convert(SMALL, [published(tmp_path, SMALL)], tmp_path / "x.safetensors", half=True, tell=quiet)
    expected = jax.tree.map(lambda leaf: leaf.astype("f2").astype("f4"), vfi_jax.create(SMALL, 1)[1])
    assert_equal(vfi_jax.load(SMALL, target)[1], expected)

    def huge(state):
        return {**state, "block0.lastconv.0.bias": np.full(24, 1e5, "f4")}

    with pytest.raises(UserError, match="beyond float16"):
        convert.convert(SMALL, [published(tmp_path, SMALL, change=huge)], tmp_path / "y.safetensors", half=True)
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.slow
def test_four_frames_with_their_helper(tmp_path, weights_folder):
    raft = published(tmp_path, "raft")
    raft = raft.rename(tmp_path / "raft-things.pth")
    state = vfi_jax.to_torch("dbvi_8x", vfi_jax.create("dbvi_8x", 1)[1])
    write_torch(tmp_path / "dbvi.pth", state, key="gNet", numbers={"last_epoch": 3})
    with pytest.raises(UserError, match="needs the weights of raft: --frozen raft=FILE"):
        convert.convert("dbvi_8x", [tmp_path / "dbvi.pth"], tell=quiet)
    target = convert.convert("dbvi_8x", [tmp_path / "dbvi.pth"], frozen={"raft": raft}, tell=quiet)
    assert metadata(target)["source"] == f"{tmp_path / 'dbvi.pth'} + raft={raft}"
    assert metadata(target)["sha256"] == f"{sha256(tmp_path / 'dbvi.pth')} + {sha256(raft)}"
    variables = vfi_jax.load("dbvi_8x")[1]
    assert_equal(variables["frozen"]["raft"], vfi_jax.load("raft", raft)[1])
    convert.convert("dbvi_8x", [target], tmp_path, to_torch=True, tell=quiet)
    back = read_torch(tmp_path / "train_on_gopro_Iter0.pth")
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], value) for key, value in state.items())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps, of which the second is the best: its score is set."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit.fit(dataclasses.replace(RUN, steps=3, checkpoint_every=1, validate_every=1), folder, quiet)
    rescore(folder, 2, 61.25)
    return folder


def rescore(folder, step, psnr):
    file = folder / f"checkpoints/{step}/position/metadata"
    whole = json.loads(file.read_text())
    assert whole[checkpoints.SCORE]
    whole[checkpoints.SCORE] = psnr
    del whole[checkpoints.SEAL]
    file.write_text(json.dumps({**whole, checkpoints.SEAL: checksums.seal(whole)}))


def test_a_run_gives_its_best_step_averaged(run, tmp_path, told):
    target = convert.convert("rife_lap", [run], tmp_path / "x.safetensors", tell=told.append)
    assert told[0] == f"{run} (step 2, the best by validation: 61.25 dB, averaged weights)"
    assert metadata(target)["source"] == told[0]
    assert metadata(target)["channel_order"] == "rgb"
    assert json.loads(metadata(target)["fields"])["widths"] == list(TINY["widths"])
    assert_equal(vfi_jax.load("rife_lap", target)[1], vfi_jax.load("rife_lap", run, step=2)[1])
    for step in (3, "newest"):
        other = convert.convert("rife_lap", [run], tmp_path / "y.safetensors", step=step, tell=quiet)
        assert "(step 3, averaged weights)" in metadata(other)["source"]
        assert_equal(vfi_jax.load("rife_lap", other)[1], vfi_jax.load("rife_lap", run)[1])


def test_a_run_without_validation(run, tmp_path, told):
    shutil.copytree(run, tmp_path / "run")
    for place in tmp_path.glob("run/checkpoints/[0-9]*"):
        rescore(tmp_path / "run", int(place.name), None)
    convert.convert("rife_lap", [tmp_path / "run"], tmp_path / "x.safetensors", tell=told.append)
    assert "(step 3, the newest: none was validated, averaged weights)" in told[0]


def test_steps_that_are_not_there(run, tmp_path):
    with pytest.raises(UserError, match="has no step 77"):
        convert.convert("rife_lap", [run], tmp_path / "x.safetensors", step=77)
    with pytest.raises(UsageError, match="pass --model rife_lap"):
        convert.convert("rife_m", [run], tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"no network with .*widths = \(16, 16\).*: --to-torch cannot"):
        convert.convert("rife_lap", [run], tmp_path, to_torch=True, tell=quiet)
    assert not list(tmp_path.iterdir())


def test_what_no_published_code_has(tmp_path, weights_folder):
    with pytest.raises(UsageError, match=r"no published code has what rife_lap adds \(refine\): --to-torch cannot"):
        convert.convert("rife_lap", [vfi_jax.weights.shipped("rife_lap")], tmp_path, to_torch=True, tell=quiet)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_model(tmp_path, weights_folder):
    model, variables = registry.create(SMALL)
    load.save(tmp_path / "small.safetensors", model, variables)
    with pytest.raises(UsageError, match=f"holds weights of {SMALL}, not of rife_m"):
        convert.convert("rife_m", [tmp_path / "small.safetensors"])
    with pytest.raises(UserError, match="these weights do not fit rife_m") as caught:
        convert.convert("rife_m", [published(tmp_path, SMALL)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="rife_v4_12_lite has no frozen 'raft'"):
        convert.convert(SMALL, [published(tmp_path, SMALL)], frozen={"raft": tmp_path / "flownet.pkl"})
    assert not weights_folder.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, weights_folder):
    file = published(tmp_path, SMALL)
    target, torch_target = convert.convert(SMALL, [file], tell=quiet), tmp_path / "mine.pkl"
    torch_target.write_bytes(b"before")
    before = target.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(target), "write_bytes", full)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    for options in ({}, {"output": torch_target, "to_torch": True}):
        with pytest.raises(UserError, match="cannot be written: No space left"):
            convert.convert(SMALL, [file], tell=quiet, **options)
    assert target.read_bytes() == before
    assert torch_target.read_bytes() == b"before"
    assert {path.name for folder in (tmp_path, weights_folder) for path in folder.iterdir() if path.is_file()} == {
        "flownet.pkl", "mine.pkl", target.name
    }  # fmt: skip


def test_a_weights_folder_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the weights folder cannot be made"):
        convert.convert(SMALL, [published(tmp_path, SMALL)], tell=quiet)


# The check


def test_scene_moves_as_it_says():
    """A whole step of time moves the texture by whole pixels."""
    x, y = np.int64(convert.MOTION)
    before, after = convert.scene((0, 1))
    np.testing.assert_allclose(after[: y or None, x:], before[-y:, :-x], atol=1e-6)
    assert before.min() > 0
    assert before.max() < 1
    assert not np.allclose(before[..., 0], before[..., 2], atol=0.1)


def test_figures_of_the_check():
    """The average of both frames is as far from the truth as the line says of averaging."""
    line = convert.check(registry.build("average"), {})
    ours, averaging = (part.split(" dB")[0].split()[-1] for part in line.split(", ")[1:])
    assert ours == averaging
    first, middle, last = convert.scene((0, 0.5, 1)).astype(np.float64)
    assert float(ours) == pytest.approx(-10 * np.log10(((first / 2 + last / 2 - middle) ** 2).mean()), abs=0.01)


def test_shipped_weights_do_well():
    line = convert.check(*vfi_jax.load("rife_lap"))
    assert float(line.split(" dB")[0].split()[-1]) > 45, line


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e8])
def test_weights_that_make_no_frame(tmp_path, weights_folder, value):
    def spoilt(state):
        return {**state, "block3.lastconv.0.bias": np.full(24, value, "f4")}

    file = published(tmp_path, SMALL, change=spoilt)
    said = (
        "block3/lastconv/bias holds what is no number" if not np.isfinite(value) else "rife_v4_12_lite give flows of "
    )
    with pytest.raises(UserError, match=said) as caught:
        convert.convert(SMALL, [file], tell=quiet)
    assert "\n" not in str(caught.value)
    assert not weights_folder.exists()


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_check_gives_the_channels_in_the_order_of_the_weights(order):
    from vfi_jax.inference import Interpolator

    model, variables = registry.create("rife_m", seed=0, channel_order=order)
    frame = Interpolator(model, variables)(*convert.scene((0, 1)), t=0.5)
    assert f"frame {frame.min():.2f}..{frame.max():.2f}" in convert.check(model, variables)


def test_a_flow_network_is_checked_too(tmp_path, told):
    target = convert.convert(
        "raft_small", [published(tmp_path, "raft_small")], tmp_path / "x.safetensors", tell=told.append
    )
    assert "(it moves 7.2 px)" in told[0]
    assert_equal(vfi_jax.load("raft_small", target)[1], vfi_jax.create("raft_small", 1)[1])
    back = convert.convert("raft_small", [target], tmp_path, to_torch=True, tell=quiet)
    assert back.name == "raft-small.pth"
    assert all(name.startswith("module.") for name in read_torch(back))


# Licences


def test_non_commercial_weights_want_their_licence_accepted(tmp_path, monkeypatch, capsys, weights_folder):
    source = dataclasses.replace(weights.SOURCES[SMALL], non_commercial="CC-BY-NC-4.0")
    monkeypatch.setattr(weights, "SOURCES", {**weights.SOURCES, SMALL: source})
    file = published(tmp_path, SMALL)
    command = ["convert", "--model", SMALL, "--weights", str(file)]
    for given in ([], ["--accept-licence", "MIT"]):
        assert cli_main.main(command + given) == 2
        assert "non-commercial use only (CC-BY-NC-4.0)" in capsys.readouterr().err
        assert not weights_folder.exists()
    wanted = weights.command(SMALL).removeprefix("vfi-jax ").replace("flownet.pkl", str(file)).split()
    assert wanted[-2:] == ["--accept-licence", "CC-BY-NC-4.0"]
    assert cli_main.main(wanted) == 0
    assert weights.path_of(SMALL).exists()


def test_which_weights_are_for_commercial_use_too():
    assert not [name for name, source in weights.SOURCES.items() if source.non_commercial]


# To PyTorch


@pytest.mark.parametrize("name", [name for name, spec in vfi_jax.MODELS.items() if spec.params])
def test_every_model_has_a_published_form(name):
    source = weights.SOURCES[name]
    assert source.file.endswith(convert.TORCH_ENDINGS)
    assert source.file in source.published or name in (weights.DEFAULT, weights.FAST, "rife_large")


@pytest.mark.parametrize("name", ["rife_m", "rife_v4_25_lite", "ifrnet_s"])
def test_there_and_back(tmp_path, told, name):
    model, variables = registry.create(name, seed=2, channel_order=vfi_jax.MODELS[name].published_channel_order)
    load.save(tmp_path / "mine.safetensors", model, variables)
    target = convert.convert(name, [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, tell=told.append)
    assert target == tmp_path / weights.SOURCES[name].file
    names = read_torch(target)
    assert all(key.startswith("module.") == (name != "ifrnet_s") for key in names)
    back, loaded = vfi_jax.load(name, target)
    assert back.channel_order == model.channel_order
    # The published loader is strict: what only training needs has to be there, and `save` leaves it out.
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    assert any("only training needs (block_tea.*)" in line for line in told) == (name == "rife_m")
    for params in (loaded["params"], variables["params"]):
        params.pop("block_tea", None)
    assert_equal(loaded, variables)


def test_channel_order_of_the_published_code(tmp_path, told):
    """A network trained on RGB gives, in the published form and on BGR frames, the same frame."""
    model, variables = registry.create("rife_m", seed=2)
    assert model.channel_order == "rgb"
    load.save(tmp_path / "mine.safetensors", model, variables)
    target = convert.convert("rife_m", [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, tell=told.append)
    assert told[0] == "turned from rgb to bgr, the published code's channel order"
    turned, loaded = vfi_jax.load("rife_m", target)
    assert turned.channel_order == "bgr"
    frames = convert.scene((0, 1))[None]
    expected = np.asarray(jax.jit(model.apply)(variables, frames, 0.5).frame)
    assert apart(jax.jit(turned.apply)(loaded, frames[..., ::-1], 0.5).frame[..., ::-1], expected) < 1e-5


def test_an_order_that_cannot_be_turned(tmp_path):
    model, variables = registry.create(SMALL, channel_order="bgr")
    load.save(tmp_path / "mine.safetensors", model, variables)
    with pytest.raises(UsageError, match="are for bgr frames, the published code gives them rgb"):
        convert.convert(SMALL, [tmp_path / "mine.safetensors"], tmp_path / "x.pkl", to_torch=True)
    assert not (tmp_path / "x.pkl").exists()


def test_the_input_is_not_overwritten(tmp_path):
    file = published(tmp_path, SMALL)
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"flownet\.pkl would be overwritten"):
        convert.convert(SMALL, [file], tmp_path, to_torch=True)
    assert file.read_bytes() == before


def test_keys_that_the_published_loader_reads():
    """CAIN's takes `epoch` and `state_dict`, every name with DataParallel's prefix."""
    assert weights.SOURCES["cain"].key == "state_dict"
    assert weights.SOURCES["cain"].numbers == ("epoch",)


@pytest.mark.torch
@pytest.mark.parametrize("name", ["rife_m", SMALL, "raft", "cain"])
@pytest.mark.slow
def test_torch_reads_what_is_written(tmp_path, name):
    torch = pytest.importorskip("torch")
    model, variables = registry.create(name, seed=2, channel_order=vfi_jax.MODELS[name].published_channel_order)
    load.save(tmp_path / "mine.safetensors", model, variables)
    target = convert.convert(name, [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, tell=quiet)
    found = torch.load(target, map_location="cpu", weights_only=True)
    found = found[weights.SOURCES[name].key] if weights.SOURCES[name].key else found
    expected = state_dict.to_torch(vfi_jax.MODELS[name], variables)
    assert {key.removeprefix("module.") for key in found} == expected.keys()
    for key, value in expected.items():
        if not state_dict._matches(key, vfi_jax.MODELS[name].training_only):
            np.testing.assert_array_equal(found[f"module.{key}"].numpy(), value, err_msg=key)
