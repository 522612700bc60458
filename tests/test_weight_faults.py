"""Weights that are damaged, of another type, or something else: one check for all ways to them, by content."""

import json
import os
import re
import struct
import tarfile

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import vfi_jax
from vfi_jax import weights
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.torch_io import formats
from vfi_jax.torch_io.reader import read_checkpoint
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.weights import flow_network
from vfi_jax.weights.files import join_frozen, read_weights, write_weights
from vfi_jax.weights.identify import fitting_models

SMALL = "rife_v4_12_lite"
NAME = "block3.lastconv.0.bias"


@pytest.fixture(scope="module")
def state():
    return vfi_jax.to_torch(SMALL, vfi_jax.create(SMALL, 1)[1])


@pytest.fixture(scope="module")
def variables(state):
    return vfi_jax.from_torch(SMALL, state)


def fault(path, name=SMALL, kind=UserError, **options):
    with pytest.raises(kind) as caught:
        vfi_jax.load(name, path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}"), message
    assert "\n" not in message
    return message


def assert_equal(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


# Values

WRONG = {
    "NaN": (np.float32(np.nan), "block3.lastconv.0.bias holds NaN"),
    "inf": (np.float32(-np.inf), "block3.lastconv.0.bias holds infinity"),
    "float16": (np.float16(np.inf), r"block3.lastconv.0.bias holds infinity (an overflow of float16)"),
    "float64": (np.float64(1e300), "block3.lastconv.0.bias holds numbers beyond float32"),
    "int8": (np.int8(3), "block3.lastconv.0.bias holds int8, and weights are floating-point numbers"),
    "bool": (np.bool_(True), "block3.lastconv.0.bias holds bool"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_values_that_are_no_weights(tmp_path, state, wrong):
    value, reason = WRONG[wrong]
    spoilt = {**state, NAME: np.full(24, value)}
    save_file(spoilt, tmp_path / "x.safetensors")
    write_torch(tmp_path / "x.pth", spoilt)
    for file in (tmp_path / "x.safetensors", tmp_path / "x.pth"):
        assert reason in fault(file)
    with pytest.raises(UserError, match=r"lastconv\.0\.bias holds"):
        vfi_jax.from_torch(SMALL, spoilt)


def test_a_flow_network_is_checked_too(tmp_path):
    spoilt = vfi_jax.to_torch("raft_small", vfi_jax.create("raft_small")[1])
    spoilt["fnet.conv1.bias"] = np.full_like(spoilt["fnet.conv1.bias"], np.nan)
    with pytest.raises(UserError, match=r"both.pth: fnet.conv1.bias holds NaN"):
        flow_network.read_frozen("raft_small", None, {"raft_small": spoilt}, tmp_path / "both.pth")
    write_weights(tmp_path / "frozen.safetensors", join_frozen({"raft_small": spoilt}), {})
    with pytest.raises(UserError, match=r"frozen.safetensors: fnet.conv1.bias holds NaN"):
        flow_network.load_frozen(tmp_path / "frozen.safetensors")


@pytest.mark.parametrize("dtype", [np.float64, np.float16, ml_dtypes.bfloat16])
def test_what_is_cast_is_said(tmp_path, state, dtype, capsys):
    cast = {name: value.astype(dtype) for name, value in state.items()}
    descriptions, data = {}, b""
    for name, value in cast.items():
        kind = {8: "F64", 2: "BF16" if dtype is ml_dtypes.bfloat16 else "F16"}[value.dtype.itemsize]
        offsets = [len(data), len(data) + value.nbytes]
        descriptions[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": offsets}
        data += value.tobytes()
    path = raw(tmp_path / "x.safetensors", descriptions, data)
    _, loaded = vfi_jax.load(SMALL, path)
    expected = {name: value.astype(np.float32) for name, value in cast.items()}
    assert_equal(loaded, vfi_jax.from_torch(SMALL, expected))
    line = f"note: {path}: {len(state)} arrays become float32: {len(state)} of {np.dtype(dtype)}\n"
    assert capsys.readouterr().err == line


def test_files_of_ours_in_float16_and_shipped_ones_need_no_note(tmp_path, variables, capsys):
    vfi_jax.save(tmp_path / "x.safetensors", registry.build(SMALL), variables, half=True)
    vfi_jax.load(SMALL, tmp_path / "x.safetensors")
    vfi_jax.load(weights.FAST)
    assert capsys.readouterr().err == ""


# Metadata

METADATA = {
    "channel_order": ("xyz", "channel_order: xyz; rgb or bgr"),
    "any_time": ("banana", "any_time: banana; True or False"),
    "model": ("rifff", "model: rifff; no model is called so"),
}
FIELDS = {
    '{"dtype": "x"}': "dtype is none of them",
    '{"variant": "x"}': "variant is none of them",
    '{"no_such": 1}': "has no field 'no_such'",
    '{"widths": "x"}': "a tuple is needed",
    '{"widths": [0, -3, 1e400, 2]}': "",
    '{"widths": {"a": 1}}': "a tuple is needed",
    '{"ensemble": "banana"}': "a bool is needed",
    '{"scale": "x"}': "a float is needed",
    '{"scale": 0}': "",
    '{"scale": NaN}': "",
    "[1, 2]": "names and values in JSON",
    "{": "names and values in JSON",
    "null": "names and values in JSON",
    "[" * 3000: "names and values in JSON",
}


@pytest.mark.parametrize("entry", METADATA)
def test_metadata_is_checked_before_it_is_believed(tmp_path, state, entry):
    value, reason = METADATA[entry]
    about = {"model": SMALL, "channel_order": "rgb", "any_time": "True", entry: value}
    write_weights(tmp_path / "x.safetensors", state, about)
    assert f"its metadata is damaged ({reason})" in fault(tmp_path / "x.safetensors")


@pytest.mark.parametrize("text", FIELDS)
def test_fields_in_metadata(tmp_path, state, text):
    write_weights(tmp_path / "x.safetensors", state, {"model": SMALL, "fields": text})
    message = fault(tmp_path / "x.safetensors")
    assert "its metadata is damaged (fields: " in message
    assert FIELDS[text] in message


def test_fields_that_a_file_could_not_hold(tmp_path, variables):
    with pytest.raises(UserError, match="scale=inf cannot be saved: a file could not hold that"):
        vfi_jax.save(tmp_path / "x.safetensors", registry.build(SMALL, scale=float("inf")), variables)
    assert not list(tmp_path.iterdir())


# Names


def dressed(state, prefix, share=1.0):
    count = round(len(state) * share)
    return {f"{prefix if at < count else ''}{name}": value for at, (name, value) in enumerate(state.items())}


@pytest.mark.parametrize(
    "prefix", ["module.", "module.module.", "_orig_mod.", "module._orig_mod.", "model.", "model.net.", "flownet."]
)
def test_prefixes_of_trainers(state, variables, prefix):
    assert_equal(vfi_jax.from_torch(SMALL, dressed(state, prefix)), variables)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_half_of_the_names_with_a_prefix(tmp_path, state, variables, prefix, capsys):
    path = tmp_path / "x.pth"
    write_torch(path, dressed(state, prefix, 0.5))
    assert_equal(vfi_jax.load(SMALL, path)[1], variables)
    half = round(len(state) / 2)
    expected = f"note: {path}: {half} names begin with {prefix!r} and {len(state) - half} do not: all are taken\n"
    assert capsys.readouterr().err == expected


def test_names_with_and_without_a_prefix(tmp_path, state, variables, capsys):
    other = {name: value + 1 for name, value in state.items()}
    write_torch(tmp_path / "x.pth", {**other, **dressed(state, "module."), "loss.weight": np.zeros(3, "f4")})
    assert_equal(vfi_jax.load(SMALL, tmp_path / "x.pth")[1], variables)
    said = capsys.readouterr().err
    assert f"{len(state)} names stand there with and without 'module.': those with it are taken" in said
    assert "1 names without 'module.' are left out" in said


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "generator", "ema", "something_of_mine"])
def test_the_key_that_is_taken_is_said(tmp_path, state, variables, key, capsys):
    write_torch(tmp_path / "x.pth", state, key=key, numbers={"epoch": 3})
    assert_equal(vfi_jax.load(SMALL, tmp_path / "x.pth")[1], variables)
    assert capsys.readouterr().err == f"note: {tmp_path / 'x.pth'}: the weights are those under {key!r}\n"
    assert read_checkpoint(tmp_path / "x.pth").key == key


def test_a_file_of_another_model_names_it(tmp_path, state):
    path = tmp_path / "x.pth"
    write_torch(path, dressed(state, "module."))
    assert fault(path, "rife_m", UsageError) == f"{path} holds weights of {SMALL}, not of rife_m: pass --model {SMALL}"
    write_torch(path, {"a": np.zeros(3, "f4")})
    assert "these weights do not fit rife_m" in fault(path, "rife_m")


# Others have the same layers in other numbers.
ONE_OF_A_KIND = (
    *("rife", "rife_m", "rife_v4_6", "rife_v4_25", "rife_lap", "ifrnet_s", "amt_s", "ema_vfi_small", "cain", "dbvi_2x"),
    *("raft_small", "dr_rife", "dr_ifrnet", "dr_amt_s"),
)


@pytest.mark.slow
def test_a_flow_network_is_no_model_of_frames(tmp_path):
    path = tmp_path / "x.pth"
    write_torch(path, vfi_jax.to_torch("raft_small", vfi_jax.create("raft_small")[1]))
    assert "holds weights of raft_small, not of ifrnet_s" in fault(path, "ifrnet_s", UsageError)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        name if name in ONE_OF_A_KIND else pytest.param(name, marks=pytest.mark.long)
        for name, spec in vfi_jax.MODELS.items()
        if spec.params
    ],
)
def test_every_model_is_named(name):
    fitting = fitting_models(vfi_jax.to_torch(name, vfi_jax.create(name)[1]))
    assert name in fitting
    assert len(fitting) <= 3


# Formats


def raw(path, descriptions, data=b""):
    """Safetensors by hand."""
    text = json.dumps(descriptions).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth", "x.SAFETENSORS", "x", "x.pkl.bak"])
def test_the_content_decides(tmp_path, state, variables, name):
    path = tmp_path / name
    write_torch(tmp_path / "x.pt", state)
    (tmp_path / "x.pt").rename(path)
    assert_equal(vfi_jax.load(SMALL, path)[1], variables)
    save_file(state, path)
    assert_equal(vfi_jax.load(SMALL, path)[1], variables)


def old_tar(name):
    """A tar header of 1979: no magic bytes."""
    block = name.ljust(100, b"\0") + b"0000644\0" * 3 + b"00000000010\0" + b"00000000000\0" + b" " * 8
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:] + b"x" * 512


OTHERS = {
    "a web page": b"\n<!doctype HTML><html><body>Sign in</body></html>",
    "a git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a tar archive": old_tar(b"flownet.pkl"),
    "PyTorch's oldest format": old_tar(b"storages"),
    "a rar archive": b"Rar!\x1a\x07\x01\0" + bytes(99),
    "rar archive": b"RE~^" + bytes(99),
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(99),
    "a gzip archive": b"\x1f\x8b\x08\0" + bytes(99),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(99),
    "ONNX": b"\x08\x07\x12\x07pytorch" + bytes(99),
    "a video (MP4)": b"\0\0\0\x20ftypisom" + bytes(99),
    "JSON": b'{"message": "not found"}',
    "text": b"404: not found\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("words", OTHERS)
def test_other_files_are_called_what_they_are(tmp_path, words):
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(OTHERS[words])
        assert re.search(f"not a torch weights file but .*{re.escape(words)}", fault(tmp_path / name))


def test_tar_of_today(tmp_path):
    (tmp_path / "inner").write_bytes(b"x")
    with tarfile.open(tmp_path / "x.pth", "w") as archive:
        archive.add(tmp_path / "inner", "flownet.pkl")
    assert "but a tar archive; unpack it" in fault(tmp_path / "x.pth")


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "C64"])
def test_types_that_numpy_lacks(tmp_path, kind):
    bits = {"F4": 4, "F6_E2M3": 6, "C64": 64}.get(kind, 8)
    path = raw(tmp_path / "x.safetensors", {"w": {"dtype": kind, "shape": [8], "data_offsets": [0, bits]}}, bytes(bits))
    assert f"w holds {kind}, which cannot be read" in fault(path)


@pytest.mark.parametrize("shape", [[0, 2**40, 2**40], [2**40, 0, 2**62], [0, 2**63 - 1], [2**63], [1] * 70])
def test_shapes_that_cannot_be(tmp_path, shape):
    size = 0 if 0 in shape else 4
    fault(
        raw(tmp_path / "x.safetensors", {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}, bytes(size))
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_pipes_and_devices(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    for path in (tmp_path / "x.safetensors", "/dev/zero", "/dev/null"):
        assert "is not a regular file" in fault(path)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "x.safetensors"
    write_weights(path, {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.zeros(0, "f2")}, {"model": "rife"})
    return path


quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(data=st.data())
def test_safetensors_with_wrong_bytes(small_file, data):
    content = bytearray(small_file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = small_file.with_name("y")
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    readable_or_one_line(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "BOOL", "x"]),
        "shape": st.lists(st.sampled_from([0, 1, 2, 4, 2**31, 2**40, 2**63, 2**64]), max_size=4),
        "data_offsets": st.lists(st.sampled_from([0, 1, 2, 4, 8, 16, 2**40]), min_size=2, max_size=2),
    }
)


@quick
@given(
    header=st.dictionaries(st.sampled_from(["w", "v", "__metadata__"]), ENTRY | JSON, max_size=2),
    size=st.sampled_from([0, 4, 8]),
)
def test_safetensors_with_any_header(small_file, header, size):
    readable_or_one_line(raw(small_file.with_name("z"), header, bytes(size)))


def readable_or_one_line(path):
    try:
        read_weights(path)
    except UserError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message


@quick
@given(
    head=st.binary(max_size=600),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"<html", b"{", b"\x08\x07\x12"]),
)
def test_formats_of_any_bytes(tmp_path, head, start):
    assert isinstance(formats.known_format(start + head), str)
    assert isinstance(formats.likely_format(start + head), str)
    (tmp_path / "x").write_bytes(start + head)
    readable_or_one_line(tmp_path / "x")


# The home of installed weights


def test_without_a_home(monkeypatch):
    for name in ("VFI_JAX_WEIGHTS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as for a user id without a name
    with pytest.raises(UserError, match="no home folder for weights: set VFI_JAX_WEIGHTS=FOLDER"):
        vfi_jax.load("rife_m")
    assert weights.installed(weights.DEFAULT).exists()
    monkeypatch.undo()
    monkeypatch.delenv("VFI_JAX_WEIGHTS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert str(weights.folder()) == "/home/me/.local/share/vfi_jax/weights"
    monkeypatch.setenv("HOME", "")
    with pytest.raises(UserError, match="no home folder"):
        weights.folder()
