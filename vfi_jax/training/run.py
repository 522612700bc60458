"""A training run: all that stays the same while it trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import optax
from jax.sharding import Mesh

from vfi_jax.config import Train
from vfi_jax.inference import Model
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn import precision
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.system import sharding
from vfi_jax.system.files import AnyPath
from vfi_jax.training.data import RunData
from vfi_jax.training.state import State, Teacher, init_state
from vfi_jax.training.step import make_step, step_flops
from vfi_jax.types import Array, Batch


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run, opened.

    Attributes:
      recipe: the config.
      folder: the run's folder, for log, pictures and checkpoints.
      spec: of the model.
      model: the module.
      variables: the variables that training starts from.
      loss_config: of the model's objective.
      teacher: trained model whose predictions are additional targets, if any.
      data: training and validation batches of this process.
      steps: number of the last step.
      transform: the optimizer.
      learning_rate: number of a step, from 0, to its learning rate before plateaus.
      mesh: all devices.
      checkpoints: the saved steps.
      log: prints a line; the main process alone does.
    """

    recipe: Train
    folder: AnyPath
    spec: ModelSpec
    model: Model
    variables: Mapping[str, Any]
    loss_config: Any
    teacher: Teacher | None
    data: RunData
    steps: int
    transform: optax.GradientTransformationExtraArgs
    learning_rate: optax.Schedule
    mesh: Mesh
    checkpoints: Checkpoints
    log: Callable[[str], None]

    def init_state(self) -> State:
        """Returns the state before the first step, on all devices; a step may take over its memory."""
        state = init_state(self.variables, self.transform, ema=bool(self.recipe.ema))
        return sharding.replicate(state, may_alias=False)

    def make_step(self) -> Callable[[State, Batch], tuple[State, dict[str, Array]]]:
        """Returns the jitted training step, see `step.make_step`."""
        return make_step(
            self.spec,
            self.model,
            self.transform,
            self.mesh,
            loss_config=self.loss_config,
            extra_losses=self.recipe.extra_losses,
            ema=self.recipe.ema,
            seed=self.recipe.seed,
            precision=precision.PRECISIONS[self.recipe.precision],
            teacher=self.teacher,
            accumulate=self.recipe.accumulate,
        )

    def step_flops(self, state: State, batch: Batch) -> float:
        """Returns the floating-point operations of a step over all devices."""
        return step_flops(self.spec, self.model, self.loss_config, state, batch)

    def due(self, step: int, every: int) -> bool:
        """Whether something that happens every so many steps, and at the last one, happens after a step."""
        return step % every == 0 or step == self.steps
