"""UGSP: convolutions only where interpolation is uncertain (`ugsp`, `ugsp_distill`, `ugsp_refine`).

"Uncertainty-Guided Spatial Pruning Architecture for Efficient Frame Interpolation", ACM MM 2023. `ugsp_network` is the
architecture, `ugsp_uncertainty` the first stage of training. This is the second stage, which follows the published code
where the paper differs: both reconstructions are Laplacian distances, and the keep rate is weighted by channels and
area.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Float

from vfi_jax.errors import UsageError, UserError
from vfi_jax.losses.flow import flow_distillation
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.losses.pruning import keep_rate, label_distance, soft_keep
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.models.ugsp_network import MASK_STEPS, UGSP, Branches, Estimate
from vfi_jax.nn import constant, torch_default_transposed
from vfi_jax.ops import Padding, absolute, resize_flow, root
from vfi_jax.types import Array, Batch, LossAux, Variables

PADDING = Padding(16)
PYRAMID = 5  # levels of the Laplacian distance


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
    return objective(model, variables, batch, config, epoch=epoch_of(step, config.steps_per_epoch), uniform=uniform)


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


def epoch_of(step: ArrayLike, steps_per_epoch: int) -> Array:
    """The number of an optimizer step's epoch, from 0."""
    if steps_per_epoch < 1:
        raise UsageError("the objective has a schedule by epochs: set loss.steps_per_epoch")
    return jnp.asarray(step) // steps_per_epoch


# glblock_1/convblock_l_0/weight      -> glblock_1.convblock_l.0.weight
# context/pyramid1_0/conv/weight      -> context.pyramid1.0.0.weight
# contextnet/conv1/conv2/prelu/weight -> contextnet.conv1.conv2.1.weight
NAMES = (
    (r"(pyramid\d|conv_head|convblock_l|prelu_l)_(\d)", r"\1.\2"),
    (r"(pyramid\d\.\d|/conv[12]|up\d)/conv/", r"\1.0."),
    (r"(pyramid\d\.\d|/conv[12]|up\d)/prelu/", r"\1.1."),
)
LAYOUTS = (
    (r"(dconv_last|up\d\.0)\.weight$", "conv_transpose"),
    (r"(pyramid\d\.\d|conv[12])\.0\.weight$", "conv"),
    (r"(conv_head\.0|convblock_l\.\d|conv_last|conv_mask|unet\.conv)\.weight$", "conv"),
)
INIT = (("prelu", constant(0.25)), (r"(dconv_last|up\d/conv)/", torch_default_transposed))
# Where colors enter and leave the network.
FRAME_CHANNELS = (
    (r"^context\.pyramid1\.0\.0\.weight$", 1, (0,)),
    (r"dconv_last\.weight$", 1, (5,)),
    (r"dconv_last\.bias$", 0, (5,)),
)
REFINEMENT_CHANNELS = (
    (r"^contextnet\.conv1\.conv1\.0\.weight$", 1, (0,)),
    (r"^unet\.down0\.conv1\.0\.weight$", 1, (0, 3, 6, 9)),
    (r"^unet\.conv\.(weight|bias)$", 0, (0,)),
)
GPL = "GPL-3.0 (code; none stated for weights)"


def _spec(
    *,
    params: int,
    gmac: float,
    loss_config: LossConfig,
    needs: tuple[str, ...],
    score: str = "-",
    refines: bool = False,
    teacher: int = 0,
) -> ModelSpec:
    """One row; `teacher` is the number of parameters of the teacher, among `params`."""
    return ModelSpec(
        kind="interpolation",
        module=UGSP,
        config={"refines": True} if refines else {},
        num_frames=2,
        any_time=False,
        padding=PADDING,
        params=params,
        params_inference=params - teacher,
        gmac=gmac,
        loss=loss,
        loss_config=loss_config,
        init_rules=INIT,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        training_only=(r"^glblock_final_teacher\.",) if teacher else (),
        needs=needs,
        frame_channels=(*FRAME_CHANNELS, *REFINEMENT_CHANNELS) if refines else FRAME_CHANNELS,
        published=Published(score, GPL, "bgr"),
    )


SPECS = {
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
