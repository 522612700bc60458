"""Reading packed files: all windows of a set in one array, small enough to stay on the device.

`prepare.packed_file` writes them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from vfi_jax.errors import UserError

METADATA_KEY = "vfi_jax packed windows"


def read(path: Path) -> tuple[UInt8[np.ndarray, "m n h w 3"], dict[str, Any]]:
    """Reads the windows of a packed file and its description (`names`: one per window, `CLIP/FIRST FRAME`).

    Raises:
      UserError: the file is missing, not a packed set, or cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(METADATA_KEY, "null"))
            if about is None:
                raise UserError(f"{path} holds no packed windows: make one with `vfi-jax prepare pack`")
            return file.get_tensor("frames"), about
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a complete packed set: {str(error).splitlines()[0]}; make it again") from None


@dataclasses.dataclass(frozen=True)
class PackedWindows:
    """Windows of a packed set as a source, for validation.

    Attributes:
      frames: the windows.
      names: one per window.
    """

    frames: UInt8[np.ndarray, "m n h w 3"]
    names: Sequence[str]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.names)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Returns `frames` `[n, h, w, 3]` and `name` of a window."""
        return {"frames": self.frames[index], "name": self.names[index]}
