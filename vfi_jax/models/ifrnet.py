"""IFRNet: flow and an intermediate feature refined together, coarse to fine (`ifrnet_s`, `ifrnet`, `ifrnet_l`).

Lingtong Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation", CVPR 2022.
Follows the published code where the paper differs: the geometry loss is not detached from the target's features.

Shapes below: `b h w c`; level k has 1/2^k of the frame's sides, flows in pixels of their own level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.losses.census import census_loss
from vfi_jax.losses.charbonnier import charbonnier_loss
from vfi_jax.losses.flow import adaptive_flow_loss, endpoint_error
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, ConvPReLU, ConvTranspose, PReLU, constant, torch_default_transposed
from vfi_jax.ops import join, resize, resize_to, warp
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Array, LossAux, Output

LEVELS = 4


class Encoder(nn.Module):
    """Pyramid of features, from level 1 to 4."""

    widths: tuple[int, ...]
    first_kernel: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for level, width in enumerate(self.widths, 1):
            kernel = self.first_kernel if level == 1 else 3
            layers = [ConvPReLU(width, 2, self.dtype, kernel), ConvPReLU(width, dtype=self.dtype)]
            setattr(self, f"pyramid{level}", layers)

    def __call__(self, x: Array) -> list[Array]:
        features = []
        for level in range(1, LEVELS + 1):
            for layer in getattr(self, f"pyramid{level}"):
                x = layer(x)
            features.append(x.astype(jnp.float32))
        return features


class ResBlock(nn.Module):
    """Five convolutions around a sum; the second and the fourth see the last `side` channels only."""

    features: int
    side: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for index in (1, 3):
            setattr(self, f"conv{index}", ConvPReLU(self.features, dtype=self.dtype))
            setattr(self, f"conv{index + 1}", ConvPReLU(self.side, dtype=self.dtype))
        self.conv5 = Conv(self.features, dtype=self.dtype)
        self.prelu = PReLU()

    def __call__(self, x: Array) -> Array:
        y = self._side(self.conv1(x), self.conv2)
        y = self._side(self.conv3(y), self.conv4)
        return self.prelu(x + self.conv5(y))

    def _side(self, y: Array, layer: ConvPReLU) -> Array:
        start = self.features - self.side
        # In place, where a concatenation would copy all channels.
        return lax.dynamic_update_slice_in_dim(y, layer(y[..., start:]), start, axis=-1)


class Decoder(nn.Module):
    """Estimates at twice the sides of its input."""

    width: int
    side: int
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.convblock = [
            ConvPReLU(self.width, dtype=self.dtype),
            ResBlock(self.width, self.side, self.dtype),
            ConvTranspose(self.features),  # float32: flows, and what is added to the frame
        ]

    def __call__(self, *parts: Array) -> Array:
        x = join(*parts)
        for layer in self.convblock:
            x = layer(x)
        return x


@flax.struct.dataclass
class Estimate:
    """The output, and what the objective needs beside it.

    Attributes:
      out: as `__call__` returns it.
      features: the intermediate features of levels 3, 2, 1.
      mean: `[b, 1, 1, 1]`, taken off the frames.
    """

    out: Output
    features: list[Array]
    mean: Array


class IFRNet(nn.Module):
    """Any of the three sizes.

    Attributes:
      widths: channels of levels 1 to 4; the first is also the number of side channels.
      first_kernel: of the first convolution.
      scale: the encoder sees the frames resized by it: below 1 for large motion.
      dtype: compute dtype of the convolutions.
      variant: name in MODELS.
      channel_order: of the frames the weights were trained on.
      any_time: whether the weights know other times than 0.5.
    """

    widths: tuple[int, ...]
    first_kernel: int = 3
    scale: float = 1.0
    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True

    def setup(self) -> None:
        self.encoder = Encoder(self.widths, self.first_kernel, self.dtype)
        for level in range(LEVELS, 0, -1):
            width = (2 if level == LEVELS else 3) * self.widths[level - 1]
            features = 4 + (self.widths[level - 2] if level > 1 else 4)
            setattr(self, f"decoder{level}", Decoder(width, self.widths[0], features, self.dtype))

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns frame, flows of levels 3 to 0, mask, residual, merged; sides must be multiples of the padding's."""
        return self.estimate(frames, t).out

    def encode(self, images: Float[Array, "b h w 3"]) -> list[Array]:
        """Returns the features of images whose mean was taken off, levels 1 to 4."""
        return self.encoder(images)

    def estimate(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Estimate:
        """Returns the output with the intermediate features."""
        mean = frames.mean((1, 2, 3, 4), keepdims=True)[:, 0]
        images = jnp.concatenate([frames[:, 0], frames[:, 1]]) - jnp.concatenate([mean, mean])
        pyramid = self.encode(resize(images, self.scale))
        out = self.decoder4(*jnp.split(pyramid[-1], 2), _time_plane(t, pyramid[-1]))
        flows, features = [out[..., :4]], [out[..., 4:]]
        for level in (3, 2, 1):
            both = jnp.concatenate(jnp.split(flows[-1], 2, -1))
            warped = jnp.split(warp(pyramid[level - 1], both), 2)
            out = getattr(self, f"decoder{level}")(features[-1], *warped, flows[-1])
            flows.append(out[..., :4] + 2 * resize(flows[-1], 2))
            features.append(out[..., 4:])
        return Estimate(self._frame(images, mean, flows, features.pop()), features, mean)

    def _frame(self, images: Array, mean: Array, flows: list[Array], last: Array) -> Output:
        """The frame from the last level's flow, mask and residual."""
        back = 1 / self.scale
        flow = back * resize(flows[-1], back)
        mask, residual = resize(jax.nn.sigmoid(last[..., :1]), back), resize(last[..., 1:], back)
        first, second = jnp.split(warp(images, jnp.concatenate(jnp.split(flow, 2, -1))), 2)
        merged = mask * first + (1 - mask) * second + mean
        return Output(
            frame=jnp.clip(merged + residual, 0, 1),
            flows=[*flows[:-1], flow],
            mask=mask,
            residual=residual,
            merged=merged,
        )


def _time_plane(t: ArrayLike, features: Array) -> Array:
    """T over level 4 of one frame; `features` are those of both."""
    t = jnp.asarray(t, jnp.float32)
    height, width = features.shape[1:3]
    if t.ndim == 4 and t.shape[1:3] != (1, 1):
        t = resize_to(t, (height, width))
    return jnp.broadcast_to(t, (features.shape[0] // 2, height, width, 1))


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the published objective.

    Attributes:
      geometry_weight: against 1 for the reconstruction.
      distillation_weight: likewise; where the batch has a `flow`.
      distrust: how fast the trust in a label falls with the final flow's distance from it, 1 / pixel.
    """

    geometry_weight: float = 0.01
    distillation_weight: float = 0.01
    distrust: float = 0.3


def loss(
    model: IFRNet,
    variables: Mapping[str, Any],
    batch: Mapping[str, Array],
    config: LossConfig,
    *,
    step: ArrayLike,
    rng: Array | None,
) -> tuple[Array, LossAux]:
    """`charbonnier + census + geometry_weight * sum_k G(f_k, g_k) + distillation_weight * sum A` (CVPR 2022).

    f_k are the intermediate features of levels 1 to 3, g_k the target's own. A is the adaptive distance of the flows of
    levels 1 to 3 (x2, x4, x8) from the label, trusted by `exp(-distrust * |final flow - label|)`.

    Args:
      model: any IFRNet of scale 1.
      variables: its variables.
      batch: `frames`, `target`, `t`; with `flow` `[b, h, w, 4]` (t->0, t->1, pixels) the flows are distilled too.
      config: the weights.
      step: unused; the objective has no schedule.
      rng: unused; the objective draws nothing.

    Returns:
      The total, and its terms `reconstruction`, `geometry` and, with a label, `distillation`.
    """
    found = model.apply(variables, batch["frames"], batch["t"], method="estimate")
    wanted = model.apply(variables, batch["target"] - found.mean, method="encode")
    frame = found.out.frame
    pairs = zip(found.features, reversed(wanted[:3]), strict=True)
    terms = {
        "reconstruction": charbonnier_loss(frame, batch["target"]) + census_loss(frame, batch["target"]),
        "geometry": config.geometry_weight * sum(geometry_loss(ours, theirs) for ours, theirs in pairs),
    }
    if "flow" in batch:
        terms["distillation"] = config.distillation_weight * distillation(
            found.out.flows, batch["flow"], config.distrust
        )
    return sum(terms.values()), LossAux(terms, frame)


def distillation(
    flows: list[Float[Array, "b _ _ 4"]], label: Float[Array, "b h w 4"], distrust: float
) -> Float[Array, ""]:
    """`sum adaptive_flow_loss(flow_k enlarged - label, w)` over levels 3 to 1 and both directions (section 3.4).

    `w = exp(-distrust |final flow - label|)` is a constant for the gradient.
    """
    total = jnp.float32(0)
    for index in (0, 1):
        own = slice(2 * index, 2 * index + 2)
        final = lax.stop_gradient(flows[-1][..., own])
        trust = lax.stop_gradient(jnp.exp(-distrust * endpoint_error(final, label[..., own])))
        for flow, factor in zip(flows[:-1], (8, 4, 2), strict=True):
            total += adaptive_flow_loss(factor * resize(flow[..., own], factor) - label[..., own], trust)
    return total


NAMES = (
    (r"(pyramid\d|convblock)_(\d)", r"\1.\2"),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/conv/", r"\1.0."),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/prelu/", r"\1.1."),
)
LAYOUTS = ((r"convblock\.2\.weight$", "conv_transpose"), (r"(\.0|conv5)\.weight$", "conv"))


def _spec(widths: tuple[int, ...], first_kernel: int, params: int, gmac: float, score: str) -> ModelSpec:
    return ModelSpec(
        kind="interpolation",
        module=IFRNet,
        config={"widths": widths, "first_kernel": first_kernel},
        num_frames=2,
        any_time=True,
        padding=Padding(16, "edge", "center"),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=((r"prelu/", constant(0.25)), (r"convblock_2/", torch_default_transposed)),
        needs=("flow",),
        torch_rules=TorchRules(NAMES, LAYOUTS),
        published=Published(score, "MIT (code; none stated for weights)", "rgb"),
        time_kernel="decoder4.convblock.0.0.weight",
    )


SPECS = {
    "ifrnet_s": _spec((24, 36, 54, 72), 3, 2_803_610, 101.3, "35.59 dB Vimeo90K, not rounded"),
    "ifrnet": _spec((32, 48, 72, 96), 3, 4_959_692, 178.3, "35.80 dB Vimeo90K, not rounded"),
    "ifrnet_l": _spec((64, 96, 144, 192), 7, 19_699_460, 706.4, "36.20 dB Vimeo90K, not rounded"),
}
