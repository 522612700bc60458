"""UGSP's first stage: a network that estimates where its frame is uncertain (`ugsp_uncertainty`).

It estimates the frame without pruning and the logarithm U of its error's scale, for each color channel; the masks of
stage 2 follow U (`vfi-jax prepare masks`). Of this stage only the likelihood is published (ACM MM 2023), and that U has
three channels at the frame's size. Network, weights and schedule are this project's choice.
"""

from __future__ import annotations

import dataclasses

from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.losses.pruning import laplace_likelihood
from vfi_jax.models import ugsp
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.models.ugsp_network import UGSP, Estimate
from vfi_jax.nn import ConvPReLU, ConvTranspose, constant, torch_default_transposed
from vfi_jax.ops import clamp
from vfi_jax.types import Array, Batch, LossAux, Variables

UNCERTAINTY = (-6.0, 3.0)  # limits of U


class UGSPUncertainty(UGSP, kw_only=True):
    """The uncertainty network (stage 1): the blocks without masks, and a head on the last one's output.

    Chosen here: the network of stage 2, so that the uncertainty is that of the frames which are to be pruned, without
    the convolutions for masks, which nothing would train; a head of a convolution with half the channels and a
    transposed one, on the last block's activated output; U within -6 to 3, so that no error's likelihood takes over the
    gradient; -3 at first.
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
class UncertaintyLossConfig:
    """Weights and schedule of stage 1's objective, this project's choice. Epochs count from 0.

    The reconstruction comes first, so that U is the error of a network that has learned to interpolate, and stays, so
    that no larger U makes up for a worse frame.

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
    counts = ugsp.epoch_of(step, config.steps_per_epoch) >= config.uncertainty_from
    terms = {
        "reconstruction": laplacian_loss(frame, target, ugsp.PYRAMID),
        "uncertainty": config.uncertainty_weight * counts * laplace_likelihood(frame, target, log_scale),
    }
    return sum(terms.values()), LossAux(terms, frame)


# uncertainty_0/prelu/weight -> uncertainty.0.1.weight
NAMES = (
    *ugsp.NAMES,
    (r"uncertainty_(\d)", r"uncertainty.\1"),
    (r"(uncertainty\.0)/conv/", r"\1.0."),
    (r"(uncertainty\.0)/prelu/", r"\1.1."),
)
LAYOUTS = (*ugsp.LAYOUTS, (r"uncertainty\.1\.weight$", "conv_transpose"), (r"uncertainty\.0\.0\.weight$", "conv"))
INIT = (
    (r"uncertainty_1/bias", constant(-3.0)),  # an error of 13 in 255
    (r"uncertainty_1/", torch_default_transposed),
    *ugsp.INIT,
)

SPECS = {
    "ugsp_uncertainty": ModelSpec(
        kind="interpolation",
        module=UGSPUncertainty,
        config={},
        num_frames=2,
        any_time=False,
        padding=ugsp.PADDING,
        params=6_809_463,
        params_inference=6_809_463,
        gmac=246.2,
        loss=uncertainty_loss,
        loss_config=UncertaintyLossConfig(),
        init_rules=INIT,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        frame_channels=(
            *ugsp.FRAME_CHANNELS,
            (r"^uncertainty\.1\.weight$", 1, (0,)),
            (r"^uncertainty\.1\.bias$", 0, (0,)),
        ),
        published=Published("-", "-", "rgb"),
        status="unpublished",
    )
}
