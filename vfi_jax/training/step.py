"""The training step, a pure function: one program runs on one CPU, eight GPUs or a pod."""

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
from vfi_jax.losses import extra_loss
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn.precision import Precision
from vfi_jax.ops.channels import order_of
from vfi_jax.system import flops, sharding
from vfi_jax.training.optimizer import is_skipped, unless
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
    """Makes the jitted training step `(state, batch) -> (state, metrics)`. The state is donated.

    It has no collectives: the batch is divided over the mesh, the state is replicated, and XLA adds the reduction of
    the gradients. Images of the batch are RGB, uint8 or float32 in 0..1; the step puts them into the model's channel
    order.

    Args:
      spec: of the model.
      model: the module.
      transform: the optimizer, which gets the loss as `value`.
      mesh: see `sharding.data_mesh`.
      loss_config: of the model's objective.
      extra_losses: weights of additional losses by their names, see `losses.extra_loss`; a weight of 0 leaves a loss
        out.
      ema: decay of the averaged parameters, where the state has some.
      seed: of the objective's random numbers; the number of the step is folded in.
      precision: of products.
      teacher: adds its prediction to each batch as `teacher_frame`, and its last flows as `flow`.
      accumulate: number of equal parts of a batch that are computed in turn. Objectives are means over samples, so the
        mean over the parts is that of the batch. (`optax.MultiSteps` would count each part as a step: in the log, the
        learning rate, the averages and the guard against bad steps.)

    Returns:
      The step. Its metrics are `loss`, `loss/TERM` for every term (already weighted) and `gradient_norm`. If loss,
      gradient or new parameters are not finite, it changes nothing but the step's number and `skips`.

    Raises:
      UsageError: an unknown extra loss, or one that does not return a scalar (when the step is traced).
    """
    extras = {name: (extra_loss(name), weight) for name, weight in extra_losses.items() if weight}

    def objective(params: Any, state: State, batch: Batch, part: Array) -> tuple[Array, dict[str, Array]]:
        rng = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), part)
        variables = {"params": params, **state.constants}
        total, aux = spec.loss(model, variables, batch, loss_config, step=state.step, rng=rng)
        terms = {name: w * _scalar(name, loss(aux.frame, batch)) for name, (loss, w) in extras.items()}
        return total + sum(terms.values()), {**aux.terms, **terms}

    def step(state: State, batch: Batch, teacher_variables: Any = None) -> tuple[State, dict[str, Array]]:
        batch = _ready(batch, order_of(model))

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
        too_high = is_skipped(optimizer)
        params, optimizer, averaged = unless(bad, before, after)
        skips = Skips(jnp.where(bad, state.skips.in_row + 1, 0), state.skips.total + (bad | too_high))
        return State(state.step + 1, params, optimizer, skips, averaged, state.constants), metrics

    whole, rows = sharding.replicated(mesh), sharding.divided(mesh)
    if not teacher:
        return jax.jit(step, in_shardings=(whole, rows), out_shardings=(whole, whole), donate_argnums=0)
    step_with_teacher = jax.jit(step, in_shardings=(whole, rows, whole), out_shardings=(whole, whole), donate_argnums=0)
    teacher_variables = sharding.replicate(teacher.variables, mesh)
    return lambda state, batch: step_with_teacher(state, batch, teacher_variables)


def _scalar(name: str, value: Array) -> Array:
    if jnp.shape(value):
        raise UsageError(f"loss {name} returns an array of shape {jnp.shape(value)}, not a scalar")
    return value


def _teacher_targets(out: Output) -> dict[str, Array]:
    return {"teacher_frame": out.frame, **({"flow": out.flows[-1]} if out.flows else {})}


def _mean_over_parts(function: Callable[[Batch, Array], Any], batch: Batch, parts: int, mesh: Mesh) -> Any:
    """Returns the mean of `function(part, number)` over equal parts of a batch."""

    def split(array: Array) -> Array:
        # Each part has rows of every device, so that no row moves.
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
    """Returns the floating-point operations of a step: two per multiply-add, three times those of the forward pass."""

    def forward(params: Any, batch: Batch) -> Array:
        variables, rng = {"params": params, **state.constants}, jax.random.key(0)
        return spec.loss(model, variables, _ready(batch, order_of(model)), loss_config, step=0, rng=rng)[0]

    return 6.0 * flops.multiply_adds(forward, state.params, batch)


def _finite(tree: Any) -> Array:
    # XLA does not fuse a sort. It would recompute `all` of the leaves for every array that depends on the result, and
    # take minutes and gigabytes to compile a step of a thousand arrays.
    return jnp.sort(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))[0]


def _ready(batch: Batch, order: slice) -> dict[str, Array]:
    """Returns a batch with images as float32 in 0..1, in the model's channel order, and flows as float32."""
    ready = dict(batch)
    for name in [name for name in IMAGE_FIELDS if name in batch]:
        image = batch[name][..., order]
        ready[name] = image.astype(jnp.float32) / 255 if image.dtype == jnp.uint8 else image
    return ready | {name: batch[name].astype(jnp.float32) for name in FLOW_FIELDS if name in batch}
