"""CAIN: no flow; frames folded into channels, and channel attention in a deep residual network (`cain`).

Myungsub Choi et al., "Channel Attention Is All You Need for Video Frame Interpolation", AAAI 2020. Follows the
published code where the paper differs: padding by reflection inside the network, after the mean of the unpadded frame
is off.

Shapes below: `b h w c`; inside, sides are 1/8 of the frame's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.models.spec import ModelSpec, NoLossConfig, Published, TorchRules
from vfi_jax.nn import Conv, leaky_relu, pixel_shuffle, pixel_unshuffle
from vfi_jax.ops import pad_amounts
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Array, LossAux, Output

FACTOR = 8  # of space to depth
CHANNELS = 3 * FACTOR**2
SLOPE = 0.2


class Block(nn.Module):
    """Two convolutions, their channels weighed by attention, added to the input."""

    reduction: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv0 = Conv(CHANNELS, dtype=self.dtype, padding="reflect")
        self.conv2 = Conv(CHANNELS, dtype=self.dtype, padding="reflect")
        self.attention0 = Conv(CHANNELS // self.reduction, 1, dtype=self.dtype)
        self.attention2 = Conv(CHANNELS, 1, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        y = self.conv2(leaky_relu(self.conv0(x), SLOPE))
        squeezed = jax.nn.relu(self.attention0(y.mean((1, 2), keepdims=True)))
        return x + y * jax.nn.sigmoid(self.attention2(squeezed))


class Group(nn.Module):
    """Blocks and a convolution, added to the input."""

    blocks: int
    reduction: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        blocks = [Block(self.reduction, self.dtype) for _ in range(self.blocks)]
        self.body = [*blocks, Conv(CHANNELS, dtype=self.dtype, padding="reflect")]

    def __call__(self, x: Array) -> Array:
        y = x
        for layer in self.body:
            y = layer(y)
        return x + y


class Interpolation(nn.Module):
    """The trunk: both folded frames to one."""

    groups: int
    blocks: int
    reduction: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.headConv = Conv(CHANNELS, dtype=self.dtype)
        self.body = [Group(self.blocks, self.reduction, self.dtype) for _ in range(self.groups)]
        self.tailConv = Conv(CHANNELS, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        head = x = self.headConv(x)
        for group in self.body:
            x = group(x)
        return self.tailConv(x + head)


class CAIN(nn.Module):
    """The published network.

    Attributes:
      groups: residual groups.
      blocks: in a group.
      reduction: of channels in the attention.
      pad_multiple: sides are reflected to multiples of it, evenly; the published code trains without (8).
      dtype: compute dtype of the convolutions.
      variant: name in MODELS.
      channel_order: of the frames the weights were trained on.
      any_time: whether the weights know other times than 0.5.
    """

    groups: int = 5
    blocks: int = 12
    reduction: int = 16
    pad_multiple: int = 128
    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = False

    def setup(self) -> None:
        self.interpolate = Interpolation(self.groups, self.blocks, self.reduction, self.dtype)

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike = 0.5) -> Output:
        """Returns the frame, not clipped; t is not looked at.

        Raises:
          UserError: sides too small to be reflected, or no multiples of 8 where `pad_multiple` leaves them so.
        """
        mean = frames.mean((2, 3), keepdims=True)
        height, width = frames.shape[2:4]
        (top, bottom), (left, right) = pad_amounts(height, width, Padding(self.pad_multiple, "reflect", "center"))
        if max(top, bottom) >= height or max(left, right) >= width:
            raise UserError(
                f"frames of {width}x{height} are too small for cain, which reflects them to multiples of 128"
            )
        rims = ((0, 0), (0, 0), (top, bottom), (left, right), (0, 0))
        padded = jnp.pad(frames - mean, rims, mode="reflect")
        folded = [pixel_unshuffle(padded[:, index], FACTOR) for index in (0, 1)]
        made = pixel_shuffle(self.interpolate(jnp.concatenate(folded, -1)).astype(jnp.float32), FACTOR)
        return Output(made[:, top : top + height, left : left + width] + mean.mean(1))


def loss(
    model: CAIN,
    variables: Mapping[str, Any],
    batch: Mapping[str, Array],
    config: NoLossConfig,
    *,
    step: ArrayLike,
    rng: Array | None,
) -> tuple[Array, LossAux]:
    """`mean |frame - target|` of the unclipped frame, made without padding (AAAI 2020, the published code).

    Args:
      model: the network; sides of the batch must be multiples of 8.
      variables: its variables.
      batch: `frames`, `target`.
      config: empty.
      step: unused; the objective has no schedule.
      rng: unused; the objective draws nothing.

    Returns:
      The total, and its one term `reconstruction`.
    """
    frame = model.clone(pad_multiple=FACTOR).apply(variables, batch["frames"]).frame
    total = jnp.abs(frame - batch["target"]).mean()
    return total, LossAux({"reconstruction": total}, frame)


NAMES = (
    (r"^interpolate/", "encoder.interpolate."),
    (r"body_(\d+)", r"body.\1"),
    (r"/conv([02])/", r".body.\1.conv."),
    (r"/attention([02])/", r".body.3.conv_du.\1."),
    (r"body\.12/", "body.12.conv."),
)

SPECS = {
    "cain": ModelSpec(
        kind="interpolation",
        module=CAIN,
        config={},
        num_frames=2,
        any_time=False,
        padding=Padding(1),
        params=42_780_432,
        params_inference=42_780_432,
        gmac=652.3,
        loss=loss,
        torch_rules=TorchRules(NAMES, ((r"weight$", "conv"),)),
        published=Published("34.65 dB Vimeo90K, IFRNet's table", "none stated", "rgb"),
    )
}
