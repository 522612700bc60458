"""The fields of a training recipe; `Train` is the whole of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from vfi_jax.config.data import Data
from vfi_jax.config.fields import INT_MAX, bounded, fraction


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
    data: Data = dataclasses.field(default_factory=Data)
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
