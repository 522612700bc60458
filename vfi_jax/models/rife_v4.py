"""RIFE v4: the line of Practical-RIFE that people run (networks 4.5 to 4.26), one module for all versions.

Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022, and the author's
releases after it. Follows the published inference code (vs-rife); the training objective is this project's own, since
none was published.

Shapes below: `b h w c`, flows in pixels of the full frame, masks as logits until the end.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, ConvTranspose, constant, leaky_relu, pixel_shuffle, torch_default_transposed
from vfi_jax.ops import cubic_correction, join, resize, second_differences, time_map, warp, warp_resized
from vfi_jax.ops.pad import Padding
from vfi_jax.types import Array, LossAux, Output

SLOPE = 0.2


class ResConv(nn.Module):
    """`leaky(conv(x) * beta + x)`, beta one learned gain a channel."""

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

    def __call__(self, x: Array, level_scale: float) -> tuple[Array, Array, Array, Array]:
        """Returns flow in pixels of the full frame, mask logit and features, at the frame's size; and what they were
        made from, at 1/4 of the size of `x`, which is the level's.
        """
        for layer in self.conv0:
            x = leaky_relu(layer(x), SLOPE)
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

    def __call__(self, image: Array) -> Array:
        x = image
        for layer in (self.cnn0, self.cnn1, self.cnn2):
            x = leaky_relu(layer(x), SLOPE)
        return self.cnn3(x).astype(jnp.float32)


class Refinement(nn.Module):
    """What blending the warped frames cannot make: a residual, and how sharply each warped frame is sampled.

    A U-Net at 1/2 and 1/4 of the frame that takes up what the last block knew. Its last layer starts at zero, so that a
    network that gets one is what it was.

    Attributes:
      widths: channels a frame at 1/2, and channels at 1/4.
      blocks: residual convolutions at 1/4.
      gains: cubic corrections to weigh.
    """

    widths: tuple[int, int]
    blocks: int
    gains: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        half, quarter = self.widths
        self.conv0 = Conv(half, stride=2, dtype=self.dtype)
        self.conv1 = Conv(quarter, stride=2, dtype=self.dtype)
        self.conv2 = Conv(quarter, dtype=self.dtype)
        self.convblock = [ResConv(quarter, self.dtype) for _ in range(self.blocks)]
        self.up = ConvTranspose(2 * half, self.dtype)
        self.last = ConvTranspose(4 + self.gains, self.dtype)

    def __call__(self, warped: Array, hidden: Array) -> tuple[Array, Array, Array]:
        """Returns a residual `[b, h, w, 3]`, a change of the mask logit and the gains of the cubic corrections.

        Args:
          warped: `[2b, h, w, c]`, all that was sampled at the last flow.
          hidden: `[b, h/4, w/4, d]`, what the last block's head reads.
        """
        half = join(*jnp.split(leaky_relu(self.conv0(warped), SLOPE), 2))
        quarter = leaky_relu(self.conv1(half), SLOPE)
        quarter = leaky_relu(self.conv2(join(quarter, hidden)), SLOPE)
        for layer in self.convblock:
            quarter = layer(quarter)
        half = leaky_relu(self.up(quarter) + half, SLOPE)
        out = self.last(half).astype(jnp.float32)
        return out[..., :3], out[..., 3:4], out[..., 4:]


@flax.struct.dataclass
class Level:
    """What stands after one block.

    Attributes:
      flow: `[b, h, w, 4]`.
      mask_logit: `[b, h, w, 1]`.
      features: `[b, h, w, c]`.
      warped: `[2b, h, w, 3 + e]`, frame 0 and its encoding, then frame 1 and its, sampled at `flow`; before
        sharpening also the second differences of the frames, 6 channels.
      hidden: `[b, h / 4s, w / 4s, d]`, what the block's head read, s its scale.
    """

    flow: Array
    mask_logit: Array
    features: Array
    warped: Array
    hidden: Array

    @property
    def merged(self) -> Array:
        """`[b, h, w, 3]`, the two warped frames blended by the mask."""
        warped0, warped1 = jnp.split(self.warped[..., :3], 2)
        mask = jax.nn.sigmoid(self.mask_logit)
        return warped0 * mask + warped1 * (1 - mask)


See = Callable[[Array, Level, float], Array]  # what a block sees of the frames, from them and the level before


class RIFEv4(nn.Module):
    """Any version of the line; the fields of one stand in its row of `SPECS`.

    Attributes:
      widths: of the blocks, coarse to fine.
      level_scales: of the blocks at `scale` 1.
      features: channels that a block hands to the next beside flow and mask.
      encoder: (channels inside, channels out) of the frame encoder, or None.
      sum_masks: a block changes the mask logit; otherwise it replaces it.
      unused: channels that the blocks put out and nothing reads.
      scale: below 1 for large frames and motions, above 1 for small ones: level scales are divided by it.
      ensemble: average every block with its time-reversed self.
      reduction: the blocks see frames at 1/`reduction`; their last flow and mask are enlarged before the frames are
        warped.
      refinement: (channels at 1/2, channels at 1/4, blocks at 1/4) of the refinement, or None.
      sharpening: the refinement may sample the frames more sharply than bilinearly.
      dtype: compute dtype of the convolutions.
      variant: name in MODELS.
      channel_order: of the frames the weights were trained on.
      any_time: whether the weights know other times than 0.5.
    """

    widths: tuple[int, ...]
    level_scales: tuple[float, ...]
    features: int
    encoder: tuple[int, int] | None
    sum_masks: bool = False
    unused: int = 0
    scale: float = 1.0
    ensemble: bool = False
    reduction: int = 1
    refinement: tuple[int, int, int] | None = None
    sharpening: bool = False
    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True

    def setup(self) -> None:
        if self.encoder:
            self.encode = Head(*self.encoder, self.dtype)
        for level, width in enumerate(self.widths):
            setattr(self, f"block{level}", IFBlock(width, self.features + self.unused, self.dtype))
        if self.refinement:
            self.refine = Refinement(self.refinement[:2], self.refinement[2], 2 * self.sharpening, self.dtype)

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns frame, flows (one a block), mask, merged, and with a refinement the residual.

        Sides must be multiples of the padding's.
        """
        return self._stages(frames, t, _sampled_sparsely)[0]

    def stages(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> tuple[Output, list[Level]]:
        """Returns the output, and what stands after each block, coarse to fine, at 1/`reduction` of the frame.

        Raises:
          UserError: `ensemble` of a version that hands features on, for which none was published.
        """
        return self._stages(frames, t, _sampled_whole)

    def _stages(self, frames: Array, t: ArrayLike, see: See) -> tuple[Output, list[Level]]:
        levels = self._levels(resize(frames, 1 / self.reduction), t, see)
        last = self._whole(levels[-1], jnp.concatenate([frames[:, 0], frames[:, 1]]))
        out = Output(
            frame=last.merged,
            flows=[*(resize(level.flow, self.reduction) * self.reduction for level in levels[:-1]), last.flow],
            mask=jax.nn.sigmoid(last.mask_logit),
            merged=last.merged,
        )
        return (self._refined(out, last) if self.refinement else out), levels

    def _whole(self, last: Level, images: Array) -> Level:
        """The last level as what blends the whole frames `[2b, h, w, 3]`."""
        if self.reduction == 1:
            return last
        flow, mask_logit, hidden = (resize(a, self.reduction) for a in (last.flow, last.mask_logit, last.hidden))
        flow = flow * self.reduction
        warped = warp(self._sampled_last(images), jnp.concatenate(jnp.split(flow, 2, -1)))
        return Level(flow, mask_logit, last.features, warped, hidden)

    def _sampled_last(self, images: Array) -> Array:
        """What the last flow samples: frames, encodings and what sharpens the frames share it, so one gather serves."""
        if not (self.refinement and self.sharpening):
            return images
        return join(images, second_differences(images[..., :3]))

    def _refined(self, out: Output, last: Level) -> Output:
        """The blend of the frames, sharpened where it is asked for, under the changed mask, plus a residual."""
        residual, mask_change, gains = self.refine(last.warped, last.hidden)
        warped = last.warped[..., :3]
        if self.sharpening:
            correction = cubic_correction(last.warped[..., -6:], jnp.concatenate(jnp.split(last.flow, 2, -1)))
            warped = warped + jnp.concatenate(jnp.split(gains, 2, -1)) * correction
        warped0, warped1 = jnp.split(warped, 2)
        mask = jax.nn.sigmoid(last.mask_logit + mask_change)
        merged = warped0 * mask + warped1 * (1 - mask)
        return out.replace(frame=merged + residual, mask=mask, merged=merged, residual=residual)

    def _levels(self, frames: Array, t: ArrayLike, see: See) -> list[Level]:
        """What stands after each block, coarse to fine, before the refinement."""
        if self.ensemble and self.features:
            raise UserError(f"{self.variant or 'this version'} has no ensemble: leave the field `ensemble` out")
        images = jnp.concatenate([frames[:, 0], frames[:, 1]])
        if self.encoder:
            images = jnp.concatenate([images, self.encode(images)], -1)
        levels: list[Level] = []
        for index, level_scale in enumerate(self.level_scales):
            block = getattr(self, f"block{index}")
            before = levels[-1] if levels else None
            flow, mask_logit, features, hidden = self._estimate(
                block, images, time_map(t, frames), before, level_scale / self.scale, see
            )
            if before is not None:
                flow = before.flow + flow
                mask_logit = before.mask_logit + mask_logit if self.sum_masks else mask_logit
            if self.reduction == 1 and index == len(self.widths) - 1:
                images = self._sampled_last(images)
            warped = warp(images, jnp.concatenate(jnp.split(flow, 2, -1)))
            levels.append(Level(flow, mask_logit, features, warped, hidden))
        return levels

    def _estimate(
        self, block: IFBlock, images: Array, t: Array, before: Level | None, level_scale: float, see: See
    ) -> tuple[Array, Array, Array, Array]:
        """Runs a block on the state before it, and with `ensemble` on its time reversal, averaged."""
        scale = 1 / level_scale
        seen = resize(images, scale) if before is None else see(images, before, scale)
        out = block(_block_input(seen, t, before, level_scale), level_scale)
        if not self.ensemble:
            return out[0], out[1], out[2][..., : self.features], out[3]
        mirrored = block(
            _block_input(_swap_frames(seen), 1 - t, before and _reversed(before), level_scale), level_scale
        )
        flow = (out[0] + _swap_flow(mirrored[0])) / 2
        return flow, (out[1] - mirrored[1]) / 2, out[2][..., : self.features], out[3]


def _sampled_whole(images: Array, before: Level, scale: float) -> Array:
    return resize(before.warped, scale)


def _sampled_sparsely(images: Array, before: Level, scale: float) -> Array:
    """The same; where nothing else needs the warped frames, most of their pixels are not sampled at all."""
    return warp_resized(images, jnp.concatenate(jnp.split(before.flow, 2, -1)), scale)


def _block_input(seen: Array, t: Array, before: Level | None, level_scale: float) -> Array:
    """Order of channels: frame 0, frame 1, encoding 0, encoding 1, t, mask logit, features, flow.

    Args:
      seen: frames and encodings, `[2b, ...]`, sampled at the flow so far, at the block's own size.
      t: `[b, h, w, 1]`.
      before: what stood before the block.
      level_scale: of the block.
    """
    scale = 1 / level_scale
    first, second = jnp.split(seen, 2)
    x = [first[..., :3], second[..., :3], first[..., 3:], second[..., 3:], resize(t, scale)]
    if before is not None:
        x += [
            resize(before.mask_logit, scale),
            resize(before.features, scale),
            resize(before.flow, scale) / level_scale,
        ]
    return join(*x)


def _swap_frames(images: Array) -> Array:
    return jnp.concatenate(jnp.split(images, 2)[::-1])


def _swap_flow(flow: Array) -> Array:
    return jnp.concatenate(jnp.split(flow, 2, -1)[::-1], -1)


def _reversed(level: Level) -> Level:
    return level.replace(flow=_swap_flow(level.flow), mask_logit=-level.mask_logit)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the objective.

    Attributes:
      level_weight: of the last level but one, against 1 for the final frame.
      level_decay: factor from a level to the coarser one before it.
      pyramid_levels: of the Laplacian pyramid; sides must be divisible by 2 to this power.
      taught_weight: of the teacher's frame, where there is a teacher.
      flow_weight: of the flows of a teacher or of labels, a pixel.
    """

    level_weight: float = 0.1
    level_decay: float = 0.8
    pyramid_levels: int = 5
    taught_weight: float = 1.0
    flow_weight: float = 0.01


def loss(
    model: RIFEv4,
    variables: Mapping[str, Any],
    batch: Mapping[str, Array],
    config: LossConfig,
    *,
    step: ArrayLike,
    rng: Array | None,
) -> tuple[Array, LossAux]:
    """`L(frame_n) + level_weight * sum_i level_decay^(n-1-i) * L(frame_i)`, L the Laplacian-pyramid distance.

    Taught, `taught_weight * L'(frame_n) + flow_weight * mean_i mean|flow_i - flow|` come on top, L' the distance to the
    teacher's frame, i over all blocks. Frames of blocks that see smaller ones are compared with a smaller target.

    The objective of this project: the published one (VGG, Gram, SSIM, two teachers) was never released with the models.

    Args:
      model: any RIFEv4.
      variables: its variables.
      batch: `frames`, `target`, `t`; where there are any, `teacher_frame` `[b, h, w, 3]`, a teacher's frame, and `flow`
        `[b, h, w, 4]` (t->0, t->1, pixels).
      config: the weights.
      step: unused; the objective has no schedule.
      rng: unused; the objective draws nothing.

    Returns:
      The total, and its terms `reconstruction` and `levels`, teacher_frame also `teacher` and `distillation`.
    """
    out, levels = model.apply(variables, batch["frames"], batch["t"], method="stages")
    whole = bool(model.refinement) or model.reduction > 1  # the last block's own frame is not the output
    before = [level.merged for level in levels[: None if whole else -1]]
    small = resize(batch["target"], 1 / model.reduction)
    distances = [laplacian_loss(frame, small, config.pyramid_levels) for frame in before]
    weights = [config.level_weight * config.level_decay**i for i in reversed(range(len(before)))]
    terms = {
        "reconstruction": laplacian_loss(out.frame, batch["target"], config.pyramid_levels),
        "levels": sum(w * d for w, d in zip(weights, distances, strict=True)),
    }
    if "teacher_frame" in batch:
        terms["teacher"] = config.taught_weight * laplacian_loss(
            out.frame, batch["teacher_frame"], config.pyramid_levels
        )
    if "flow" in batch:
        errors = [jnp.abs(flow - batch["flow"]).mean() for flow in out.flows]
        terms["distillation"] = config.flow_weight * sum(errors) / len(errors)
    return sum(terms.values()), LossAux(terms, out.frame)


NAMES: tuple[tuple[str, str], ...] = (
    (r"_(\d)/beta", r".\1.beta"),
    (r"convblock_(\d)", r"convblock.\1"),
    (r"conv0_(\d)", r"conv0.\1.0"),
    ("lastconv", "lastconv.0"),
)
# 4.10 to 4.13.lite number the encoder's layers as a sequence with activations between.
NUMBERED_ENCODER = tuple((f"encode/cnn{i}", f"encode.{2 * i}") for i in range(4))
LAYOUTS = (
    (r"\.beta$", "channel"),
    (r"(lastconv\.0|cnn3|encode\.6|refine\.(up|last))\.weight$", "conv_transpose"),
    (r"\.weight$", "conv"),
)


def _spec(
    widths: tuple[int, ...],
    encoder: tuple[int, int] | None,
    channels_out: int,
    multiple: int,
    params: int,
    gmac: float,
    *,
    level_scales: tuple[float, ...] = (8, 4, 2, 1),
    names: tuple[tuple[str, str], ...] = NAMES,
    reduction: int = 1,
    refinement: tuple[int, int, int] | None = None,
    sharpening: bool = False,
    published: str = "none published",
    status: str = "parity",
) -> ModelSpec:
    """One row: `channels_out` is what a block puts out (4 flow, 1 mask, then features or nothing read)."""
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
            "reduction": reduction,
            "refinement": refinement,
            "sharpening": sharpening,
        },
        num_frames=2,
        any_time=True,
        padding=Padding(multiple),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=(
            ("beta$", constant(1.0)),
            ("refine/last/", constant(0.0)),
            ("(lastconv|cnn3|up)/", torch_default_transposed),
        ),
        needs=("teacher_frame", "flow"),
        additions=("^refine/",),
        torch_rules=TorchRules(names, LAYOUTS),
        droppable=(r"^(teacher|caltime|contextnet|unet|block_tea)\.",),
        published=Published(published, "MIT", "rgb"),
        status=status,
    )


FIVE = (16, 8, 4, 2, 1)
UNSTORED = "no stored case"

# Versions that are not listed share a row: 4.11, 4.12 with 4.10; 4.13.lite with 4.12.lite; 4.13, 4.14, 4.17 to 4.19 and
# 4.24 with 4.15; 4.16.lite, 4.17.lite with 4.15.lite; 4.21, 4.23 with 4.22.
SPECS = {
    "rife_v4_5": _spec((192, 128, 96, 64), None, 5, 32, 5_275_520, 39.2, status=UNSTORED),
    "rife_v4_6": _spec((192, 128, 96, 64), None, 6, 32, 5_306_256, 39.5),
    "rife_v4_10": _spec(
        (192, 128, 96, 64), (32, 8), 6, 32, 5_364_312, 52.3, names=NUMBERED_ENCODER + NAMES, status=UNSTORED
    ),
    "rife_v4_12_lite": _spec(
        (128, 96, 64, 48), (32, 4), 6, 32, 2_631_804, 32.0, names=NUMBERED_ENCODER + NAMES, status=UNSTORED
    ),
    "rife_v4_15": _spec((192, 128, 96, 64), (32, 8), 6, 32, 5_364_312, 52.3),
    "rife_v4_15_lite": _spec((128, 96, 64, 48), (16, 4), 6, 32, 2_616_476, 24.8, status=UNSTORED),
    "rife_v4_20": _spec((384, 192, 96, 48), (32, 8), 6, 32, 15_376_512, 57.2, status=UNSTORED),
    "rife_v4_22": _spec((256, 192, 96, 48), (32, 8), 13, 32, 9_322_416, 54.5, status=UNSTORED),
    "rife_v4_22_lite": _spec((192, 128, 64, 32), (16, 4), 13, 32, 4_866_052, 23.9),
    "rife_v4_25": _spec((192, 128, 96, 64, 32), (16, 4), 13, 64, 5_664_776, 21.9, level_scales=FIVE),
    "rife_v4_25_lite": _spec((192, 128, 96, 64, 24), (16, 4), 13, 128, 5_622_700, 10.5, level_scales=(32, 16, 8, 4, 1)),
    "rife_v4_25_heavy": _spec((384, 256, 192, 128, 64), (16, 4), 13, 64, 21_663_528, 69.2, level_scales=FIVE),
    "rife_lap": _spec(
        (192, 128, 96, 64, 32),
        (16, 4),
        13,
        64,
        5_826_158,
        33.2,
        level_scales=FIVE,
        refinement=(16, 48, 4),
        sharpening=True,
        published="35.14 dB UCF101, measured here",
        status="trained here",
    ),
    "rife_lap_s": _spec(
        (64, 64, 64, 64),
        (16, 4),
        13,
        64,
        1_540_840,
        11.3,
        level_scales=(8, 4, 2, 1),
        reduction=2,
        refinement=(8, 24, 1),
        published="34.88 dB UCF101, measured here",
        status="trained here",
    ),
    "rife_v4_26": _spec((192, 128, 96, 64, 32), (16, 4), 13, 64, 5_664_776, 21.9, level_scales=FIVE),
    "rife_v4_26_heavy": _spec((192, 128, 96, 64, 32), (16, 16), 13, 64, 5_723_156, 24.9, level_scales=FIVE),
}
