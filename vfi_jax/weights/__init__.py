"""Weights: where they come from, and how they are read, written, converted and installed."""

from vfi_jax.weights.install import get
from vfi_jax.weights.table import (
    DEFAULT,
    FAST,
    SOURCES,
    Source,
    command,
    folder,
    installed,
    path_of,
    rows,
    shipped,
    source_of,
)

__all__ = [
    "DEFAULT",
    "FAST",
    "SOURCES",
    "Source",
    "command",
    "folder",
    "get",
    "installed",
    "path_of",
    "rows",
    "shipped",
    "source_of",
]
