"""Where weights come from: the shipped ones, those of a package index, and files on disk."""

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
    shipped,
    source_of,
    table,
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
    "shipped",
    "source_of",
    "table",
]
