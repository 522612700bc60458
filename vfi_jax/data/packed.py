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
            frames = file.get_tensor("frames")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a complete packed set: {str(error).splitlines()[0]}; make it again") from None
    names = about.get("names") if isinstance(about, dict) else None
    if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[-1] != 3 or len(names or ()) != len(frames):
        held = f"{frames.dtype} {list(frames.shape)} and {len(names or ())} names"
        raise UserError(f"{path} holds {held}, not uint8 [m, n, h, w, 3] and m names: make it again")
    return frames, about


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
