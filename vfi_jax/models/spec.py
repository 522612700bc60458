"""What a model of the table says of itself: `ModelSpec`, its names in PyTorch, what its authors published."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.struct

from vfi_jax.ops.pad import Padding


@flax.struct.dataclass
class TorchRules:
    """How a parameter's path here becomes its name and layout in the reference's state dict.

    Attributes:
      names: (pattern, replacement) pairs for `re.sub`, applied in turn to the path ("block0/conv0_0/weight");
        what is left of "/" then becomes ".".
      layouts: (pattern, layout) pairs, the first that is found in the reference's name decides; layouts are the keys
        of `torch_io.state_dict.LAYOUTS`; a name that no pattern is found in keeps its layout.
    """

    names: tuple[tuple[str, str], ...] = ()
    layouts: tuple[tuple[str, str], ...] = ()


@flax.struct.dataclass
class Published:
    """What the authors say of a model.

    Attributes:
      score: a figure with its set and protocol, or "-" where none was published.
      licence: of the published weights.
      channel_order: the one the published weights were trained on.
    """

    score: str
    licence: str
    channel_order: str


@dataclasses.dataclass(frozen=True)
class NoLossConfig:
    """The config of an objective that has nothing to weigh."""


@flax.struct.dataclass
class ModelSpec:
    """One public variant: a row of `vfi_jax.MODELS`.

    Attributes:
      kind: "interpolation" or "flow".
      module: the Linen class.
      config: the module's fields in this variant.
      num_frames: frames in.
      any_time: False where the weights know t = 0.5 only.
      padding: the published scripts' rule; a benchmark's protocol may override it.
      params: number of parameters after `create`.
      params_inference: the same without `training_only`.
      gmac: 1e9 multiply-adds of one frame at 1280x720, padded by `padding`, those of a frozen flow network among them.
      loss: `(model, variables, batch, loss_config, *, step, rng) -> (total, LossAux)`.
      loss_config: a frozen dataclass with the published weights and schedules.
      init_rules: (pattern of the path, initializer) pairs; the first that is found decides, else PyTorch's default.
      torch_rules: names and layouts of the reference.
      other_torch_rules: those of other implementations whose files are read too.
      droppable: patterns of names that published files carry and nothing needs.
      duplicates: (pattern, replacement) pairs: a name that the pattern is found in is written under that name too.
      training_only: patterns of the reference's names that a file for inference may lack.
      published: what the authors say.
      status: what was verified here, in a few words.
      needs: batch fields beside `frames`, `target` and `t` that the loss reads, where a batch has them.
      inputs: those of them that are inputs of the module, by these names.
      flow_network: the module's field that names its frozen flow network; "" where it has none.
      additions: patterns of paths of parameters that a run may begin afresh where the weights it starts from lack them.
      time_kernel: the reference's name of the convolution whose last channel in is t; weights in which that channel is
        zero know t = 0.5 only.
      frame_channels: (pattern of the reference's name, axis, first indices): where on that axis three channels of a
        frame stand, red to blue or blue to red; empty where nothing says so.
    """

    kind: str
    module: type
    config: Mapping[str, Any]
    num_frames: int
    any_time: bool
    padding: Padding
    params: int
    params_inference: int
    gmac: float
    loss: Callable[..., Any]
    torch_rules: TorchRules
    published: Published
    loss_config: Any = NoLossConfig()
    init_rules: tuple[tuple[str, Callable[..., Any]], ...] = ()
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
    frame_channels: tuple[tuple[str, int, tuple[int, ...]], ...] = ()

    @property
    def published_channel_order(self) -> str:
        """Channel order that the published weights were trained on: "rgb" or "bgr"."""
        return self.published.channel_order
