"""Weight files from a model and its variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np

from vfi_jax.config import is_exact
from vfi_jax.errors import UserError
from vfi_jax.models.registry import spec_of
from vfi_jax.system import strict_json
from vfi_jax.torch_io.state_dict import to_torch
from vfi_jax.weights import flow_network
from vfi_jax.weights.files import fingerprint, write_weights
from vfi_jax.weights.metadata import changed_fields


def save(
    path: str | Path,
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    source: str = "",
    sha256: str = "",
    half: bool = False,
) -> None:
    """Writes safetensors with the reference's names, frozen flow networks included, training-only parameters left out.

    Args:
      path: `.safetensors`; appears under this name only when it is complete.
      model: as `create` and `load` return it.
      variables: its variables.
      source: where they come from, for the file's metadata.
      sha256: of the file they come from; "": that of the variables.
      half: write float16, which halves the file; `load` returns float32 again.

    Raises:
      UserError: the folder is missing, the disk is full, or a field of the model cannot be written down.
    """
    spec, fields = spec_of(model.variant), changed_fields(model)
    for name, value in fields.items():
        if not is_exact(value):
            raise UserError(f"{model.variant} with {name}={value!r} cannot be saved: a file could not hold that")
    everything = {**to_torch(spec, variables), **flow_network.state_of(variables)}
    state = {
        name: array.astype(np.float16 if half else np.float32)
        for name, array in everything.items()
        if not any(re.search(pattern, name) for pattern in spec.training_only)
    }
    metadata = {
        "model": model.variant,
        "channel_order": model.channel_order,
        "any_time": str(model.any_time),
        "source": source,
        "sha256": sha256 or fingerprint(variables),
        "fields": strict_json.dumps(fields),
    }
    write_weights(Path(path), state, metadata)
