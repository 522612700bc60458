"""IFRNet: flow and feature refined together (`ifrnet_s`, `ifrnet`, `ifrnet_l`, with maps `d_ifrnet`, `dr_ifrnet`).

Lingtong Kong et al., "IFRNet: Intermediate Feature Refine Network for Efficient Frame Interpolation", CVPR 2022.
Follows the published code where the paper differs: the geometry loss is not detached from the target's features.
Distance indexing: Zhihang Zhong et al., "Clearer Frames, Anytime", ECCV 2024.

Architecture (`b h w c`; level k has 1/2^k of the frame's sides, flows in pixels of their own level):
  1. Encoder: both frames, less their common mean, to features of levels 1 to 4 (two convolutions per level).
  2. Decoder 4: the features of both frames at level 4 and t as a plane to flows and an intermediate feature of level 3.
  3. Decoders 3, 2, 1: the features of their level, warped by the flows so far, the intermediate feature and the flows
     to the change of the flows and the next intermediate feature, at twice the sides.
  4. Decoder 1 predicts a mask and a residual instead of a feature; the frame is
     `clip(mask * warped_0 + (1 - mask) * warped_1 + mean + residual)`.
  Training only: the features of the encoded target are compared with the intermediate ones (geometry loss), and flow
  labels, if there are any, with the flows (distillation). The three sizes differ in widths and the first kernel.
  `d_ifrnet` is `ifrnet`'s network, trained with distance maps for t. In `dr_ifrnet` decoder 4 also sees the deepest
  features of a reference frame between the inputs, and that frame's map.
"""

from __future__ import annotations

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from vfi_jax.losses.census import census_loss
from vfi_jax.losses.charbonnier import charbonnier_loss
from vfi_jax.losses.flow import flow_distillation
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.models import guided
from vfi_jax.models.guided import Guided, regions_of
from vfi_jax.models.spec import REFERENCE, ModelSpec, Published, TorchRules
from vfi_jax.nn import PyramidEncoder, ResBlockDecoder, constant, torch_default_transposed
from vfi_jax.ops import (
    Padding,
    clamp,
    reference_of,
    resize,
    resize_flow,
    split_pair,
    stack_halves,
    stack_pair,
    time_map,
    warp,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

LEVELS = 4


@flax.struct.dataclass
class Estimate:
    """The output with the intermediate values that the objective needs.

    Attributes:
      out: the prediction, as `__call__` returns it.
      features: the intermediate features of levels 3, 2, 1.
      mean: `[b, 1, 1, 1]`, subtracted from the frames.
    """

    out: Output
    features: list[Array]
    mean: Array


class IFRNet(Guided, kw_only=True):
    """Any of the three sizes.

    Attributes:
      widths: channels of levels 1 to 4; the first is also the number of side channels.
      first_kernel: of the first convolution.
      scale: the encoder sees the frames resized by it: below 1 for large motion.
      sees_reference: whether a reference frame and its map are inputs, too.
    """

    widths: tuple[int, ...]
    first_kernel: int = 3
    scale: float = 1.0
    sees_reference: bool = False

    def setup(self) -> None:
        self.encoder = PyramidEncoder(self.widths, self.first_kernel, self.dtype)
        for level in range(LEVELS, 0, -1):
            width = (2 if level == LEVELS else 3) * self.widths[level - 1]
            features = 4 + (self.widths[level - 2] if level > 1 else 4)
            setattr(self, f"decoder{level}", ResBlockDecoder(width, self.widths[0], features, self.dtype))
        self.add_guides(*(f"level{level}" for level in range(1, LEVELS + 1)))

    def __call__(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> Output:
        """Returns frame, flows of levels 3 to 0, mask, residual, merged; sides must be multiples of the padding's.

        Args:
          frames: the inputs.
          t: time or distance map.
          reference: a frame between the inputs, for `sees_reference` only; None: frame 0.
          reference_t: its time or distance map.
          regions: label maps of both frames at half their sides, for `region_channels` only; None: no prior.
          region_seed: of the regions' codes: a number, or a key for codes of each sample's own.
        """
        return self.estimate(frames, t, reference, reference_t, regions, region_seed).out

    def initialize(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike) -> Output:
        """Uses every parameter, those of a prior too; `create` traces it."""
        return self(frames, t, regions=self.any_regions(frames))

    def encode(self, images: Float[Array, "b h w 3"], prior: Float[Array, "b _ _ r"] | None = None) -> list[Array]:
        """Returns the features of mean-free images, levels 1 to 4, guided by a prior if there is one."""
        return self.encoder(images, [self.guide(f"level{level}", prior) for level in range(1, LEVELS + 1)])

    def estimate(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
        regions: UInt8[Array, "b 2 _ _"] | None = None,
        region_seed: ArrayLike = 0,
    ) -> Estimate:
        """Returns the output with the intermediate features."""
        mean = frames.mean((1, 2, 3, 4), keepdims=True)[:, 0]
        images = stack_pair(frames) - jnp.concatenate([mean, mean])
        prior = self.prior(regions, frames, region_seed)
        prior = None if prior is None else resize(prior, self.scale)
        pyramid = self.encode(resize(images, self.scale), prior)
        size = pyramid[-1].shape[1:3]
        planes = [time_map(t, frames, size)]
        if self.sees_reference:
            frame, its_t = reference_of(frames, reference, reference_t)
            planes = [self.encode(resize(frame - mean, self.scale))[-1], *planes, time_map(its_t, frames, size)]
        out = self.decoder4(*split_pair(pyramid[-1]), *planes)
        flows, features = [out[..., :4]], [out[..., 4:]]
        for level in (3, 2, 1):
            warped = split_pair(warp(pyramid[level - 1], stack_halves(flows[-1])))
            out = getattr(self, f"decoder{level}")(features[-1], *warped, flows[-1])
            flows.append(out[..., :4] + resize_flow(flows[-1], 2))
            features.append(out[..., 4:])
        return Estimate(self._frame(images, mean, flows, features.pop()), features, mean)

    def _frame(self, images: Array, mean: Array, flows: list[Array], last: Array) -> Output:
        """The frame from the last level's flow, mask and residual."""
        back = 1 / self.scale
        flow = resize_flow(flows[-1], back)
        mask, residual = resize(jax.nn.sigmoid(last[..., :1]), back), resize(last[..., 1:], back)
        first, second = split_pair(warp(images, stack_halves(flow)))
        merged = mask * first + (1 - mask) * second + mean
        return Output(
            frame=clamp(merged + residual, 0, 1),
            flows=[*flows[:-1], flow],
            mask=mask,
            residual=residual,
            merged=merged,
        )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the published objective.

    Attributes:
      geometry_weight: of the geometry term, against 1 for the reconstruction; 0: the term is left out.
      distillation_weight: of the flow distillation, if the batch has a `flow`.
      distrust: decay of the trust in a label with the final flow's distance from it, per pixel.
    """

    geometry_weight: float = 0.01
    distillation_weight: float = 0.01
    distrust: float = 0.3


def loss(
    model: IFRNet, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`charbonnier + census + geometry_weight * sum_k G(f_k, g_k) + distillation_weight * sum A`.

    f_k are the intermediate features of levels 1 to 3, g_k the features of the encoded target. A is the adaptive
    distance of the flows of levels 1 to 3, enlarged to the frame, from the label; see `flow_distillation`.

    Terms: `reconstruction`, `geometry` (if weighted); with `flow` in the batch `distillation`. Source: CVPR 2022,
    sections 3.3 and 3.4, and the published code. The model's `scale` must be 1.
    """
    inputs = {**{name: batch[name] for name in REFERENCE if name in batch}, **regions_of(batch, rng)}
    estimate = model.apply(variables, batch["frames"], batch["t"], **inputs, method="estimate")
    frame = estimate.out.frame
    terms = {"reconstruction": charbonnier_loss(frame, batch["target"]) + census_loss(frame, batch["target"])}
    if config.geometry_weight:
        encoded = model.apply(variables, batch["target"] - estimate.mean, method="encode")
        pairs = zip(estimate.features, reversed(encoded[:3]), strict=True)
        terms["geometry"] = config.geometry_weight * sum(geometry_loss(feature, target) for feature, target in pairs)
    if "flow" in batch:
        distance = flow_distillation(estimate.out.flows, batch["flow"], config.distrust)
        terms["distillation"] = config.distillation_weight * distance
    return sum(terms.values()), LossAux(terms, frame)


# encoder/pyramid1_0/conv/weight          -> encoder.pyramid1.0.0.weight
# decoder3/convblock_1/conv2/prelu/weight -> decoder3.convblock.1.conv2.1.weight
# decoder3/convblock_2/bias               -> decoder3.convblock.2.bias
NAMES = (
    *guided.NAMES,
    (r"(pyramid\d|convblock)_(\d)", r"\1.\2"),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/conv/", r"\1.0."),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/prelu/", r"\1.1."),
)
LAYOUTS = (*guided.LAYOUTS, (r"convblock\.2\.weight$", "conv_transpose"), (r"(\.0|conv5)\.weight$", "conv"))


def _spec(
    *,
    widths: tuple[int, ...],
    first_kernel: int = 3,
    sees_reference: bool = False,
    params: int,
    gmac: float,
    score: str,
    licence: str = "MIT (code; none stated for weights)",
    loss_config: LossConfig = LossConfig(),
) -> ModelSpec:
    inputs = REFERENCE if sees_reference else ()
    reference = {"sees_reference": True} if sees_reference else {}
    return ModelSpec(
        kind="interpolation",
        module=IFRNet,
        config={"widths": widths, "first_kernel": first_kernel, **reference},
        num_frames=2,
        any_time=True,
        padding=Padding(16, "edge", "center"),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=loss_config,
        init_rules=(*guided.INIT_RULES, (r"prelu/", constant(0.25)), (r"convblock_2/", torch_default_transposed)),
        needs=("flow", guided.FIELD, *inputs),
        inputs=inputs,
        additions=guided.ADDITIONS,
        neutral=guided.NEUTRAL,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        published=Published(score, licence, "rgb"),
        time_kernel="" if sees_reference else "decoder4.convblock.0.0.weight",
    )


SPECS = {
    "ifrnet_s": _spec(widths=(24, 36, 54, 72), params=2_803_610, gmac=101.3, score="35.59 dB Vimeo90K, not rounded"),
    "ifrnet": _spec(widths=(32, 48, 72, 96), params=4_959_692, gmac=178.3, score="35.80 dB Vimeo90K, not rounded"),
    "ifrnet_l": _spec(
        widths=(64, 96, 144, 192),
        first_kernel=7,
        params=19_699_460,
        gmac=706.4,
        score="36.20 dB Vimeo90K, not rounded",
    ),
    "d_ifrnet": _spec(
        widths=(32, 48, 72, 96),
        params=4_959_692,
        gmac=178.3,
        score="-",
        licence="CC-BY-NC-4.0",
        loss_config=LossConfig(geometry_weight=0.0),
    ),
    "dr_ifrnet": _spec(
        widths=(32, 48, 72, 96),
        sees_reference=True,
        params=5_127_308,
        gmac=184.9,
        score="-",
        licence="CC-BY-NC-4.0",
        loss_config=LossConfig(geometry_weight=0.0),
    ),
}
