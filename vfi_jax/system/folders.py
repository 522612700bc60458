"""The user's folders for caches and data, by the XDG variables; there are users without a home."""

from __future__ import annotations

import os
from pathlib import Path

NAME = "vfi_jax"


def cache() -> Path | None:
    """The folder of this package's caches; None for a user without a home who has not set XDG_CACHE_HOME."""
    return _folder("XDG_CACHE_HOME", ".cache")


def data() -> Path | None:
    """The folder of this package's data; None for a user without a home who has not set XDG_DATA_HOME."""
    return _folder("XDG_DATA_HOME", ".local/share")


def _folder(variable: str, below: str) -> Path | None:
    if os.path.isabs(given := os.environ.get(variable, "")):  # XDG ignores relative paths
        return Path(given) / NAME
    if os.environ.get("HOME") == "":  # which Python takes for the root folder
        return None
    try:
        home = Path.home()
    except RuntimeError:  # HOME is not set and the user's number has no name, as in containers
        return None
    return home / below / NAME if home.is_absolute() else None
