"""Weight files: safetensors with the reference's names and layouts, and published PyTorch files.

A frozen flow network stands in its model's file under `frozen.NAME.`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vfi_jax.errors import UserError
from vfi_jax.models.registry import FROZEN
from vfi_jax.system.files import AnyPath, local_copy, written_whole
from vfi_jax.torch_io.reader import read_torch


def read_weights(path: AnyPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns a state dict with the reference's names, and the file's metadata (empty for PyTorch files).

    Args:
      path: `.safetensors`; anything else is read as a PyTorch file.

    Raises:
      UserError: no such file, a folder, or not a weights file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such weights file")
    if path.is_dir():
        raise UserError(f"{path} is a folder: name the weights file in it")
    with local_copy(path) as file:
        return _read_safetensors(file) if path.suffix == ".safetensors" else (read_torch(file), {})


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
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, TypeError, OSError) as error:
        raise UserError(f"{path} is not a complete safetensors file: {str(error).splitlines()[0]}") from None
