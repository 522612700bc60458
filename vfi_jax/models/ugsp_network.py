"""The network of UGSP: an encoder, and blocks of convolutions that are zero where a keep mask prunes them.

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
  feature and flow warped by its own flow (its U-Net sees the pruned flow, as in the published code); in `ugsp_refine` a
  teacher of the last flow, which sees the target.

Source: "Uncertainty-Guided Spatial Pruning Architecture for Efficient Frame Interpolation", ACM MM 2023, and its
published code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UsageError
from vfi_jax.models.base import Network
from vfi_jax.models.rife import Conv2, UNet
from vfi_jax.nn import PyramidEncoder, SparseBlock
from vfi_jax.ops import clamp, join, resize, resize_flow, split_pair, stack_halves, stack_pair, warp
from vfi_jax.types import Array, Output

REFINED = 10  # channels of the refinement at half the frame's size
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
