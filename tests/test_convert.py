"""`vfi-jax convert`: what it installs and writes, the check before it, and the way back to PyTorch."""

import dataclasses
import hashlib
import json
import re
import zipfile

import flax.linen as nn
import jax
import jax.numpy as jnp
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
from vfi_jax.runs import folder as run_folder
from vfi_jax.torch_io import state_dict
from vfi_jax.torch_io.reader import read_torch
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.types import FlowOutput, Output
from vfi_jax.weights import published as published_form
from vfi_jax.weights import table
from vfi_jax.weights.check import MOTION, check, moving_texture
from vfi_jax.weights.convert import convert
from vfi_jax.weights.files import read_weights

SMALL = "rife_v4_12_lite"
NON_COMMERCIAL = {"amt_s", "amt_l", "amt_g", "d_amt_s", "dr_amt_s", "d_ifrnet", "dr_ifrnet"}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def metadata(path):
    with safe_open(path, "numpy") as file:
        return file.metadata()


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def published(folder, name, seed=1, change=lambda state: state, prefix="module."):
    """Writes random weights as their authors publish them."""
    state = change(vfi_jax.to_torch(name, vfi_jax.create(name, seed)[1]))
    write_torch(folder / "flownet.pkl", {f"{prefix}{key}": value for key, value in state.items()})
    return folder / "flownet.pkl"


@pytest.fixture
def lines():
    return []


@pytest.fixture
def unchecked(monkeypatch):
    """Leaves out the forward pass, which compiles the network, where a test is about files."""
    monkeypatch.setattr("vfi_jax.weights.convert.check", lambda model, variables: "not checked")


# Into our form


def test_installs_where_load_finds_it(tmp_path, weights_folder, capsys):
    file = published(tmp_path, SMALL)
    assert cli_main.main(["convert", "--model", SMALL, "--weights", str(file)]) == 0
    target = weights_folder / f"{SMALL}.safetensors"
    checked, written = capsys.readouterr().out.splitlines()
    assert checked.startswith("check on a moving texture of 128x128: frame ")
    assert str(target) in written
    assert [path.name for path in weights_folder.iterdir()] == [target.name]
    about = metadata(target)
    assert {key: about[key] for key in ("model", "channel_order", "any_time", "source", "sha256")} == {
        "model": SMALL,
        "channel_order": "rgb",
        "any_time": "True",
        "source": str(file),
        "sha256": sha256(file),
    }
    model, variables = vfi_jax.load(SMALL)
    assert model.channel_order == "rgb"
    assert_equal(variables, vfi_jax.load(SMALL, file)[1])
    assert vfi_jax.Interpolator(SMALL).model.variant == SMALL


def test_what_only_training_needs_is_left_out(tmp_path):
    model, variables = registry.create("rife_m", channel_order="bgr")
    vfi_jax.save(tmp_path / "x.safetensors", model, variables)
    written, about = read_weights(tmp_path / "x.safetensors")
    assert about["channel_order"] == "bgr"
    names = vfi_jax.to_torch("rife_m", variables).keys()
    assert any(name.startswith("block_tea.") for name in names)
    assert written.keys() == {name for name in names if not name.startswith("block_tea.")}


def test_names_that_the_published_loader_leaves_out(tmp_path):
    """`caltime` and `teacher` of the v4 files, and whatever does not carry the prefix."""

    def more(state):
        return {**state, "caltime.0.weight": np.zeros(3, "f4"), "teacher.a.b": np.zeros(2, "f4")}

    file = published(tmp_path, SMALL, change=more)
    convert(SMALL, [file], tmp_path / "x.safetensors", log=quiet)
    assert_equal(vfi_jax.load(SMALL, tmp_path / "x.safetensors")[1], vfi_jax.create(SMALL, 1)[1])


def test_mean_has_all_sources(tmp_path):
    (tmp_path / "b").mkdir()
    files = [published(tmp_path, SMALL, 1), published(tmp_path / "b", SMALL, 2)]
    target = convert(SMALL, files, tmp_path / "x.safetensors", log=quiet)
    assert metadata(target)["source"] == f"{files[0]} + {files[1]}"
    assert metadata(target)["sha256"] == f"{sha256(files[0])} + {sha256(files[1])}"
    one, other = (jax.tree.leaves(vfi_jax.create(SMALL, seed)[1]) for seed in (1, 2))
    for mean, *both in zip(jax.tree.leaves(vfi_jax.load(SMALL, target)[1]), one, other, strict=True):
        np.testing.assert_allclose(mean, np.mean(both, 0), rtol=1e-6, atol=1e-8)


def test_half_is_what_was_checked(tmp_path):
    target = convert(SMALL, [published(tmp_path, SMALL)], tmp_path / "x.safetensors", half=True, log=quiet)
    expected = jax.tree.map(lambda leaf: leaf.astype("f2").astype("f4"), vfi_jax.create(SMALL, 1)[1])
    assert_equal(vfi_jax.load(SMALL, target)[1], expected)

    def huge(state):
        return {**state, "block0.lastconv.0.bias": np.full(24, 1e5, "f4")}

    with pytest.raises(UserError, match="beyond float16"):
        convert(SMALL, [published(tmp_path, SMALL, change=huge)], tmp_path / "y.safetensors", half=True)
    assert not (tmp_path / "y.safetensors").exists()


@pytest.mark.slow
def test_four_frames_with_their_flow_network(tmp_path, weights_folder):
    raft = published(tmp_path, "raft")
    raft = raft.rename(tmp_path / "raft-things.pth")
    state = vfi_jax.to_torch("dbvi_8x", vfi_jax.create("dbvi_8x", 1)[1])
    write_torch(tmp_path / "dbvi.pth", state, key="gNet", numbers={"last_epoch": 3})
    with pytest.raises(UserError, match="needs the weights of raft: --frozen raft=FILE"):
        convert("dbvi_8x", [tmp_path / "dbvi.pth"], log=quiet)
    target = convert("dbvi_8x", [tmp_path / "dbvi.pth"], frozen={"raft": raft}, log=quiet)
    assert metadata(target)["source"] == f"{tmp_path / 'dbvi.pth'} + raft={raft}"
    assert metadata(target)["sha256"] == f"{sha256(tmp_path / 'dbvi.pth')} + {sha256(raft)}"
    variables = vfi_jax.load("dbvi_8x")[1]
    assert_equal(variables["frozen"]["raft"], vfi_jax.load("raft", raft)[1])
    convert("dbvi_8x", [target], tmp_path, to_torch=True, log=quiet)
    back = read_torch(tmp_path / "train_on_gopro_Iter0.pth")
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], value) for key, value in state.items())


def save_run(folder, scores):
    """A run's folder with a step per validation score, as training saves them."""
    with run_folder.open_run(folder, quiet):
        run_folder.write(folder, RUN, {})
    checkpoints = run_folder.Checkpoints(folder)
    position = {"model": {"channel_order": "rgb", "any_time": True}}
    for step, score in enumerate(scores, 1):
        items = {"params": tiny_params(2 * step), "ema": tiny_params(2 * step + 1)}
        checkpoints.save(step, items, {"step": step, **position}, quiet)
        checkpoints.validations.finish(step, {"psnr": score})
    checkpoints.close()
    return folder


def tiny_params(seed):
    return registry.create("rife_lap", seed, **TINY)[1]["params"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of three steps, of which the second is the best by validation."""
    return save_run(tmp_path_factory.mktemp("runs") / "run", (50.0, 61.25, 55.0))


def test_a_run_gives_its_best_step_averaged(run, tmp_path, lines, unchecked):
    target = convert("rife_lap", [run], tmp_path / "x.safetensors", log=lines.append)
    assert lines[0] == f"{run} (step 2, the best by validation: 61.25 dB, averaged weights)"
    assert metadata(target)["source"] == lines[0]
    assert metadata(target)["channel_order"] == "rgb"
    assert json.loads(metadata(target)["fields"])["widths"] == list(TINY["widths"])
    assert_equal(vfi_jax.load("rife_lap", target)[1]["params"], tiny_params(5))
    assert_equal(vfi_jax.load("rife_lap", run)[1]["params"], tiny_params(5))
    for step in (3, "newest"):
        other = convert("rife_lap", [run], tmp_path / "y.safetensors", step=step, log=quiet)
        assert "(step 3, averaged weights)" in metadata(other)["source"]
        assert_equal(vfi_jax.load("rife_lap", other)[1]["params"], tiny_params(7))
        assert_equal(vfi_jax.load("rife_lap", run, step=step)[1]["params"], tiny_params(7))


def test_a_run_without_validation(tmp_path, lines, unchecked):
    folder = save_run(tmp_path / "run", (None, None))
    convert("rife_lap", [folder], tmp_path / "x.safetensors", log=lines.append)
    assert "(step 2, the newest: none was validated, averaged weights)" in lines[0]
    assert_equal(vfi_jax.load("rife_lap", folder)[1]["params"], tiny_params(5))


def test_steps_that_are_not_there(run, tmp_path):
    with pytest.raises(UserError, match="has no step 77"):
        convert("rife_lap", [run], tmp_path / "x.safetensors", step=77)
    with pytest.raises(UsageError, match="pass --model rife_lap"):
        convert("rife_m", [run], tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match=r"no network with .*widths = \(16, 16\).*: --to-torch cannot"):
        convert("rife_lap", [run], tmp_path, to_torch=True, log=quiet)
    assert not list(tmp_path.iterdir())


def test_what_no_published_code_has(tmp_path, weights_folder):
    with pytest.raises(UsageError, match=r"no published code has what rife_lap_s adds \(refine\): --to-torch cannot"):
        convert("rife_lap_s", [vfi_jax.weights.shipped("rife_lap_s")], tmp_path, to_torch=True, log=quiet)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_model(tmp_path, weights_folder):
    model, variables = registry.create(SMALL)
    vfi_jax.save(tmp_path / "small.safetensors", model, variables)
    with pytest.raises(UsageError, match=f"holds weights of {SMALL}, not of rife_m"):
        convert("rife_m", [tmp_path / "small.safetensors"])
    with pytest.raises(UserError, match=f"holds weights of {SMALL}, not of rife_m") as caught:
        convert("rife_m", [published(tmp_path, SMALL)])
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="rife_v4_12_lite has no frozen 'raft'"):
        convert(SMALL, [published(tmp_path, SMALL)], frozen={"raft": tmp_path / "flownet.pkl"})
    assert not weights_folder.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, weights_folder):
    file = published(tmp_path, SMALL)
    target, torch_target = convert(SMALL, [file], log=quiet), tmp_path / "mine.pkl"
    torch_target.write_bytes(b"before")
    before = target.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(target), "write_bytes", full)
    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    for options in ({}, {"output": torch_target, "to_torch": True}):
        with pytest.raises(UserError, match="cannot be written: No space left"):
            convert(SMALL, [file], log=quiet, **options)
    assert target.read_bytes() == before
    assert torch_target.read_bytes() == b"before"
    assert {path.name for folder in (tmp_path, weights_folder) for path in folder.iterdir() if path.is_file()} == {
        "flownet.pkl", "mine.pkl", target.name
    }  # fmt: skip


def test_a_weights_folder_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(UserError, match="the weights folder cannot be created"):
        convert(SMALL, [published(tmp_path, SMALL)], log=quiet)


# The check


def test_scene_moves_as_it_says():
    """A whole step of time moves the texture by whole pixels."""
    x, y = np.int64(MOTION)
    before, after = moving_texture((0, 1))
    np.testing.assert_allclose(after[: y or None, x:], before[-y:, :-x], atol=1e-6)
    assert before.min() > 0
    assert before.max() < 1
    assert not np.allclose(before[..., 0], before[..., 2], atol=0.1)


def test_figures_of_the_check():
    """The average of both frames is as far from the truth as the line says of averaging."""
    line = check(registry.build("average"), {})
    ours, averaging = (part.split(" dB")[0].split()[-1] for part in line.split(", ")[1:])
    assert ours == averaging
    first, middle, last = moving_texture((0, 0.5, 1)).astype(np.float64)
    assert float(ours) == pytest.approx(-10 * np.log10(((first / 2 + last / 2 - middle) ** 2).mean()), abs=0.01)


@pytest.mark.parametrize(("name", "least"), [pytest.param("rife_lap", 45, marks=pytest.mark.slow), ("rife_lap_s", 40)])
def test_shipped_weights_do_well(name, least):
    line = check(*vfi_jax.load(name))
    assert float(line.split(" dB")[0].split()[-1]) > least, line


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e8])
def test_weights_that_make_no_frame(tmp_path, weights_folder, value):
    def spoilt(state):
        return {**state, "block3.lastconv.0.bias": np.full(24, value, "f4")}

    file = published(tmp_path, SMALL, change=spoilt)
    finite = np.isfinite(value)
    message = "rife_v4_12_lite give flows of " if finite else r"block3\.lastconv\.0\.bias holds "
    with pytest.raises(UserError, match=message) as caught:
        convert(SMALL, [file], log=quiet)
    assert "\n" not in str(caught.value)
    assert not weights_folder.exists()


class Tinted(nn.Module):
    """Frame 0 with its channels, in the order of the weights, multiplied by 1, 0.5 and 0."""

    variant: str = "rife_m"
    channel_order: str = "rgb"
    any_time: bool = True

    def __call__(self, frames, t):
        return Output(frames[:, 0] * jnp.float32([1, 0.5, 0]))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_check_gives_the_channels_in_the_order_of_the_weights(order):
    frame, truth = moving_texture((0, 0.5)).astype(np.float64)
    error = (frame * ([1, 0.5, 0] if order == "rgb" else [0, 0.5, 1]) - truth) ** 2
    assert f", {-10 * np.log10(error.mean()):.2f} dB against" in check(Tinted(channel_order=order), {})


class Still(nn.Module):
    """A flow network that always answers (6, -1)."""

    variant: str = "raft_small"
    channel_order: str = "rgb"
    any_time: bool = True

    def __call__(self, frames):
        flow = jnp.broadcast_to(jnp.float32([6, -1]), (*frames[:, 0].shape[:3], 2))
        return FlowOutput(flow, flow, [flow])


def test_a_flow_network_is_checked_too(tmp_path, lines, unchecked):
    assert check(Still(), {}).endswith("flow up to 6.1 px, mean error 3.00 px (it moves 7.2 px)")
    target = convert("raft_small", [published(tmp_path, "raft_small")], tmp_path / "x.safetensors", log=quiet)
    assert_equal(vfi_jax.load("raft_small", target)[1], vfi_jax.create("raft_small", 1)[1])
    back = convert("raft_small", [target], tmp_path, to_torch=True, log=quiet)
    assert back.name == "raft-small.pth"
    assert all(name.startswith("module.") for name in read_torch(back))


# Licences


def test_non_commercial_weights_want_their_licence_accepted(tmp_path, monkeypatch, capsys, weights_folder):
    source = dataclasses.replace(weights.SOURCES[SMALL], non_commercial="CC-BY-NC-4.0")
    monkeypatch.setattr("vfi_jax.weights.table.SOURCES", {**weights.SOURCES, SMALL: source})
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
    assert {name for name, source in weights.SOURCES.items() if source.non_commercial} == NON_COMMERCIAL


# To PyTorch


@pytest.mark.parametrize("name", [name for name, spec in vfi_jax.MODELS.items() if spec.params])
def test_every_model_has_a_published_form(name):
    source = weights.SOURCES[name]
    if source is table.UNPUBLISHED:
        model, variables = registry.build(name), {"params": {}}
        with pytest.raises(UsageError, match=rf"^no code of {name} is published: --to-torch cannot write it$"):
            published_form.published_state(model, variables, quiet)
        return
    assert source.file.endswith(published_form.ENDINGS)
    assert source.file in source.published or name in (weights.DEFAULT, weights.FAST, "rife_large")


@pytest.mark.parametrize("name", ["rife_m", "rife_v4_12_lite", "ifrnet_s"])
def test_there_and_back(tmp_path, lines, unchecked, name):
    model, variables = registry.create(name, seed=2, channel_order=vfi_jax.MODELS[name].published_channel_order)
    vfi_jax.save(tmp_path / "mine.safetensors", model, variables)
    target = convert(name, [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, log=lines.append)
    assert target == tmp_path / weights.SOURCES[name].file
    names = read_torch(target)
    assert all(key.startswith("module.") == (name != "ifrnet_s") for key in names)
    back, loaded = vfi_jax.load(name, target)
    assert back.channel_order == model.channel_order
    # The published loader is strict: what only training needs has to be there, and `save` leaves it out.
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    assert any("only training needs (block_tea.*)" in line for line in lines) == (name == "rife_m")
    for params in (loaded["params"], variables["params"]):
        params.pop("block_tea", None)
    assert_equal(loaded, variables)


def test_channel_order_of_the_published_code(tmp_path, lines, unchecked):
    """Weights for RGB are written for BGR: only convolutions that see frames or give them differ, and back again."""
    model, variables = registry.create("rife_m", seed=2)
    assert model.channel_order == "rgb"
    vfi_jax.save(tmp_path / "mine.safetensors", model, variables)
    target = convert("rife_m", [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, log=lines.append)
    assert lines[0] == "converted from rgb to the published code's bgr"
    converted, loaded = vfi_jax.load("rife_m", target)
    assert converted.channel_order == "bgr"
    spec, before = vfi_jax.MODELS["rife_m"], vfi_jax.to_torch("rife_m", variables)
    after = vfi_jax.to_torch("rife_m", loaded)
    differing = {name for name in before if "block_tea" not in name and not np.array_equal(before[name], after[name])}
    patterns = [pattern for pattern, _, _ in spec.frame_channels]
    assert differing == {n for n in before if "block_tea" not in n and any(re.search(p, n) for p in patterns)}
    again = state_dict.other_channel_order(spec, after)
    assert all(np.array_equal(again[name], before[name]) for name in before if "block_tea" not in name)


@pytest.mark.slow
def test_frames_of_both_channel_orders():
    """A network trained on RGB gives, converted and on BGR frames, the same frame."""
    spec, (model, variables) = vfi_jax.MODELS["rife_m"], registry.create("rife_m", seed=2)
    state = state_dict.other_channel_order(spec, vfi_jax.to_torch("rife_m", variables))
    frames = moving_texture((0, 1))[None]
    apply = jax.jit(model.apply)
    expected = np.asarray(apply(variables, frames, 0.5).frame)
    converted = apply(vfi_jax.from_torch("rife_m", state), frames[..., ::-1], 0.5).frame[..., ::-1]
    assert apart(converted, expected) < 1e-5


def test_an_order_that_cannot_be_turned(tmp_path):
    model, variables = registry.create(SMALL, channel_order="bgr")
    vfi_jax.save(tmp_path / "mine.safetensors", model, variables)
    with pytest.raises(UsageError, match="are for bgr frames, the published code gives them rgb"):
        convert(SMALL, [tmp_path / "mine.safetensors"], tmp_path / "x.pkl", to_torch=True)
    assert not (tmp_path / "x.pkl").exists()


def test_the_input_is_not_overwritten(tmp_path):
    file = published(tmp_path, SMALL)
    before = file.read_bytes()
    with pytest.raises(UsageError, match=r"flownet\.pkl would be overwritten"):
        convert(SMALL, [file], tmp_path, to_torch=True)
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
    vfi_jax.save(tmp_path / "mine.safetensors", model, variables)
    target = convert(name, [tmp_path / "mine.safetensors"], tmp_path, to_torch=True, log=quiet)
    stored = torch.load(target, map_location="cpu", weights_only=True)
    stored = stored[weights.SOURCES[name].key] if weights.SOURCES[name].key else stored
    expected = state_dict.to_torch(vfi_jax.MODELS[name], variables)
    assert {key.removeprefix("module.") for key in stored} == expected.keys()
    for key, value in expected.items():
        if not state_dict.matches(key, vfi_jax.MODELS[name].training_only):
            np.testing.assert_array_equal(stored[f"module.{key}"].numpy(), value, err_msg=key)
