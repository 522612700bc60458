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
    """Numbers of skipped steps, int32.

    Attributes:
      in_row: steps in a row up to now whose loss, gradient or new weights were not finite.
      total: all such steps, and those that `skip_above` skipped.
    """

    in_row: Array
    total: Array


@flax.struct.dataclass
class State:
    """Training state.

    Attributes:
      step: int32, steps done.
      params: trained parameters, float32.
      optimizer: state of the optax transformation.
      skips: counts of the steps that changed none of the above nor `ema`.
      ema: averaged parameters; None: no averaging.
      constants: the model's other collections, which training does not change: frozen flow network, statistics.
    """

    step: Array
    params: Any
    optimizer: optax.OptState
    skips: Skips
    ema: Any = None
    constants: Any = flax.struct.field(default_factory=dict)

    @property
    def best(self) -> dict[str, Any]:
        """The variables for validation and release: averaged parameters where there are some."""
        return {"params": self.params if self.ema is None else self.ema, **self.constants}


class Teacher(NamedTuple):
    """A trained interpolation model: module and variables."""

    model: Model
    variables: Mapping[str, Any]


def init_state(variables: Mapping[str, Any], transform: optax.GradientTransformation, *, ema: bool) -> State:
    """Returns the state before the first step."""
    params = variables["params"]
    constants = {name: tree for name, tree in variables.items() if name != "params"}
    skips = Skips(jnp.int32(0), jnp.int32(0))
    return State(jnp.int32(0), params, transform.init(params), skips, params if ema else None, constants)


def items(state: State) -> dict[str, Any]:
    """Returns the parts of the state that a checkpoint holds as arrays, by name."""
    parts = {"params": state.params, "optimizer": state.optimizer}
    return parts if state.ema is None else {**parts, "ema": state.ema}
