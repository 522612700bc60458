"""UGSP: convolutions only where interpolation is uncertain (`ugsp`, `ugsp_distill`, `ugsp_refine`, `ugsp_uncertainty`).

"Uncertainty-Guided Spatial Pruning Architecture for Efficient Frame Interpolation", ACM MM 2023. Follows the published
code, which has the second stage of training only, where the paper differs: both reconstructions are Laplacian
distances, and the keep rate is weighted by channels and area.

Architecture (`b h w c`; level k has 1/2^k of the frame's sides, flows in pixels of their own level):
  1. Encoder: both frames, less their common mean, to features of levels 1 to 4 (`PyramidEncoder`).
  2. Block `first` (level 4, dense): the features of both frames to flows, an intermediate feature of level 3, and two
     logits per pixel; where the first is larger, level 3 is computed (keep mask 1), elsewhere pruned.
  3. Blocks `1`, `2`, `final` (levels 3, 2, 1): the features of their level, warped by the flows so far, the
     intermediate feature and the flows to the change of the flows and the next feature. A block is a chain of 3x3
     convolutions whose results are 0 where the keep mask is 0; a 1x1 convolution sees all of them. Blocks 1 and 2 also
     choose what of the next level is kept, within what their own level keeps.
  4. `final` gives mask and residual; the frame is `clip(mask * warped_0 + (1 - mask) * warped_1 + mean + residual)`.
     In `ugsp_refine` the residual is that of a context and a U-Net as in RIFE, ten channels wide.
  Training only: soft keep masks by Gumbel softmax; an unpruned branch, which shares all weights and sees the pruned
  feature and flow warped by its own flow (its U-Net sees the pruned flow); in `ugsp_refine` a teacher of the last flow,
  which sees the target.

Stage 1, `ugsp_uncertainty`, estimates the frame without pruning and the logarithm U of its error's scale, for each
color channel; masks of stage 2 follow U (`vfi-jax prepare masks`). Its network, clamp of U, weights and thresholds are
this project's choice, because nothing of that stage is published but the likelihood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UsageError, UserError
from vfi_jax.losses.flow import flow_distillation
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.losses.pruning import keep_rate, label_distance, laplace_likelihood, soft_keep
from vfi_jax.models.base import Network
from vfi_jax.models.rife import Conv2, UNet
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import ConvPReLU, ConvTranspose, PyramidEncoder, SparseBlock, constant, torch_default_transposed
from vfi_jax.ops import (
    Padding,
    absolute,
    clamp,
    join,
    resize,
    resize_flow,
    root,
    split_pair,
    stack_halves,
    stack_pair,
    warp,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

PYRAMID = 5  # levels of the Laplacian distance
REFINED = 10  # channels of the refinement at half the frame's size
UNCERTAINTY = (-6.0, 3.0)  # limits of U
MASK_STEPS = (8, 4, 2)  # pixels of the frame per pixel of keep masks 1, 2, 3

# From the number of a keep mask, 0 to 2, and its logits `[b, h, w, 2]` to the mask `[b, h, w, 1]`; None: all is kept.
Choice = Callable[[int, Array], Array | None]


class ContextNet(nn.Module):
    """Features of one frame at 1/2 to 1/16 of its sides, not warped."""

    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for level in range(4):
            setattr(self, f"conv{level + 1}", Conv2(REFINED << level, 2, self.dtype))

    def __call__(self, image: Array) -> list[Array]:
        features = [self.conv1(image)]
        for layer in (self.conv2, self.conv3, self.conv4):
            features.append(layer(features[-1]))
        return features


@flax.struct.dataclass
class Branch:
    """Results of the blocks, with the keep masks or without them.

    Attributes:
      flows: of levels 3 to 0.
      features: the intermediate features of levels 3, 2, 1, and the last block's, level 1.
      last: `[b, h, w, 8]`, what the last block adds to the flow, mask logit and residual.
      keep: keep masks `[b, h_k, w_k, 1]` of levels 3, 2, 1; empty without pruning.
    """

    flows: list[Array]
    features: list[Array]
    last: Array
    keep: list[Array]


@flax.struct.dataclass
class Encoded:
    """Both frames less their mean, stacked as by `stack_pair`; the mean `[b, 1, 1, 1]`; features of levels 1 to 4."""

    images: Array
    mean: Array
    pyramid: list[Array]


@flax.struct.dataclass
class Estimate:
    """The output with the intermediate values that the objective needs.

    Attributes:
      out: the prediction.
      branch: flows, features and keep masks.
      mean: `[b, 1, 1, 1]`, subtracted from the frames.
    """

    out: Output
    branch: Branch
    mean: Array


@flax.struct.dataclass
class Branches:
    """Predictions of both branches, which the objective of stage 2 compares.

    Attributes:
      pruned: the prediction, with soft keep masks.
      unpruned: that of the unpruned branch.
      teacher_flow: `[b, h, w, 4]` of the teacher; None for a model without one.
      teacher_merged: `[b, h, w, 3]`, the frames warped by it and blended.
    """

    pruned: Estimate
    unpruned: Estimate
    teacher_flow: Array | None = None
    teacher_merged: Array | None = None


class UGSP(Network, kw_only=True):
    """The pruned interpolator (stage 2).

    Attributes:
      widths: channels of levels 1 to 4.
      refines: whether a U-Net gives the residual; such a model has a teacher for its training.
      keep_bias: added to the logit of keeping; above 0 more is kept, below 0 less.
      skips: whether pruned pixels are not computed, except beside kept ones, instead of computed and masked. For masks
        of 0 and 1, without gradients.
    """

    widths: tuple[int, ...] = (32, 48, 72, 96)
    refines: bool = False
    keep_bias: float = 0.0
    skips: bool = False
    any_time: bool = False
    masks = True  # whether blocks predict keep masks

    def setup(self) -> None:
        self.context = PyramidEncoder(self.widths, 3, self.dtype)
        one, two, three, _ = self.widths
        fourth, third, second, width = self.block_widths
        shared = {"masks": self.masks, "dtype": self.dtype}
        self.glblock_first = SparseBlock(fourth, 4 + three, bias=True, **shared)
        self.glblock_1 = SparseBlock(third, 4 + two, **shared)
        self.glblock_2 = SparseBlock(second, 4 + one, **shared)
        self.glblock_final = SparseBlock(width, width, 4, masks=False, final=True, dtype=self.dtype)
        if self.refines:
            width += one
            self.glblock_final_teacher = SparseBlock(width, width, 4, masks=False, final=True, dtype=self.dtype)
            self.contextnet = ContextNet(self.dtype)
            self.unet = UNet(2, self.dtype, REFINED)

    @property
    def block_widths(self) -> tuple[int, ...]:
        """Channels of the blocks at levels 4, 3, 2, 1."""
        one, two, three, four = self.widths
        return 2 * four, 3 * three + 4, 3 * two + 4, 3 * one + 4

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Returns frame, flows of levels 3 to 0, mask, residual, merged; sides must be multiples of the padding's.

        Predicts the frame at t = 0.5, whatever `t` is.
        """
        return self.estimate(frames).out

    def initialize(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> tuple[Output, Branches | None]:
        """Uses every parameter, the teacher's too; `create` traces it."""
        teaching = self.branches(frames, lambda number, logits: None, frames[:, 0]) if self.refines else None
        return self(frames, t), teaching

    def estimate(self, frames: Float[Array, "b 2 h w 3"], choose: Choice | None = None) -> Estimate:
        """Returns the output with keep masks and intermediate values.

        Args:
          frames: the inputs.
          choose: of the keep masks, which are multiplied with those of the coarser levels; None: by the larger logit.
        """
        encoded = self._encode(frames)
        branch = self._pruned(encoded, choose or self.keep)
        return self._estimate(encoded, branch, branch.flows[-1])

    def keep(self, number: int, logits: Float[Array, "b h w 2"]) -> Float[Array, "b h w 1"]:
        """Returns 1 where the logit of keeping is larger, else 0."""
        return (logits[..., :1] + self.keep_bias > logits[..., 1:]).astype(jnp.float32)

    def branches(
        self, frames: Float[Array, "b 2 h w 3"], choose: Choice, target: Float[Array, "b h w 3"] | None = None
    ) -> Branches:
        """Returns both branches, and the teacher's estimate if the model has a teacher.

        Args:
          frames: the inputs.
          choose: of the keep masks.
          target: which the teacher sees.
        """
        encoded = self._encode(frames)
        branch = self._pruned(encoded, choose)
        unpruned = self._unpruned(encoded, branch)
        # The refinement of either branch sees the flow of the pruned one, as published.
        both = [self._estimate(encoded, each, branch.flows[-1]) for each in (branch, unpruned)]
        if not self.refines or target is None:
            return Branches(*both)
        features = self.features(target - encoded.mean)[0]
        out = self._joined(encoded, 1, unpruned.flows[2], unpruned.features[2], unpruned.flows[2], features)
        last = self.glblock_final_teacher.enlarge(self.glblock_final_teacher(out))
        flow = last[..., :4] + resize_flow(unpruned.flows[2], 2)
        first, second = split_pair(warp(encoded.images, stack_halves(flow)))
        mask = jax.nn.sigmoid(last[..., 4:5])
        return Branches(*both, flow, mask * first + (1 - mask) * second + encoded.mean)

    def features(self, images: Float[Array, "b h w 3"]) -> list[Array]:
        """Returns the encoder's features of mean-free images, levels 1 to 4."""
        return self.context(images)

    def _encode(self, frames: Array) -> Encoded:
        mean = frames.mean((1, 2, 3, 4), keepdims=True)[:, 0]
        images = stack_pair(frames) - jnp.concatenate([mean, mean])
        return Encoded(images, mean, self.features(images))

    def _joined(self, encoded: Encoded, level: int, warped_by: Array, *parts: Array) -> Array:
        return join(*split_pair(warp(encoded.pyramid[level - 1], stack_halves(warped_by))), *parts)

    def _pruned(self, encoded: Encoded, choose: Choice) -> Branch:
        """The blocks with keep masks, each a part of the one before."""
        out = self.glblock_first(join(*split_pair(encoded.pyramid[3])))
        keep = self._keep(self.glblock_first, 0, out, choose, [])
        flows, features = [resize(out[..., :4], 2)], [resize(out[..., 4:], 2)]
        for level, block in ((3, self.glblock_1), (2, self.glblock_2)):
            x = self._joined(encoded, level, flows[-1], features[-1], flows[-1])
            out = self._block(block, x, keep)
            keep = self._keep(block, 4 - level, out, choose, keep)
            larger = resize(out, 2)
            flows.append(larger[..., :4] + resize_flow(flows[-1], 2))
            features.append(larger[..., 4:])
        x = self._joined(encoded, 1, flows[-1], features[-1], flows[-1])
        hidden = self._block(self.glblock_final, x, keep)
        last = self.glblock_final.enlarge(hidden)
        return Branch([*flows, last[..., :4] + resize_flow(flows[-1], 2)], [*features, hidden], last, keep)

    def _block(self, block: SparseBlock, x: Array, keep: list[Array]) -> Array:
        if keep and self.skips:
            return block.in_blocks(x, keep[-1])
        return block(x, keep[-1] if keep else None)

    def _keep(self, block: SparseBlock, number: int, out: Array, choose: Choice, before: list[Array]) -> list[Array]:
        if not block.masks or (keep := choose(number, block.logits(out[..., 4:]))) is None:
            return []
        return [*before, keep * _doubled(before[-1]) if before else keep]

    def _unpruned(self, encoded: Encoded, pruned: Branch) -> Branch:
        """The blocks without masks: warped by flows of their own, but with the pruned branch's features and flows."""
        flows, features = pruned.flows[:1], pruned.features[:1]
        for level, block in ((3, self.glblock_1), (2, self.glblock_2)):
            at = 3 - level
            out = resize(block(self._joined(encoded, level, flows[-1], pruned.features[at], pruned.flows[at])), 2)
            flows.append(out[..., :4] + resize_flow(flows[-1], 2))
            features.append(out[..., 4:])
        hidden = self.glblock_final(self._joined(encoded, 1, flows[-1], pruned.features[2], pruned.flows[2]))
        last = self.glblock_final.enlarge(hidden)
        return Branch([*flows, last[..., :4] + resize_flow(flows[-1], 2)], [*features, hidden], last, [])

    def _estimate(self, encoded: Encoded, branch: Branch, seen: Array) -> Estimate:
        """The prediction of a branch; its refinement sees the flow `seen`."""
        flow, mask, residual = branch.flows[-1], jax.nn.sigmoid(branch.last[..., 4:5]), branch.last[..., 5:]
        warped = split_pair(warp(encoded.images, stack_halves(flow)))
        merged = mask * warped[0] + (1 - mask) * warped[1] + encoded.mean
        if self.refines:
            images = split_pair(encoded.images)
            contexts = [self.contextnet(image) for image in images]
            residual = self.unet(join(*images, *warped, mask, seen), *contexts)
        out = Output(
            frame=clamp(merged + residual, 0, 1), flows=branch.flows, mask=mask, residual=residual, merged=merged
        )
        return Estimate(out, branch, encoded.mean)


def given(masks: Sequence[Float[Array, "b _ _ 1"]]) -> Choice:
    """Returns the choice of these keep masks, of levels 3, 2, 1, whatever the logits are.

    Raises:
      UsageError: when called with logits of another size.
    """

    def choose(number: int, logits: Array) -> Array:
        mask = masks[number]
        if mask.shape != (*logits.shape[:3], 1):
            raise UsageError(
                f"keep mask {number + 1} has shape {tuple(mask.shape)}: {(*logits.shape[:3], 1)} is needed, 1/"
                f"{MASK_STEPS[number]} of the frame's sides"
            )
        return jnp.asarray(mask, jnp.float32)

    return choose


def _doubled(mask: Array) -> Array:
    """Nearest-neighbor enlargement by 2."""
    return jnp.repeat(jnp.repeat(mask, 2, 1), 2, 2)


class UGSPUncertainty(UGSP, kw_only=True):
    """The uncertainty network (stage 1): the blocks without masks, and a head on the last one's output.

    Nothing of it is published but that U has three channels at the frame's size. Chosen here: the network of stage 2,
    so that the uncertainty is that of the frames which are to be pruned, without the convolutions for masks, which
    nothing would train; a head of a convolution with half the channels and a transposed one, on the last block's
    activated output; U within -6 to 3, so that no error's likelihood takes over the gradient; -3 at first.
    """

    masks = False

    def setup(self) -> None:
        super().setup()
        width = self.block_widths[-1]
        self.uncertainty = [ConvPReLU(width // 2, dtype=self.dtype), ConvTranspose(3)]

    def initialize(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> tuple[Estimate, Array]:
        """Uses every parameter; `create` traces it."""
        del t
        return self.estimate_uncertainty(frames)

    def estimate_uncertainty(self, frames: Float[Array, "b 2 h w 3"]) -> tuple[Estimate, Float[Array, "b h w 3"]]:
        """Returns the prediction, and U, the logarithm of the error's scale in 0..1 for each channel."""
        estimate = self.estimate(frames)
        x = self.glblock_final.prelu_last(estimate.branch.features[-1])
        for layer in self.uncertainty:
            x = layer(x)
        return estimate, clamp(x, *UNCERTAINTY)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights and schedules of stage 2's published objective. Epochs count from 0.

    Attributes:
      steps_per_epoch: 0: a training run puts its own number here.
      unpruned_weight: of the unpruned branch's reconstruction, against 1 for the pruned one.
      contrast_weight: of the distance of the pruned features from the unpruned ones.
      keep_rate: at which the sparsity term aims.
      pruning_weight: of sparsity and guidance together, after `pruning_epochs`; it rises from epoch 1.
      pruning_epochs: number of epochs of that rise.
      sparsity_weight: of the distance of the keep rate, times `pruning_weight`.
      guidance_weight: of the distance of keep masks from the batch's `masks`, times `pruning_weight`.
      guidance_until: epoch after which the guidance decays linearly, over 100 epochs, to a fifth.
      cooling_epochs: the temperature of soft masks is `max(1 - epoch / cooling_epochs, coldest)`.
      coldest: see there.
      geometry_weight: of IFRNet's geometry term; 0: left out.
      distillation_weight: of IFRNet's flow distillation, if the batch has a `flow`; 0: left out.
      distrust: see `flow_distillation`.
      teacher_weight: of the distillation from the teacher, for a model that has one.
      error_margin: see `rife.LossConfig`.
    """

    steps_per_epoch: int = 0
    unpruned_weight: float = 0.5
    contrast_weight: float = 0.001
    keep_rate: float = 0.35
    pruning_weight: float = 0.1
    pruning_epochs: int = 15
    sparsity_weight: float = 0.1
    guidance_weight: float = 0.5
    guidance_until: int = 200
    cooling_epochs: int = 150
    coldest: float = 0.4
    geometry_weight: float = 0.0
    distillation_weight: float = 0.0
    distrust: float = 0.3
    teacher_weight: float = 0.02
    error_margin: float = 0.01


def loss(
    model: UGSP, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """The objective of stage 2, with soft keep masks drawn by `rng`; see `objective`.

    Raises:
      UsageError: `rng` or the number of steps per epoch is missing.
      UserError: the weights lack the teacher of a model that has one.
    """
    if rng is None:
        raise UsageError("the objective of UGSP draws keep masks: it needs rng")
    count, _, height, width, _ = batch["frames"].shape
    uniform = [
        jax.random.uniform(key, (count, height // side, width // side, 2), minval=jnp.finfo(jnp.float32).tiny)
        for key, side in zip(jax.random.split(rng, len(MASK_STEPS)), MASK_STEPS, strict=True)
    ]
    return objective(model, variables, batch, config, epoch=_epoch(step, config.steps_per_epoch), uniform=uniform)


def objective(
    model: UGSP,
    variables: Variables,
    batch: Batch,
    config: LossConfig,
    *,
    epoch: ArrayLike,
    uniform: Sequence[Float[Array, "b _ _ 2"]],
) -> tuple[Array, LossAux]:
    """`L(frame) + unpruned_weight L(unpruned frame) + contrast_weight sum_k G(f_k, stop(g_k)) + lambda P + ...`.

    L is the Laplacian-pyramid distance, G the geometry loss of pruned and unpruned features, `P = sparsity_weight
    |keep rate - wanted| + w_m label_distance`, `lambda = pruning_weight min((epoch - 1) / pruning_epochs, 1)` (below 0
    in epoch 0, as published). Further terms are IFRNet's, with weights, and with a teacher `L(teacher frame) +
    teacher_weight sum_v mean(m sqrt(mean_4((stop(teacher flow) - v)^2)))` over the flows v of levels 0 to 2 at the
    frame's size, m being 1 where the merged frame is further than the teacher's by `error_margin` from the target less
    the frames' mean (as published, where both frames have that mean).

    Terms: `reconstruction`, `unpruned`, `self_contrast`, `sparsity`; with `masks` `[b, h, w, 3]` (0 or 1, for levels 3,
    2, 1) in the batch `guidance`; `geometry`, `distillation`, `teacher`, `teacher_distillation` where they apply.
    Source: the published code.

    Args:
      model: of this family's stage 2.
      variables: its variables.
      batch: frames, target, and optionally `masks` and `flow`.
      config: weights and schedules.
      epoch: number, from 0.
      uniform: draws for the three soft masks, between 0 and 1.

    Raises:
      UserError: the weights lack the teacher.
    """
    if model.refines and "glblock_final_teacher" not in variables["params"]:
        raise UserError(
            "these weights lack the teacher (glblock_final_teacher.*), which training needs: start from `create`"
        )
    epoch, target = jnp.asarray(epoch, jnp.float32), batch["target"]
    temperature = jnp.maximum(1 - epoch / config.cooling_epochs, config.coldest)

    def choose(number: int, logits: Array) -> Array:
        return soft_keep(logits, uniform[number], temperature)

    both = model.apply(variables, batch["frames"], choose, target, method="branches")
    pruned, unpruned = both.pruned, both.unpruned
    pairs = zip(pruned.branch.features[1:], unpruned.branch.features[1:], strict=True)
    contrast = sum(geometry_loss(feature, lax.stop_gradient(other)) for feature, other in pairs)
    pruning = config.pruning_weight * jnp.minimum((epoch - 1) / config.pruning_epochs, 1)
    rate = keep_rate(pruned.branch.keep, model.block_widths)
    terms = {
        "reconstruction": laplacian_loss(pruned.out.frame, target, PYRAMID),
        "unpruned": config.unpruned_weight * laplacian_loss(unpruned.out.frame, target, PYRAMID),
        "self_contrast": config.contrast_weight * contrast,
        "sparsity": pruning * config.sparsity_weight * absolute(rate - config.keep_rate),
    }
    if config.guidance_weight and "masks" in batch:
        decay = jnp.maximum(jnp.minimum(1 - (epoch - config.guidance_until) / 100, 1), 0.2)
        distance = label_distance(pruned.branch.keep, batch["masks"].astype(jnp.float32))
        terms["guidance"] = pruning * config.guidance_weight * decay * distance
    terms |= _of_ifrnet(model, variables, batch, config, pruned)
    if both.teacher_flow is not None:
        terms |= _of_teacher(both, target, config)
    return sum(terms.values()), LossAux(terms, pruned.out.frame)


def _of_ifrnet(
    model: UGSP, variables: Variables, batch: Batch, config: LossConfig, pruned: Estimate
) -> dict[str, Array]:
    """Geometry and distillation terms, as `ifrnet.loss` has them."""
    terms = {}
    if config.geometry_weight:
        encoded = model.apply(variables, batch["target"] - pruned.mean, method="features")
        pairs = zip(pruned.branch.features[:3], reversed(encoded[:3]), strict=True)
        terms["geometry"] = config.geometry_weight * sum(geometry_loss(feature, wanted) for feature, wanted in pairs)
    if config.distillation_weight and "flow" in batch:
        distance = flow_distillation(pruned.out.flows, batch["flow"], config.distrust)
        terms["distillation"] = config.distillation_weight * distance
    return terms


def _of_teacher(both: Branches, target: Array, config: LossConfig) -> dict[str, Array]:
    wanted = target - both.pruned.mean

    def error(merged: Array) -> Array:
        return absolute(merged - wanted).mean(-1)

    merged = both.pruned.out.merged
    worse = lax.stop_gradient(error(merged) > error(both.teacher_merged) + config.error_margin)
    flows = [resize_flow(flow, scale) for flow, scale in zip(both.pruned.out.flows[:0:-1], (1, 2, 4), strict=True)]
    squared = [((lax.stop_gradient(both.teacher_flow) - flow) ** 2).mean(-1) for flow in flows]
    return {
        "teacher": laplacian_loss(both.teacher_merged, target, PYRAMID),
        "teacher_distillation": config.teacher_weight * sum((worse * root(each)).mean() for each in squared),
    }


@dataclasses.dataclass(frozen=True)
class UncertaintyLossConfig:
    """Weights of stage 1's objective, this project's choice. Epochs count from 0.

    Attributes:
      steps_per_epoch: 0: a training run puts its own number here.
      uncertainty_weight: of the likelihood, against 1 for the reconstruction.
      uncertainty_from: first epoch in which it counts.
    """

    steps_per_epoch: int = 0
    uncertainty_weight: float = 1.0
    uncertainty_from: int = 50


def uncertainty_loss(
    model: UGSPUncertainty,
    variables: Variables,
    batch: Batch,
    config: UncertaintyLossConfig,
    *,
    step: ArrayLike,
    rng: Array | None,
) -> tuple[Array, LossAux]:
    """`L(frame) + uncertainty_weight mean(exp(-U) |frame - target| + 2 U)`, L the Laplacian-pyramid distance.

    Terms: `reconstruction`, `uncertainty` (0 before its first epoch). Source of the likelihood: ACM MM 2023.
    """
    del rng
    estimate, log_scale = model.apply(variables, batch["frames"], method="estimate_uncertainty")
    frame, target = estimate.out.frame, batch["target"]
    counts = _epoch(step, config.steps_per_epoch) >= config.uncertainty_from
    terms = {
        "reconstruction": laplacian_loss(frame, target, PYRAMID),
        "uncertainty": config.uncertainty_weight * counts * laplace_likelihood(frame, target, log_scale),
    }
    return sum(terms.values()), LossAux(terms, frame)


def _epoch(step: ArrayLike, steps_per_epoch: int) -> Array:
    """The number of an optimizer step's epoch, from 0."""
    if steps_per_epoch < 1:
        raise UsageError("the objective has a schedule by epochs: set loss.steps_per_epoch")
    return jnp.asarray(step) // steps_per_epoch


# glblock_1/convblock_l_0/weight      -> glblock_1.convblock_l.0.weight
# context/pyramid1_0/conv/weight      -> context.pyramid1.0.0.weight
# contextnet/conv1/conv2/prelu/weight -> contextnet.conv1.conv2.1.weight
# uncertainty_0/prelu/weight          -> uncertainty.0.1.weight
NAMES = (
    (r"(pyramid\d|conv_head|convblock_l|prelu_l|uncertainty)_(\d)", r"\1.\2"),
    (r"(pyramid\d\.\d|uncertainty\.0|/conv[12]|up\d)/conv/", r"\1.0."),
    (r"(pyramid\d\.\d|uncertainty\.0|/conv[12]|up\d)/prelu/", r"\1.1."),
)
LAYOUTS = (
    (r"(dconv_last|up\d\.0|uncertainty\.1)\.weight$", "conv_transpose"),
    (r"(pyramid\d\.\d|uncertainty\.0|conv[12])\.0\.weight$", "conv"),
    (r"(conv_head\.0|convblock_l\.\d|conv_last|conv_mask|unet\.conv)\.weight$", "conv"),
)
INIT = (
    ("prelu", constant(0.25)),
    (r"(dconv_last|up\d/conv|uncertainty_1)/", torch_default_transposed),
)
INIT_UNCERTAINTY = (r"uncertainty_1/bias", constant(-3.0))  # an error of 13 in 255


def _frame_channels(refines: bool, uncertain: bool) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """Where colors enter and leave the network."""
    channels = [
        (r"^context\.pyramid1\.0\.0\.weight$", 1, (0,)),
        (r"dconv_last\.weight$", 1, (5,)),
        (r"dconv_last\.bias$", 0, (5,)),
    ]
    if refines:
        channels += [
            (r"^contextnet\.conv1\.conv1\.0\.weight$", 1, (0,)),
            (r"^unet\.down0\.conv1\.0\.weight$", 1, (0, 3, 6, 9)),
            (r"^unet\.conv\.(weight|bias)$", 0, (0,)),
        ]
    if uncertain:
        channels += [(r"^uncertainty\.1\.weight$", 1, (0,)), (r"^uncertainty\.1\.bias$", 0, (0,))]
    return tuple(channels)


GPL = "GPL-3.0 (code; none stated for weights)"


def _spec(
    *,
    params: int,
    gmac: float,
    loss_config: LossConfig | UncertaintyLossConfig,
    score: str = "-",
    refines: bool = False,
    uncertain: bool = False,
    teacher: int = 0,
    needs: tuple[str, ...] = (),
    status: str = "parity",
) -> ModelSpec:
    """One row; `teacher` is the number of parameters of the teacher, among `params`."""
    return ModelSpec(
        kind="interpolation",
        module=UGSPUncertainty if uncertain else UGSP,
        config={"refines": True} if refines else {},
        num_frames=2,
        any_time=False,
        padding=Padding(16),
        params=params,
        params_inference=params - teacher,
        gmac=gmac,
        loss=uncertainty_loss if uncertain else loss,
        loss_config=loss_config,
        init_rules=(INIT_UNCERTAINTY, *INIT) if uncertain else INIT,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        training_only=(r"^glblock_final_teacher\.",) if teacher else (),
        needs=needs,
        frame_channels=_frame_channels(refines, uncertain),
        published=Published(score, "-", "rgb") if uncertain else Published(score, GPL, "bgr"),
        status=status,
    )


SPECS = {
    "ugsp_uncertainty": _spec(
        params=6_809_463,
        gmac=246.2,
        loss_config=UncertaintyLossConfig(),
        uncertain=True,
        status="unpublished",
    ),
    "ugsp": _spec(
        params=6_764_702,
        gmac=246.2,
        loss_config=LossConfig(),
        needs=("masks",),
        score="35.62 dB Vimeo90K (unchecked)",
    ),
    "ugsp_distill": _spec(
        params=6_764_702,
        gmac=246.2,
        loss_config=LossConfig(keep_rate=0.365, geometry_weight=0.01, distillation_weight=0.01),
        needs=("masks", "flow"),
        score="35.65 dB Vimeo90K (unchecked)",
    ),
    "ugsp_refine": _spec(
        params=8_926_133,
        gmac=261.4,
        loss_config=LossConfig(sparsity_weight=0.15),
        needs=("masks",),
        refines=True,
        teacher=889_028,
    ),
}
