"""The training step and its state: pure functions; one program runs on one CPU, eight GPUs or a pod."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vfi_jax.data.windows import FLOW_FIELDS, IMAGE_FIELDS
from vfi_jax.errors import UsageError
from vfi_jax.inference import Model
from vfi_jax.losses import RECONSTRUCTION
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn.precision import Precision
from vfi_jax.system import flops
from vfi_jax.training import optimizer as optimizer_
from vfi_jax.training.state import Skips, State, Teacher
from vfi_jax.types import Array, Batch, Output


def make_step(
    spec: ModelSpec,
    model: Model,
    transform: optax.GradientTransformationExtraArgs,
    mesh: Mesh,
    *,
    loss_config: Any,
    extra_losses: Mapping[str, float],
    ema: float,
    seed: int,
    precision: Precision,
    teacher: Teacher | None = None,
    accumulate: int = 1,
) -> Callable[[State, Batch], tuple[State, dict[str, Array]]]:
    """The jitted training step: `(state, batch) -> (state, metrics)`. The state is donated.

    There are no collectives in it: the batch is split over the mesh and the state is not, and XLA adds the reduction
    of the gradients. Pictures of the batch are RGB uint8 (or float32 in 0..1) and are put into the model's channel
    order here.

    Args:
      spec: of the model.
      model: the module.
      transform: the optimizer; told the loss as `value`.
      mesh: of `data_mesh`.
      loss_config: of the model's objective.
      extra_losses: name in `losses.RECONSTRUCTION` to weight; those of weight 0 are left out.
      ema: decay of the averaged parameters; 0 where none are kept.
      seed: of what the objective draws; each step folds its number in.
      precision: of the products.
      teacher: gives each batch `teacher_frame`, its frame, and `flow`, its last flows.
      accumulate: parts of the batch that are computed one after another. Objectives are means over samples, so that the
        mean over equal parts is the whole batch's. (`optax.MultiSteps` would make a step of each part: for the log, the
        rate, the averages and what is done about bad steps.)

    Returns:
      The step; its metrics are `loss`, `loss/TERM` for every term (already weighted) and `gradient_norm`. Where loss,
      gradient or new parameters are not finite it changes nothing but the step's number and `skips`.

    Raises:
      UsageError: no such extra loss.
    """
    check_losses(extra_losses)

    def objective(params: Any, state: State, batch: Batch, part: Array) -> tuple[Array, dict[str, Array]]:
        rng = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), part)
        variables = {"params": params, **state.constants}
        total, aux = spec.loss(model, variables, batch, loss_config, step=state.step, rng=rng)
        weights = {name: weight for name, weight in extra_losses.items() if weight}
        extras = {name: w * RECONSTRUCTION[name](aux.frame, batch["target"]) for name, w in weights.items()}
        return total + sum(extras.values()), {**aux.terms, **extras}

    def step(state: State, batch: Batch, teacher_variables: Any = None) -> tuple[State, dict[str, Array]]:
        batch = _ready(batch, model.channel_order)

        def differentiated(part: Batch, number: Array) -> Any:
            if teacher:
                part = {**part, **_teacher_targets(teacher.model.apply(teacher_variables, part["frames"], part["t"]))}
            return jax.value_and_grad(objective, has_aux=True)(state.params, state, part, number)

        with precision.scope():
            (loss, terms), gradients = _mean_over_parts(differentiated, batch, accumulate, mesh)
        updates, optimizer = transform.update(gradients, state.optimizer, state.params, value=loss)
        params = optax.apply_updates(state.params, updates)
        averaged = state.ema if state.ema is None else optax.incremental_update(params, state.ema, 1 - ema)
        metrics = {"loss": loss, "gradient_norm": optax.tree.norm(gradients)}
        bad = ~_finite([loss, metrics["gradient_norm"], params])
        metrics |= {f"loss/{name}": value for name, value in terms.items()}
        before, after = (state.params, state.optimizer, state.ema), (params, optimizer, averaged)
        params, optimizer, averaged = optimizer_.unless(bad, before, after)
        skips = Skips(jnp.where(bad, state.skips.in_row + 1, 0), state.skips.total + bad)
        return State(state.step + 1, params, optimizer, skips, averaged, state.constants), metrics

    whole, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    if not teacher:
        return jax.jit(step, in_shardings=(whole, split), out_shardings=(whole, whole), donate_argnums=0)
    teacher_frame = jax.jit(step, in_shardings=(whole, split, whole), out_shardings=(whole, whole), donate_argnums=0)
    teacher_variables = jax.device_put(teacher.variables, whole)
    return lambda state, batch: teacher_frame(state, batch, teacher_variables)


def _teacher_targets(out: Output) -> dict[str, Array]:
    return {"teacher_frame": out.frame, **({"flow": out.flows[-1]} if out.flows else {})}


def _mean_over_parts(function: Callable[[Batch, Array], Any], batch: Batch, parts: int, mesh: Mesh) -> Any:
    """The mean of what `function` gives for each of the equal parts of a batch and its number."""

    def split(array: Array) -> Array:
        # Each part has rows of every device, which stay where they are.
        rows = array.reshape(mesh.size, parts, -1, *array.shape[1:])
        rows = jnp.moveaxis(rows, 1, 0).reshape(parts, -1, *array.shape[1:])
        return lax.with_sharding_constraint(rows, NamedSharding(mesh, PartitionSpec(None, "data")))

    def add(total: Any, part: tuple[Batch, Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, function(*part)), None

    if parts == 1:
        return function(batch, jnp.int32(0))
    each = jax.tree.map(split, batch), jnp.arange(parts)
    shapes = jax.eval_shape(function, *jax.tree.map(lambda array: array[0], each))
    zero = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
    total, _ = lax.scan(add, zero, each)
    return jax.tree.map(lambda value: value / parts, total)


def step_flops(spec: ModelSpec, model: Model, loss_config: Any, state: State, batch: Batch) -> float:
    """Floating-point operations of a step: two for each multiply-add, three times those of the forward pass."""

    def forward(params: Any, batch: Batch) -> Array:
        variables, rng = {"params": params, **state.constants}, jax.random.key(0)
        return spec.loss(model, variables, _ready(batch, model.channel_order), loss_config, step=0, rng=rng)[0]

    return 6.0 * flops.multiply_adds(forward, state.params, batch)


def check_losses(names: Mapping[str, float]) -> None:
    """Raises UsageError where a name is none of `losses.RECONSTRUCTION`."""
    for name in names:
        if name not in RECONSTRUCTION:
            raise UsageError(f"no loss is called {name!r}; extra_losses takes: {', '.join(RECONSTRUCTION)}")


def _finite(tree: Any) -> Array:
    # Sorted, which XLA fuses with nothing: `all` of them it would compute anew for every array that depends on it,
    # and be minutes and gigabytes over a program of a thousand arrays.
    return jnp.sort(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))[0]


def _ready(batch: Batch, channel_order: str) -> dict[str, Array]:
    """Pictures as float32 in 0..1, in the model's channel order; flows as float32."""
    order = slice(None, None, -1) if channel_order == "bgr" else slice(None)
    ready = dict(batch)
    for name in IMAGE_FIELDS:
        picture = batch[name][..., order]
        ready[name] = picture.astype(jnp.float32) / 255 if picture.dtype == jnp.uint8 else picture
    return ready | {name: batch[name].astype(jnp.float32) for name in FLOW_FIELDS if name in batch}
