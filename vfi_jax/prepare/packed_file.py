"""Writing packed files, which `data.packed` reads."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file

from vfi_jax.data.packed import METADATA_KEY
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import lock, strict_json
from vfi_jax.system.files import remove_partials, written_whole


@contextlib.contextmanager
def owned_output(path: Path) -> Iterator[None]:
    """Context manager: checks the name and the folder of a packed file before any work, and owns the file.

    Raises:
      UsageError: the name does not end in `.safetensors`.
      UserError: the folder is missing, or another process writes the file.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: a packed set is a .safetensors file")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    with lock.held(path):
        remove_partials(path.parent, glob.escape(path.name))
        yield


def write_packed(path: Path, windows: UInt8[np.ndarray, "m n h w 3"], about: dict[str, Any]) -> None:
    """Writes windows and their description (`names`: one per window); the file appears when it is complete.

    Raises:
      UserError: the file cannot be written.
    """
    with written_whole(path) as partial:
        try:
            save_file({"frames": windows}, partial, {METADATA_KEY: strict_json.dumps(about)})
        except SafetensorError as error:
            raise UserError(f"{path} cannot be written: {str(error).splitlines()[0]}") from None
