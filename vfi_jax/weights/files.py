"""Weight files: safetensors with the reference's names and layouts, and published PyTorch files.

A frozen flow network stands in its model's file under `frozen.NAME.`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vfi_jax.errors import UserError
from vfi_jax.models.registry import FROZEN
from vfi_jax.system.files import AnyPath, local_copy, written_whole
from vfi_jax.torch_io.formats import HEAD, is_safetensors
from vfi_jax.torch_io.reader import read_checkpoint

BFLOAT16 = "BF16"
DTYPES = {  # of safetensors
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    BFLOAT16: "<u2",  # as bits
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}


class WeightFile(NamedTuple):
    """Result of `read_file`.

    Attributes:
      state: a state dict with the reference's names.
      metadata: of a safetensors file; empty for PyTorch files.
      key: of the state dict in a PyTorch file; "" at the top.
    """

    state: dict[str, np.ndarray]
    metadata: dict[str, str]
    key: str = ""


def read_weights(path: AnyPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the state dict and the metadata of a file; see `read_file`."""
    return read_file(path)[:2]


def read_file(path: AnyPath) -> WeightFile:
    """Reads a state dict with the reference's names; the content, not the name, tells the file's format.

    Args:
      path: safetensors or a PyTorch file.

    Raises:
      UserError: no such file, a folder, a pipe or a device, or not a weights file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such weights file")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the weights file in it")
    if not path.is_file():
        raise UserError(f"{path} is not a regular file: weights cannot be read from pipes and devices")
    with local_copy(path) as file:
        try:
            with file.open("rb") as opened:
                head = opened.read(HEAD)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
        if is_safetensors(head):
            return WeightFile(*_read_safetensors(file))
        checkpoint = read_checkpoint(file)
    return WeightFile(checkpoint.arrays, {}, checkpoint.key)


def write_weights(path: AnyPath, state: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes safetensors; the file appears under its name only when it is complete.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    with written_whole(path) as partial:
        partial.write_bytes(save(dict(state), dict(metadata)))


def split_frozen(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Splits a state dict into the model's own names and the state dicts of frozen flow networks by name."""
    own: dict[str, Any] = {}
    networks: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        collection, _, rest = name.partition(".")
        if collection == FROZEN:
            network, _, inner = rest.partition(".")
            networks.setdefault(network, {})[inner] = value
        else:
            own[name] = value
    return own, networks


def join_frozen(networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns state dicts of frozen flow networks under the names that `split_frozen` reads."""
    return {f"{FROZEN}.{network}.{name}": value for network, state in networks.items() for name, value in state.items()}


def fingerprint(variables: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of all arrays as float32, with their paths: equal for equal weights from whatever file."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf, dtype="<f4").tobytes())
    return digest.hexdigest()


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata, after safetensors' own library has checked the description of the arrays."""
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
    except (SafetensorError, TypeError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file: {str(error).splitlines()[0]}") from None
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        return {name: _array(path, file, 8 + length, name, entry) for name, entry in header.items()}, metadata


def _array(path: Path, file: BinaryIO, start: int, name: str, entry: Mapping[str, Any]) -> np.ndarray:
    kind, (first, last) = entry["dtype"], entry["data_offsets"]
    if kind not in DTYPES:
        raise UserError(f"{path}: {name} holds {kind}, which cannot be read; write it as float32, float16 or bfloat16")
    dtype = np.dtype(DTYPES[kind])
    file.seek(start + first)
    flat = np.fromfile(file, dtype, (last - first) // dtype.itemsize).astype(dtype.newbyteorder("="), copy=False)
    try:
        array = flat.reshape(entry["shape"])
    except (ValueError, OverflowError):
        raise UserError(f"{path}: {name} has the impossible shape {entry['shape']}") from None
    return array.view(jnp.bfloat16) if kind == BFLOAT16 else array
