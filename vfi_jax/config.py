"""What a recipe says: frozen dataclasses, made from the ConfigDict of a file in `configs/` with every name and type
checked. Defaults are those of a plain fine-tuning run; published recipes state their own.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any

from vfi_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Window:
    """Which frames of a window are the inputs and which is the target; t lies between the inputs around it.

    `inputs` and `target` fix them; with `inputs` alone, the target is drawn evenly from between the inner two.
    With `inputs` empty all are drawn: with probability `sorted_share` three distinct frames, in order, the middle one
    being the target (RIFE-m); else a target and two inputs equally far from it.

    Attributes:
      frames: length of a window, n.
      inputs: indices of the inputs, in order; 2 or 4 of them.
      target: index of the target; -1: drawn.
      target_step: frames from one target that may be drawn to the next, counted from the input before.
      sorted_share: 0..1.
    """

    frames: int = 3
    inputs: tuple[int, ...] = ()
    target: int = -1
    target_step: int = 1
    sorted_share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Augment:
    """Augmentation of training samples; the same decision for all frames of a sample, and for their flows.

    In the order `enlarge`, `crop`, `jitter`, `reverse_channels`, `flip_rows`, `flip_columns`, `transpose`,
    `reverse_time`, `rotate`. Packed sets know neither `enlarge` nor `jitter`.

    Attributes:
      crop: side of a square crop at a random place, pixels.
      reverse_channels: probability of RGB <-> BGR.
      flip_rows: probability of upside down.
      flip_columns: probability of left to right.
      reverse_time: probability of swapping the inputs, with t <- 1 - t.
      rotate: probability of a rotation, by 90, 180 or 270 degrees alike.
      enlarge: probability of twice the size.
      transpose: probability of swapping rows and columns.
      jitter: how far brightness, contrast and saturation may be from 1 times their own, and the hue from its place,
        turns; 0: none.
    """

    crop: int = 224
    reverse_channels: float = 0.5
    flip_rows: float = 0.5
    flip_columns: float = 0.5
    reverse_time: float = 0.5
    rotate: float = 0.75
    enlarge: float = 0.0
    transpose: float = 0.0
    jitter: float = 0.0


@dataclasses.dataclass(frozen=True)
class Footage:
    """How windows are cut out of videos; of folders of images, `step` alone counts.

    Attributes:
      frames: length of a window, n.
      step: frames from the start of a window to that of the next, in a video or a folder of more images than a window.
      short_side: frames are reduced (area, never enlarged) to this short side, pixels; 0: kept.
      per_clip: windows taken of a clip at most, evenly spread; 0: all.
      duplicate: mean absolute difference of neighbors, 0..255, below which the second is a duplicate.
      static: the same of the window's ends, below which the window is static.
      fade: share of the change between neighbors that one gain and offset for the whole frame explains, above which
        it is a fade.
      flash: jump of the mean brightness, 0..255, that is taken back within two frames.
      interlaced: how much more neighboring rows differ than rows two apart (a ratio) for a frame to count as combed.
    """

    frames: int = 5
    step: int = 4
    short_side: int = 0
    per_clip: int = 0
    duplicate: float = 0.3
    static: float = 0.8
    fade: float = 0.4
    flash: float = 12.0
    interlaced: float = 1.0


@dataclasses.dataclass(frozen=True)
class Scenes:
    """What the made-up scenes of a packed set are like.

    Attributes:
      count: scenes, a window of each.
      size: side of the frames, pixels.
      frames: length of a window, n.
      layers: before the background, at most.
      slowest: pixels that the fastest layer moves over a window, at least; drawn evenly in its logarithm.
      fastest: the same, at most.
      blurred: share of the scenes taken with a shutter that stays open, up to all the time between frames.
      lit: share of the scenes whose light changes.
      seed: of the first scene; the others count from it.
    """

    count: int = 1000
    size: int = 256
    frames: int = 5
    layers: int = 6
    slowest: float = 4.0
    fastest: float = 128.0
    blurred: float = 0.3
    lit: float = 0.2
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Mix:
    """A further set.

    Attributes:
      path: as `Data.path`.
      share: of all samples, 0..1.
    """

    path: str
    share: float


@dataclasses.dataclass(frozen=True)
class Data:
    """Where training samples come from.

    Attributes:
      path: a set, told by what it holds: Vimeo90K triplet or septuplet, a folder of windows, of records, of video
        files, a packed file; or `synthetic:COUNT`, made-up scenes.
      mix: other sets and their shares; the rest is of `path`.
      validation: a set for validation, folders of images or records; "": the last `holdout` of `path`, clips whole.
      holdout: share, 0..1.
      labels: whose flow labels, which stand beside the set, go with the samples; "": none.
      window: inputs and target.
      augment: for training.
      footage: for video files.
      damaged: share of the samples that may be others in the place of unreadable ones, 0..1.
      workers: processes that decode and augment; 0: in threads of this one.
    """

    path: str = ""
    mix: tuple[Mix, ...] = ()
    validation: str = ""
    holdout: float = 0.05
    labels: str = ""
    window: Window = Window()
    augment: Augment = Augment()
    footage: Footage = Footage()
    damaged: float = 0.01
    workers: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """Path of each set of `mix` to its share."""
        return {other.path: other.share for other in self.mix}


@dataclasses.dataclass(frozen=True)
class Milestones:
    """Where the rate falls at once.

    Attributes:
      epochs: passes over the training set that are done by then.
      factor: what the rate is multiplied by at each.
    """

    epochs: tuple[int, ...] = ()
    factor: float = 1.0


@dataclasses.dataclass(frozen=True)
class Plateau:
    """Where the rate falls because the validation loss (mean absolute error, 0..1) does not.

    Attributes:
      factor: what the rate is multiplied by; 1: never.
      patience: validations in a row that may be no better than the best one.
    """

    factor: float = 1.0
    patience: int = 5


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """AdamW under a linear warm-up and a cosine to `final_rate`, times the factors of milestones and plateaus.

    Attributes:
      rate: the peak.
      final_rate: at the last step; that of `rate` keeps it.
      warmup: steps; the first has rate 0.
      milestones: falls at given epochs.
      plateau: falls after validations.
      rate_factors: part of a parameter's path (`a/b/kernel`) to the factor of its rate; of several, the first.
      beta2: decay of the second moment.
      weight_decay: on all parameters.
      clip_norm: of the global gradient norm; 0: none.
      skip_above: a step whose loss is more than so many times the first of the run changes neither parameters nor
        moments; 0: none.
    """

    rate: float = 1e-4
    final_rate: float = 0.0
    warmup: int = 0
    milestones: Milestones = Milestones()
    plateau: Plateau = Plateau()
    rate_factors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    beta2: float = 0.999
    weight_decay: float = 1e-4
    clip_norm: float = 0.0
    skip_above: float = 0.0


@dataclasses.dataclass(frozen=True)
class Guard:
    """What is done about steps whose loss or gradient is not finite; each of them is skipped.

    Attributes:
      bad_steps: in a row, after which the run goes back to its last good checkpoint and on with other data; seen when a
        row of the log or a checkpoint is due.
      rollbacks: of this kind in a run; where another would be due it ends.
    """

    bad_steps: int = 10
    rollbacks: int = 3


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A model with weights, to start from or to learn from.

    Attributes:
      model: in MODELS; "": fresh weights; no teacher.
      weights: anything `vfi_jax.load` takes: a file, a run's folder; "": those shipped or installed.
    """

    model: str = ""
    weights: str = ""


@dataclasses.dataclass(frozen=True)
class Train:
    """A training run.

    Attributes:
      model: in MODELS.
      fields: of the module, in the place of the variant's.
      loss: fields of the model's loss config, in the place of its own.
      extra_losses: name in `vfi_jax.losses.RECONSTRUCTION` to weight, added to the model's objective.
      init_from: weights to start from.
      teacher: what makes the frame and the flows that the model learns beside the truth, at every step.
      frozen: weights files of the model's frozen flow networks by their names, such as "raft"; "": those installed;
        "untrained": fresh ones, to try a recipe.
      seed: of weights, data and augmentation.
      epochs: passes over the training set; 0: `steps` decides.
      steps: optimizer steps; 0: `epochs` decides.
      batch_size: of a step, over all devices and hosts; the rate does not follow it by itself.
      accumulate: parts of the batch that are computed one after another, for memory; their gradients are averaged.
      data: the sets.
      optimizer: AdamW and its schedule.
      ema: decay of the averaged weights, which validation uses; 0: none are kept.
      guard: what is done about steps whose loss is not finite.
      precision: a name in `vfi_jax.nn.precision`: "float32", "default" or "bfloat16".
      log_every: steps between rows of the log.
      checkpoint_every: steps.
      validate_every: steps; a multiple of `checkpoint_every`.
      validation_samples: frames judged at each validation.
      tensorboard: write its files too.
    """

    model: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    loss: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    extra_losses: Mapping[str, float] = dataclasses.field(default_factory=dict)
    init_from: Pretrained = Pretrained()
    teacher: Pretrained = Pretrained()
    frozen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = 0
    epochs: int = 0
    steps: int = 0
    batch_size: int = 16
    accumulate: int = 1
    data: Data = Data()
    optimizer: Optimizer = Optimizer()
    ema: float = 0.0
    guard: Guard = Guard()
    precision: str = "float32"
    log_every: int = 100
    checkpoint_every: int = 1000
    validate_every: int = 1000
    validation_samples: int = 64
    tensorboard: bool = False


def parse(kind: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """A dataclass of this file from nested mappings; lists become tuples, whole numbers floats where one is wanted.

    Raises:
      UsageError: a name that the dataclass does not have (says the nearest), a missing one, or a value of a wrong type.
    """
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            nearest = difflib.get_close_matches(name, hints, 1)
            raise UsageError(f"{where} has no {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where} lacks {field.name!r}")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


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
    if kind is Any and isinstance(value, list):
        return tuple(value)  # fields of modules are hashed
    if kind is Any or (not isinstance(kind, types.GenericAlias) and origin is None and type(value) is kind):
        return value
    shown = getattr(kind, "__name__", str(kind))
    raise UsageError(f"{where} must be {shown}, not {value!r} ({type(value).__name__})")


def as_dict(config: Any) -> dict[str, Any]:
    """The inverse of `parse`: plain nested dicts, ready for JSON."""
    return dataclasses.asdict(config)
