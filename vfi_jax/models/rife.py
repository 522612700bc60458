"""RIFE: IFNet with a refinement network and distillation (`rife`, `rife_large`, `rife_m`, and `d_rife`, `dr_rife`).

Zhewei Huang et al., "Real-Time Intermediate Flow Estimation for Video Frame Interpolation", ECCV 2022. Follows the
published code where the paper differs: mask logits between levels, thresholded distillation over three levels.
Distance indexing: Zhihang Zhong et al., "Clearer Frames, Anytime", ECCV 2024.

Architecture (`b h w c`; flows in pixels of the full frame, masks as logits until the end):
  1. IFNet: three IFBlocks at 1/4, 1/2 and 1 of the frame. Each sees both frames, and, after the first, the frames
     warped by the flow so far, the mask and the flow; it adds a change to flow (4 channels) and mask (1).
  2. ContextNet: a pyramid of four levels of features per frame, each level warped by the final flow.
  3. UNet: from frames, warped frames, mask, flow and both contexts a residual in -1..1.
  4. Frame: `clip(mask * warped_0 + (1 - mask) * warped_1 + residual)`.
  Training only: a teacher block (`block_tea`) sees the target too and corrects the last level; the student's flows
  are distilled from its flow. `rife_m` also sees t as a plane; `rife_large` starts at stride 1 instead of 2.
  `d_rife` is `rife_m`'s network, trained with distance maps for t. `dr_rife` also sees a reference frame between the
  inputs, and that frame's map.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float, UInt8

from vfi_jax.errors import UserError
from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.models import guided
from vfi_jax.models.guided import Guide, Guided, regions_of
from vfi_jax.models.spec import REFERENCE, ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, ConvPReLU, ConvTranspose, PReLU, constant, torch_default_transposed
from vfi_jax.nn.regions import sampled_prior
from vfi_jax.ops import (
    Padding,
    absolute,
    clamp,
    join,
    reference_of,
    resize,
    resize_flow,
    root,
    split_pair,
    time_map,
    warp,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

LEVEL_SCALES = (4, 2, 1)
BLOCKS, CONTEXTS = ("block0", "block1", "block2"), ("context1", "context2", "context3", "context4")


class UpPReLU(nn.Module):
    """Transposed convolution that doubles the sides, then PReLU."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = ConvTranspose(self.features, self.dtype)
        self.prelu = PReLU()

    def __call__(self, x: Array) -> Array:
        return self.prelu(self.conv(x))


class Conv2(nn.Module):
    """Two ConvPReLU; the first has the stride."""

    features: int
    stride: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv1 = ConvPReLU(self.features, self.stride, self.dtype)
        self.conv2 = ConvPReLU(self.features, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        return self.conv2(self.conv1(x))


class IFBlock(nn.Module):
    """Change of flow and mask, estimated at 1/`level_scale` of the frame.

    Attributes:
      width: channels inside.
      stride: of the first convolution: 2, or 1 in `rife_large`, which therefore works at twice the resolution.
    """

    width: int
    stride: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        half = self.width // 2
        self.conv0 = [ConvPReLU(half, self.stride, self.dtype), ConvPReLU(self.width, 2, self.dtype)]
        self.convblock = [ConvPReLU(self.width, dtype=self.dtype) for _ in range(8)]
        self.lastconv = ConvTranspose(5)  # float32: a flow

    def __call__(self, x: Array, level_scale: float, guide: Guide | None = None) -> tuple[Array, Array]:
        """Returns flow in pixels of the full frame and mask logit, at the frame's size; `x` has the level's size."""
        for layer in self.conv0:
            x = layer(x)
        x = guide(x) if guide else x
        inner = x
        for layer in self.convblock:
            inner = layer(inner)
        enlarge = self.stride * level_scale
        out = resize(self.lastconv(inner + x), enlarge)
        return out[..., :4] * enlarge, out[..., 4:5]


class ContextNet(nn.Module):
    """Pyramid of one frame's features; each level is returned warped to time t and passed on unwarped.

    Attributes:
      stride: of the first convolution, 1 or 2.
      dtype: compute dtype.
      width: channels of the first level; each of the others has twice as many as the one before.
    """

    stride: int
    dtype: DTypeLike = jnp.float32
    width: int = 16

    def setup(self) -> None:
        self.conv1 = Conv2(self.width, self.stride, self.dtype)
        self.conv2 = Conv2(2 * self.width, 2, self.dtype)
        self.conv3 = Conv2(4 * self.width, 2, self.dtype)
        self.conv4 = Conv2(8 * self.width, 2, self.dtype)

    def __call__(self, image: Array, flow: Array, guides: Sequence[Guide]) -> list[Array]:
        warped, x = [], image
        for layer, guide in zip((self.conv1, self.conv2, self.conv3, self.conv4), guides, strict=True):
            x = guide(layer(x))
            if layer.stride == 2:
                flow = resize_flow(flow, 0.5)
            warped.append(warp(x, flow))
        return warped


class UNet(nn.Module):
    """Residual in -1..1 from frames, warped frames, mask, flow and both contexts.

    Attributes:
      stride: of the first convolution, 1 or 2.
      dtype: compute dtype.
      width: channels of the last layer but one.
    """

    stride: int
    dtype: DTypeLike = jnp.float32
    width: int = 16

    def setup(self) -> None:
        for level in range(4):
            setattr(self, f"down{level}", Conv2((2 << level) * self.width, 2 if level else self.stride, self.dtype))
            setattr(self, f"up{level}", UpPReLU((8 >> level) * self.width, self.dtype))
        # With stride 1 all of the above is at twice the resolution; this layer returns to the frame's size.
        self.conv = Conv(3, stride=2 // self.stride, dtype=self.dtype)

    def __call__(self, x: Array, context0: list[Array], context1: list[Array]) -> Array:
        s0 = self.down0(x)
        s1 = self.down1(join(s0, context0[0], context1[0]))
        s2 = self.down2(join(s1, context0[1], context1[1]))
        s3 = self.down3(join(s2, context0[2], context1[2]))
        x = self.up0(join(s3, context0[3], context1[3]))
        x = self.up1(join(x, s2))
        x = self.up2(join(x, s1))
        x = self.up3(join(x, s0))
        return 2 * jax.nn.sigmoid(self.conv(x).astype(jnp.float32)) - 1


@flax.struct.dataclass
class Level:
    """The estimate after one block.

    Attributes:
      flow: `[b, h, w, 4]`.
      mask_logit: `[b, h, w, 1]`.
      warped0: `[b, h, w, 3]`, frame 0 sampled at flow 0:2.
      warped1: `[b, h, w, 3]`, frame 1 sampled at flow 2:4.
    """

    flow: Array
    mask_logit: Array
    warped0: Array
    warped1: Array

    @property
    def merged(self) -> Array:
        """`[b, h, w, 3]`, the two warped frames blended by the mask."""
        mask = jax.nn.sigmoid(self.mask_logit)
        return self.warped0 * mask + self.warped1 * (1 - mask)


class RIFE(Guided, kw_only=True):
    """IFNet (`rife`), IFNet_m (`rife_m`, any t) and IFNet_2R (`rife_large`; with `flip_ensemble` 2T2R).

    Attributes:
      sees_time: whether t is an input of the blocks.
      sees_reference: whether a reference frame and its map are, too.
      stride: of the first convolutions; 1 works at twice the resolution.
      scale: level scales are divided by it: below 1 for large frames and motions, above 1 for small ones.
      widths: channels of the blocks, coarse to fine; the teacher has those of the last.
      refinement_width: channels of the first level of the contexts and of the last of the U-Net.
    """

    sees_time: bool
    stride: int
    sees_reference: bool = False
    widths: tuple[int, ...] = (240, 150, 90)
    refinement_width: int = 16
    scale: float = 1.0
    any_time: bool = False

    def setup(self) -> None:
        self.block0, self.block1, self.block2 = (IFBlock(width, self.stride, self.dtype) for width in self.widths)
        self.block_tea = IFBlock(self.widths[-1], self.stride, self.dtype)
        self.contextnet = ContextNet(self.stride, self.dtype, self.refinement_width)
        self.unet = UNet(self.stride, self.dtype, self.refinement_width)
        self.add_guides(*BLOCKS, *CONTEXTS)

    def __call__(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> Output:
        """Returns frame (clipped to 0..1), flows, mask, residual and merged; sides must be multiples of the padding's.

        `rife` and `rife_large` do not see t: they predict the frame at t = 0.5.

        Args:
          frames: the inputs.
          t: time or distance map.
          reference: a frame between the inputs, for `sees_reference` only; None: frame 0.
          reference_t: its time or distance map.
          regions: label maps of both frames at half their sides, for `region_channels` only; None: no prior.
          region_seed: of the regions' codes: a number, or a key for codes of each sample's own.
        """
        prior = self.prior(regions, frames, region_seed)
        return self._refine(frames, self.levels(frames, t, reference, reference_t, prior), prior)

    def initialize(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> tuple[Output, Level]:
        """Uses every parameter, the teacher's too; `create` traces it."""
        return self.distil(frames, t, frames[:, 0], regions=self.any_regions(frames))[1:]

    def distil(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        target: Float[Array, "b h w 3"],
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> tuple[list[Level], Output, Level]:
        """Returns the student's levels and output, and the teacher: the last level, corrected knowing `target`."""
        prior = self.prior(regions, frames, region_seed)
        levels = self.levels(frames, t, reference, reference_t, prior)
        last, given = levels[-1], self._inputs(frames, t, reference, reference_t)
        inputs = join(*given, last.warped0, last.warped1, last.mask_logit, target, last.flow)
        teacher = _advance(self.block_tea(inputs, 1), last, frames)
        return levels, self._refine(frames, levels, prior), teacher

    def levels(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
        prior: Float[Array, "b2 h2 w2 r"] | None = None,
    ) -> list[Level]:
        """Returns the estimate after each block, coarse to fine; `prior` holds the codes of both frames' regions."""
        levels: list[Level] = []
        for name, level_scale in zip(BLOCKS, LEVEL_SCALES, strict=True):
            before, factor = levels[-1] if levels else None, level_scale / self.scale
            inputs = self._inputs(frames, t, reference, reference_t)
            if before is not None:
                inputs += [before.warped0, before.warped1, before.mask_logit]
            inputs = [resize(part, 1 / factor) for part in inputs]
            if before is not None:
                inputs.append(resize_flow(before.flow, 1 / factor))
            codes = None if prior is None else sampled_prior(prior, None if before is None else before.flow)
            change = getattr(self, name)(join(*inputs), factor, self.guide(name, codes))
            levels.append(_advance(change, before, frames))
        return levels

    def _inputs(
        self, frames: Array, t: ArrayLike, reference: Array | None, reference_t: ArrayLike | None
    ) -> list[Array]:
        inputs = [frames[:, 0], frames[:, 1], *([time_map(t, frames)] if self.sees_time else [])]
        if not self.sees_reference:
            return inputs
        frame, its_t = reference_of(frames, reference, reference_t)
        return [*inputs, time_map(its_t, frames), frame]

    def _refine(self, frames: Array, levels: list[Level], prior: Array | None) -> Output:
        last = levels[-1]
        each = (None, None) if prior is None else split_pair(prior)
        guides = [[self.guide(name, codes) for name in CONTEXTS] for codes in each]
        context0 = self.contextnet(frames[:, 0], last.flow[..., :2], guides[0])
        context1 = self.contextnet(frames[:, 1], last.flow[..., 2:], guides[1])
        inputs = join(frames[:, 0], frames[:, 1], last.warped0, last.warped1, last.mask_logit, last.flow)
        residual = self.unet(inputs, context0, context1)
        return Output(
            frame=clamp(last.merged + residual, 0, 1),
            flows=[level.flow for level in levels],
            mask=jax.nn.sigmoid(last.mask_logit),
            residual=residual,
            merged=last.merged,
        )


def _advance(change: tuple[Array, Array], before: Level | None, frames: Array) -> Level:
    flow, mask_logit = change
    if before is not None:
        flow, mask_logit = before.flow + flow, before.mask_logit + mask_logit
    return Level(flow, mask_logit, warp(frames[:, 0], flow[..., :2]), warp(frames[:, 1], flow[..., 2:]))


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the published objective.

    Attributes:
      distillation_weight: of the flow distillation, against 1 for both reconstructions.
      error_margin: pixels whose mean absolute error (0..1) exceeds the teacher's by more than this are distilled.
      pyramid_levels: of the Laplacian pyramid; sides must be divisible by `2**pyramid_levels`.
    """

    distillation_weight: float = 0.01
    error_margin: float = 0.01
    pyramid_levels: int = 5


def loss(
    model: RIFE, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`L(frame) + L(teacher frame) + distillation_weight * sum_i D_i`, L the Laplacian-pyramid distance.

    `D_i = mean_pixels(M_i * sqrt(mean_4((stop(flow_teacher) - flow_i)^2)))`. `M_i` is 1 at pixels where the merged
    frame of level i is worse than the teacher's by more than `error_margin`, else 0.

    Terms: `reconstruction`, `teacher`, `distillation`. Source: the published code (ECCV 2022).

    Raises:
      UserError: the weights lack the teacher (`block_tea`).
    """
    if "block_tea" not in variables["params"]:
        raise UserError("these weights lack the teacher (block_tea.*), which training needs: start from `create`")
    inputs = {**{name: batch[name] for name in REFERENCE if name in batch}, **regions_of(batch, rng)}
    target = batch["target"]
    levels, out, teacher = model.apply(variables, batch["frames"], batch["t"], target, **inputs, method="distil")
    terms = {
        "reconstruction": laplacian_loss(out.frame, target, config.pyramid_levels),
        "teacher": laplacian_loss(teacher.merged, target, config.pyramid_levels),
        "distillation": config.distillation_weight
        * sum(_distillation(level, teacher, target, config.error_margin) for level in levels),
    }
    return sum(terms.values()), LossAux(terms, out.frame)


def _distillation(level: Level, teacher: Level, target: Array, margin: float) -> Array:
    def error(merged: Array) -> Array:
        return absolute(merged - target).mean(-1)

    worse = lax.stop_gradient(error(level.merged) > error(teacher.merged) + margin)
    squared = ((lax.stop_gradient(teacher.flow) - level.flow) ** 2).mean(-1)
    # The published code takes a plain square root, whose slope at 0 is infinite: equal flows would give NaN gradients.
    return (root(squared) * worse).mean()


# block0/conv0_1/conv/weight          -> block0.conv0.1.0.weight
# contextnet/conv1/conv2/prelu/weight -> contextnet.conv1.conv2.1.weight
# unet/up0/conv/bias                  -> unet.up0.0.bias
NAMES = (
    *guided.NAMES,
    (r"(conv0|convblock)_(\d)", r"\1.\2"),
    (r"(conv0\.\d|convblock\.\d|conv[12])/conv/", r"\1.0."),
    (r"(conv0\.\d|convblock\.\d|conv[12])/prelu/", r"\1.1."),
    (r"(up\d)/conv/", r"\1.0."),
    (r"(up\d)/prelu/", r"\1.1."),
)
LAYOUTS = (
    *guided.LAYOUTS,
    (r"(lastconv|up\d\.0)\.weight$", "conv_transpose"),
    (r"(\.0|unet\.conv)\.weight$", "conv"),
)


def _frame_channels(sees_time: bool, sees_reference: bool) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """Where frames and warped frames enter and leave the network.

    Between the two frames and the warped ones are t, where it is seen, and the reference's map and frame.
    """
    first = (0, 3, 8) if sees_reference else (0, 3)
    later = 6 + sees_time + 4 * sees_reference
    return (
        (r"^block0\.conv0\.0\.0\.weight$", 1, first),
        (r"^block[12]\.conv0\.0\.0\.weight$", 1, (*first, later, later + 3)),
        (r"^block_tea\.conv0\.0\.0\.weight$", 1, (*first, later, later + 3, later + 7)),
        (r"^contextnet\.conv1\.conv1\.0\.weight$", 1, (0,)),
        (r"^unet\.down0\.conv1\.0\.weight$", 1, (0, 3, 6, 9)),
        (r"^unet\.conv\.(weight|bias)$", 0, (0,)),
    )


def _spec(
    *,
    config: Mapping[str, Any],
    params: int,
    teacher: int,
    gmac: float,
    score: str,
    distillation_weight: float = 0.01,
    licence: str = "MIT (code; none stated for weights)",
) -> ModelSpec:
    """One row; `teacher` is the number of parameters of the teacher, among `params`."""
    inputs = REFERENCE if config.get("sees_reference") else ()
    return ModelSpec(
        kind="interpolation",
        module=RIFE,
        config=config,
        num_frames=2,
        any_time=config["sees_time"],
        padding=Padding(32),
        params=params,
        params_inference=params - teacher,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(distillation_weight),
        init_rules=(
            *guided.INIT_RULES,
            ("prelu", constant(0.25)),
            (r"(lastconv|up\d/conv)/", torch_default_transposed),
        ),
        torch_rules=TorchRules(NAMES, LAYOUTS),
        training_only=(r"^block_tea\.",),
        needs=(guided.FIELD, *inputs),
        additions=guided.ADDITIONS,
        neutral=guided.NEUTRAL,
        inputs=inputs,
        frame_channels=_frame_channels(config["sees_time"], bool(inputs)),
        published=Published(score, licence, "bgr"),
    )


SPECS = {
    "rife": _spec(
        config={"sees_time": False, "stride": 2},
        params=10_708_215,
        teacher=636_665,
        gmac=119.7,
        score="35.62 dB Vimeo90K, 8-bit rounded",
    ),
    "rife_large": _spec(
        config={"sees_time": False, "stride": 1},
        params=10_708_215,
        teacher=636_665,
        gmac=477.1,
        score="36.19 dB Vimeo90K, flip ensemble",
    ),
    "rife_m": _spec(
        config={"sees_time": True, "stride": 2},
        params=10_710_780,
        teacher=637_070,
        gmac=119.9,
        score="31.87 dB HD 4x 720p, Y channel",
        distillation_weight=0.005,
    ),
    "d_rife": _spec(
        config={"sees_time": True, "stride": 2},
        params=10_710_780,
        teacher=637_070,
        gmac=119.9,
        score="-",
        distillation_weight=0.002,
        licence="MIT (none stated for weights)",
    ),
    "dr_rife": _spec(
        config={"sees_time": True, "sees_reference": True, "stride": 2},
        params=10_721_040,
        teacher=638_690,
        gmac=120.5,
        score="-",
        distillation_weight=0.002,
        licence="MIT (none stated for weights)",
    ),
}
