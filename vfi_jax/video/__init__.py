"""Whole videos: decoding with exact times and colors, interpolating, encoding, copying the other streams."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as in `vfi_jax`: the options are read without FFmpeg
if TYPE_CHECKING:
    from typing import Any

    from vfi_jax.video.frames import Frame, interpolated_frames
    from vfi_jax.video.interpolate import Summary, interpolate_video
    from vfi_jax.video.options import Options

__all__ = ["Frame", "Options", "Summary", "interpolate_video", "interpolated_frames"]
_HOMES = {"Options": "options", "Frame": "frames", "interpolated_frames": "frames"}


def __getattr__(name: str) -> Any:
    """Imports a public name, and FFmpeg with it where it is needed, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"vfi_jax.video.{_HOMES.get(name, 'interpolate')}"), name)
