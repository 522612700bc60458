"""AMT: all-pairs correlations correct flows coarse to fine, and several flow fields make the frame (`amt_s`, ...).

Zhen Li et al., "AMT: All-Pairs Multi-Field Transforms for Efficient Frame Interpolation", CVPR 2023; with distance
indexing (`d_amt_s`, `dr_amt_s`): Zhihang Zhong et al., "Clearer Frames, Anytime: Resolving Velocity Ambiguity in Video
Frame Interpolation", ECCV 2024. Follows the published code where the paper differs: the centers of the look-ups divide
the flow to frame 1 by t and the flow to frame 0 by 1 - t.

Architecture (`b h w c`; level k has 1/2^k of the frame's sides, flows in pixels of their own level):
  1. Both frames, less their common mean: a correlation encoder (instance norm) to features of level 3, and a pyramid of
     context features of levels 1 to 4.
  2. Correlations of all pairs of pixels at level 3, pooled to four levels, in both directions.
  3. Decoder 4: the context of both frames at level 4 and t as a plane to flows and an intermediate feature of level 3.
     Decoders 3 and 2: the context of their level, warped by the flows so far, the feature and the flows to the change
     of the flows and the next feature, at twice the sides.
  4. After each of these, an update block looks up 7x7 correlations around the targets of the flows, at level 3, and
     corrects flows and feature. `amt_g` does so once more at the decoder's own sides in levels 2 and 1.
  5. Decoder 1 predicts several fields: flows, mask and residual of each. The frame is the mean of the candidates
     `mask * warped_0 + (1 - mask) * warped_1 + mean + residual`, plus what two convolutions make of all candidates.
  `dr_amt_s` also takes a reference frame and its time as a map: decoder 4 sees its context of level 4 and that map.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.losses.census import census_loss
from vfi_jax.losses.charbonnier import charbonnier_loss
from vfi_jax.losses.flow import flow_distillation
from vfi_jax.models.base import Network
from vfi_jax.models.spec import REFERENCE, ModelSpec, Published, TorchRules
from vfi_jax.nn import (
    Conv,
    EighthEncoder,
    PReLU,
    PyramidEncoder,
    ResBlockDecoder,
    constant,
    kaiming_fan_out,
    torch_default_transposed,
)
from vfi_jax.ops import (
    Padding,
    clamp,
    correlator,
    join,
    leaky_relu,
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
RADIUS = 3  # of the look-ups
GUARD = 1e-6  # against division by zero where a map of t reaches 0 or 1
SLOPE = 0.1  # of the update blocks' leaky ReLUs
SMALLEST = 64  # pixels per side that the encoders see; in smaller frames the coarsest correlations are empty


class UpdateBlock(nn.Module):
    """Corrects flows and feature by correlations.

    Attributes:
      widths: channels of the layers: of the correlations (one or two), of the flow (its second layer), of both, hidden.
      features: channels of the feature.
      factor: the feature is 1 / factor as large inside.
    """

    widths: tuple[tuple[int, ...], int, int, int]
    features: int
    factor: int = 1
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        of_correlation, of_flow, both, hidden = self.widths
        for index, width in enumerate(of_correlation):
            setattr(self, f"convc{index + 1}", Conv(width, 3 if index else 1, dtype=self.dtype))
        self.convf1 = Conv(2 * of_flow, 7, dtype=self.dtype)
        self.convf2 = Conv(of_flow, dtype=self.dtype)
        self.conv = Conv(both, dtype=self.dtype)
        self.gru_0, self.gru_2 = Conv(hidden, dtype=self.dtype), Conv(hidden, dtype=self.dtype)
        self.feat_head_0, self.flow_head_0 = Conv(hidden, dtype=self.dtype), Conv(hidden, dtype=self.dtype)
        self.feat_head_2, self.flow_head_2 = Conv(self.features), Conv(4)  # float32: added to feature and flows

    def __call__(self, feature: Array, flows: Array, correlations: Array) -> tuple[Array, Array]:
        """Returns the changes of the feature and of the flows, at the sides of the feature."""
        feature = resize(feature, 1 / self.factor)
        for index in range(len(self.widths[0])):
            correlations = _leaky(getattr(self, f"convc{index + 1}")(correlations))
        motion = _leaky(self.convf2(_leaky(self.convf1(flows))))
        both = _leaky(self.conv(join(correlations, motion)))
        hidden = join(*(part.astype(both.dtype) for part in (both, flows, feature)))
        hidden = self.gru_2(_leaky(self.gru_0(hidden)))
        change = self.feat_head_2(_leaky(self.feat_head_0(hidden)))
        flow_change = self.flow_head_2(_leaky(self.flow_head_0(hidden)))
        return resize(change, self.factor), resize_flow(flow_change, self.factor)


def _leaky(x: Array) -> Array:
    return leaky_relu(x, SLOPE)


@flax.struct.dataclass
class Estimate:
    """The output with the intermediate values that tests need.

    Attributes:
      out: the prediction, as `__call__` returns it.
      residuals: `[b, h, w, 3 n]`, of each field.
      combined: `[b, h, w, 3]`, what is added to the mean of the candidates.
      look_ups: `[b, h8, w8, 392]` for decoders 4, 3, 2.
    """

    out: Output
    residuals: Array
    combined: Array
    look_ups: list[Array]


class AMT(Network, kw_only=True):
    """Any of the sizes.

    Attributes:
      widths: channels of the context of levels 1 to 4; the first is also the number of side channels.
      first_kernel: of the context's first convolution.
      encoder_widths: channels of each layer of the correlation encoder.
      encoder_features: its channels out.
      bottleneck: whether its blocks are bottlenecks.
      update_widths: see `UpdateBlock`.
      high: whether levels 2 and 1 are corrected once more at their own sides.
      fields: number of flow fields.
      kernel: of the last convolutions, which combine the candidates.
      scale: encoders and decoders see the frames resized by it: below 1 for large motion.
      guard: added to the divisors of the look-ups' centers, t and 1 - t.
      sees_reference: whether a reference frame and its map are inputs, too.
      correlation: "volume", "on_demand" (little memory) or "auto": the volume up to `ops.correlation.VOLUME_BYTES`.
        Temporary memory of `amt_s` on demand for one pair, float32, compiled for CPU: 1.2 GB at 1920x1088, 4.8 GB at
        3840x2160.
    """

    widths: tuple[int, ...]
    first_kernel: int = 3
    encoder_widths: tuple[int, ...]
    encoder_features: int
    bottleneck: bool = False
    update_widths: tuple[tuple[int, ...], int, int, int]
    high: bool = False
    fields: int = 3
    kernel: int = 3
    scale: float = 1.0
    guard: float = 0.0
    sees_reference: bool = False
    correlation: str = "auto"

    def setup(self) -> None:
        self.feat_encoder = EighthEncoder(
            self.encoder_widths, self.encoder_features, "instance", self.bottleneck, self.dtype
        )
        self.encoder = PyramidEncoder(self.widths, self.first_kernel, self.dtype)
        for level in range(LEVELS, 0, -1):
            width = (2 if level == LEVELS else 3) * self.widths[level - 1]
            features = 4 + self.widths[level - 2] if level > 1 else 8 * self.fields
            setattr(self, f"decoder{level}", ResBlockDecoder(width, self.widths[0], features, self.dtype))
        for level in range(LEVELS, 1, -1):
            factor, features = 2 ** (LEVELS - level), self.widths[level - 2]
            name = f"update{level}_low" if self.high and factor > 1 else f"update{level}"
            setattr(self, name, UpdateBlock(self.update_widths, features, factor, self.dtype))
            if self.high and factor > 1:
                setattr(self, f"update{level}_high", UpdateBlock(self.update_widths, features, 1, self.dtype))
        self.comb_block_0 = Conv(6 * self.fields, self.kernel, dtype=self.dtype)
        self.comb_block_1 = PReLU()
        self.comb_block_2 = Conv(3, self.kernel)  # float32: added to the frame

    def __call__(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> Output:
        """Returns frame, flows of levels 3 to 0, masks, residual, merged.

        The final flows have 4 channels for each field, the mask has one; `residual` is the mean residual with what the
        last convolutions add.

        Args:
          frames: sides must be multiples of the padding's, and 64 at least (the published code fails below 128).
          t: time or distance map.
          reference: a frame between the inputs, for `sees_reference` only; None: frame 0.
          reference_t: its time or distance map.

        Raises:
          UserError: sides too small; a reference for a network without; no such `correlation`.
        """
        return self.estimate(frames, t, reference, reference_t).out

    def estimate(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> Estimate:
        """Returns the output with intermediate values; see `__call__`."""
        self._check(frames.shape, reference)
        mean = frames.mean((1, 2, 3, 4), keepdims=True)[:, 0]
        images = stack_pair(frames) - jnp.concatenate([mean, mean])
        small = resize(images, self.scale)
        pyramid, features = self.encoder(small), split_pair(self.feat_encoder(small))
        times = time_map(t, frames, features[0].shape[1:3])
        correlations = self._correlations(*features, times)
        coarsest = pyramid[-1].shape[1:3]
        context = [*split_pair(pyramid[-1]), time_map(t, frames, coarsest)]
        if self.sees_reference:
            frame, its_t = reference_of(frames, reference, reference_t)
            context.insert(2, self.encoder(resize(frame - mean, self.scale))[-1])
            context.append(time_map(its_t, frames, coarsest))
        flows, look_ups, feature = [], [], None
        for level in range(LEVELS, 1, -1):
            out = self.decoder4(*context) if level == LEVELS else self._decoded(level, pyramid, flows[-1], feature)
            flow, feature = out[..., :4], out[..., 4:]
            if flows:
                flow += resize_flow(flows[-1], 2)
            feature, flow, look_up = self._corrected(level, feature, flow, correlations)
            flows.append(flow)
            look_ups.append(look_up)
        return self._frame(images, mean, flows, self._decoded(1, pyramid, flows[-1], feature), look_ups)

    def _check(self, shape: tuple[int, ...], reference: Array | None) -> None:
        height, width = (int(side * self.scale) for side in shape[-3:-1])
        if min(height, width) < SMALLEST:
            scaled = "" if self.scale == 1 else f" at scale {self.scale:g}"
            shown = f"frames of {shape[-2]}x{shape[-3]} are too small for {self.variant}{scaled}"
            raise UserError(f"{shown}: {SMALLEST} pixels a side")
        if height % 16 or width % 16:
            raise UserError(f"sides of {width}x{height} are no multiples of 16")
        if reference is not None and not self.sees_reference:
            raise UserError(f"{self.variant} takes no reference frame")

    def _decoded(self, level: int, pyramid: list[Array], flow: Array, feature: Array) -> Array:
        """Output of a level's decoder for its features, warped by the flows."""
        warped = split_pair(warp(pyramid[level - 1], stack_halves(flow)))
        return getattr(self, f"decoder{level}")(feature, *warped, flow)

    def _correlations(self, first: Array, second: Array, times: Array) -> Callable[[Array], Array]:
        """Returns a function of flows at level 3 that gives the correlations around their targets, both directions."""
        look_up = correlator(first, second, RADIUS, self.correlation)
        grid = np.stack(np.meshgrid(*(np.arange(side) for side in first.shape[2:0:-1])), -1).astype(np.float32)

        def around(flow: Array) -> Array:
            to_first, to_second = flow[..., :2], flow[..., 2:]
            ahead = grid + to_second / jnp.maximum(times + self.guard, GUARD)
            back = grid + to_first / jnp.maximum(1 - times + self.guard, GUARD)
            return look_up(ahead, back)

        return around

    def _corrected(
        self, level: int, feature: Array, flow: Array, correlations: Callable[[Array], Array]
    ) -> tuple[Array, Array, Array]:
        """The feature and flows after the level's update blocks, and the look-up."""
        factor = 2 ** (LEVELS - level)
        low = resize_flow(flow, 1 / factor)
        look_up = correlations(low)
        twice = self.high and factor > 1
        change, flow_change = getattr(self, f"update{level}_low" if twice else f"update{level}")(feature, low, look_up)
        feature, flow = feature + change, flow + flow_change
        if twice:
            change, flow_change = getattr(self, f"update{level}_high")(feature, flow, resize(look_up, factor))
            feature, flow = feature + change, flow + flow_change
        return feature, flow, look_up

    def _frame(self, images: Array, mean: Array, flows: list[Array], last: Array, look_ups: list[Array]) -> Estimate:
        """The frame from the fields of the last decoder."""
        n, back = self.fields, 1 / self.scale
        to_first, to_second, mask, residual = jnp.split(last, [2 * n, 4 * n, 5 * n], -1)
        flow = resize_flow(flows[-1], 2)
        mask, residual = resize(nn.sigmoid(mask), back), resize(residual, back)
        fields, blends = [], []
        for k in range(n):
            change = [both[..., 2 * k : 2 * k + 2] for both in (to_first, to_second)]
            fields.append(resize_flow(flow + jnp.concatenate(change, -1), back))
            first, second = split_pair(warp(images, stack_halves(fields[-1])))
            share = mask[..., k : k + 1]
            blends.append(share * first + (1 - share) * second + mean)
        merged, residual_mean = sum(blends) / n, sum(jnp.split(residual, n, -1)) / n
        candidates = join(*blends) + residual
        combined = self.comb_block_2(self.comb_block_1(self.comb_block_0(candidates)))
        out = Output(
            frame=clamp(merged + residual_mean + combined, 0, 1),
            flows=[*flows, jnp.concatenate(fields, -1)],
            mask=mask,
            residual=residual_mean + combined,
            merged=merged,
        )
        return Estimate(out, residual, combined, look_ups)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the published objective.

    Attributes:
      distillation_weight: of the flow distillation, if the batch has a `flow`; 0.005 for `amt_g`.
      distrust: decay of the trust in a label with the final flows' distance from it, per pixel.
    """

    distillation_weight: float = 0.002
    distrust: float = 0.3


def loss(
    model: AMT, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`charbonnier + census + distillation_weight * sum A`.

    A is the adaptive distance of the flows of levels 1 to 3, enlarged to the frame, from the label; see
    `flow_distillation`.

    Terms: `reconstruction`; with `flow` in the batch `distillation`. Source: CVPR 2023, section 3.5, and the published
    code. The model's `scale` must be 1.
    """
    inputs = {name: batch[name] for name in REFERENCE if name in batch}
    out = model.apply(variables, batch["frames"], batch["t"], **inputs)
    terms = {
        "reconstruction": charbonnier_loss(out.frame, batch["target"]) + census_loss(out.frame, batch["target"]),
    }
    if "flow" in batch:
        distance = flow_distillation(out.flows, batch["flow"], config.distrust)
        terms["distillation"] = config.distillation_weight * distance
    return sum(terms.values()), LossAux(terms, out.frame)


# feat_encoder/layer2_0/downsample_0/weight  -> feat_encoder.layer2.0.downsample.0.weight
# feat_encoder/layer4_1/conv1/bias           -> feat_encoder.layer3_2.1.conv1.bias
# encoder/pyramid1_0/conv/weight             -> encoder.pyramid1.0.0.weight
# decoder3/convblock_1/conv2/prelu/weight    -> decoder3.convblock.1.conv2.1.weight
# update3_low/gru_0/bias                     -> update3_low.gru.0.bias
NAMES = (
    (r"layer4_(\d)/", r"layer3_2.\1."),
    (r"layer(\d)_(\d)/", r"layer\1.\2."),
    (r"(pyramid\d|convblock|downsample|gru|feat_head|flow_head|comb_block)_(\d)", r"\1.\2"),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/conv/", r"\1.0."),
    (r"(pyramid\d\.\d|convblock\.0|conv[1-4])/prelu/", r"\1.1."),
)
LAYOUTS = (
    (r"convblock\.2\.weight$", "conv_transpose"),
    (r"^(feat_encoder|update).*\.weight$|(\.0|conv5|comb_block\.2)\.weight$", "conv"),
)
SMALL = {
    "widths": (20, 32, 44, 56),
    "encoder_widths": (32, 64, 96),
    "encoder_features": 84,
    "bottleneck": True,
    "update_widths": ((64,), 20, 68, 76),
}
LARGE = {
    "widths": (48, 64, 72, 128),
    "first_kernel": 7,
    "encoder_widths": (64, 72, 128),
    "encoder_features": 128,
    "update_widths": ((256, 160), 48, 124, 128),
    "fields": 5,
    "kernel": 7,
}
GLOBAL = {
    **LARGE,
    "widths": (84, 96, 112, 128),
    "encoder_widths": (64, 112, 160, 160),
    "update_widths": ((256, 192), 64, 188, 192),
    "high": True,
}


def _spec(
    config: Mapping[str, Any],
    *,
    params: int,
    gmac: float,
    score: str,
    loss_config: LossConfig = LossConfig(),
) -> ModelSpec:
    inputs = REFERENCE if config.get("sees_reference") else ()
    return ModelSpec(
        kind="interpolation",
        module=AMT,
        config=config,
        num_frames=2,
        any_time=True,
        padding=Padding(16, "edge", "center"),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=loss_config,
        init_rules=(
            (r"prelu/|comb_block_1/", constant(0.25)),
            (r"convblock_2/", torch_default_transposed),
            (r"^feat_encoder/.*weight", kaiming_fan_out),
        ),
        needs=("flow", *inputs),
        inputs=inputs,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        published=Published(score, "CC-BY-NC-4.0", "rgb"),
        time_kernel="" if inputs else "decoder4.convblock.0.0.weight",
    )


SPECS = {
    "amt_s": _spec(SMALL, params=2_990_543, gmac=157.1, score="35.97 dB Vimeo90K, not rounded"),
    "amt_l": _spec(LARGE, params=12_935_367, gmac=636.5, score="36.35 dB Vimeo90K (unchecked)"),
    "amt_g": _spec(
        GLOBAL,
        params=30_638_919,
        gmac=2116.0,
        score="36.53 dB Vimeo90K (unchecked)",
        loss_config=LossConfig(distillation_weight=0.005),
    ),
    "d_amt_s": _spec({**SMALL, "guard": GUARD}, params=2_990_543, gmac=157.1, score="-"),
    "dr_amt_s": _spec({**SMALL, "guard": GUARD, "sees_reference": True}, params=3_047_999, gmac=159.7, score="-"),
}
