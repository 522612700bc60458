"""RIFE v4: the line of Practical-RIFE that people run (`rife_v4_5` to `rife_v4_26_heavy`), one module for all versions.

Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022, and the author's
later releases. Follows the published inference code (vs-rife). The objective is this project's own, since none was
published.

Architecture (`b h w c`; flows in pixels of the full frame, masks as logits until the end):
  1. Encoder (from 4.10 on): features of each frame at the frame's size; they are warped together with the frame.
  2. Four or five IFBlocks, coarse to fine, at 1/16 to 1 of the frame. A block sees both frames and encodings, warped by
     the flow so far, t as a plane, and the mask, features and flow of the block before. It adds a change to the flow,
     adds to the mask or replaces it, and hands its features (8, from 4.22 on) to the next block.
  3. Frame: `sigmoid(mask) * warped_0 + (1 - sigmoid(mask)) * warped_1`. There is no residual.
The versions differ in widths, level scales, encoder and features only; `rife_lap.py` adds a refinement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float, UInt8

from vfi_jax.errors import UserError
from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.models import guided
from vfi_jax.models.guided import Guide, Guided, regions_of
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, ConvTranspose, constant, leaky_relu, pixel_shuffle, torch_default_transposed
from vfi_jax.nn.regions import sampled_prior
from vfi_jax.ops import (
    Padding,
    absolute,
    join,
    resize,
    resize_flow,
    split_pair,
    stack_halves,
    stack_pair,
    time_map,
    warp,
    warp_resized,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

SLOPE = 0.2


class ResConv(nn.Module):
    """`leaky(conv(x) * beta + x)`, beta one learned gain per channel."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = Conv(self.features, dtype=self.dtype)
        self.beta = self.param("beta", lambda key, shape: jnp.ones(shape), (self.features,))

    def __call__(self, x: Array) -> Array:
        return leaky_relu(self.conv(x) * self.beta.astype(self.dtype) + x, SLOPE)


class IFBlock(nn.Module):
    """Change of flow, mask and features, estimated at 1/`level_scale` of the frame.

    Attributes:
      width: channels inside.
      features: channels out beside flow (4) and mask (1).
    """

    width: int
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv0 = [Conv(self.width // 2, stride=2, dtype=self.dtype), Conv(self.width, stride=2, dtype=self.dtype)]
        self.convblock = [ResConv(self.width, self.dtype) for _ in range(8)]
        self.lastconv = ConvTranspose(4 * (5 + self.features))  # float32: a flow

    def __call__(self, x: Array, level_scale: float, guide: Guide | None = None) -> tuple[Array, Array, Array, Array]:
        """Returns flow in pixels of the full frame, mask logit and features, at the frame's size; and the hidden state.

        `x` has the level's size; the hidden state, from which the last layer predicts the rest, has 1/4 of it.
        """
        for layer in self.conv0:
            x = leaky_relu(layer(x), SLOPE)
        x = guide(x) if guide else x
        for layer in self.convblock:
            x = layer(x)
        out = pixel_shuffle(self.lastconv(x), 2)
        out = resize(out, level_scale)
        return out[..., :4] * level_scale, out[..., 4:5], out[..., 5:], x


class Head(nn.Module):
    """Feature encoder of one frame, at the frame's own size: `width` channels inside, `features` out."""

    width: int
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.cnn0 = Conv(self.width, stride=2, dtype=self.dtype)
        self.cnn1 = Conv(self.width, dtype=self.dtype)
        self.cnn2 = Conv(self.width, dtype=self.dtype)
        self.cnn3 = ConvTranspose(self.features, self.dtype)

    def __call__(self, image: Array, guide: Guide) -> Array:
        x = image
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = leaky_relu(layer(x), SLOPE)
        x = guide(x)
        return self.cnn3(x).astype(jnp.float32)


@flax.struct.dataclass
class Level:
    """The estimate after one block.

    Attributes:
      flow: `[b, h, w, 4]`.
      mask_logit: `[b, h, w, 1]`.
      features: `[b, h, w, c]`.
      warped: `[2b, h, w, 3 + e]`, frame 0 and its encoding, then frame 1 and its own, sampled at `flow`.
      hidden: `[b, h / 4s, w / 4s, d]`, the input of the block's last layer; s is the block's level scale.
    """

    flow: Array
    mask_logit: Array
    features: Array
    warped: Array
    hidden: Array

    @property
    def merged(self) -> Array:
        """`[b, h, w, 3]`, the two warped frames blended by the mask."""
        return blend(self.warped[..., :3], self.mask_logit)


# (images and encodings, the level before, scale) -> both frames sampled at the level's flow, resized by `scale`
Sampler = Callable[[Array, Level, float], Array]


class RIFEv4(Guided, kw_only=True):
    """Any version of the line; the fields of each stand in its row of `SPECS`.

    Attributes:
      widths: channels of the blocks, coarse to fine.
      level_scales: of the blocks at `scale` 1.
      features: channels that a block hands to the next beside flow and mask.
      encoder: (channels inside, channels out) of the frame encoder, or None.
      sum_masks: whether a block changes the mask logit instead of replacing it.
      unused: output channels of the blocks that nothing reads.
      scale: level scales are divided by it: below 1 for large frames and motions, above 1 for small ones.
      ensemble: whether every block is averaged with its time-reversed self.
    """

    widths: tuple[int, ...]
    level_scales: tuple[float, ...]
    features: int
    encoder: tuple[int, int] | None
    sum_masks: bool = False
    unused: int = 0
    scale: float = 1.0
    ensemble: bool = False

    def setup(self) -> None:
        if self.encoder:
            self.encode = Head(*self.encoder, self.dtype)
        for level, width in enumerate(self.widths):
            setattr(self, f"block{level}", IFBlock(width, self.features + self.unused, self.dtype))
        self.add_guides(*(["head"] if self.encoder else []), *(f"block{level}" for level in range(len(self.widths))))

    def __call__(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> Output:
        """Returns frame, flows (one per block), mask and merged; sides must be multiples of the padding's.

        Args:
          frames: the inputs.
          t: time or map.
          regions: label maps of both frames at half their sides, for `region_channels` only; None: no prior.
          region_seed: of the regions' codes: a number, or a key for codes of each sample's own.
        """
        return self.predict(frames, t, sample_needed, self.prior(regions, frames, region_seed))[0]

    def initialize(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Uses every parameter, those of a prior too; `create` traces it."""
        return self(frames, t, self.any_regions(frames))

    def stages(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> tuple[Output, list[Level]]:
        """Returns the output and the estimates after each block, coarse to fine, all of whose pixels are sampled.

        Args: see `__call__`.

        Raises:
          UserError: `ensemble` of a version that hands features on, for which none was published.
        """
        return self.predict(frames, t, sample_all, self.prior(regions, frames, region_seed))

    def predict(self, frames: Array, t: ArrayLike, sample: Sampler, prior: Array | None) -> tuple[Output, list[Level]]:
        """Returns the output and the estimates after each block; `sample` is how the blocks see the frames."""
        levels = self.levels(frames, t, sample, prior)
        last, flows = levels[-1], [level.flow for level in levels]
        out = Output(frame=last.merged, flows=flows, mask=jax.nn.sigmoid(last.mask_logit), merged=last.merged)
        return out, levels

    def levels(self, frames: Array, t: ArrayLike, sample: Sampler, prior: Array | None) -> list[Level]:
        """Returns the estimates after each block, coarse to fine, of frames at the blocks' own resolution.

        `prior` holds the codes of both frames' regions `[2b, h / 2, w / 2, r]`, or is None.
        """
        if self.ensemble and self.features:
            raise UserError(f"{self.variant or 'this version'} has no ensemble: leave the field `ensemble` out")
        images = stack_pair(frames)
        if self.encoder:
            images = jnp.concatenate([images, self.encode(images, self.guide("head", prior))], -1)
        levels: list[Level] = []
        for index, level_scale in enumerate(self.level_scales):
            before = levels[-1] if levels else None
            flow, mask_logit, features, hidden = self._estimate(
                index, images, time_map(t, frames), before, level_scale / self.scale, sample, prior
            )
            if before is not None:
                flow = before.flow + flow
                mask_logit = before.mask_logit + mask_logit if self.sum_masks else mask_logit
            if index == len(self.widths) - 1:
                images = self.sampled_last(images)
            levels.append(Level(flow, mask_logit, features, warp(images, stack_halves(flow)), hidden))
        return levels

    def sampled_last(self, images: Array) -> Array:
        """Returns what the last block's flow samples, in one gather: frames and encodings `[2b, h, w, c]`."""
        return images

    def _estimate(
        self,
        index: int,
        images: Array,
        t: Array,
        before: Level | None,
        level_scale: float,
        sample: Sampler,
        prior: Array | None,
    ) -> tuple[Array, Array, Array, Array]:
        """Runs a block on the estimate before it, and with `ensemble` on its time reversal, averaged."""
        scale, name = 1 / level_scale, f"block{index}"
        block = getattr(self, name)
        codes = None if prior is None else sampled_prior(prior, before and before.flow)
        sampled = resize(images, scale) if before is None else sample(images, before, scale)
        out = block(_block_input(sampled, t, before, scale), level_scale, self.guide(name, codes))
        if not self.ensemble:
            return out[0], out[1], out[2][..., : self.features], out[3]
        codes = None if codes is None else _swap_flow(codes)
        turned = _block_input(_swap_frames(sampled), 1 - t, before and _reversed(before), scale)
        mirrored = block(turned, level_scale, self.guide(name, codes))
        flow = (out[0] + _swap_flow(mirrored[0])) / 2
        return flow, (out[1] - mirrored[1]) / 2, out[2][..., : self.features], out[3]


def blend(warped: Float[Array, "b2 h w 3"], mask_logit: Float[Array, "b h w 1"]) -> Float[Array, "b h w 3"]:
    """`m warped_0 + (1 - m) warped_1`, m the sigmoid of the logit; `warped` is stacked as `stack_pair` does."""
    warped0, warped1 = split_pair(warped)
    mask = jax.nn.sigmoid(mask_logit)
    return warped0 * mask + warped1 * (1 - mask)


def sample_all(images: Array, before: Level, scale: float) -> Array:
    """Resizes the frames and encodings that the level before has warped."""
    return resize(before.warped, scale)


def sample_needed(images: Array, before: Level, scale: float) -> Array:
    """Computes the same; if nothing else needs the warped frames, most of their pixels are not sampled at all."""
    return warp_resized(images, stack_halves(before.flow), scale)


def _block_input(sampled: Array, t: Array, before: Level | None, scale: float) -> Array:
    """Order of channels: frame 0, frame 1, encoding 0, encoding 1, t, mask logit, features, flow.

    Args:
      sampled: frames and encodings, `[2b, ...]`, sampled at the flow so far, at the block's own size.
      t: `[b, h, w, 1]`.
      before: the estimate before the block.
      scale: of the block's size, against the frame's.
    """
    first, second = split_pair(sampled)
    x = [first[..., :3], second[..., :3], first[..., 3:], second[..., 3:], resize(t, scale)]
    if before is not None:
        x += [resize(before.mask_logit, scale), resize(before.features, scale), resize_flow(before.flow, scale)]
    return join(*x)


def _swap_frames(images: Array) -> Array:
    return jnp.concatenate(split_pair(images)[::-1])


def _swap_flow(flow: Array) -> Array:
    return jnp.concatenate(jnp.split(flow, 2, -1)[::-1], -1)


def _reversed(level: Level) -> Level:
    return level.replace(flow=_swap_flow(level.flow), mask_logit=-level.mask_logit)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the objective.

    Attributes:
      level_weight: of the last of the levels below the output, against 1 for the final frame.
      level_decay: factor from a level to the coarser one before it.
      pyramid_levels: of the Laplacian pyramid; sides must be divisible by `2**pyramid_levels`.
      teacher_weight: of the distance to the teacher's frame, where the batch has one.
      flow_weight: of the distance to a teacher's flows or to flow labels, per pixel.
    """

    level_weight: float = 0.1
    level_decay: float = 0.8
    pyramid_levels: int = 5
    teacher_weight: float = 1.0
    flow_weight: float = 0.01


def loss(
    model: RIFEv4, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`L(frame_n) + level_weight * sum_{i<n} level_decay^(n-1-i) * L(frame_i)`, L the Laplacian-pyramid distance.

    frame_i is the blend of the frames warped by the flow after block i of n. With a teacher, `teacher_weight *
    L'(frame_n) + flow_weight * mean_i mean|flow_i - flow|` is added, L' the distance to the teacher's frame, i over all
    blocks; flow labels add the second term alone.

    Terms: `reconstruction`, `levels`; with `teacher_frame` in the batch `teacher`, with `flow` `distillation`. Source:
    this project; the published objective (VGG, Gram, SSIM, two teachers) was never released with the models.
    """
    inputs = regions_of(batch, rng)
    out, levels = model.apply(variables, batch["frames"], batch["t"], **inputs, method="stages")
    return objective(out, [level.merged for level in levels[:-1]], batch["target"], batch, config)


def objective(
    out: Output,
    earlier: Sequence[Float[Array, "b h2 w2 3"]],
    earlier_target: Float[Array, "b h2 w2 3"],
    batch: Batch,
    config: LossConfig,
) -> tuple[Array, LossAux]:
    """Computes `loss` from a prediction.

    Args:
      out: the prediction.
      earlier: the blends below it, coarse to fine.
      earlier_target: the target at their size.
      batch: `target` and, optionally, `teacher_frame` and `flow`.
      config: the weights.
    """
    distances = [laplacian_loss(frame, earlier_target, config.pyramid_levels) for frame in earlier]
    weights = [config.level_weight * config.level_decay**i for i in reversed(range(len(earlier)))]
    terms = {
        "reconstruction": laplacian_loss(out.frame, batch["target"], config.pyramid_levels),
        "levels": sum(w * d for w, d in zip(weights, distances, strict=True)),
    }
    if "teacher_frame" in batch:
        distance = laplacian_loss(out.frame, batch["teacher_frame"], config.pyramid_levels)
        terms["teacher"] = config.teacher_weight * distance
    if "flow" in batch:
        errors = [absolute(flow - batch["flow"]).mean() for flow in out.flows]
        terms["distillation"] = config.flow_weight * sum(errors) / len(errors)
    return sum(terms.values()), LossAux(terms, out.frame)


# encode/cnn0/weight       -> encode.cnn0.weight
# block1/conv0_0/weight    -> block1.conv0.0.0.weight
# block1/convblock_7/beta  -> block1.convblock.7.beta
NAMES: tuple[tuple[str, str], ...] = (
    *guided.NAMES,
    (r"_(\d)/beta", r".\1.beta"),
    (r"convblock_(\d)", r"convblock.\1"),
    (r"conv0_(\d)", r"conv0.\1.0"),
    ("lastconv", "lastconv.0"),
)
# 4.10 to 4.13.lite number the encoder's layers as a sequence with activations between.
NUMBERED_ENCODER = tuple((f"encode/cnn{i}", f"encode.{2 * i}") for i in range(4))
LAYOUTS = (
    *guided.LAYOUTS,
    (r"\.beta$", "channel"),
    (r"(lastconv\.0|cnn3|encode\.6)\.weight$", "conv_transpose"),
    (r"\.weight$", "conv"),
)
INIT_RULES = (*guided.INIT_RULES, ("beta$", constant(1.0)), ("(lastconv|cnn3)/", torch_default_transposed))


def v4_spec(
    *,
    widths: tuple[int, ...],
    params: int,
    gmac: float,
    encoder: tuple[int, int] | None = None,
    channels_out: int = 6,
    multiple: int = 32,
    level_scales: tuple[float, ...] = (8, 4, 2, 1),
    names: tuple[tuple[str, str], ...] = NAMES,
    status: str = "parity",
) -> ModelSpec:
    """One row; a block's `channels_out` are flow (4), mask (1), and 8 features or some that nothing reads."""
    features = 8 if channels_out == 13 else 0
    return ModelSpec(
        kind="interpolation",
        module=RIFEv4,
        config={
            "widths": widths,
            "level_scales": level_scales,
            "features": features,
            "encoder": encoder,
            "sum_masks": encoder is None,
            "unused": channels_out - 5 - features,
        },
        num_frames=2,
        any_time=True,
        padding=Padding(multiple),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=INIT_RULES,
        needs=("teacher_frame", "flow", guided.FIELD),
        additions=guided.ADDITIONS,
        neutral=guided.NEUTRAL,
        torch_rules=TorchRules(names, LAYOUTS),
        droppable=(r"^(teacher|caltime|contextnet|unet|block_tea)\.",),
        published=Published("none published", "MIT", "rgb"),
        status=status,
    )


FIVE = (16, 8, 4, 2, 1)  # level scales of five blocks
UNSTORED = "no stored case"

# Versions that are not listed share a row: 4.11, 4.12 with 4.10; 4.13.lite with 4.12.lite; 4.13, 4.14, 4.17 to 4.19 and
# 4.24 with 4.15; 4.16.lite, 4.17.lite with 4.15.lite; 4.21, 4.23 with 4.22.
SPECS = {
    "rife_v4_5": v4_spec(widths=(192, 128, 96, 64), channels_out=5, params=5_275_520, gmac=39.2, status=UNSTORED),
    "rife_v4_6": v4_spec(widths=(192, 128, 96, 64), params=5_306_256, gmac=39.5),
    "rife_v4_10": v4_spec(
        widths=(192, 128, 96, 64),
        encoder=(32, 8),
        params=5_364_312,
        gmac=52.3,
        names=NUMBERED_ENCODER + NAMES,
        status=UNSTORED,
    ),
    "rife_v4_12_lite": v4_spec(
        widths=(128, 96, 64, 48),
        encoder=(32, 4),
        params=2_631_804,
        gmac=32.0,
        names=NUMBERED_ENCODER + NAMES,
        status=UNSTORED,
    ),
    "rife_v4_15": v4_spec(widths=(192, 128, 96, 64), encoder=(32, 8), params=5_364_312, gmac=52.3),
    "rife_v4_15_lite": v4_spec(widths=(128, 96, 64, 48), encoder=(16, 4), params=2_616_476, gmac=24.8, status=UNSTORED),
    "rife_v4_20": v4_spec(widths=(384, 192, 96, 48), encoder=(32, 8), params=15_376_512, gmac=57.2, status=UNSTORED),
    "rife_v4_22": v4_spec(
        widths=(256, 192, 96, 48), encoder=(32, 8), channels_out=13, params=9_322_416, gmac=54.5, status=UNSTORED
    ),
    "rife_v4_22_lite": v4_spec(
        widths=(192, 128, 64, 32), encoder=(16, 4), channels_out=13, params=4_866_052, gmac=23.9
    ),
    "rife_v4_25": v4_spec(
        widths=(192, 128, 96, 64, 32),
        level_scales=FIVE,
        encoder=(16, 4),
        channels_out=13,
        multiple=64,
        params=5_664_776,
        gmac=21.9,
    ),
    "rife_v4_25_lite": v4_spec(
        widths=(192, 128, 96, 64, 24),
        level_scales=(32, 16, 8, 4, 1),
        encoder=(16, 4),
        channels_out=13,
        multiple=128,
        params=5_622_700,
        gmac=10.5,
    ),
    "rife_v4_25_heavy": v4_spec(
        widths=(384, 256, 192, 128, 64),
        level_scales=FIVE,
        encoder=(16, 4),
        channels_out=13,
        multiple=64,
        params=21_663_528,
        gmac=69.2,
    ),
    "rife_v4_26": v4_spec(
        widths=(192, 128, 96, 64, 32),
        level_scales=FIVE,
        encoder=(16, 4),
        channels_out=13,
        multiple=64,
        params=5_664_776,
        gmac=21.9,
    ),
    "rife_v4_26_heavy": v4_spec(
        widths=(192, 128, 96, 64, 32),
        level_scales=FIVE,
        encoder=(16, 16),
        channels_out=13,
        multiple=64,
        params=5_723_156,
        gmac=24.9,
    ),
}
