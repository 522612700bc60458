"""A training run from its recipe: opens weights, data and optimizer, then trains."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from vfi_jax.config import Pretrained, Train, as_dict
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference import Model
from vfi_jax.models import registry
from vfi_jax.models.registry import FROZEN
from vfi_jax.models.spec import ModelSpec
from vfi_jax.nn import precision
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.checksums import checksums, seal
from vfi_jax.system import distributed, sharding, strict_json
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.system.lock import Lock
from vfi_jax.training import loop
from vfi_jax.training.checks import check
from vfi_jax.training.data import open_data
from vfi_jax.training.dry_run import dry_run
from vfi_jax.training.optimizer import make_optimizer, make_schedule
from vfi_jax.training.run import Run
from vfi_jax.training.state import Teacher
from vfi_jax.weights import flow_network as frozen_network
from vfi_jax.weights import load

Network = tuple[ModelSpec, Model, dict[str, Any], Any]  # with initial variables and loss config
UNTRAINED = "untrained"  # instead of a flow network's weights file


def fit(
    recipe: Train, folder: AnyPath, log: Callable[[str], None] = print, *, profile: int = 0, dry: bool = False
) -> None:
    """Trains until the recipe's last step or SIGTERM, from the newest good checkpoint in the folder, if there is one.

    Args:
      recipe: the config.
      folder: the run's.
      log: prints a line. The main process logs rows, validations and warnings; each process logs what concerns its own
        samples.
      profile: number of steps to trace into the run's folder.
      dry: do everything but the steps, see `dry_run`.

    Raises:
      UserError: unusable data, weights or folder; a loss that is not finite after the rollbacks of `guard`, or so high
        that all steps are skipped; a disk that stays full. What was saved stays.
      UsageError: a recipe that does not fit the model, or a folder of another run.
    """
    if profile and is_remote(folder):
        raise UsageError("--profile needs a local --workdir")
    with open_run(recipe, folder, log) as run:
        if dry:
            dry_run(run)
        else:
            loop.train(run, profile=profile)


@contextlib.contextmanager
def open_run(recipe: Train, folder: AnyPath, log: Callable[[str], None]) -> Iterator[Run]:
    """Checks a recipe, and opens what it names; see `fit`."""
    check(recipe, registry.spec_of(recipe.model))
    network = build(recipe, folder)
    with contextlib.ExitStack() as stack:
        owner = stack.enter_context(run_folder.open_run(folder, distributed.by_main(log)))
        yield _open(recipe, folder, network, owner, log, stack)


def _open(
    recipe: Train,
    folder: AnyPath,
    network: Network,
    owner: Lock | None,
    log: Callable[[str], None],
    stack: contextlib.ExitStack,
) -> Run:
    """Opens data and checkpoints, which `stack` closes, and writes the recipe once all is known to fit."""
    changed = run_folder.changes(folder, recipe)
    spec, model, variables, loss_config = network
    needs_labels = bool(registry.flow_network_of(model)) and not variables[FROZEN]
    data = open_data(recipe, folder, labeled_validation=needs_labels, log=log)
    stack.callback(data.batches.close)
    _check_processes(recipe, variables, data.steps_per_epoch)
    teacher, steps = _teacher(recipe, model), _steps(recipe, data.steps_per_epoch)
    checkpoints = Checkpoints(folder, owner, keep_every=recipe.keep_every)
    stack.callback(checkpoints.close)
    sets = {**data.sets, **({"teacher.weights": _content(teacher.variables)} if teacher else {})}
    run_folder.check_sets(folder, sets)
    by_main = distributed.by_main(log)
    _log_changes(recipe, changed, checkpoints.steps(), data.steps_per_epoch, folder, by_main)
    run_folder.write(folder, recipe, sets)
    if variables.get(FROZEN) and distributed.is_main():
        frozen_network.save_frozen(run_folder.frozen_path(folder), variables)
    return Run(
        recipe=recipe,
        folder=folder,
        spec=spec,
        model=model,
        variables=variables,
        loss_config=_with_epochs(loss_config, data.steps_per_epoch),
        teacher=teacher,
        data=data,
        steps=steps,
        transform=make_optimizer(recipe.optimizer, steps, data.steps_per_epoch),
        learning_rate=make_schedule(recipe.optimizer, steps, data.steps_per_epoch),
        mesh=sharding.data_mesh(),
        checkpoints=checkpoints,
        log=by_main,
    )


def _with_epochs(loss_config: Any, steps_per_epoch: int) -> Any:
    """Puts the run's steps per epoch into an objective that has a schedule by epochs, where it has none."""
    if getattr(loss_config, "steps_per_epoch", None) != 0:
        return loss_config
    return dataclasses.replace(loss_config, steps_per_epoch=max(steps_per_epoch, 1))


def _steps(recipe: Train, steps_per_epoch: int) -> int:
    return recipe.steps or recipe.epochs * steps_per_epoch


def _log_changes(
    recipe: Train,
    changed: Sequence[run_folder.Change],
    saved: Sequence[int],
    steps_per_epoch: int,
    folder: AnyPath,
    log: Callable[[str], None],
) -> None:
    """Logs the fields that differ from those of the run in the folder, and the learning rate where that changes.

    Raises:
      UsageError: the run has done more steps than the recipe asks for.
    """
    done, steps = saved[-1] if saved else 0, _steps(recipe, steps_per_epoch)
    if steps < done:
        flag = f"--config.steps={steps}" if recipe.steps else f"--config.epochs={recipe.epochs} ({steps} steps)"
        raise UsageError(
            f"{folder} holds a run of {done} steps, and {flag} asks for fewer: raise it to train further, or start "
            "anew with another --workdir"
        )
    for name, before, now in changed:
        log(f"config.{name} is {strict_json.dumps(now)} now ({strict_json.dumps(before)} before)")
    former = dataclasses.replace(recipe, **{name: before for name, before, _ in changed if name in ("steps", "epochs")})
    last = _steps(former, steps_per_epoch)
    if done and last != steps:
        before, now = (make_schedule(recipe.optimizer, end, steps_per_epoch) for end in (last, steps))
        log(
            f"the schedule of the learning rate ends at step {steps} instead of {last}: it was "
            f"{float(before(done - 1)):.3g} at step {done} and is {float(now(done)):.3g} at step {done + 1}"
        )


def build(recipe: Train, folder: AnyPath) -> Network:
    """Builds the network of a recipe.

    Args:
      recipe: the config.
      folder: the run's, which may hold the weights of the model's flow network already.

    Returns:
      Spec, module, initial variables and loss config.

    Raises:
      UsageError: an unknown model, field, precision or field of the loss; weights of another network; no weights of the
        flow network.
      UserError: weights to start from that cannot be read.
    """
    spec = registry.spec_of(recipe.model)
    fields = {"dtype": precision.named(recipe.precision).dtype, **recipe.fields}
    start = recipe.init_from
    if not start.model:
        model, variables = registry.create(recipe.model, recipe.seed, **fields)
    else:
        source, variables = load.load(start.model, start.weights or None)
        known = {"channel_order": source.channel_order, "any_time": source.any_time}
        model = registry.build(recipe.model, **{**known, **fields})
        variables = {**variables, "params": _with_additions(variables["params"], recipe)}
    variables = {**variables, **_flow_network(recipe, model, folder, given=variables if start.model else {})}
    return spec, model, variables, _loss_config(spec, recipe)


def _with_additions(params: Any, recipe: Train) -> Any:
    """Returns the given parameters, and fresh ones for what the recipe skips or the model's spec calls additions."""
    given = _selected(traverse_util.flatten_dict(params, sep="/"), recipe.init_from)
    fresh = traverse_util.flatten_dict(
        registry.create(recipe.model, recipe.seed, **recipe.fields)[1]["params"], sep="/"
    )
    partial = recipe.init_from.only or recipe.init_from.skip
    additions = [""] if partial else registry.spec_of(recipe.model).additions
    added = {
        path: value
        for path, value in fresh.items()
        if path not in given and any(re.search(pattern, path) for pattern in additions)
    }
    params = {**given, **added}
    if {path: np.shape(value) for path, value in params.items()} != {path: np.shape(fresh[path]) for path in fresh}:
        raise UsageError(
            f"weights of {recipe.init_from.model} do not fit {recipe.model}: another network, or without its teacher"
        )
    return traverse_util.unflatten_dict(params, sep="/")


def _selected(params: Mapping[str, Any], start: Pretrained) -> dict[str, Any]:
    """Returns the parameters, by their paths, that a run takes over."""
    for name, patterns in {"only": start.only, "skip": start.skip}.items():
        for pattern in patterns:
            if not any(re.search(pattern, path) for path in params):
                raise UsageError(
                    f"--config.init_from.{name}: no parameter's path in {start.model} has {pattern!r} in it"
                )

    def matches(path: str, patterns: Sequence[str]) -> bool:
        return any(re.search(pattern, path) for pattern in patterns)

    return {
        path: value
        for path, value in params.items()
        if (not start.only or matches(path, start.only)) and not matches(path, start.skip)
    }


def _flow_network(recipe: Train, model: Model, folder: AnyPath, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the collection of the frozen flow network: of the folder, the recipe, `given` or the installed file."""
    name = registry.flow_network_of(model)
    for other, file in recipe.frozen.items():
        if file and other != name:
            raise UsageError(f"--config.frozen has {other!r}: {recipe.model} takes {name or 'none'}")
    if not name:
        return {}
    if run_folder.frozen_path(folder).exists() and run_folder.has_checkpoint(folder):
        return frozen_network.load_frozen(run_folder.frozen_path(folder))
    path = recipe.frozen.get(name) or None
    if path == UNTRAINED:
        return {FROZEN: {name: registry.create(name, recipe.seed)[1]}}
    if path is None and name in given.get(FROZEN, {}):
        return {FROZEN: given[FROZEN]}
    variables = frozen_network.read_frozen(name, path, {})
    if not variables and not recipe.data.labels:
        raise UsageError(
            f"{recipe.model} needs the weights of {name}: set --config.frozen.{name}=FILE, or --config.data.labels to "
            "a teacher of `vfi-jax prepare flow`"
        )
    return variables or {FROZEN: {}}


def _teacher(recipe: Train, model: Model) -> Teacher | None:
    if not recipe.teacher.model:
        return None
    teacher = Teacher(*load.load(recipe.teacher.model, recipe.teacher.weights or None))
    if teacher.model.channel_order != model.channel_order:
        raise UsageError(
            f"--config.teacher takes {teacher.model.channel_order} frames, {recipe.model} {model.channel_order} ones"
        )
    return teacher


def _content(variables: Any) -> str:
    """Returns words that stand for the content of weights."""
    return f"weights {seal(checksums(jax.tree.map(np.asarray, variables)))}"


def _loss_config(spec: ModelSpec, recipe: Train) -> Any:
    known = {field.name for field in dataclasses.fields(spec.loss_config)}
    for name in recipe.loss:
        if name not in known:
            raise UsageError(f"--config.loss has no {name!r} for {recipe.model}; it has: {', '.join(sorted(known))}")
    return dataclasses.replace(spec.loss_config, **recipe.loss)


def _check_processes(recipe: Train, variables: Any, steps_per_epoch: int) -> None:
    """Raises UserError where the processes of a run were given different files or flags."""
    if jax.process_count() == 1:
        return
    weights = seal(checksums(jax.tree.map(np.asarray, variables)))
    given = {"config": seal(as_dict(recipe)), "weights": weights, "data": steps_per_epoch}
    gathered = distributed.allgather(np.array(list(given.values()), np.float64))
    for name, values in zip(given, gathered.T, strict=True):
        if len(set(values)) > 1:
            raise UserError(
                f"the processes of the run have different {name}: give all of them the same files and flags"
            )
