"""All that the bytes of a target depend on, by name: what an earlier run must have in common to be gone on with."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vfi_jax.system import machine
from vfi_jax.video.options import Options

_WITHOUT_EFFECT = ("overwrite", "strict")  # options that change no byte
_PACKAGES = ("vfi_jax", "jax", "jaxlib", "numpy", "av", "opencv-python-headless")


def of(files: Sequence[Path], options: Options, key: Mapping[str, str]) -> dict[str, str] | None:
    """Returns name to value of the sources' files, the options, the versions, the processors and what `key` holds.

    None where a run cannot be gone on with: a source that can be read only once, and exposures over several gaps.

    Args:
      files: that are read.
      options: what is asked.
      key: what else the frames depend on, such as the model and its weights.
    """
    if not files or options.shutter is not None:
        return None
    named = [Path(name) for name in (options.mask, options.speed_curve) if isinstance(name, str | Path)]
    asked = {entry.name: str(getattr(options, entry.name)) for entry in dataclasses.fields(options)}
    versions = " ".join(f"{name}-{machine.version_of(name)}" for name in _PACKAGES)
    return {
        "source": listing([*files, *(path for path in named if path.is_file())]),
        **{name.replace("_", "-"): value for name, value in asked.items() if name not in _WITHOUT_EFFECT},
        "version": versions,
        "number of processors": str(machine.processors()),
        **key,
    }


def listing(files: Iterable[Path]) -> str:
    """Returns a hash of the names, sizes and times of change of files."""
    hashed = hashlib.sha256()
    for file in files:
        status = file.stat()
        hashed.update(f"{file.name}/{status.st_size}/{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return hashed.hexdigest()
