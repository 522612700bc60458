"""Reads PyTorch's checkpoint files (.pth, .pkl, .pt, .ckpt) without PyTorch and without running what they name.

The content tells which of two formats a file has. Zip (torch 1.6 and later): one folder of any name with `data.pkl`, a
record `data/KEY` per storage, and perhaps `byteorder`. Older: five pickles (magic number, version, system, object,
storage keys), then for each key the number of elements as int64 and the elements, little-endian on every machine.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.torch_io.formats import HEAD, is_safetensors, is_zip, known_format, likely_format
from vfi_jax.torch_io.unpickler import BadFileError, Kind, Storage, Tensor, Unpickler, check

# Keys under which training files keep weights, averaged ones before those of the last step where both are usual.
WRAPPERS = (
    "model_ema",
    "ema_state_dict",
    "state_dict_ema",
    "state_dict",
    "model_state_dict",
    "model",
    "params_ema",
    "params",
    "gNet",
    "net",
    "network",
    "generator",
    "netG",
    "net_g",
    "flownet",
    "weights",
    "module",
    "ema",
)
_MAX_DEPTH = 3  # of wrappers in wrappers

_MAX_PICKLE = 4 << 20  # bytes; about 150 of them describe a tensor
_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_NOT_TORCH = "not a torch weights file"
_DAMAGE = (  # errors of zipfile, pickletools and numpy on bytes that make no sense
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


class TorchFile(NamedTuple):
    """Result of `read_checkpoint`.

    Attributes:
      arrays: the state dict.
      key: where in the file it stands, such as "model" or "model.state_dict"; "" at the top.
    """

    arrays: dict[str, np.ndarray]
    key: str


def read_torch(path: str | Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, in the file's order; see `read_checkpoint`."""
    return read_checkpoint(path).arrays


def read_checkpoint(path: str | Path) -> TorchFile:
    """Returns the tensors of a state dict by name, in the file's order, and the key that holds it.

    The state dict of a checkpoint is the first mapping with tensors under one of `WRAPPERS`, which may stand in each
    other, else the file's top mapping, else the only other mapping that has tensors. Other contents of these mappings
    (epoch, optimizer, settings) are left out.

    Args:
      path: the file.

    Returns:
      Writable arrays in C order and native byte order, dtype as stored; bfloat16 becomes float32 (exact).

    Raises:
      UserError: no such file, a folder, an empty file, not a PyTorch file, a TorchScript archive, a damaged file or one
        cut short, one whose tensors are larger than its size allows, or one that names anything but tensors and
        containers; one line with the path.
    """
    path = Path(path)
    try:
        size = _size(path)
        with path.open("rb") as file:
            head = file.read(HEAD)
            if words := known_format(head):
                raise BadFileError(f"{_NOT_TORCH} but {words}")
            checkpoint = (_read_zip if is_zip(head) else _read_older)(file, size)
            key, tensors = _state_dict(checkpoint.root)
            return TorchFile(_arrays(checkpoint, tensors, size), key)
    except BadFileError as error:
        raise UserError(f"{path}: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        reason = " ".join(f"{error or type(error).__name__}".split())[:160]
        raise UserError(f"{path}: damaged or cut short ({reason}); fetch it again") from error


@dataclasses.dataclass(frozen=True)
class _Checkpoint:
    """An open file: its object, byte order ("<" or ">"), and a function that reads all bytes of a storage's record."""

    root: Any
    order: str
    record: Callable[[Storage], bytes]


def _size(path: Path) -> int:
    if path.is_dir():
        raise BadFileError("a folder; give the weights file in it")
    if not path.exists():
        raise BadFileError("no such file")
    if not path.is_file():
        raise BadFileError("not a regular file")
    size = path.stat().st_size
    if not size:
        raise BadFileError("empty; fetch it again")
    return size


# Zip


def _read_zip(file: BinaryIO, size: int) -> _Checkpoint:
    archive = zipfile.ZipFile(file)
    infos = {info.filename: info for info in archive.infolist()}
    folder = _folder(infos)
    if f"{folder}constants.pkl" in infos or any(name.startswith(f"{folder}code/") for name in infos):
        raise BadFileError("a TorchScript archive (a program); save its state_dict() with torch.save and give that")

    def record(storage: Storage) -> bytes:
        info = _info(infos, f"{folder}data/{storage.key}")
        expected = storage.record_numel * storage.kind.size
        check(info.file_size == expected, f"a storage has {info.file_size} bytes and should have {expected}")
        return archive.read(info)

    order = "little"
    if f"{folder}byteorder" in infos:
        order = _small(archive, _info(infos, f"{folder}byteorder"), 16).decode().strip()
    check(order in ("little", "big"), f"unknown byte order {order!r}")
    root = Unpickler().load(io.BytesIO(_small(archive, _info(infos, f"{folder}data.pkl"), _MAX_PICKLE)))
    return _Checkpoint(root, "<" if order == "little" else ">", record)


def _folder(names: Iterable[str]) -> str:
    """The folder of `data.pkl` with its slash; torch names it after the file."""
    folders = [name.removesuffix("data.pkl") for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
    if not folders:
        raise BadFileError(f"a zip file, but {_NOT_TORCH} (it has no data.pkl)")
    check(len(folders) == 1, f"{len(folders)} data.pkl where torch writes one")
    return folders[0]


def _info(infos: dict[str, zipfile.ZipInfo], name: str) -> zipfile.ZipInfo:
    check(name in infos, f"the record {name[:80]!r} is missing")
    known = infos[name].compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    check(known, f"the record {name[:80]!r} is compressed in an unknown way")
    return infos[name]


def _small(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    if info.file_size > limit:
        raise BadFileError(f"its record {info.filename[:80]!r} has {info.file_size} bytes, more than {limit}")
    return archive.read(info)


# The older format


def _read_older(file: BinaryIO, size: int) -> _Checkpoint:
    file.seek(0)
    head = io.BytesIO(file.read(_MAX_PICKLE))
    unpickler = Unpickler()
    try:
        magic = unpickler.load(head)
    except _DAMAGE as error:
        raise BadFileError(f"{_NOT_TORCH}{_other_format(head.getvalue())}") from error
    if magic != _MAGIC:
        raise BadFileError(f"a pickle, but {_NOT_TORCH}")
    check(unpickler.load(head) == _VERSION, f"not version {_VERSION} of torch's older format, the only one known")
    unpickler.load(head)  # the writer's system: its byte order is not that of the elements
    root, keys = unpickler.load(head), unpickler.load(head)
    check(isinstance(keys, list) and all(isinstance(key, str) for key in keys), "no list of storages")
    starts = _record_starts(file, head.tell(), size, keys, unpickler.storages)

    def record(storage: Storage) -> bytes:
        check(storage.key in starts, f"the storage {storage.key[:80]!r} is missing")
        file.seek(starts[storage.key])
        return file.read(storage.record_numel * storage.kind.size)

    return _Checkpoint(root, "<", record)


def _record_starts(
    file: BinaryIO, position: int, size: int, keys: list[str], storages: dict[str, tuple[Kind, int]]
) -> dict[str, int]:
    """Where each record's elements start, after checking that the file holds them all."""
    starts = {}
    for key in keys:
        check(key in storages, f"no tensor says what the storage {key[:80]!r} holds")
        kind, numel = storages[key]
        file.seek(position)
        starts[key] = position + 8
        position += 8 + numel * kind.size
        if position > size:
            raise BadFileError(f"cut short: it has {size} bytes and needs {position} or more; fetch it again")
        check(int.from_bytes(file.read(8), "little", signed=True) == numel, "a storage of another length than declared")
    return starts


def _other_format(head: bytes) -> str:
    words = "safetensors" if is_safetensors(head) else likely_format(head)
    return f" but {words}" if words else ""


# From records to arrays


def _state_dict(root: Any) -> tuple[str, dict[str, Tensor]]:
    """The key of the state dict, and its tensors."""
    if isinstance(root, Tensor):
        raise BadFileError("a single tensor, not a state dict")
    if not isinstance(root, dict):
        raise BadFileError(f"a {type(root).__name__}, not a state dict")
    seen: set[int] = set()  # of mappings, which a file may name many times
    if selected := _wrapped(root, (), seen):
        return selected
    others = [(name, tensors) for name, value in root.items() if (tensors := _tensors(value, seen))]
    if len(others) == 1:
        return f"{others[0][0]}", others[0][1]
    contents = ", ".join(f"{name!r:.40}" for name in list(root)[:8]) or "nothing"
    if others:
        raise BadFileError(f"{len(others)} state dicts, of which none has a usual name, among {contents}")
    raise BadFileError(f"no tensors at the top or under a usual name (state_dict, model, ...), but {contents}")


def _wrapped(mapping: dict[Any, Any], keys: tuple[str, ...], seen: set[int]) -> tuple[str, dict[str, Tensor]] | None:
    if len(keys) < _MAX_DEPTH:
        for name in WRAPPERS:
            inner = mapping.get(name)
            if isinstance(inner, dict) and id(inner) not in seen and (selected := _wrapped(inner, (*keys, name), seen)):
                return selected
    tensors = _tensors(mapping, seen)
    return (".".join(keys), tensors) if tensors else None


def _tensors(mapping: Any, seen: set[int]) -> dict[str, Tensor]:
    """The tensors that stand directly in a mapping; none if it was looked at before."""
    if not isinstance(mapping, dict) or id(mapping) in seen:
        return {}
    seen.add(id(mapping))
    tensors = {name: value for name, value in mapping.items() if isinstance(value, Tensor)}
    check(all(isinstance(name, str) for name in tensors), "tensors without names")
    return tensors


def _arrays(checkpoint: _Checkpoint, tensors: dict[str, Tensor], file_size: int) -> dict[str, np.ndarray]:
    """The tensors as arrays; each record is read once, however many tensors share it."""
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    total = sum(storage.record_numel * storage.kind.size for storage in storages.values())
    total += sum(math.prod(t.size) * np.dtype(t.storage.kind.result).itemsize for t in tensors.values())
    # Compression, shared storages and zero strides are legal, and each can expand a few bytes to many.
    if total > max(64 << 20, 16 * file_size):
        raise BadFileError(f"would expand to more than 16 times its {file_size} bytes; not a weights file to trust")
    records = {key: checkpoint.record(storage) for key, storage in storages.items()}
    return {name: _array(tensor, records[tensor.storage.key], checkpoint.order) for name, tensor in tensors.items()}


def _array(tensor: Tensor, record: bytes, order: str) -> np.ndarray:
    kind = tensor.storage.kind
    if 0 in tensor.size:
        return np.zeros(tensor.size, kind.result)
    view = np.ndarray(
        tensor.size,
        np.dtype(kind.stored).newbyteorder(order),
        buffer=record,
        offset=(tensor.storage.start + tensor.offset) * kind.size,
        strides=[step * kind.size for step in tensor.stride],
    )
    if kind.stored == "u2":  # bfloat16: the upper half of a float32
        wide = view.astype("u4", order="C")
        wide <<= 16
        return wide.view("f4")
    return view.astype(kind.result, order="C")
