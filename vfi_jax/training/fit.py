"""A training run from its config: what is to be trained, on what, how; the loop itself stands in `loop`."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from vfi_jax import config
from vfi_jax.data import sources
from vfi_jax.data.windows import frame_selections, target_times
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import MIDPOINT, Model
from vfi_jax.models import registry
from vfi_jax.models.registry import FROZEN
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn import precision
from vfi_jax.runs import checksums
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.system import distributed, sharding
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.training import optimizer as optimizer_
from vfi_jax.training import state as state_
from vfi_jax.training import step as training_step
from vfi_jax.training.data import open_data
from vfi_jax.training.loop import Loop
from vfi_jax.weights import flow_network as frozen_network
from vfi_jax.weights import load

UNTRAINED = "untrained"  # in the place of a flow_network's weights: to try a recipe


def build(run: config.Train, folder: AnyPath) -> tuple[ModelSpec, Model, dict[str, Any], Any]:
    """Spec, module, initial variables and loss config of a run; its frozen flow networks are those that the folder keeps.

    Raises:
      UsageError: no such model, field, precision or loss field; weights of another network; no weights of a flow_network.
      UserError: weights to start from that cannot be read.
    """
    spec = registry.spec_of(run.model)
    fields = {"dtype": precision.named(run.precision).dtype, **run.fields}
    start = run.init_from
    if not start.model:
        model, variables = registry.create(run.model, run.seed, **fields)
    else:
        source, variables = load.load(start.model, start.weights or None)
        known = {"channel_order": source.channel_order, "any_time": source.any_time}
        model = registry.build(run.model, **{**known, **fields})
        variables = {**variables, "params": _begun_with(variables["params"], run)}
    variables = {**variables, **_helpers(run, model, folder, given=variables if start.model else {})}
    return spec, model, variables, _loss_config(spec, run)


def _begun_with(params: Any, run: config.Train) -> Any:
    """The parameters given, and fresh ones where the model has what its spec calls additions."""
    given = traverse_util.flatten_dict(params, sep="/")
    fresh = traverse_util.flatten_dict(registry.create(run.model, run.seed, **run.fields)[1]["params"], sep="/")
    added = {
        path: value
        for path, value in fresh.items()
        if path not in given and any(re.search(pattern, path) for pattern in registry.spec_of(run.model).additions)
    }
    whole = {**given, **added}
    if {path: np.shape(value) for path, value in whole.items()} != {path: value.shape for path, value in fresh.items()}:
        raise UsageError(
            f"weights of {run.init_from.model} do not fit {run.model}: another network, or without its teacher"
        )
    return traverse_util.unflatten_dict(whole, sep="/")


def _helpers(run: config.Train, model: Model, folder: AnyPath, given: Mapping[str, Any]) -> dict[str, Any]:
    """The frozen flow networks' collection: of the run's folder, else of the config, else given, else as installed."""
    flow_network = registry.flow_network_of(model)
    for name, file in run.frozen.items():
        if file and name != flow_network:
            raise UsageError(f"config.frozen has {name!r}: {run.model} takes {flow_network or 'none'}")
    if not flow_network:
        return {}
    if run_folder.frozen_path(folder).exists() and run_folder.has_checkpoint(folder):
        return frozen_network.load_frozen(run_folder.frozen_path(folder))
    path = run.frozen.get(flow_network) or None
    if path == UNTRAINED:
        return {FROZEN: {flow_network: registry.create(flow_network, run.seed)[1]}}
    if path is None and flow_network in given.get(FROZEN, {}):
        return {FROZEN: given[FROZEN]}
    found = frozen_network.read_frozen(flow_network, path, {})
    if not found and not run.data.labels:
        raise UsageError(
            f"{run.model} needs the weights of {flow_network}: set config.frozen.{flow_network}=FILE, or config.data.labels to "
            "a teacher of `vfi-jax prepare flow`"
        )
    return found or {FROZEN: {}}


def _teacher(run: config.Train, model: Model) -> state_.Teacher | None:
    if not run.teacher.model:
        return None
    teacher = state_.Teacher(*load.load(run.teacher.model, run.teacher.weights or None))
    if teacher.model.channel_order != model.channel_order:
        raise UsageError(
            f"config.teacher sees {teacher.model.channel_order} frames, {run.model} {model.channel_order} ones"
        )
    return teacher


def _loss_config(spec: ModelSpec, run: config.Train) -> Any:
    known = {field.name for field in dataclasses.fields(spec.loss_config)}
    for name in run.loss:
        if name not in known:
            raise UsageError(f"config.loss has no {name!r} for {run.model}; it has: {', '.join(sorted(known))}")
    return dataclasses.replace(spec.loss_config, **run.loss)


def fit(run: config.Train, folder: AnyPath, say: Callable[[str], None] = print, *, profile: int = 0) -> None:
    """Trains, or continues where the folder's newest good checkpoint stands, until the config's last step or SIGTERM.

    Args:
      run: the config.
      folder: the run's.
      say: told a line for every row of the log, by the first process; what concerns a process's own data, by that one.
      profile: steps of which a trace is kept in the run's folder.

    Raises:
      UserError: bad data, weights or folder; a loss that is not finite after the rollbacks of `guard`, or so high that
        all steps are skipped; a disk that stays full. What was saved stays.
      UsageError: a config that does not fit the model, or a folder of another run.
    """
    _check(run)
    spec, model, variables, loss_config = build(run, folder)
    if profile and is_remote(folder):
        raise UsageError("--profile needs a local --workdir")
    run_folder.open_run(folder, run)
    if variables.get(FROZEN) and distributed.is_main():
        frozen_network.save_frozen(run_folder.frozen_path(folder), variables)
    needs_labels = bool(registry.flow_network_of(model)) and not variables[FROZEN]
    sets = open_data(run, folder, labeled_validation=needs_labels, say=say)
    _alike(run, variables, sets.steps_per_epoch)
    steps = run.steps or run.epochs * sets.steps_per_epoch
    transform = optimizer_.optimizer(run.optimizer, steps, sets.steps_per_epoch)
    mesh = sharding.data_mesh()

    def begin() -> state_.State:
        state = state_.init_state(variables, transform, ema=bool(run.ema))
        return jax.device_put(state, NamedSharding(mesh, PartitionSpec()), may_alias=False)

    step = training_step.make_step(
        spec,
        model,
        transform,
        mesh,
        loss_config=loss_config,
        extra_losses=run.extra_losses,
        ema=run.ema,
        seed=run.seed,
        precision=precision.PRECISIONS[run.precision],
        teacher=_teacher(run, model),
        accumulate=run.accumulate,
    )
    checkpoints, say = Checkpoints(folder), distributed.by_main(say)
    try:
        rate = optimizer_.schedule(run.optimizer, steps, sets.steps_per_epoch)
        flops = functools.partial(training_step.step_flops, spec, model, loss_config)
        Loop(run, folder, steps, model, sets, step, begin, rate, checkpoints, say, flops, profile).run()
    finally:
        checkpoints.close()
        sets.batches.close()


def _check_division(run: config.Train) -> None:
    """Every part of a batch has as many samples on each device."""
    parts = jax.device_count() * run.accumulate
    if run.batch_size % parts:
        by = f"{jax.device_count()} devices" + (f" times accumulate {run.accumulate}" if run.accumulate > 1 else "")
        below = run.batch_size // parts * parts
        nearest = f"{below} or {below + parts} does" if below else f"{parts} does"
        raise UsageError(f"config.batch_size {run.batch_size} does not divide over {by}: {nearest}")


def _alike(run: config.Train, variables: Any, epoch: int) -> None:
    """Raises UserError where processes were given different things."""
    if jax.process_count() == 1:
        return
    weights = checksums.seal(checksums.checksums(jax.tree.map(np.asarray, variables)))
    given = {"config": checksums.seal(config.as_dict(run)), "weights": weights, "data": epoch}
    found = distributed.allgather(np.array(list(given.values()), np.float64))
    for name, values in zip(given, found.T, strict=True):
        if len(set(values)) > 1:
            raise UserError(
                f"the processes of the run have different {name}: give all of them the same files and flags"
            )


def _check(run: config.Train) -> None:
    """What can be seen to be wrong before anything is read."""
    config.check_bounds(run)
    if bool(run.steps) == bool(run.epochs):
        raise UsageError("config.steps or config.epochs must be given, and not both")
    _check_division(run)
    if run.validate_every % run.checkpoint_every:
        raise UsageError("config.validate_every must be a multiple of config.checkpoint_every")
    training_step.check_losses(run.extra_losses)
    registry.check_kind(run.model, "interpolation")
    if run.teacher.model:
        _check_teacher(run)
    if min(run.data.shares.values(), default=1) <= 0 or sum(run.data.shares.values()) >= 1:
        raise UsageError(
            f"config.data.mix has shares {[*run.data.shares.values()]}: each is above 0, their sum below 1"
        )
    if run.data.labels and not registry.spec_of(run.model).needs:
        raise UsageError(f"config.data.labels is {run.data.labels!r}: {run.model} takes no flow labels")
    spec, crop = registry.spec_of(run.model), run.data.augment.crop
    if crop % spec.padding.multiple:
        raise UsageError(f"config.data.augment.crop is {crop}: {run.model} needs a multiple of {spec.padding.multiple}")
    inputs, target, _ = frame_selections(run.data.window)
    if inputs.shape[1] != spec.num_frames:
        raise UsageError(f"config.data.window gives {inputs.shape[1]} inputs: {run.model} takes {spec.num_frames}")
    if not spec.any_time and (target_times(inputs, target) != MIDPOINT).any():
        raise UsageError(
            f"config.data.window gives other times than 0.5, which {run.model} does not know: "
            "set inputs and target, or sorted_share to 0"
        )
    validation = run.data.validation
    if Path(validation).suffix == ".safetensors" or sources.is_footage(validation):
        raise UsageError(
            f"config.data.validation is {validation}: make records of it first (`vfi-jax prepare records`)"
        )


def _check_teacher(run: config.Train) -> None:
    if "flow" not in registry.spec_of(run.model).needs:
        raise UsageError(f"config.teacher is {run.teacher.model}: the objective of {run.model} takes no teacher")
    if run.data.labels:
        raise UsageError("config.teacher and config.data.labels both give flows: choose one")
    registry.check_kind(run.teacher.model, "interpolation")
    teacher_variables = registry.spec_of(run.teacher.model)
    if teacher_variables.num_frames != registry.spec_of(run.model).num_frames or teacher_variables.flow_network:
        raise UsageError(f"config.teacher is {run.teacher.model}: it sees other inputs than {run.model}")
