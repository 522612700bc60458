"""Training state and a trained teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax.numpy as jnp
import optax

from vfi_jax.inference import Model
from vfi_jax.types import Array


@flax.struct.dataclass
class Skips:
    """Steps whose loss, gradient or outcome was not finite: int32 counts of them in a row up to now, and in all."""

    in_row: Array
    total: Array


@flax.struct.dataclass
class State:
    """What a run has learned.

    Attributes:
      step: int32, steps done.
      params: what is trained, float32.
      optimizer: optax's state.
      skips: counts of the steps that changed neither of these nor `ema`.
      ema: averaged parameters; None where none are kept.
      constants: the model's other collections, which training leaves as they are: frozen flow networks, statistics.
    """

    step: Array
    params: Any
    optimizer: optax.OptState
    skips: Skips
    ema: Any = None
    constants: Any = flax.struct.field(default_factory=dict)

    @property
    def best(self) -> dict[str, Any]:
        """The variables to judge and to ship: with averaged parameters where they are kept."""
        return {"params": self.params if self.ema is None else self.ema, **self.constants}


class Teacher(NamedTuple):
    """A trained interpolation model: module and variables."""

    model: Model
    variables: Mapping[str, Any]


def init_state(variables: Mapping[str, Any], transform: optax.GradientTransformation, *, ema: bool) -> State:
    """The state before the first step."""
    params = variables["params"]
    constants = {name: tree for name, tree in variables.items() if name != "params"}
    skips = Skips(jnp.int32(0), jnp.int32(0))
    return State(jnp.int32(0), params, transform.init(params), skips, params if ema else None, constants)
