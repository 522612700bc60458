"""Torch's files, without torch: every format read to the value, every hostile or broken file refused in one line."""

import builtins
import contextlib
import copyreg
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vfi_jax.errors import UserError
from vfi_jax.torch_io.reader import read_torch

FIXTURES = Path(__file__).parent / "fixtures" / "torch_files"  # written by torch 2.13
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def ramp(count, dtype=np.float32):
    return (np.arange(count) * 0.5 - 1).astype(dtype)


def expected_strides():
    base = ramp(24).reshape(4, 6)
    return {
        "base": base,
        "transposed": base.T,
        "slice": base[1:, 2:5],
        "every_other": base[::2, ::3],
        "scalar": base[2, 1],
        "empty": np.zeros((0, 3), np.float32),
        "own": ramp(5),
        "expanded": np.broadcast_to(base[:1], (3, 6)),
        "parameter": ramp(6).reshape(2, 3),
    }


def expected_dtypes():
    signed = {name: ramp(7, name) for name in ("float64", "float16", "int64", "int32", "int16", "int8")}
    return {**signed, "bfloat16": ramp(7), "uint8": np.arange(7, dtype=np.uint8), "bool": np.arange(7) % 2 == 1}


def assert_equal(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert type(found[name]) is np.ndarray
        assert found[name].dtype == value.dtype
        assert found[name].dtype.isnative
        assert found[name].flags.c_contiguous
        assert found[name].flags.writeable
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def failure(path) -> str:
    with pytest.raises(UserError) as caught:
        read_torch(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


# Real files


def test_strides():
    assert_equal(read_torch(FIXTURES / "strides.pth"), expected_strides())
    assert list(read_torch(str(FIXTURES / "strides.pth"))) == list(expected_strides())


def test_dtypes():
    assert_equal(read_torch(FIXTURES / "dtypes.pth"), expected_dtypes())


def test_older_format():
    assert_equal(read_torch(FIXTURES / "older.pth"), expected_strides() | expected_dtypes())


def test_checkpoint_with_optimizer_and_settings():
    expected = {
        "0.weight": ramp(8).reshape(2, 1, 2, 2),
        "0.bias": ramp(2),
        "1.weight": ramp(2),
        "1.bias": ramp(2),
        "1.running_mean": np.zeros(2, np.float32),
        "1.running_var": np.ones(2, np.float32),
        "1.num_batches_tracked": np.array(0),
    }
    assert_equal(read_torch(FIXTURES / "checkpoint.ckpt"), expected)


def members(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path, records, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return path


def test_compressed_and_in_a_folder_of_another_name(tmp_path):
    records = {
        name.replace("strides/", "any name.x/"): data for name, data in members(FIXTURES / "strides.pth").items()
    }
    path = write_zip(tmp_path / "x.pth", records, zipfile.ZIP_DEFLATED)
    assert_equal(read_torch(path), expected_strides())


def test_without_byteorder_little_is_meant(tmp_path):
    records = members(FIXTURES / "strides.pth")
    del records["strides/byteorder"]
    assert_equal(read_torch(write_zip(tmp_path / "x.pth", records)), expected_strides())


def test_device_tags_do_not_matter(tmp_path):
    records = members(FIXTURES / "strides.pth")
    records["strides/data.pkl"] = records["strides/data.pkl"].replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:7")
    assert b"cuda:7" in records["strides/data.pkl"]
    assert_equal(read_torch(write_zip(tmp_path / "x.pth", records)), expected_strides())


# Files by hand


class Name:
    """Pickled as a global, by name alone."""

    def __init__(self, name):
        self.name = name


class Pickler(pickle._Pickler):
    """Writes what torch's pickles hold, without torch: names, calls and persistent ids."""

    def save(self, obj, *arguments, **keywords):
        if isinstance(obj, Name):
            module, _, attribute = obj.name.rpartition(".")
            self.write(f"c{module}\n{attribute}\n".encode())
        elif isinstance(obj, Call):
            self.save(Name(obj.name))
            self.save(obj.arguments)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Persistent):
            self.save(obj.identity)
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, *arguments, **keywords)


class Call:
    def __init__(self, name, *arguments):
        self.name, self.arguments = name, arguments


class Persistent:
    def __init__(self, *identity):
        self.identity = identity


def dump(obj, protocol=2) -> bytes:
    out = io.BytesIO()
    Pickler(out, protocol).dump(obj)
    return out.getvalue()


def storage(key="0", numel=4, kind="torch.FloatStorage", label="storage", view=()):
    return Persistent(label, Name(kind), key, "cpu", numel, *view)


NO_HOOKS = Call("collections.OrderedDict")


def tensor(source=None, offset=0, size=(4,), stride=(1,), rest=(False, NO_HOOKS)):
    source = storage() if source is None else source
    return Call("torch._utils._rebuild_tensor_v2", source, offset, size, stride, *rest)


def torch_zip(path, obj, records=None, order=b"little"):
    data = obj if isinstance(obj, bytes) else dump(obj)
    records = {"0": ramp(4).tobytes()} if records is None else records
    return write_zip(
        path,
        {"a/data.pkl": data, "a/byteorder": order} | {f"a/data/{key}": value for key, value in records.items()},
    )


def older(path, obj, records=None, magic=MAGIC, version=VERSION, keys=None):
    records = {"0": (4, ramp(4).tobytes())} if records is None else records
    head = b"".join(map(dump, (magic, version, {"little_endian": True})))
    head += obj if isinstance(obj, bytes) else dump(obj)
    head += dump(list(records) if keys is None else keys)
    path.write_bytes(head + b"".join(struct.pack("<q", count) + data for count, data in records.values()))
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.pth"


def test_by_hand(path):
    assert_equal(read_torch(torch_zip(path, {"w": tensor()})), {"w": ramp(4)})
    assert_equal(read_torch(older(path, {"w": tensor()})), {"w": ramp(4)})


def test_protocol_4_names_from_the_stack(path):
    class Framed(Pickler):
        def save(self, obj, *arguments, **keywords):
            if isinstance(obj, Name):
                for part in (obj.name.rpartition(".")[0], obj.name.rpartition(".")[2]):
                    pickle._Pickler.save(self, part)
                self.write(pickle.STACK_GLOBAL)
            else:
                super().save(obj, *arguments, **keywords)

    out = io.BytesIO()
    Framed(out, 4).dump({"w": tensor()})
    assert pickle.STACK_GLOBAL in out.getvalue()
    assert_equal(read_torch(torch_zip(path, out.getvalue())), {"w": ramp(4)})


def test_big_endian(path):
    pairs = {
        "w": tensor(),
        "h": tensor(storage("1", 4, "torch.BFloat16Storage")),
        "n": tensor(storage("2", 1), 0, (), ()),
    }
    upper = (ramp(4).view("u4") >> 16).astype(">u2")
    records = {"0": ramp(4).astype(">f4").tobytes(), "1": upper.tobytes(), "2": ramp(1).astype(">f4").tobytes()}
    found = read_torch(torch_zip(path, pairs, records, b"big"))
    assert_equal(found, {"w": ramp(4), "h": ramp(4), "n": np.array(-1, np.float32)})


def test_older_views_of_a_storage(path):
    view = tensor(storage("0", 4, view=(("v", 1, 3),)), 1, (2,), (1,))
    assert_equal(read_torch(older(path, {"w": view})), {"w": ramp(4)[2:]})
    beyond = tensor(storage("0", 4, view=(("v", 3, 3),)), 0, (1,), (1,))
    assert "view beyond its storage" in failure(older(path, {"w": beyond}))


def test_ordered_dict_of_python_2_and_rebuild_of_old_torch(path):
    old = Call("torch._utils._rebuild_tensor", storage(), 0, (4,), (1,))
    found = read_torch(older(path, Call("collections.OrderedDict", [["w", old]])))
    assert_equal(found, {"w": ramp(4)})


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", "params", "params_ema", "gNet"])
def test_wrappers(path, wrapper):
    assert_equal(read_torch(torch_zip(path, {"epoch": 3, wrapper: {"w": tensor()}, "x": None})), {"w": ramp(4)})


def test_the_average_goes_before_the_last(path):
    last = tensor(size=(2,))
    assert_equal(read_torch(torch_zip(path, {"params": {"w": last}, "params_ema": {"w": tensor()}})), {"w": ramp(4)})


def test_one_bfloat16_is_an_array_too(path):
    one = tensor(storage(numel=2, kind="torch.BFloat16Storage"), 1, (), ())
    found = read_torch(torch_zip(path, {"w": one}, {"0": (ramp(2).view("u4") >> 16).astype("<u2").tobytes()}))
    assert_equal(found, {"w": np.full((), -0.5, np.float32)})


def test_bool_bytes_other_than_0_and_1(path):
    flags = tensor(storage(kind="torch.BoolStorage"))
    found = read_torch(torch_zip(path, {"w": flags}, {"0": bytes([0, 1, 2, 255])}))
    assert found["w"].tolist() == [False, True, True, True]


# Hostile files: none may run anything


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A command that leaves a file behind; the file must never be there, nor `os.system` or `eval` be called."""
    command, called = f"touch {tmp_path / 'trap'}", []

    def watched(function):
        def call(*arguments, **keywords):
            if command in arguments:
                return called.append(function)
            return function(*arguments, **keywords)

        return call

    for module, name in ((os, "system"), (os, "popen"), (builtins, "eval")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    yield command
    monkeypatch.undo()
    assert not called
    assert not (tmp_path / "trap").exists()


HOSTILE = [
    "os.system",
    "posix.system",
    "nt.system",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "__builtin__.eval",
    "builtins.getattr",
    "builtins.__import__",
    "importlib.import_module",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray._reconstruct",
    "torch.load",
    "torch.storage._load_from_bytes",
    "torch.jit.load",
    "torch._utils._rebuild_tensor_v2.__globals__",
    "torch.FloatStorage.__init__",
    "collections.OrderedDict.__reduce__",
    "copyreg._reconstructor",
    "functools.partial",
    "vfi_jax.torch_io.reader.read_torch",
    "__main__.Net",
]


def forms(name, command):
    """One call in every form a pickle has for it."""
    module, _, attribute = name.rpartition(".")
    text = pickle.BINUNICODE + struct.pack("<I", len(command)) + command.encode()
    pushed = b"".join(
        pickle.SHORT_BINUNICODE + bytes([len(part)]) + part.encode() + pickle.MEMOIZE for part in (module, attribute)
    )
    line = f"{module}\n{attribute}\n".encode()
    yield b"\x80\x02c" + line + text + b"\x85R."  # GLOBAL, REDUCE
    yield b"\x80\x04" + pushed + b"\x93" + text + b"\x85R."  # STACK_GLOBAL
    yield b"\x80\x02(" + text + b"i" + line + b"."  # INST
    yield b"\x80\x02(c" + line + text + b"o."  # OBJ
    yield b"\x80\x02c" + line + text + b"\x85\x81."  # NEWOBJ
    yield b"\x80\x04c" + line + text + b"\x85}\x92."  # NEWOBJ_EX
    yield b"\x80\x02}X\x01\0\0\0wc" + line + text + b"\x85Rs."  # a value in a state dict
    yield b"\x80\x02}c" + line + text + b"\x85Rb."  # state of a dict
    yield b"\x80\x02c" + line + text + b"\x85RQ."  # a persistent id


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(path, trap, name):
    for data in forms(name, trap):
        for file in (torch_zip(path, data), older(path, data)):
            message = failure(file)
            assert f"names the function or class {name}; a weights file holds only tensors: do not load" in message
        path.write_bytes(data)  # no torch file at all
        assert f"names the function or class {name}" in failure(path)


def test_hostile_text_pickle(path, trap):
    path.write_bytes(b"cos\nsystem\n(S'" + trap.encode() + b"'\ntR.")
    assert "names the function or class os.system" in failure(path)


def test_hostile_files_are_hostile(path, tmp_path):
    """The proof of the proof: Python's own unpickler does run these."""
    for number, data in enumerate(list(forms("os.system", f"touch {tmp_path / 'ran'}"))[:3]):
        pickle.loads(data)
        assert (tmp_path / "ran").exists(), number
        (tmp_path / "ran").unlink()


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"])
def test_extension_codes(path, monkeypatch, trap, opcode):
    copyreg.add_extension("os", "system", 1)
    try:
        data = b"\x80\x02" + opcode + b"X\x01\0\0\0x\x85R."
        assert "pickle opcode EXT" in failure(torch_zip(path, data))
    finally:
        copyreg.remove_extension("os", "system", 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"ctorch\nFloatStorage\n)R.", "a call of something that is not a function"),
        (b"ctorch\nfloat32\n)R.", "a call of something that is not a function"),
        (b"}}b}R.", "a call of something that is not a function"),
        (b"ccollections\nOrderedDict\n}R.", "a call of something that is not a function"),
        (b"ccollections\nOrderedDict\nK\x01K\x02\x86R.", "damaged"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "damaged"),
        (b"ctorch._utils\n_rebuild_parameter\nNNN\x87R.", "a parameter without a tensor"),
        (b"ctorch\nSize\nX\x01\0\0\0a\x85R.", "an odd tuple"),
        (b"ccollections\nOrderedDict\n}b.", "attributes of something that has none"),
        (b"K\x01}b.", "attributes of something that has none"),
        (b"]}b.", "attributes of something that has none"),
        (b"}K\x01K\x02\x86K\x03s.", "a mapping with odd keys"),
        (b"]K\x01K\x02s.", "a mapping with odd keys"),
        (b"}K\x01a.", "an odd list"),
        (b"K\x01Q.", "an odd storage"),
        (b"X\x01\0\0\0aQ.", "an odd storage"),
        (b"(K\x01K\x01K\x01K\x01K\x01tQ.", "an odd storage"),
        (b"Pabc\n.", "pickle opcode PERSID"),
        (b"2.", "pickle opcode DUP"),
        (b"ccollections\nOrderedDict\n)\x81.", "pickle opcode NEWOBJ"),
        (b"(icollections\nOrderedDict\n.", "pickle opcode INST"),
        (b"h\x07.", "damaged"),
        (b".", "damaged"),
        (b"t.", "damaged"),
        (b"\x87.", "pops more than it pushed"),
        (b"e.", "damaged"),
        (b"q\x00.", "damaged"),
        (b"K\x01", "damaged"),
        (b"", "damaged"),
        (b"c../x\ny\n.", "damaged"),
        (b"B\xff\xff\xff\xffx.", "damaged"),
        (b"\x8e" + b"\xff" * 8 + b"x.", "damaged"),
        (b"\x8b\xff\xff\xff\x7fx.", "damaged"),
        (b"r\xff\xff\xff\xff.", "damaged"),
        (b"K\x05.", "a int, not a state dict"),
        (b"].", "a list, not a state dict"),
        (b"}.", "no tensors at the top or under a usual name"),
    ],
)
def test_pickles_that_make_no_sense(path, body, reason):
    assert reason in failure(torch_zip(path, b"\x80\x02" + body))
    assert reason in failure(older(path, b"\x80\x02" + body, {}))


def test_containers_that_hold_themselves(path):
    loop = {}
    loop["state_dict"] = loop
    items = [loop]
    items.append(items)
    loop["items"] = items
    assert "no tensors" in failure(torch_zip(path, dump(loop)))
    loop["w"] = tensor()
    assert_equal(read_torch(torch_zip(path, dump(loop))), {"w": ramp(4)})


def test_nested_references_cost_nothing(path):
    deep = b"(K\x01t" + b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(200))
    assert "not a state dict" in failure(torch_zip(path, b"\x80\x02" + deep + b"."))
    for call in (b"ctorch\nSize\n", b"ctorch\ndevice\n", b"ccollections\nCounter\n", b"ccollections\nOrderedDict\n"):
        failure(torch_zip(path, b"\x80\x02" + call + deep + b"\x85R."))
    for place in (b"}" + deep + b"K\x01s.", deep + b"Q.", b"c" + b"torch\nSize\n" + deep + b"R."):
        failure(torch_zip(path, b"\x80\x02" + place))
    older(path, {"w": tensor()}, keys=())
    head = b"".join(map(dump, (MAGIC, VERSION, {}, {"w": tensor()})))
    path.write_bytes(head + b"\x80\x02]" + deep + b"a.")
    assert "no list of storages" in failure(path)
    path.write_bytes(dump(MAGIC) + b"\x80\x02" + deep + b".")
    assert "not version 1001" in failure(path)


def test_one_list_in_many_ordered_dicts(path):
    """Each call would copy it: 5,000 times 5,000 entries."""
    pairs = b"(" + b"K\x01K\x02\x86" * 5_000 + b"l"  # a LIST opcode is not known
    assert "pickle opcode LIST" in failure(torch_zip(path, b"\x80\x02" + pairs + b"."))
    pairs = b"](" + b"K\x01K\x02\x86" * 5_000 + b"eq\x00"
    call = b"ccollections\nOrderedDict\nq\x01"
    calls = b"h\x01h\x00\x85R" * 5_000
    assert "a list, not a state dict" in failure(torch_zip(path, b"\x80\x02" + pairs + call + b"](" + calls + b"e."))


def test_a_pickle_that_is_too_large(path):
    data = b"\x80\x02B" + struct.pack("<I", 5 << 20) + bytes(5 << 20) + b"."
    assert "more than" in failure(write_zip(path, {"a/data.pkl": data}, zipfile.ZIP_DEFLATED))
    path.write_bytes(dump(MAGIC) + data)
    assert "damaged" in failure(path)


# Tensors that cannot be

BAD_TENSORS = [
    tensor(offset=1),
    tensor(offset=-1),
    tensor(offset=True),
    tensor(offset=2**70),
    tensor(size=(5,)),
    tensor(size=(-1,)),
    tensor(size=(2,), stride=(4,)),
    tensor(size=(2,), stride=(-1,)),
    tensor(size=(2, 2), stride=(1,)),
    tensor(size=[4]),
    tensor(size=4),
    tensor(size=(4.0,)),
    tensor(size=(2**62, 2**62), stride=(0, 2**62)),
    tensor(size=(1,) * 40, stride=(1,) * 40),
    tensor(rest=(False, None, {"neg": True})),
    tensor(rest=(False, None, None, None)),
    tensor(Persistent("storage", Name("torch.FloatStorage"), "0", "cpu")),
    tensor(storage(label="module")),
    tensor(storage(numel=-4)),
    tensor(storage(numel=4.0)),
    tensor(storage(key=0)),
    tensor(storage(kind="torch.Size")),
    tensor(storage(kind="torch.float32")),
    tensor({}),
    tensor(storage(numel=5)),
    tensor(storage(numel=3), size=(3,)),
    tensor(storage(numel=2**60), size=(2**60,)),
    tensor(storage("7")),
    tensor(storage("../../etc/passwd")),
]


@pytest.mark.parametrize("bad", BAD_TENSORS)
def test_tensors_that_cannot_be(path, bad):
    failure(torch_zip(path, {"w": bad}))
    failure(older(path, {"w": bad}, {"0": (4, ramp(3).tobytes())}))


def test_a_storage_smaller_than_its_record(path):
    half = tensor(storage(kind="torch.HalfStorage"))
    assert "has 16 bytes and should have 8" in failure(torch_zip(path, {"w": half}))


def test_one_storage_of_two_kinds(path):
    pair = {"a": tensor(), "b": tensor(storage(kind="torch.IntStorage"))}
    assert "one storage of two kinds" in failure(torch_zip(path, pair))


def test_zero_strides_expand_only_so_far(path):
    assert "would expand to more than 16 times" in failure(torch_zip(path, {"w": tensor(size=(1 << 40,), stride=(0,))}))
    found = read_torch(torch_zip(path, {"w": tensor(size=(1000,), stride=(0,))}))
    assert found["w"].shape == (1000,)


def test_many_tensors_of_one_storage_expand_only_so_far(path):
    records = {"0": bytes(4 << 20)}
    tensors = {str(n): tensor(storage(numel=1 << 20), size=(1 << 20,)) for n in range(40)}
    assert "would expand" in failure(write_zip(path, {"a/data.pkl": dump(tensors), "a/data/0": bytes(4 << 20)}, 8))
    assert len(read_torch(torch_zip(path, dict(list(tensors.items())[:8]), records))) == 8


def test_compressed_storages_expand_only_so_far(path):
    many = {"w": tensor(storage(numel=20 << 20), size=(1,))}
    write_zip(path, {"a/data.pkl": dump(many), "a/data/0": bytes(80 << 20)}, zipfile.ZIP_DEFLATED)
    assert "would expand" in failure(path)


def test_no_state_dict(path):
    assert "a single tensor" in failure(torch_zip(path, tensor()))
    assert "tensors without names" in failure(torch_zip(path, {1: tensor()}))
    message = failure(torch_zip(path, {"epoch": 3, "left": {"w": tensor()}, "right": {"w": tensor()}}))
    assert "2 state dicts, of which none has a usual name, among 'epoch', 'left', 'right'" in message
    assert "under a usual name" in failure(torch_zip(path, {"epoch": 3, "deep": {"er": {"w": tensor()}}}))


# Files that are something else, or not whole


def test_missing_folder_empty(tmp_path):
    assert "no such file" in failure(tmp_path / "nothing.pth")
    assert "a folder" in failure(tmp_path)
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "empty" in failure(tmp_path / "empty.pth")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in failure(tmp_path / "pipe")


def test_other_formats(path):
    for data, reason in [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (struct.pack("<Q", 2) + b'{"', "safetensors"),
        (b"import torch\n\nprint(1)\n", "not a torch weights file"),
        (b"configuration of\nthis and that\n", "not a torch weights file"),
        (b"Not found", "not a torch weights file"),
        (b"<!DOCTYPE html>", "not a torch weights file"),
        (b"\x1f\x8b\x08\0" + bytes(40), "not a torch weights file"),
        (bytes(1000), "not a torch weights file"),
        (pickle.dumps({"w": [1.0, 2.0]}), "a pickle, but not a torch weights file"),
    ]:
        path.write_bytes(data)
        assert reason in failure(path)
    np.savez(path.with_suffix(".npz"), w=ramp(4))
    assert "a zip file, but not a torch weights file" in failure(path.with_suffix(".npz"))


def test_torchscript(path):
    for extra in ("a/constants.pkl", "a/code/__torch__.py"):
        write_zip(path, {"a/data.pkl": dump({}), extra: b"", "a/data/0": b""})
        assert "a TorchScript archive" in failure(path)


def test_two_pickles_in_one_zip(path):
    write_zip(path, {"a/data.pkl": dump({}), "b/data.pkl": dump({})})
    assert "2 data.pkl" in failure(path)


def test_odd_byte_order(path):
    assert "unknown byte order 'middle'" in failure(torch_zip(path, {"w": tensor()}, order=b"middle"))
    assert "more than" in failure(torch_zip(path, {"w": tensor()}, order=b"x" * 100))


def test_older_format_with_other_numbers(path):
    assert "a pickle, but not" in failure(older(path, {"w": tensor()}, magic=5))
    assert "not version 1001" in failure(older(path, {"w": tensor()}, version=1002))
    assert "another length than declared" in failure(older(path, {"w": tensor()}, {"0": (5, ramp(4).tobytes())}))
    assert "no tensor says" in failure(older(path, {"w": tensor()}, {"1": (4, ramp(4).tobytes())}))
    assert "is missing" in failure(older(path, {"w": tensor()}, {}))
    assert "cut short" in failure(older(path, {"w": tensor()}, {"0": (4, ramp(3).tobytes())}))


@pytest.mark.parametrize("name", ["strides.pth", "older.pth", "checkpoint.ckpt"])
def test_cut_short_anywhere(path, name):
    data = (FIXTURES / name).read_bytes()
    for length in range(1, len(data), 37):
        path.write_bytes(data[:length])
        failure(path)


@pytest.mark.parametrize("name", ["dtypes.pth", "older.pth"])
def test_any_byte_may_be_wrong(path, name):
    data = (FIXTURES / name).read_bytes()
    for at in range(0, len(data), 31):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with contextlib.suppress(UserError):
            read_torch(path)


# Torch itself


@pytest.mark.torch
@pytest.mark.parametrize("older_format", [False, True])
def test_against_torch(path, older_format):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    kinds = [
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int16,
        torch.uint8,
        torch.bool,
    ]
    tensors = {}
    for number in range(60):
        shape = tuple(random.integers(0, 6, random.integers(0, 5)))
        value = torch.from_numpy(np.asarray(random.normal(size=shape) * 9)).to(kinds[number % len(kinds)])
        value = value.permute(random.permutation(value.ndim).tolist())
        for axis, length in enumerate(value.shape):
            start = int(random.integers(0, length + 1))
            value = value.narrow(axis, start, length - start)
        value = value[..., :: int(random.integers(1, 3))] if value.ndim else value
        tensors[f"tensor.{number}"] = value
    torch.save(tensors, path, _use_new_zipfile_serialization=not older_format)
    found = read_torch(path)
    assert list(found) == list(tensors)
    for name, value in tensors.items():
        reference = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert found[name].dtype == reference.dtype
        np.testing.assert_array_equal(found[name], reference, err_msg=name)
