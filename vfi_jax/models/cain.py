"""CAIN: no flow; frames folded into channels, and channel attention in a deep residual network (`cain`).

Myungsub Choi et al., "Channel Attention Is All You Need for Video Frame Interpolation", AAAI 2020. Follows the
published code where the paper differs: the network subtracts the mean of the unpadded frame, then pads by reflection.

Architecture (`b h w c`; sides are 1/8 of the frame's from the first stage to the last):
  1. Space to depth: each frame, less its mean color, folds 8x8 pixels into 192 channels (`pixel_unshuffle`).
  2. Head: a 3x3 convolution of both folded frames, 384 to 192 channels.
  3. Trunk: 5 residual groups of 12 blocks. A block is two 3x3 convolutions whose channels are scaled by channel
     attention: global mean, 1x1 to 12 channels, ReLU, 1x1 to 192, sigmoid.
  4. Tail: a 3x3 convolution of the trunk's output plus the head's.
  5. Depth to space (`pixel_shuffle`), plus the average of the two mean colors. There is no flow, no mask and no t.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, NoLossConfig, Published, TorchRules
from vfi_jax.nn import Conv, leaky_relu, pixel_shuffle, pixel_unshuffle
from vfi_jax.ops import Padding, absolute, crop, pad_reflected
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

FACTOR = 8  # of space to depth
CHANNELS = 3 * FACTOR**2
SLOPE = 0.2


class Block(nn.Module):
    """Two convolutions, scaled by channel attention, added to the input."""

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


class Trunk(nn.Module):
    """Head, groups and tail: both folded frames to the folded prediction."""

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


class CAIN(Network, kw_only=True):
    """The published network.

    Attributes:
      groups: number of residual groups.
      blocks: number of blocks per group.
      reduction: of the channels in the attention.
      pad_multiple: sides are reflected to multiples of it, evenly; 8, as in training, leaves legal sides alone.
    """

    groups: int = 5
    blocks: int = 12
    reduction: int = 16
    pad_multiple: int = 128
    any_time: bool = False

    def setup(self) -> None:
        self.interpolate = Trunk(self.groups, self.blocks, self.reduction, self.dtype)

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike = 0.5) -> Output:
        """Returns the frame, not clipped, at t = 0.5 whatever t is; raises UserError if sides are too small."""
        size, padding = frames.shape[2:4], Padding(self.pad_multiple, "reflect", "center")
        mean = frames.mean((2, 3), keepdims=True)
        padded = pad_reflected(frames - mean, padding, "cain")
        folded = jnp.concatenate([pixel_unshuffle(padded[:, index], FACTOR) for index in (0, 1)], -1)
        prediction = pixel_shuffle(self.interpolate(folded).astype(jnp.float32), FACTOR)
        return Output(crop(prediction, *size, padding) + mean.mean(1))


def loss(
    model: CAIN, variables: Variables, batch: Batch, config: NoLossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`mean |frame - target|` of the unclipped frame, predicted without padding; term `reconstruction`.

    Source: the published code (AAAI 2020). Sides of the batch must be multiples of 8.
    """
    frame = model.clone(pad_multiple=FACTOR).apply(variables, batch["frames"]).frame
    total = absolute(frame - batch["target"]).mean()
    return total, LossAux({"reconstruction": total}, frame)


# interpolate/headConv/weight           -> encoder.interpolate.headConv.weight
# interpolate/body_0/body_3/conv2/bias  -> encoder.interpolate.body.0.body.3.body.2.conv.bias
# interpolate/body_4/body_12/weight     -> encoder.interpolate.body.4.body.12.conv.weight
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
