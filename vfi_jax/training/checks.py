"""Checks of a recipe that need nothing but the recipe and its model's spec."""

from __future__ import annotations

import re
from pathlib import Path

import jax

from vfi_jax.config import Optimizer, Train, check_bounds
from vfi_jax.data import sources
from vfi_jax.data.distance_maps import KERNELS, PLACES
from vfi_jax.data.windows import FLOW_FIELDS, MASK_FIELDS, REGION_FIELD, frame_selections, target_times
from vfi_jax.errors import UsageError
from vfi_jax.inference import MIDPOINT
from vfi_jax.losses import extra_loss
from vfi_jax.models import registry
from vfi_jax.models.spec import ModelSpec
from vfi_jax.training.optimizer import METHODS


def check(recipe: Train, spec: ModelSpec) -> None:
    """Checks a recipe before anything is read: bounds first, then fields against each other and against the model.

    Raises:
      UsageError: what does not fit, by the flag that sets it.
    """
    check_bounds(recipe)
    registry.check_kind(recipe.model, "interpolation")
    for name in recipe.extra_losses:
        extra_loss(name)
    _check_length(recipe)
    _check_optimizer(recipe.optimizer)
    _check_patterns(recipe)
    _check_batch(recipe)
    _check_data(recipe, spec)
    _check_window(recipe, spec)
    _check_distance(recipe, spec)
    if recipe.teacher.model:
        _check_teacher(recipe, spec)


def _check_length(recipe: Train) -> None:
    if bool(recipe.steps) == bool(recipe.epochs):
        raise UsageError("either --config.steps or --config.epochs must be given, and not both")
    if recipe.validate_every % recipe.checkpoint_every:
        raise UsageError(
            f"--config.validate_every is {recipe.validate_every}: it must be a multiple of --config.checkpoint_every, "
            f"{recipe.checkpoint_every}"
        )
    if recipe.keep_every % recipe.checkpoint_every:
        raise UsageError(
            f"--config.keep_every is {recipe.keep_every}: it must be a multiple of --config.checkpoint_every, "
            f"{recipe.checkpoint_every}"
        )


def _check_optimizer(optimizer: Optimizer) -> None:
    if optimizer.method not in METHODS:
        raise UsageError(f"--config.optimizer.method is {optimizer.method!r}: {' or '.join(METHODS)} is needed")
    epochs, factors = optimizer.milestones.epochs, optimizer.milestones.factors
    if factors and len(factors) != len(epochs):
        raise UsageError(
            f"--config.optimizer.milestones has {len(epochs)} epochs and {len(factors)} factors: give one for each"
        )


def _check_patterns(recipe: Train) -> None:
    patterns = {
        "optimizer.freeze": recipe.optimizer.freeze,
        "init_from.only": recipe.init_from.only,
        "init_from.skip": recipe.init_from.skip,
    }
    for name, given in patterns.items():
        for pattern in given:
            try:
                re.compile(pattern)
            except re.error as error:
                raise UsageError(f"--config.{name} has {pattern!r}: {error} in this regular expression") from None
    if (recipe.init_from.only or recipe.init_from.skip) and not recipe.init_from.model:
        raise UsageError(
            "--config.init_from.only and skip choose parameters of --config.init_from.model, which is empty"
        )
    if recipe.teacher.only or recipe.teacher.skip:
        raise UsageError("--config.teacher.only and skip: a teacher is loaded whole")


def _check_batch(recipe: Train) -> None:
    """Each part of a batch has equally many samples on each device."""
    devices, parts = jax.device_count(), jax.device_count() * recipe.accumulate
    if recipe.batch_size % parts:
        by = f"{devices} devices" + (f" times --config.accumulate {recipe.accumulate}" if recipe.accumulate > 1 else "")
        below = recipe.batch_size // parts * parts
        nearest = f"{below} or {below + parts} does" if below else f"{parts} does"
        raise UsageError(f"--config.batch_size {recipe.batch_size} does not divide over {by}: {nearest}")


def _check_data(recipe: Train, spec: ModelSpec) -> None:
    data = recipe.data
    if min(data.shares.values(), default=1) <= 0 or sum(data.shares.values()) >= 1:
        shares = [*data.shares.values()]
        raise UsageError(f"--config.data.mix has shares {shares}: each must be above 0 and their sum below 1")
    if data.labels and not {*FLOW_FIELDS} & {*spec.needs}:
        raise UsageError(f"--config.data.labels is {data.labels!r}: {recipe.model} takes no flow labels")
    _check_masks(recipe, spec)
    _check_regions(recipe, spec)
    if Path(data.validation).suffix == ".safetensors" or sources.is_footage(data.validation):
        raise UsageError(
            f"--config.data.validation is {data.validation}: make records of it first (`vfi-jax prepare records`)"
        )


def _check_masks(recipe: Train, spec: ModelSpec) -> None:
    """Objectives that follow label masks (`guidance_weight`) need them, and others have no use for them."""
    wanted = {*MASK_FIELDS} & {*spec.needs}
    if recipe.data.masks and not wanted:
        raise UsageError(f"--config.data.masks is {recipe.data.masks!r}: {recipe.model} takes no label masks")
    if recipe.data.masks and (recipe.data.distance.maps or recipe.data.distance.reference):
        raise UsageError("--config.data.masks and --config.data.distance: choose one")
    weight = recipe.loss.get("guidance_weight", getattr(spec.loss_config, "guidance_weight", 0))
    if wanted and weight and not recipe.data.masks:
        raise UsageError(
            f"--config.data.masks is empty: {recipe.model} is trained with the masks of `vfi-jax prepare masks`; name "
            "them, or set --config.loss.guidance_weight=0"
        )


def _check_regions(recipe: Train, spec: ModelSpec) -> None:
    data, channels = recipe.data, recipe.fields.get("region_channels", 0)
    if not data.regions.maps:
        return
    if REGION_FIELD not in spec.needs:
        raise UsageError(f"--config.data.regions.maps: {recipe.model} takes no region maps")
    if not channels:
        raise UsageError("--config.data.regions.maps: the network sees none; set --config.fields.region_channels=8")
    if data.distance.maps or data.distance.reference:
        raise UsageError("--config.data.regions and --config.data.distance: choose one")


def _check_window(recipe: Train, spec: ModelSpec) -> None:
    crop = recipe.data.augment.crop
    if crop % spec.padding.multiple:
        raise UsageError(
            f"--config.data.augment.crop is {crop}: {recipe.model} needs a multiple of {spec.padding.multiple}"
        )
    inputs, target, _ = frame_selections(recipe.data.window)
    if inputs.shape[1] != spec.num_frames:
        raise UsageError(f"--config.data.window gives {inputs.shape[1]} inputs: {recipe.model} takes {spec.num_frames}")
    if not spec.any_time and (target_times(inputs, target) != MIDPOINT).any():
        raise UsageError(
            f"--config.data.window gives other times than 0.5, which {recipe.model} does not support: set its "
            "inputs and target, or sorted_share to 0"
        )


def _check_distance(recipe: Train, spec: ModelSpec) -> None:
    data, distance = recipe.data, recipe.data.distance
    if distance.blur not in (0, *KERNELS):
        raise UsageError(f"--config.data.distance.blur is {distance.blur}: 0, 5 or 9 is needed")
    if distance.blur_at not in PLACES:
        raise UsageError(f"--config.data.distance.blur_at is {distance.blur_at!r}: {', '.join(PLACES)} is needed")
    if distance.reference and not spec.sees_reference:
        raise UsageError(f"--config.data.distance.reference: {recipe.model} sees no reference frame")
    if spec.sees_reference and not distance.reference:
        raise UsageError(f"{recipe.model} sees a reference frame: --config.data.distance.reference=True is needed")
    if distance.maps and not (spec.any_time and spec.num_frames == 2):
        raise UsageError(f"--config.data.distance.maps: {recipe.model} takes no maps of t between two frames")
    if distance.validate and not distance.maps:
        raise UsageError("--config.data.distance.validate needs --config.data.distance.maps")
    if data.labels and (distance.maps or distance.reference):
        raise UsageError("--config.data.labels and --config.data.distance: choose one")


def _check_teacher(recipe: Train, spec: ModelSpec) -> None:
    name = recipe.teacher.model
    if "flow" not in spec.needs:
        raise UsageError(f"--config.teacher is {name}: the objective of {recipe.model} takes no teacher")
    if recipe.data.labels:
        raise UsageError("--config.teacher and --config.data.labels both give flows: choose one")
    registry.check_kind(name, "interpolation")
    teacher = registry.spec_of(name)
    if teacher.num_frames != spec.num_frames or teacher.flow_network:
        raise UsageError(f"--config.teacher is {name}: it takes other inputs than {recipe.model}")
