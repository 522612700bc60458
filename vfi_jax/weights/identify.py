"""Which models a state dict fits, for the message to a user who named another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vfi_jax.models.registry import BUILT_IN, build
from vfi_jax.models.spec import ModelSpec
from vfi_jax.torch_io.state_dict import fits, matches, strip_prefixes

EXTRA = 1.05  # statistics and duplicates, as a factor of the number of parameters


def fitting_models(state: Mapping[str, Any]) -> list[str]:
    """Returns the names of the built-in models whose names and shapes a state dict has."""
    likely = {name: spec for name, spec in BUILT_IN.items() if spec.params and _likely(spec, state)}
    return [name for name, spec in likely.items() if fits(spec, build(name), state)]


def _likely(spec: ModelSpec, state: Mapping[str, Any]) -> bool:
    """Whether the number of parameters allows the model: its names would need a trace, which takes a second."""
    unprefixed, _ = strip_prefixes(state)
    count = sum(np.size(value) for name, value in unprefixed.items() if not matches(name, spec.droppable))
    return spec.params_inference <= count <= EXTRA * spec.params
