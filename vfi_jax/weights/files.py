"""Weight files: safetensors with the reference's names and layouts, and published PyTorch files."""

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
from vfi_jax.system.files import AnyPath, local_copy, written_whole
from vfi_jax.torch_io.reader import read_torch


def read_weights(path: AnyPath) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """A state dict with the reference's names, and the file's metadata (empty for PyTorch files).

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
    """Writes safetensors; the file appears under its name only when it is whole.

    Raises:
      UserError: the folder is missing or the disk is full.
    """
    with written_whole(path) as partial:
        partial.write_bytes(save(dict(state), dict(metadata)))


def fingerprint(variables: Mapping[str, Any]) -> str:
    """SHA-256 of all arrays as float32, with their paths: the same for the same weights in whatever file they came."""
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
        raise UserError(f"{path} is not a whole safetensors file: {str(error).splitlines()[0]}") from None
