"""Torch's zip format as we write it: read back by our own reader, by the letter of the format, and by torch."""

import pickletools
import zipfile

import numpy as np
import pytest

from vfi_jax.errors import UserError
from vfi_jax.torch_io.reader import read_torch
from vfi_jax.torch_io.writer import ALIGNMENT, write_torch

KINDS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")


def arrays():
    """Every type and shape that matters: none, one and many elements, axes out of order, another byte order."""
    random = np.random.default_rng(0)
    found = {f"block.{kind}": (9 * random.normal(size=(3, 4))).astype(kind) for kind in KINDS}
    found |= {"scalar": np.float32(2.5), "empty": np.zeros((0, 3), np.float32), "one": np.ones(1, np.float32)}
    found["turned"] = random.normal(size=(2, 3, 5)).astype("f4").transpose(2, 0, 1)
    found["big_endian"] = np.arange(7, dtype=">f4")
    found["Größe"] = np.arange(300, dtype=np.float32)
    return found


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == np.asarray(value).dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "flownet.pkl"


def test_our_reader_gives_them_back(path):
    write_torch(path, arrays())
    assert_same(read_torch(path), arrays())


def test_under_a_key(path):
    write_torch(path, arrays(), key="state_dict", numbers={"epoch": 0, "large": 1 << 40})
    assert_same(read_torch(path), arrays())


def test_form(path):
    """Stored without compression, tensors aligned, protocol 2."""
    write_torch(path, arrays())
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            assert info.compress_type == zipfile.ZIP_STORED
            header = data[info.header_offset : info.header_offset + 30]
            name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
            assert (info.header_offset + 30 + name + extra) % ALIGNMENT == 0
        pickled = archive.read("archive/data.pkl")
        assert archive.read("archive/byteorder") == b"little"
        assert archive.read("archive/version") == b"3\n"
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(pickled)) == 2


def test_same_arrays_same_bytes(path, tmp_path):
    write_torch(path, arrays())
    write_torch(tmp_path / "again.pth", arrays())
    assert path.read_bytes() == (tmp_path / "again.pth").read_bytes()


def test_nothing_is_left_where_it_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        write_torch(tmp_path / "nowhere/x.pth", arrays())
    with pytest.raises(KeyError):
        write_torch(tmp_path / "x.pth", {"a": np.zeros(2, np.complex64)})
    assert not list(tmp_path.iterdir())


@pytest.mark.torch
@pytest.mark.parametrize("options", [{}, {"mmap": True}], ids=["read", "mapped"])
def test_torch_reads_it(path, options):
    torch = pytest.importorskip("torch")
    write_torch(path, arrays())
    found = torch.load(path, map_location="cpu", weights_only=True, **options)
    assert_same({name: value.numpy() for name, value in found.items()}, arrays())
    write_torch(path, arrays(), key="state_dict", numbers={"epoch": 3, "large": 1 << 40})
    found = torch.load(path, map_location="cpu", weights_only=True, **options)
    assert (found["epoch"], found["large"]) == (3, 1 << 40)
    assert_same({name: value.numpy() for name, value in found["state_dict"].items()}, arrays())
