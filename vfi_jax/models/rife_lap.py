"""RIFE-Lap: RIFE v4's blocks with a refinement network, trained here for fidelity (`rife_lap`, `rife_lap_s`).

This project's own network; the weights that are shipped with the package are its. Named, like SoftSplat's and FILM's
variants, after the Laplacian-pyramid loss that it is trained with.

Architecture (`b h w c`; see `rife_v4.py` for stages 1 and 2):
  1. Encoder of each frame, at 1/`reduction` of the frame (1/2 in `rife_lap_s`).
  2. IFBlocks, coarse to fine, at the same resolution; their last flow, mask and hidden state are enlarged, and the
     frames are warped at full size.
  3. Refinement: a U-Net at 1/2 and 1/4 of the frame reads the warped frames (in `rife_lap` also the warped encodings
     and second differences) and the last block's hidden state. It predicts a residual, a change of the mask, and with
     `sharpening` a gain per frame for the cubic correction of the bilinear samples, which blur.
  4. Frame: the sharpened warped frames, blended by the changed mask, plus the residual.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike

from vfi_jax.models import guided
from vfi_jax.models.guided import regions_of
from vfi_jax.models.rife_v4 import (
    FIVE,
    INIT_RULES,
    LAYOUTS,
    NAMES,
    SLOPE,
    Level,
    LossConfig,
    ResConv,
    RIFEv4,
    Sampler,
    blend,
    objective,
    v4_spec,
)
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, ConvTranspose, constant, leaky_relu, torch_default_transposed
from vfi_jax.ops import (
    cubic_correction,
    join,
    resize,
    resize_flow,
    second_differences,
    split_pair,
    stack_halves,
    stack_pair,
    time_map,
    warp,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables


class Refinement(nn.Module):
    """Refinement U-Net: predicts a residual, a mask update and per-frame sharpening gains.

    Its last layer starts at zero, so that adding it to a trained network changes nothing at first.

    Attributes:
      widths: channels per frame at 1/2, and channels at 1/4.
      blocks: number of residual convolutions at 1/4.
      gains: number of cubic corrections to weight: 2, or 0 without sharpening.
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
          hidden: `[b, h/4, w/4, d]`, the last block's hidden state.
        """
        half = join(*split_pair(leaky_relu(self.conv0(warped), SLOPE)))
        quarter = leaky_relu(self.conv1(half), SLOPE)
        quarter = leaky_relu(self.conv2(join(quarter, hidden)), SLOPE)
        for layer in self.convblock:
            quarter = layer(quarter)
        half = leaky_relu(self.up(quarter) + half, SLOPE)
        out = self.last(half).astype(jnp.float32)
        return out[..., :3], out[..., 3:4], out[..., 4:]


class RIFELap(RIFEv4, kw_only=True):
    """RIFE v4 with a refinement and with blocks that may see smaller frames; without either it is RIFE v4.

    Attributes:
      reduction: the blocks see frames at 1/`reduction`.
      refinement: (channels per frame at 1/2, channels at 1/4, blocks at 1/4) of the refinement, or None.
      sharpening: whether the refinement may sample the frames more sharply than bilinearly.
    """

    reduction: int = 1
    refinement: tuple[int, int, int] | None = None
    sharpening: bool = False

    def setup(self) -> None:
        super().setup()
        if self.refinement:
            self.refine = Refinement(self.refinement[:2], self.refinement[2], 2 * self.sharpening, self.dtype)

    def predict(self, frames: Array, t: ArrayLike, sample: Sampler, prior: Array | None) -> tuple[Output, list[Level]]:
        """Returns the output, with a refinement its residual too, and the levels at 1/`reduction` of the frame."""
        reduced = resize(frames, 1 / self.reduction)
        prior = None if prior is None else resize(prior, 1 / self.reduction)
        levels = self.levels(reduced, time_map(t, frames, reduced.shape[2:4]), sample, prior)
        last = self._full_size(levels[-1], stack_pair(frames))
        out = Output(
            frame=last.merged,
            flows=[*(resize_flow(level.flow, self.reduction) for level in levels[:-1]), last.flow],
            mask=jax.nn.sigmoid(last.mask_logit),
            merged=last.merged,
        )
        return (self._refined(out, last) if self.refinement else out), levels

    def sampled_last(self, images: Array) -> Array:
        """Adds the second differences of the frames, 6 channels, where the frames are warped at full size."""
        return self._with_differences(images) if self.reduction == 1 else images

    def _with_differences(self, images: Array) -> Array:
        if not (self.refinement and self.sharpening):
            return images
        return join(images, second_differences(images[..., :3]))

    def _full_size(self, last: Level, images: Array) -> Level:
        """The last level enlarged, with the full-size frames `[2b, h, w, 3]` warped."""
        if self.reduction == 1:
            return last
        flow = resize_flow(last.flow, self.reduction)
        mask_logit, hidden = (resize(a, self.reduction) for a in (last.mask_logit, last.hidden))
        return Level(flow, mask_logit, last.features, warp(self._with_differences(images), stack_halves(flow)), hidden)

    def _refined(self, out: Output, last: Level) -> Output:
        """The blend of the frames, sharpened if asked for, under the changed mask, plus the residual."""
        residual, mask_change, gains = self.refine(last.warped, last.hidden)
        warped, mask_logit = last.warped[..., :3], last.mask_logit + mask_change
        if self.sharpening:
            correction = cubic_correction(last.warped[..., -6:], stack_halves(last.flow))
            warped = warped + stack_halves(gains) * correction
        merged = blend(warped, mask_logit)
        return out.replace(frame=merged + residual, mask=jax.nn.sigmoid(mask_logit), merged=merged, residual=residual)


def loss(
    model: RIFELap, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """RIFE v4's objective; every block's own blend counts as a level, at the blocks' resolution.

    Terms and source: see `rife_v4.loss`.
    """
    inputs = regions_of(batch, rng)
    out, levels = model.apply(variables, batch["frames"], batch["t"], **inputs, method="stages")
    is_output = not model.refinement and model.reduction == 1  # the last block's blend
    earlier = [level.merged for level in (levels[:-1] if is_output else levels)]
    return objective(out, earlier, resize(batch["target"], 1 / model.reduction), batch, config)


def _spec(
    *, reduction: int = 1, refinement: tuple[int, int, int], sharpening: bool = False, score: str, **row: Any
) -> ModelSpec:
    spec = v4_spec(encoder=(16, 4), channels_out=13, multiple=64, status="trained here", **row)
    own = {"reduction": reduction, "refinement": refinement, "sharpening": sharpening}
    return spec.replace(
        module=RIFELap,
        config={**spec.config, **own},
        loss=loss,
        init_rules=(("refine/last/", constant(0.0)), ("refine/up/", torch_default_transposed), *INIT_RULES),
        additions=("^refine/", *guided.ADDITIONS),
        # refine/convblock_0/beta -> refine.convblock.0.beta; refine/up/weight -> refine.up.weight
        torch_rules=TorchRules(NAMES, (*guided.LAYOUTS, (r"^refine\.(up|last)\.weight$", "conv_transpose"), *LAYOUTS)),
        published=Published(score, "MIT", "rgb"),
    )


SPECS = {
    "rife_lap": _spec(
        widths=(192, 128, 96, 64, 32),
        level_scales=FIVE,
        refinement=(16, 48, 4),
        sharpening=True,
        params=5_826_158,
        gmac=33.2,
        score="35.14 dB UCF101, measured here",
    ),
    "rife_lap_s": _spec(
        widths=(64, 64, 64, 64),
        level_scales=(8, 4, 2, 1),
        reduction=2,
        refinement=(8, 24, 1),
        params=1_540_840,
        gmac=11.3,
        score="34.88 dB UCF101, measured here",
    ),
}
