"""The public calls, the table of models, and weight files."""

import math
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

import vfi_jax
from vfi_jax import ops, weights
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.system import flops
from vfi_jax.torch_io import state_dict
from vfi_jax.weights import files as weight_files

NAMES = list(vfi_jax.MODELS)
QUICK = (
    *("rife_m", "rife_v4_6", "rife_v4_25", "rife_lap", "ifrnet_s", "amt_s", "ema_vfi_small", "cain", "raft_small"),
    "dis",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def test_parameter_counts(name):
    """Equal to those measured on the reference; nothing is allocated."""
    spec = vfi_jax.MODELS[name]
    shapes = registry.shapes(name)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == spec.params
    names = state_dict.torch_names(spec, registry.build(name), spec.torch_rules)
    needed = [
        shape
        for key, (path, shape) in names.items()
        if path[0] == "params" and not state_dict.matches(key, spec.training_only)
    ]
    assert sum(math.prod(shape) for shape in needed) == spec.params_inference


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_multiply_adds(name):
    """Those stated are those of a trace at 1280x720, to the digit that is shown."""
    spec, model = vfi_jax.MODELS[name], registry.build(name)
    (top, bottom), (left, right) = ops.pad_amounts(720, 1280, spec.padding)
    shape = (1, spec.num_frames, 720 + top + bottom, 1280 + left + right, 3)
    inputs = registry.shapes(name), jax.ShapeDtypeStruct(shape, np.float32)
    if spec.kind == "flow":
        counted = flops.multiply_adds(lambda v, frames: model.apply(v, frames).flow, *inputs)
    else:
        counted = flops.multiply_adds(lambda v, frames: model.apply(v, frames, 0.5).frame, *inputs)
    assert round(counted / 1e9, 1) == spec.gmac


@pytest.mark.parametrize("name", ["rife_m", "rife_v4_12_lite", "raft_small"])
def test_round_trip_with_torch_names(name):
    _, variables = vfi_jax.create(name, seed=3)
    state = vfi_jax.to_torch(name, variables)
    back = vfi_jax.from_torch(name, {f"module.{key}": value for key, value in state.items()})
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, back))


def test_create_depends_on_seed_and_name_only():
    first, again, other = (vfi_jax.create("rife_v4_6", seed=seed)[1] for seed in (0, 0, 1))
    assert jax.tree.all(jax.tree.map(np.array_equal, first, again))
    assert not np.array_equal(*(v["params"]["block0"]["lastconv"]["bias"] for v in (first, other)))


def test_initial_values_follow_pytorch():
    """Uniform in +-1/sqrt(fan_in): fan-in of a transposed convolution is counted over its channels out."""
    params = vfi_jax.create("rife")[1]["params"]
    lastconv, conv = params["block0"]["lastconv"], params["block0"]["conv0_1"]["conv"]
    assert np.abs(conv["weight"]).max() == pytest.approx((120 * 9) ** -0.5, rel=1e-3)
    assert np.abs(conv["bias"]).max() == pytest.approx((120 * 9) ** -0.5, rel=0.05)
    assert np.abs(lastconv["weight"]).max() == pytest.approx((5 * 16) ** -0.5, rel=1e-3)
    assert (params["unet"]["up0"]["prelu"]["weight"] == 0.25).all()
    assert (vfi_jax.create("rife_v4_6")[1]["params"]["block0"]["convblock_0"]["beta"] == 1).all()


def test_import_is_a_bijection():
    state = vfi_jax.to_torch("rife_v4_6", vfi_jax.create("rife_v4_6")[1])
    state["extra.weight"] = np.zeros(3, np.float32)
    del state["block3.lastconv.0.bias"]
    state["block0.convblock.0.beta"] = np.zeros((1, 3, 1, 1), np.float32)
    with pytest.raises(UserError) as caught:
        vfi_jax.from_torch("rife_v4_6", state)
    line = str(caught.value)
    assert "-block3.lastconv.0.bias" in line
    assert "+extra.weight" in line
    assert "block0.convblock.0.beta (1, 3, 1, 1) instead of (1, 192, 1, 1)" in line
    assert "\n" not in line


def test_no_such_model_or_field():
    with pytest.raises(UsageError, match="no model is called 'rifff'"):
        vfi_jax.create("rifff")
    with pytest.raises(UsageError, match="no field 'scael'; it has: "):
        vfi_jax.create("rife", scael=0.5)


def test_load_reads_order_and_times_from_the_file(tmp_path):
    _, variables = vfi_jax.create("rife_m", seed=1)
    state = vfi_jax.to_torch("rife_m", variables)
    path = tmp_path / "mine.safetensors"
    weight_files.write_weights(path, state, {"model": "rife_m", "channel_order": "rgb", "any_time": "False"})
    model, loaded = vfi_jax.load("rife_m", path)
    assert (model.channel_order, model.any_time, model.variant) == ("rgb", False, "rife_m")
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, loaded))
    plain = tmp_path / "published.safetensors"
    save_file(state, plain)
    assert vfi_jax.load("rife_m", plain)[0].channel_order == "bgr"
    assert vfi_jax.load("rife_m", plain, scale=0.5)[0].scale == 0.5
    with pytest.raises(UsageError, match="holds weights of rife_m, not of rife"):
        vfi_jax.load("rife", path)


def test_half_precision_files_give_float32(tmp_path):
    state = vfi_jax.to_torch("rife_v4_6", vfi_jax.create("rife_v4_6")[1])
    path = tmp_path / "half.safetensors"
    save_file({name: value.astype(np.float16) for name, value in state.items()}, path)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(vfi_jax.load("rife_v4_6", path)[1]))


def test_files_that_are_no_weights(tmp_path):
    for name, content in (("cut.safetensors", b"\x10\0\0\0\0\0\0\0{"), ("text.pkl", b"hello"), ("empty.pth", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name) as caught:
            vfi_jax.load("rife", tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no such weights file"):
        vfi_jax.load("rife", tmp_path / "absent.pkl")
    with pytest.raises(UserError, match="is not the folder of a run"):
        vfi_jax.load("rife", tmp_path)


def test_absent_weights_say_what_to_do(weights_folder):
    with pytest.raises(UserError, match="run `vfi-jax weights get rife_v4_25`"):
        vfi_jax.load("rife_v4_25")
    with pytest.raises(UserError, match="pass --weights FILE"):
        vfi_jax.load("rife_m")
    with pytest.raises(UsageError, match="cannot be fetched"):
        weights.get("rife_m")
    with pytest.raises(UsageError, match="no model is called"):
        weights.get("nothing")


def test_every_model_has_a_source():
    assert weights.SOURCES.keys() == vfi_jax.MODELS.keys()


def test_weights_folder(monkeypatch):
    monkeypatch.delenv("VFI_JAX_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert weights.folder() == Path("/data/vfi_jax/weights")
    monkeypatch.setenv("VFI_JAX_WEIGHTS", "/mine")
    assert weights.folder() == Path("/mine")


def test_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"before")

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"w\.safetensors cannot be written: No space left"):
        weight_files.write_weights(path, {"a": np.zeros(3, np.float32)}, {})
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


STARTS = """
import re, sys

def imported(pattern):
    return [name for name in sys.modules if re.fullmatch(pattern, name)]

import vfi_jax
import vfi_jax.data.packed, vfi_jax.training.optimizer, vfi_jax.training.step
print(imported("av|cv2|tqdm|grain"))
vfi_jax.FlowEstimator
print(imported("cv2"))
import vfi_jax.cli.main
print(imported("grain|tensorflow.*|array_record|orbax|torch|ml_collections"))
"""


def test_heavy_packages_stay_out():
    """Each thing imports no more than it needs.

    The package and a training step from packed frames need jax, flax, optax, numpy, safetensors and jaxtyping only; the
    shell starts without the training stack.
    """
    run = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "['cv2']", "[]"]


def test_public_names():
    names = ("MODELS", "create", "load", "save", "from_torch", "to_torch", "Interpolator", "FlowEstimator", "weights")
    names += ("load_exported",)
    assert sorted(vfi_jax.__all__) == sorted(names)
    assert all(hasattr(vfi_jax, name) for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vfi_jax.nothing  # noqa: B018


def test_names_in_error_are_not_endless():
    with pytest.raises(UserError) as caught:
        vfi_jax.from_torch("rife", {})
    assert len(str(caught.value)) < 1000
    assert re.search(r"\d+ missing", str(caught.value))
