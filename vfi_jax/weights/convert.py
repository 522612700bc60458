"""`vfi-jax convert`: published files or runs of ours to one checked file, in our form or in the published one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from jaxtyping import Float

from vfi_jax import metrics, weights
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry
from vfi_jax.models.registry import FROZEN
from vfi_jax.ops import crop, pad
from vfi_jax.ops.channels import order_of
from vfi_jax.system.files import sha256_of
from vfi_jax.torch_io import state_dict
from vfi_jax.torch_io.writer import write_torch
from vfi_jax.weights import files as weight_files
from vfi_jax.weights import flow_network, load

TORCH_ENDINGS = (".pth", ".pkl", ".pt")
BEST, NEWEST = "best", "newest"
SIDE = 128  # of the frames that a check looks at
MOTION = np.float64([6.0, -4.0])  # pixels from frame 0 to frame 1
SANE = (-1.0, 2.0)  # of frames in 0..1, unclipped
SANE_FLOW = (-4.0 * SIDE, 4.0 * SIDE)  # pixels
WAVES = 24
# Fields that change how a network is run, not which function its parameters stand for.
RUN_FIELDS = {"scale", "ensemble", "iterations", "correlation", "pad_multiple", "remat", "flow_network"}


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where some of the weights come from: in words, and the SHA-256 of the file (of the variables, for a run)."""

    words: str
    sha256: str


def convert(
    name: str,
    paths: Sequence[Path],
    output: Path | None = None,
    *,
    frozen: Mapping[str, Path] | None = None,
    step: int | str | None = None,
    half: bool = False,
    to_torch: bool = False,
    accepted: str = "",
    tell: Callable[[str], None] = print,
) -> Path:
    """Reads weights, checks them with a forward pass, and writes one file; of several weights, their mean.

    Args:
      name: in MODELS.
      paths: published files, files of ours, or runs (their averaged weights, where they keep them).
      output: the file; for `to_torch` a folder too, in which it gets its published name. None: the user's weights
        folder, where `load` and `--model` find it.
      frozen: files of frozen flow networks by their names in MODELS.
      step: of runs: a number, "newest", or "best": by validation, the newest where nothing was validated; None: "best".
      half: as float16.
      to_torch: as the model's own PyTorch loader wants it.
      accepted: the licence that the user accepts, where the published weights are for non-commercial use.
      tell: takes lines for the user.

    Returns:
      The file.

    Raises:
      UsageError: no such model, flow_network or step, one without parameters, a licence that has to be accepted, another
        ending, weights of another model, weights that the published form cannot hold.
      UserError: a file is missing or damaged, a flow_network is missing, the check fails, it cannot be written.
    """
    if not registry.spec_of(name).params:
        raise UsageError(f"{name} has no parameters: there is nothing to convert")
    _check_licence(name, paths, accepted)
    target = _target(name, output, to_torch, [*paths, *(frozen or {}).values()])
    model, variables, origins = _read(name, paths, frozen or {}, step, tell)
    if half:
        variables = _rounded(variables)
    state = _published_state(model, variables, tell) if to_torch else {}
    tell(check(model, variables))
    if output is None:
        _make_folder(target.parent)
    if to_torch:
        _write_published(target, name, state, half)
    else:
        source, sha256 = (" + ".join(getattr(origin, field) for origin in origins) for field in ("words", "sha256"))
        load.save(target, model, variables, source=source, sha256=sha256, half=half)
    found = f"; --model {name} and vfi_jax.load({name!r}) find it" if output is None else ""
    tell(f"{'installed as ' if found else ''}{target}: {name}, {target.stat().st_size / 1e6:.1f} MB{found}")
    return target


def _check_licence(name: str, paths: Sequence[Path], accepted: str) -> None:
    """Runs are their owner's; files are taken for the published ones."""
    licence = weights.source_of(name).non_commercial
    if licence and accepted != licence and not all(path.is_dir() for path in paths):
        raise UsageError(
            f"the published weights of {name} are for non-commercial use only ({licence}): "
            f"to accept that, add --accept-licence {licence}"
        )


def _target(name: str, output: Path | None, to_torch: bool, inputs: Sequence[Path]) -> Path:
    """The file to write, checked before anything is computed."""
    endings, published = (TORCH_ENDINGS, weights.source_of(name).file) if to_torch else ((".safetensors",), "")
    if output is None and to_torch:
        raise UsageError(
            f"--to-torch needs -o: a folder (the file in it is then called {published}), "
            f"or a {' or '.join(endings)} file"
        )
    if output is None and weights.shipped(name).exists():
        raise UsageError(f"{name} is part of this package, which comes before the weights folder: name a file with -o")
    if output is None:
        return weights.path_of(name)
    target = output / published if to_torch and output.is_dir() else output
    if target.is_dir():
        raise UserError(f"{target} is a folder: name a file in it")
    if target.suffix not in endings:
        raise UsageError(
            f"{target}: weights are written as {' or '.join(endings)}{'' if to_torch else ' (see --to-torch)'}"
        )
    if not target.parent.is_dir():
        raise UserError(f"{target.parent}: no such folder; create it first")
    if target.exists() and any(path.exists() and path.samefile(target) for path in inputs):
        raise UsageError(f"{target} would be overwritten: name another file with -o")
    return target


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the weights folder cannot be made: {error.strerror or error}") from None


# Reading


def _read(
    name: str, paths: Sequence[Path], frozen: Mapping[str, Path], step: int | str | None, tell: Callable[[str], None]
) -> tuple[nn.Module, dict[str, Any], list[Origin]]:
    """Model, the mean of all weights, and where they come from."""
    models, several, origins = [], [], []
    for path in paths:
        run = path.is_dir()
        chosen = _chosen(path, step) if run else step
        model, variables = load.load(name, path, frozen, step=chosen)
        flow_network.require_flow_network(model, variables)
        words = f"{path}{_step_in_words(path, chosen, step)}" if run else str(path)
        origins.append(Origin(words, weight_files.fingerprint(variables) if run else sha256_of(path)))
        if run:
            tell(words)
        models.append(model)
        several.append(variables)
    if len(set(models)) > 1:
        raise UsageError("these weights differ in channel order, times or fields: they have no mean")
    flow_network = registry.flow_network_of(models[0])
    if flow_network and (flow_network in frozen or not all(_keeps(path, flow_network) for path in paths)):
        path = frozen.get(flow_network, weights.path_of(flow_network))
        origins.append(Origin(f"{flow_network}={path}", sha256_of(path)))
    variables = load.average(several)
    _check_finite(name, variables)
    return models[0], variables, origins


def _chosen(folder: Path, step: int | str | None) -> int:
    """The number of a run's step."""
    from vfi_jax.runs import folder as run_folder  # Orbax, which files of weights do without

    run_folder.read_config(folder)
    if not run_folder.has_checkpoint(folder):
        raise UserError(f"{folder} has no checkpoint yet")
    checkpoints = run_folder.Checkpoints(folder)
    try:
        return checkpoints.chosen({None: BEST, NEWEST: None}.get(step, step))
    finally:
        checkpoints.close()


def _step_in_words(folder: Path, chosen: int, step: int | str | None) -> str:
    from vfi_jax.runs import folder as run_folder

    saved = folder / run_folder.CHECKPOINTS / str(chosen)
    parts = [f"step {chosen}"]
    if step in (None, BEST):
        checkpoints = run_folder.Checkpoints(folder)
        score = checkpoints.score(chosen)
        checkpoints.close()
        parts.append("the newest: none was validated" if score is None else f"the best by validation: {score:.2f} dB")
    if (saved / "ema").is_dir():
        parts.append("averaged weights")
    return f" ({', '.join(parts)})"


def _keeps(path: Path, flow_network: str) -> bool:
    """Whether a file or a run has the weights of its model's flow_network with it."""
    if path.is_dir():
        from vfi_jax.runs import folder as run_folder

        return run_folder.frozen_path(path).exists()
    return any(name.startswith(f"{FROZEN}.{flow_network}.") for name in weight_files.read_weights(path)[0])


def _check_finite(name: str, variables: Mapping[str, Any]) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if not np.isfinite(leaf).all():
            where = "/".join(str(key.key) for key in path)
            raise UserError(f"these weights of {name} are damaged: {where} holds what is no number, or infinite")


def _rounded(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What float16 leaves of the variables."""
    with np.errstate(over="ignore"):
        rounded = jax.tree.map(lambda leaf: np.asarray(leaf, np.float16).astype(np.float32), dict(variables))
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(rounded)):
        raise UserError("these weights reach beyond float16 (65504): leave --half out")
    return rounded


# Checking


def scene(times: Sequence[float]) -> Float[np.ndarray, "n h w 3"]:
    """A made-up texture that moves by MOTION a unit of time, exact at every time; float32 in 0..1."""
    random = np.random.default_rng(0)
    angles, lengths = random.uniform(0, 2 * np.pi, WAVES), np.geomspace(8, 96, WAVES)
    waves = 2 * np.pi / lengths * np.stack([np.cos(angles), np.sin(angles)])  # radians a pixel, [2, waves]
    phases, heights = random.uniform(0, 2 * np.pi, (3, WAVES)), lengths**0.25
    places = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1) @ waves
    frames = [np.cos((places - t * MOTION @ waves)[..., None, :] + phases) @ heights for t in times]
    deviation = np.linalg.norm(heights) / np.sqrt(2)
    return np.float32(0.5 + 0.1 * np.stack(frames) / deviation)


def check(model: nn.Module, variables: Mapping[str, Any]) -> str:
    """One forward pass on a texture that moves; says in a line what it gave.

    Raises:
      UserError: it is not finite, or far from what frames or flows can be.
    """
    spec = registry.spec_of(model.variant)
    scale, order = getattr(model, "scale", 1.0), order_of(model)
    times = (-1, 0, 1, 2) if spec.num_frames == 4 else (0, 1)
    frames = scene(times)
    padded = pad(frames[None], spec.padding, scale)
    what = f"check on a moving texture of {SIDE}x{SIDE}:"
    if spec.kind == "flow":
        flow = crop(np.asarray(jax.jit(model.apply)(variables, padded[..., order]).flow), SIDE, SIDE, spec.padding)[0]
        longest = float(np.linalg.norm(flow, axis=-1).max())
        _check_sane(model.variant, "flows", flow, SANE_FLOW)
        error = np.linalg.norm(flow - MOTION, axis=-1).mean()
        return f"{what} flow up to {longest:.1f} px, mean error {error:.2f} px (it moves {np.hypot(*MOTION):.1f} px)"
    out = jax.jit(lambda variables, frames: model.apply(variables, frames, 0.5))(variables, padded[..., order])
    frame = crop(np.asarray(out.frame, np.float32), SIDE, SIDE, spec.padding, scale)[0][..., order]
    _check_sane(model.variant, "frames", frame, SANE)
    for flow in (out.flows or [])[-1:]:
        _check_sane(model.variant, "flows", np.asarray(flow, np.float32), SANE_FLOW)
    truth, first = scene((0.5,))[0], times.index(0)
    score, average = (metrics.psnr(guess, truth, 1.0) for guess in (frame, frames[first : first + 2].mean(0)))
    low, high = frame.min(), frame.max()
    return f"{what} frame {low:.2f}..{high:.2f}, {score:.2f} dB against the true one, averaging {average:.2f} dB"


def _check_sane(name: str, what: str, values: np.ndarray, limits: tuple[float, float]) -> None:
    """Raises UserError where values are not finite or beyond the limits."""
    if not np.isfinite(values).all():
        raise UserError(f"these weights of {name} give {what} that are no numbers: nothing was written")
    low, high = values.min(), values.max()
    if low < limits[0] or high > limits[1]:
        raise UserError(
            f"these weights of {name} give {what} of {low:.3g}..{high:.3g}, where {limits[0]:g}..{limits[1]:g} is the "
            "utmost: nothing was written"
        )


# The published form


def _published_state(model: nn.Module, variables: Mapping[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """A state dict that the published code gives the same frames with; no flow_networks."""
    name, spec = model.variant, registry.spec_of(model.variant)
    if unknown := {key: value for key, value in load.own_fields(model).items() if key not in RUN_FIELDS}:
        told = ", ".join(f"{key} = {value}" for key, value in unknown.items())
        raise UsageError(f"the published code of {name} has no network with {told}: --to-torch cannot write it")
    paths = traverse_util.flatten_dict(variables["params"], sep="/")
    if added := {path.partition("/")[0] for path in paths for rule in spec.additions if re.search(rule, path)}:
        raise UsageError(f"no published code has what {name} adds ({', '.join(added)}): --to-torch cannot write it")
    state = state_dict.to_torch(spec, variables)
    if model.channel_order != spec.published_channel_order:
        if not spec.frame_channels:
            raise UsageError(
                f"these weights of {name} are for {model.channel_order} frames, the published code gives them "
                f"{spec.published_channel_order}: --to-torch cannot write them"
            )
        state = state_dict.other_channel_order(spec, state)
        tell(f"turned from {model.channel_order} to {spec.published_channel_order}, the published code's channel order")
    if spec.training_only:
        fresh = state_dict.to_torch(spec, registry.create(name)[1])
        absent = {key: value for key, value in fresh.items() if key not in state}
        if absent:
            tell(f"{len(absent)} arrays that only training needs ({_common(absent)}) were absent and are fresh ones")
        state |= absent
    return state


def _common(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted({f"{re.split('[.]', name)[0]}.*" for name in names}))


def _write_published(target: Path, name: str, state: Mapping[str, np.ndarray], half: bool) -> None:
    source, dtype = weights.source_of(name), np.float16 if half else np.float32
    named = {f"{source.prefix}{key}": value.astype(dtype) for key, value in state.items()}
    write_torch(target, named, key=source.key, numbers=dict.fromkeys(source.numbers, 0))
