"""The fields of a training recipe: frozen dataclasses with their defaults and bounds.

`Train` is the whole recipe. Each field of it is a flag of train.py, such as `--config.batch_size=8` or
`--config.optimizer.rate_factors.block0/=0.5`. The defaults are those of a plain fine-tuning run; a file in `configs/`
lists what its paper says, by `defaults`, and its variants, by `vary`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vfi_jax.errors import UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

INT_MAX = 2**31 - 1


def bounded(default: float | tuple, least: float = 0, most: float = math.inf) -> Any:
    """A dataclass field whose value, or each of whose values, lies between two bounds, both allowed."""
    return dataclasses.field(default=default, metadata={"least": least, "most": most})


def fraction(default: float) -> Any:
    """A dataclass field between 0 and 1."""
    return bounded(default, 0, 1)


@dataclasses.dataclass(frozen=True)
class Window:
    """Selects the inputs and the target from a window of frames; t is the target's place between the inputs around it.

    With `inputs` and `target` given, every sample uses them. With `inputs` alone, the target is drawn uniformly from
    the frames between the inner two inputs. With neither, both are drawn: with probability `sorted_share` three
    distinct frames in time order, the middle one being the target (RIFE-m), otherwise a target and two inputs at equal
    distances from it.

    Attributes:
      frames: number of frames in a window, n.
      inputs: indices of the input frames in time order, 2 or 4 of them; empty: drawn.
      target: index of the target frame; -1: drawn.
      target_step: distance in frames between targets that can be drawn, counted from the input before them.
      sorted_share: probability of a sorted triple where inputs are drawn.
    """

    frames: int = bounded(3, 1, INT_MAX)
    inputs: tuple[int, ...] = bounded((), 0, INT_MAX)
    target: int = bounded(-1, -1, INT_MAX)
    target_step: int = bounded(1, 1, INT_MAX)
    sorted_share: float = fraction(0.0)


@dataclasses.dataclass(frozen=True)
class Augment:
    """Augmentation of training samples; all frames and flows of a sample are changed alike.

    Applied in this order: `enlarge`, `crop`, `jitter`, `reverse_channels`, `flip_rows`, `flip_columns`, `transpose`,
    `reverse_time`, `rotate`. Packed sets support neither `enlarge` nor `jitter`.

    Attributes:
      crop: side of the random square crop, pixels.
      reverse_channels: probability of swapping RGB and BGR.
      flip_rows: probability of a vertical flip.
      flip_columns: probability of a horizontal flip.
      reverse_time: probability of reversing the inputs, with t <- 1 - t.
      rotate: probability of a rotation; 90, 180 and 270 degrees are equally likely.
      enlarge: probability of doubling the size before the crop.
      transpose: probability of swapping rows and columns.
      jitter: maximum change of brightness, contrast and saturation (relative) and of hue (turns); 0: none.
    """

    crop: int = bounded(224, 1, INT_MAX)
    reverse_channels: float = fraction(0.5)
    flip_rows: float = fraction(0.5)
    flip_columns: float = fraction(0.5)
    reverse_time: float = fraction(0.5)
    rotate: float = fraction(0.75)
    enlarge: float = fraction(0.0)
    transpose: float = fraction(0.0)
    jitter: float = bounded(0.0, 0, 0.5)


@dataclasses.dataclass(frozen=True)
class Footage:
    """How windows are cut from videos, and which are rejected. For folders of images only `step` applies.

    Attributes:
      frames: number of frames in a window, n.
      step: distance in frames between the starts of two windows of a video or of a long folder of images.
      short_side: frames are reduced (area interpolation, never enlarged) to this short side, pixels; 0: kept.
      per_clip: maximum number of windows per clip, evenly spread; 0: all.
      duplicate: two neighboring frames are duplicates if their mean absolute difference is below this, 0..255.
      static: a window is static if the mean absolute difference of its first and last frame is below this, 0..255.
      fade: a window is a fade if one gain and offset for the whole frame explains more than this fraction of the change
        between neighbors.
      flash: a window has a flash if the mean brightness jumps by more than this, 0..255, and returns within two frames.
      interlaced: a frame is interlaced if neighboring rows differ more than rows two apart, by this ratio.
    """

    frames: int = bounded(5, 1, INT_MAX)
    step: int = bounded(4, 1, INT_MAX)
    short_side: int = bounded(0, 0, INT_MAX)
    per_clip: int = bounded(0, 0, INT_MAX)
    duplicate: float = bounded(0.3, 0, 255)
    static: float = bounded(0.8, 0, 255)
    fade: float = bounded(0.4)
    flash: float = bounded(12.0, 0, 255)
    interlaced: float = bounded(1.0)


@dataclasses.dataclass(frozen=True)
class Scenes:
    """The synthetic scenes of a packed set.

    Attributes:
      count: number of scenes, one window of each.
      size: side of the frames, pixels.
      frames: number of frames in a window, n.
      layers: maximum number of layers in front of the background.
      slowest: minimum motion of the fastest layer over a window, pixels; drawn log-uniformly.
      fastest: maximum motion of the fastest layer over a window, pixels.
      blurred: fraction of scenes with motion blur; the shutter is open for up to the whole time between frames.
      lit: fraction of scenes whose lighting changes.
      seed: of the first scene; the others count up from it.
    """

    count: int = bounded(1000, 1, INT_MAX)
    size: int = bounded(256, 1, INT_MAX)
    frames: int = bounded(5, 1, INT_MAX)
    layers: int = bounded(6, 0, INT_MAX)
    slowest: float = bounded(4.0)
    fastest: float = bounded(128.0)
    blurred: float = fraction(0.3)
    lit: float = fraction(0.2)
    seed: int = bounded(0, 0, INT_MAX)


@dataclasses.dataclass(frozen=True)
class Mix:
    """An additional training set.

    Attributes:
      path: as `Data.path`.
      share: fraction of all samples that this set gives.
    """

    path: str
    share: float


@dataclasses.dataclass(frozen=True)
class Distance:
    """Distance maps and references of training samples.

    With maps, `augment.reverse_time` reads the map of the reversed frames. Samples whose map is not finite are drawn
    again, up to eight times; then such pixels take the sample's time.

    Attributes:
      maps: flow method whose distance maps, stored beside the set, take the place of t; "": none.
      clip: whether maps are clipped to 0..1.
      blur: size of the Gaussian kernel, 5 or 9; 0: none.
      blur_at: where maps are clipped and blurred: at "half" the size, as they are stored, on the whole "frame", or on
        the "crop".
      reference: whether samples have a reference frame, drawn uniformly from the first input to the last, and its map
        (its time, without maps).
      validate: whether validation gives the maps of its windows, which then stand beside its set, too; otherwise it
        gives one distance to all pixels, the time.
    """

    maps: str = ""
    clip: bool = True
    blur: int = bounded(9, 0, 9)
    blur_at: str = "frame"
    reference: bool = False
    validate: bool = False


@dataclasses.dataclass(frozen=True)
class Regions:
    """Region maps of training samples; validation, where it has maps, gets them as they are.

    Attributes:
      maps: whether the maps that stand beside the set, or in its records, are read with the samples.
      drop: probability that a sample has none.
      drop_one: probability that one frame of a sample has none.
      noise: probability of each of three kinds of noise: a third of the numbers deleted, two neighbors merged in one
        frame, maps shifted by up to two of their pixels.
    """

    maps: bool = False
    drop: float = fraction(0.2)
    drop_one: float = fraction(0.1)
    noise: float = fraction(0.0)


@dataclasses.dataclass(frozen=True)
class Data:
    """The training and validation sets.

    Attributes:
      path: the training set, whose type is detected from its contents: Vimeo90K triplets or septuplets, a folder of
        windows, of records or of video files, a packed file; `synthetic:COUNT`, synthetic scenes; or a source of
        another package, `package.module:NAME` or its registered name, optionally with `?ARGUMENT`.
      mix: additional sets and their shares; the remaining samples come from `path`.
      validation: the validation set, folders of images or records; "": the last `holdout` of `path`, whole clips.
      holdout: fraction of `path` that is held out for validation.
      labels: teacher whose flow labels, stored beside the set, are read with the samples; "": none.
      masks: uncertainty network whose label masks, stored beside the set, are read with the samples; "": none.
      distance: distance maps instead of t, and reference frames.
      regions: region maps of the inputs.
      window: the inputs and the target.
      augment: augmentation of training samples.
      footage: how windows are cut from video files.
      damaged: maximum fraction of samples that may be replaced because they are unreadable or unfit.
      workers: processes that decode and augment; 0: threads of the main process.
    """

    path: str = ""
    mix: tuple[Mix, ...] = ()
    validation: str = ""
    holdout: float = fraction(0.05)
    labels: str = ""
    masks: str = ""
    distance: Distance = Distance()
    regions: Regions = Regions()
    window: Window = Window()
    augment: Augment = Augment()
    footage: Footage = Footage()
    damaged: float = fraction(0.01)
    workers: int = bounded(0, 0, 1000)

    @property
    def shares(self) -> dict[str, float]:
        """Path of each set of `mix` to its share."""
        return {other.path: other.share for other in self.mix}


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Drops of the learning rate at given epochs.

    Attributes:
      epochs: numbers of passes over the training set after which the learning rate drops.
      factor: the learning rate is multiplied by this at each of them.
      factors: one for each of them, instead of `factor`; empty: `factor`.
    """

    epochs: tuple[int, ...] = bounded((), 1, INT_MAX)
    factor: float = bounded(1.0)
    factors: tuple[float, ...] = bounded(())


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Drops of the learning rate when the validation loss (mean absolute error, 0..1) stops falling.

    Attributes:
      factor: the learning rate is multiplied by this; 1: it never drops.
      patience: number of validations in a row without improvement that are allowed.
    """

    factor: float = fraction(1.0)
    patience: int = bounded(5, 0, INT_MAX)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW; the learning rate warms up linearly, then follows a cosine, times the factors of milestones and plateaus.

    Attributes:
      rate: peak learning rate.
      final_rate: learning rate at the last step; equal to `rate`, it stays constant.
      warmup: steps of the linear warm-up from 0; 0: none.
      milestones: drops at given epochs.
      plateau: drops when validation stops improving.
      rate_factors: part of a parameter's path (`a/b/kernel`) to a factor of its learning rate; the first match counts.
      beta2: decay of the second moment.
      weight_decay: decoupled weight decay, on all parameters.
      freeze: regular expressions; parameters in whose path (`a/b/kernel`) one is found keep their values, and their
        gradients do not count in `clip_norm`.
      clip_norm: maximum global norm of the gradient; 0: no clipping.
      skip_above: a step whose loss is more than this many times the first loss of the run changes neither parameters
        nor moments; 0: no step is skipped.
      method: "adam", or "adamax", whose second moment is a decaying maximum.
    """

    rate: float = bounded(1e-4)
    final_rate: float = bounded(0.0)
    warmup: int = bounded(0, 0, INT_MAX)
    milestones: Milestones = Milestones()
    plateau: Plateau = Plateau()
    rate_factors: Mapping[str, float] = dataclasses.field(default_factory=dict, metadata={"least": 0, "most": math.inf})
    freeze: tuple[str, ...] = ()
    beta2: float = fraction(0.999)
    weight_decay: float = bounded(1e-4)
    clip_norm: float = bounded(0.0)
    skip_above: float = bounded(0.0)
    method: str = "adam"


@dataclasses.dataclass(frozen=True)
class Guard:
    """Rollback from steps whose loss or gradient is not finite. Each such step is skipped.

    Attributes:
      bad_steps: number of such steps in a row after which the run returns to its last good checkpoint and continues
        with the data that follow; checked whenever a log row or a checkpoint is due.
      rollbacks: maximum number of rollbacks in a run, which fails when another one is due.
    """

    bad_steps: int = bounded(10, 1, INT_MAX)
    rollbacks: int = bounded(3, 0, INT_MAX)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """The end of a run whose validations stop improving, before its last step. The weights at step 0 do not count.

    Attributes:
      patience: number of validations in a row that do not improve on the best score, after which the run ends; 0: it
        goes on to its last step. Validations that failed do not count.
      min_gain: a score above the best one by no more than this is no improvement, dB.
    """

    patience: int = bounded(0, 0, INT_MAX)
    min_gain: float = bounded(0.0)


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A pretrained model, to start from or to learn from.

    Attributes:
      model: name in MODELS; "": none.
      weights: a weights file or a run's folder, as `vfi_jax.load` takes them; "": the shipped or installed weights.
      only: regular expressions; only parameters in whose path (`a/b/kernel`) one is found are taken over, the others
        are fresh; empty: all. For `init_from` alone.
      skip: regular expressions; parameters in whose path one is found are fresh. For `init_from` alone.
    """

    model: str = ""
    weights: str = ""
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Train:
    """A training run.

    Attributes:
      model: name in MODELS, or `package.module:NAME` of a `ModelSpec`.
      fields: fields of the module that override the variant's.
      loss: fields of the model's loss config that override its own.
      extra_losses: weights of losses that are added to the model's objective, by their names: those in
        `vfi_jax.losses.RECONSTRUCTION`, those that installed packages provide, or `package.module:NAME` of a function
        `(frame, target) -> scalar`; "texture" and "texture_l1" compare the frame with the inputs. A weight of 0 leaves
        a loss out.
      init_from: weights to start from.
      teacher: model whose frame and flows are additional targets in every step.
      frozen: weights files of the model's flow network by its name, such as "raft"; "": the installed file;
        "untrained": random weights, to try a recipe.
      seed: of weights, data and augmentation.
      epochs: number of passes over the training set; 0: given by `steps`.
      steps: number of optimizer steps; 0: given by `epochs`.
      batch_size: global batch size; the learning rate is not rescaled with it.
      accumulate: number of equal parts of a batch that are computed in turn to save memory; gradients are averaged.
      data: training and validation sets.
      optimizer: optimizer and learning rate.
      ema: decay of the averaged weights, which validation uses; 0: no averaging.
      guard: rollback from steps that are not finite.
      early_stopping: end of a run whose validations stop improving; off by default.
      precision: a name in `vfi_jax.nn.precision`: "float32", "default" or "bfloat16".
      log_every: steps between rows of the log.
      checkpoint_every: steps between checkpoints.
      keep_every: steps between checkpoints that stay beside the newest two and the best, a multiple of
        `checkpoint_every`; 0: none.
      validate_every: steps between validations; a multiple of `checkpoint_every`.
      validate_at_start: also validate the weights that the run starts from, at step 0.
      validation_samples: number of frames per validation.
      tensorboard: also write TensorBoard files.
      wandb: project of Weights & Biases that the run is also logged to; "": none.
    """

    model: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra_losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    init_from: Pretrained = Pretrained()
    teacher: Pretrained = Pretrained()
    frozen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = bounded(0, 0, INT_MAX - 2)
    epochs: int = bounded(0, 0, INT_MAX)
    steps: int = bounded(0, 0, INT_MAX)
    batch_size: int = bounded(16, 1, INT_MAX)
    accumulate: int = bounded(1, 1, INT_MAX)
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    ema: float = fraction(0.0)
    guard: Guard = Guard()
    early_stopping: EarlyStopping = EarlyStopping()
    precision: str = "float32"
    log_every: int = bounded(100, 1, INT_MAX)
    checkpoint_every: int = bounded(1000, 1, INT_MAX)
    keep_every: int = bounded(0, 0, INT_MAX)
    validate_every: int = bounded(1000, 1, INT_MAX)
    validate_at_start: bool = True
    validation_samples: int = bounded(64, 1, INT_MAX)
    tensorboard: bool = False
    wandb: str = ""


# Augmentation that changes nothing but the crop.
NO_AUGMENTATION: Mapping[str, float] = types.MappingProxyType(
    {field.name: 0.0 for field in dataclasses.fields(Augment) if field.name != "crop"}
)

# What the variant `smoke` of a recipe changes: some steps of small crops of synthetic scenes.
SMOKE: Mapping[str, Any] = types.MappingProxyType(
    {
        "epochs": 0,
        "steps": 20,
        "batch_size": 4,
        "log_every": 1,
        "checkpoint_every": 5,
        "validate_every": 10,
        "validation_samples": 4,
        "data": {"path": "synthetic:48", "mix": (), "workers": 0, "augment": {"crop": 64}},
    }
)


def defaults(**values: Any) -> ConfigDict:
    """Builds a recipe: `values`, nested as `Train` is, and the defaults of all other fields.

    Raises:
      UsageError: see `parse`.
    """
    from ml_collections import ConfigDict  # recipes alone need it

    return ConfigDict(as_dict(parse(Train, values)), allow_dotted_keys=True)  # keys: package.module:NAME


def vary(recipe: ConfigDict, variant: str, **variants: Mapping[str, Any]) -> ConfigDict:
    """Applies the changes of a variant to a recipe; the variant "default" changes nothing.

    Nested fields are changed one by one; mappings such as `rate_factors` are replaced.

    Raises:
      UsageError: there is no such variant; see also `parse`.
    """
    if variant == "default":
        return recipe
    if variant not in variants:
        raise UsageError(f"no variant {variant!r}: there are {', '.join(['default', *sorted(variants)])}")
    return defaults(**merged(recipe.to_dict(), variants[variant]))


def merged(values: Mapping[str, Any], *changes: Mapping[str, Any], kind: type = Train) -> dict[str, Any]:
    """Values of a dataclass with changes, each over those before it; both are nested as the dataclass is."""
    hints, result = typing.get_type_hints(kind), dict(values)
    for change in changes:
        for name, value in change.items():
            nested = dataclasses.is_dataclass(hints.get(name))
            result[name] = merged(result.get(name, {}), value, kind=hints[name]) if nested else value
    return result


def parse(kind: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """Builds a dataclass of this module from nested mappings.

    Lists become tuples; integers become floats where the field is one.

    Raises:
      UsageError: an unknown field (the message names the nearest), a missing one, or a value of a wrong type.
    """
    hints = typing.get_type_hints(kind)
    for name in values:
        _check_name(name, hints, where)
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where} lacks {field.name!r}")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def unknown_fields(kind: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the paths of the fields in nested mappings that a dataclass of this module does not have."""
    hints, unknown = typing.get_type_hints(kind), []
    for name, value in values.items():
        if name not in hints:
            unknown.append(prefix + name)
        elif dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            unknown += unknown_fields(hints[name], value, f"{prefix}{name}.")
    return unknown


def _check_name(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1)
        raise UsageError(f"{where} has no {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))


def field_path(path: str) -> str:
    """Checks the path of a flag, and gives it as ml_collections reads it.

    Args:
      path: names of nested fields, `optimizer.rate`; what follows the name of a mapping is one key of it, which may
        have dots and slashes, `extra_losses.package.module:NAME`.

    Returns:
      The path with such a key in brackets, `extra_losses['package.module:NAME']`.

    Raises:
      UsageError: an unknown field.
    """
    kind, where, names = Train, "config", path.split(".")
    for number, name in enumerate(names, 1):
        if not dataclasses.is_dataclass(kind):
            raise UsageError(f"{where} has no {name!r}: it is a single value")
        hints = typing.get_type_hints(kind)
        _check_name(name, hints, where)
        kind, where = hints[name], f"{where}.{name}"
        if typing.get_origin(kind) is Mapping and number < len(names):
            return f"{'.'.join(names[:number])}[{'.'.join(names[number:])!r}]"
    return path


def _value(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return parse(kind, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(typing.get_args(kind)[0], item, where) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _value(typing.get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any:
        return _hashable(value)
    if not isinstance(kind, types.GenericAlias) and origin is None and type(value) is kind:
        return value
    shown = getattr(kind, "__name__", str(kind))
    raise UsageError(f"{where} must be {shown}, not {value!r} ({type(value).__name__})")


def _hashable(value: Any) -> Any:
    """Returns lists as tuples, at every depth, because fields of modules are hashed."""
    if isinstance(value, Mapping):
        return {key: _hashable(item) for key, item in value.items()}
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def as_dict(config: Any) -> dict[str, Any]:
    """The inverse of `parse`: plain nested dicts, ready for JSON."""
    return dataclasses.asdict(config)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a dataclass of this module by the paths of their fields, such as `data.augment.crop`."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        values |= flat(value, f"{prefix}{field.name}.") if nested else {prefix + field.name: value}
    return values


def check_bounds(config: Any, flag: Callable[[str], str] = "--config.{}".format) -> None:
    """Checks every number of a dataclass of this module against the bounds of its field, and every value for JSON.

    Args:
      config: the dataclass; nested ones are checked as well.
      flag: gives the flag that sets a field, for the message, from the field's path such as `data.augment.crop`.

    Raises:
      UsageError: a number lies outside, or a value is such that a run's saved config could not hold it.
    """
    for path, value, least, most in _bounds(config):
        numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) and least <= number <= most for number in numbers):
            wanted = f"{least:g} or more" if most >= INT_MAX - 2 else f"a number from {least:g} to {most:g}"
            raise UsageError(f"{flag(path)} is {value}: {wanted} is needed")
    values = as_dict(config)
    for path, value in flat(config).items():
        if not is_exact(functools.reduce(operator.getitem, path.split("."), values)):
            raise UsageError(
                f"{flag(path)} is {value}: a config holds finite numbers, text, True, False and None, and lists and "
                "mappings of them"
            )


def is_exact(value: Any) -> bool:
    """Returns whether JSON gives a value back as it is, but for tuples, which become lists."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and is_exact(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_exact, value))
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _bounds(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, float, float]]:
    """Path, value and bounds of each field that has some."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _bounds(value, f"{prefix}{field.name}.")
        elif field.metadata:
            yield prefix + field.name, value, field.metadata["least"], field.metadata["most"]
