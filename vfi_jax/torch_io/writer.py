"""Writes PyTorch's zip format without PyTorch: a file as `torch.save` writes it, which any `torch.load` reads.

One uncompressed archive with `data.pkl` (protocol 2), a record `data/N` per tensor, aligned so that it can be mapped
into memory, `byteorder` and `version`. The same arrays give the same bytes.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from vfi_jax.system.files import written_whole
from vfi_jax.torch_io.unpickler import NAMES, Kind

ALIGNMENT = 64  # bytes; torch's own
_FOLDER = "archive"
_HEADER = 30  # bytes of a zip record before its name
_MARK, _TUPLE, _REDUCE = b"(", b"t", b"R"
_EMPTY_ORDERED_DICT = b"ccollections\nOrderedDict\n)" + _REDUCE
# NumPy has no bfloat16.
_STORAGES = {
    np.dtype(kind.result): name.removeprefix("torch.")
    for name, kind in NAMES.items()
    if isinstance(kind, Kind) and name != "torch.BFloat16Storage"
}


def write_torch(
    path: Path, state: Mapping[str, np.ndarray], *, key: str = "", numbers: Mapping[str, int] | None = None
) -> None:
    """Writes a state dict; the file appears under its name only when it is complete.

    Args:
      path: the file.
      state: name to array, of a dtype that PyTorch has.
      key: of the state dict in a dict that the file holds; "" writes the state dict itself.
      numbers: further entries of that dict.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    arrays = [np.asarray(array, order="C") for array in state.values()]
    body = _state_dict(state, arrays)
    if key:
        rest = b"".join(_text(name) + _count(number) for name, number in (numbers or {}).items())
        body = b"}" + _MARK + rest + _text(key) + body + b"u"
    with written_whole(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        _add(archive, "data.pkl", b"\x80\x02" + body + b".")
        _add(archive, "byteorder", b"little")
        for number, array in enumerate(arrays):
            _add(archive, f"data/{number}", array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        _add(archive, "version", b"3\n")


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Adds a record whose bytes begin at a multiple of the alignment, padded as torch does."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}")  # dated 1980: the bytes do not depend on the day
    start = archive.fp.tell() + _HEADER + len(info.filename) + 4
    filler = -start % ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", filler) + b"Z" * filler
    archive.writestr(info, data)


def _state_dict(names: Iterable[str], arrays: Iterable[np.ndarray]) -> bytes:
    tensors = zip(names, arrays, strict=True)
    items = b"".join(_text(name) + _tensor(number, array) for number, (name, array) in enumerate(tensors))
    return _EMPTY_ORDERED_DICT + _MARK + items + b"u"


def _tensor(number: int, array: np.ndarray) -> bytes:
    """A call of `torch._utils._rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`."""
    kind = f"ctorch\n{_STORAGES[array.dtype.newbyteorder('=')]}\n".encode()
    identity = _text("storage") + kind + _text(str(number)) + _text("cpu") + _count(array.size)
    storage = _MARK + identity + _TUPLE + b"Q"
    stride = [int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)]
    arguments = storage + _count(0) + _counts(array.shape) + _counts(stride) + b"\x89" + _EMPTY_ORDERED_DICT
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _MARK + arguments + _TUPLE + _REDUCE


def _text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _count(number: int) -> bytes:
    if number < 1 << 31:
        return b"J" + struct.pack("<i", number)
    return b"\x8a\x08" + struct.pack("<q", number)


def _counts(numbers: Iterable[int]) -> bytes:
    return _MARK + b"".join(map(_count, numbers)) + _TUPLE
