"""Writing packed files, which `data.packed` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file

from vfi_jax.data.packed import METADATA_KEY
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system.files import written_whole


def check_output(path: Path) -> None:
    """Checks the name and the folder of a packed file before any work.

    Raises:
      UsageError: the name does not end in `.safetensors`.
      UserError: the folder is missing.
    """
    if path.suffix != ".safetensors":
        raise UsageError(f"{path}: a packed set is a .safetensors file")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")


def write_packed(path: Path, windows: UInt8[np.ndarray, "m n h w 3"], about: dict[str, Any]) -> None:
    """Writes windows and their description (`names`: one per window); the file appears when it is complete.

    Raises:
      UserError: the file cannot be written.
    """
    with written_whole(path) as partial:
        try:
            save_file({"frames": windows}, partial, {METADATA_KEY: json.dumps(about)})
        except SafetensorError as error:
            raise UserError(f"{path} cannot be written: {str(error).splitlines()[0]}") from None
