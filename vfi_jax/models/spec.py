"""`ModelSpec`, the description of a model in MODELS: its module, objective, names in PyTorch and published figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import numpy as np

from vfi_jax.nn.initializers import Initializer
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Loss

# `inputs` of a model that also sees a reference frame between its two inputs: the frame `[b, h, w, 3]`, and its time or
# distance map. `inference.iterate_reference` gives them.
REFERENCE = ("reference", "reference_t")


@flax.struct.dataclass
class TorchRules:
    r"""How a parameter's path becomes its name and layout in the reference's state dict.

    `names=((r"conv(\d)/conv/", r"conv.\1.0."),)` turns the path "block0/conv1/conv/weight" into
    "block0.conv.1.0.weight".

    Attributes:
      names: (pattern, replacement) pairs for `re.sub`, applied in turn to the path; then every "/" left becomes ".".
      layouts: (pattern, layout) pairs; the first pattern found in the reference's name decides. A layout is a key of
        `vfi_jax.torch_io.state_dict.LAYOUTS`; arrays whose name no pattern is found in keep their layout.
    """

    names: tuple[tuple[str, str], ...] = ()
    layouts: tuple[tuple[str, str], ...] = ()


@flax.struct.dataclass
class Published:
    """Score, license and channel order, as the authors published them.

    Attributes:
      score: a figure with its set and protocol, or "-".
      licence: of the published weights.
      channel_order: "rgb" or "bgr", the order of the frames that the published weights were trained on.
    """

    score: str
    licence: str
    channel_order: str


@dataclasses.dataclass(frozen=True)
class NoLossConfig:
    """The config of an objective that has no weights."""


@flax.struct.dataclass
class ModelSpec:
    """One public variant: a row of `vfi_jax.MODELS`.

    Attributes:
      kind: "interpolation" or "flow".
      module: the Linen class, a subclass of `models.base.Network`.
      config: values of the module's fields in this variant.
      num_frames: number of input frames.
      any_time: False if the weights support t = 0.5 only.
      padding: the rule of the published scripts; a benchmark's protocol may override it.
      params: number of parameters after `create`.
      params_inference: number of parameters without `training_only`.
      gmac: 1e9 multiply-adds per frame at 1280x720, padded by `padding`, with those of a frozen flow network.
      loss: the training objective.
      torch_rules: names and layouts of the reference.
      published: what the authors published.
      loss_config: a frozen dataclass with the published weights and schedules.
      init_rules: (pattern, initializer) pairs; the first pattern found in the path decides, else PyTorch's default.
      other_torch_rules: rules of other implementations whose files can be read too.
      droppable: patterns of names that published files carry and nothing needs.
      duplicates: (pattern, replacement) pairs; `to_torch` writes a matching name a second time under the replacement.
      training_only: patterns of the reference's names that a file for inference may lack.
      status: what was verified here, in a few words.
      needs: batch fields beside `frames`, `target` and `t` that the loss reads where a batch has them.
      inputs: those of `needs` that are inputs of the module, under the same names.
      flow_network: the module's field that names its frozen flow network; "" if it has none.
      additions: patterns of parameter paths that a run initializes if the weights it starts from lack them.
      time_kernel: the reference's name of the convolution whose last input channel is t; weights in which that channel
        is zero support t = 0.5 only.
      neutral: patterns of the reference's names that a file may lack: their initial values change nothing.
      buffers: gives arrays of whole numbers by the reference's names, which its loader demands and nothing here needs.
      frame_channels: (pattern of the reference's name, axis, first indices): where on that axis the three color
        channels of a frame are, in the weights' channel order; empty if unknown.
    """

    kind: str
    module: type[nn.Module]
    config: Mapping[str, Any]
    num_frames: int
    any_time: bool
    padding: Padding
    params: int
    params_inference: int
    gmac: float
    loss: Loss
    torch_rules: TorchRules
    published: Published
    loss_config: Any = NoLossConfig()
    init_rules: tuple[tuple[str, Initializer], ...] = ()
    other_torch_rules: tuple[TorchRules, ...] = ()
    droppable: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, str], ...] = ()
    training_only: tuple[str, ...] = ()
    status: str = "parity"
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    flow_network: str = ""
    additions: tuple[str, ...] = ()
    time_kernel: str = ""
    neutral: tuple[str, ...] = ()
    buffers: Callable[[Any], dict[str, np.ndarray]] | None = None
    frame_channels: tuple[tuple[str, int, tuple[int, ...]], ...] = ()

    @property
    def sees_reference(self) -> bool:
        """Whether the module takes a reference frame and its map, `REFERENCE`."""
        return REFERENCE[0] in self.inputs

    @property
    def published_channel_order(self) -> str:
        """Channel order that the published weights were trained on: "rgb" or "bgr"."""
        return self.published.channel_order
