"""Exports models as StableHLO files, which run without this package, and loads them.

For example:

    export("rife_lap.stablehlo", *load("rife_lap"), size=(1280, 720), platforms=("cpu", "cuda"))
    middle = load_exported("rife_lap.stablehlo")(frame0, frame1)
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.exported import PLATFORMS, Description, description_path, read
from vfi_jax.inference.interpolator import Interpolator, predict
from vfi_jax.inference.wrappers import with_dtype, with_reference
from vfi_jax.models import registry
from vfi_jax.nn import precision as precisions
from vfi_jax.ops.pad import Padding, pad_amounts
from vfi_jax.system import machine, strict_json
from vfi_jax.system.files import written_whole
from vfi_jax.types import Array, Model
from vfi_jax.weights.files import fingerprint

PACKAGES = ("vfi_jax", "jax", "jaxlib", "flax")


def export(
    path: str | Path,
    model: Model | nn.Module,
    variables: Mapping[str, Any],
    *,
    size: tuple[int, int] | None = None,
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    precision: str = precisions.DEFAULT,
) -> Description:
    """Writes a model with its weights as one program, and its description beside it; see `inference.exported`.

    Args:
      path: of the program; the description is called `path` with `.json` behind it.
      model: a module, or a wrapper around one.
      variables: of the module.
      size: width and height of the frames before they are padded; None: any, and any batch.
      platforms: names in `exported.PLATFORMS`.
      precision: a name in `vfi_jax.nn.precision`.

    Raises:
      UsageError: no such precision or platform, or a flow network.
      UserError: the model calls Python, or its code needs sizes that are known; a file cannot be written.
    """
    path, network = Path(path), _prepared(model, precision)
    if unknown := [name for name in platforms if name not in PLATFORMS]:
        raise UsageError(f"no platform is called {unknown[0]!r}: {', '.join(PLATFORMS)}")
    spec = registry.spec_of(network.variant)
    padding = effective_padding(spec.padding, getattr(network, "scale", 1.0))
    padded = _padded_size(size, padding) if size else None
    serialized, version = _serialized(network, variables, spec.num_frames, padding, padded, precision, platforms)
    about = Description(
        model=network.variant,
        num_frames=spec.num_frames,
        any_time=network.any_time,
        channel_order="rgb",
        padded_size=padded,
        padding={"multiple": padding.multiple, "mode": padding.mode, "position": padding.position},
        precision=precision,
        platforms=tuple(platforms),
        weights=fingerprint(variables),
        sha256=hashlib.sha256(serialized).hexdigest(),
        calling_convention=version,
        versions={name: machine.version_of(name) for name in PACKAGES},
    )
    with written_whole(description_path(path)) as description, written_whole(path) as program:
        program.write_bytes(serialized)
        description.write_text(strict_json.dumps(dataclasses.asdict(about), indent=2) + "\n")
    return about


def load_exported(path: str | Path) -> Interpolator:
    """Returns the `Interpolator` of a file that `export` wrote; the model's code is not needed.

    Raises:
      UserError: a file is missing, damaged, of another version, or for other platforms than JAX's default device.
    """
    return Interpolator(read(Path(path)), {}, precision=None)


def effective_padding(padding: Padding, scale: float) -> Padding:
    """Returns the rule of a model with a `scale` as one without."""
    multiple = max(padding.multiple, int((padding.resized or padding.multiple) / scale))
    return Padding(multiple, padding.mode, padding.position)


def _prepared(model: Any, precision: str) -> Any:
    registry.check_kind(model.variant, "interpolation")
    dtype, network = precisions.named(precision).dtype, with_reference(model)
    return network if dtype is None else with_dtype(network, dtype)


def _padded_size(size: tuple[int, int], padding: Padding) -> tuple[int, int]:
    """Height and width."""
    height, width = size[::-1]
    rows, columns = (sum(amounts) for amounts in pad_amounts(height, width, padding))
    return height + rows, width + columns


def _serialized(
    network: Any,
    variables: Mapping[str, Any],
    count: int,
    padding: Padding,
    padded: tuple[int, int] | None,
    precision: str,
    platforms: Sequence[str],
) -> tuple[bytes, int]:
    """The program, and the version of its calling convention."""
    constants = jax.tree.map(np.asarray, variables)

    def program(frames: Array, t: Array) -> Array:
        return predict(network, constants, frames, t, {})

    multiple = padding.multiple
    sides = ", ".join(map(str, padded)) if padded else f"{multiple}*h, {multiple}*w"
    shape = jax_export.symbolic_shape(f"{'1' if padded else 'b'}, {count}, {sides}, 3")
    arguments = (jax.ShapeDtypeStruct(of, jnp.float32) for of in (shape, (shape[0], 1, 1, 1)))
    try:
        with precisions.named(precision).scope():
            exported = jax_export.export(jax.jit(program), platforms=tuple(platforms))(*arguments)
        return bytes(exported.serialize()), exported.calling_convention_version
    except UserError:
        raise
    except ImportError:  # jax imports it when it serializes
        raise UserError("exporting needs flatbuffers: pip install 'vfi_jax[export]'") from None
    except Exception as error:  # whatever the code of a model raises where it meets a size that it does not know
        reason = str(error).strip().partition("\n")[0][:200]
        advice = "" if padded else ": name one, --size WIDTHxHEIGHT"
        sizes = "" if padded else " for any size"
        raise UserError(
            f"{network.variant} cannot be exported{sizes} ({type(error).__name__}: {reason}){advice}"
        ) from None
