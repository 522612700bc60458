"""CSPA: features of both frames aligned by deformable sampling over a pyramid, and fused; no flow (`cspa`).

Kun Zhou et al., "Exploring Motion Ambiguity and Alignment for High-Quality Video Frame Interpolation", CVPR 2023. The
authors published the texture consistency loss only, see `losses.texture`; no code or weights of the network exist.

Known of the network: the pyramid of three levels, what is aligned and fused in which order, offsets and weights per
element of a receptive field, the fusion by `sigmoid(p * q)`, a reconstruction by residual blocks and one convolution,
and 28.9 million parameters. This implementation has 28,941,707. Its own choices:
  - widths and depths: 128 channels everywhere; 8 residual blocks in the extraction, 8 in each alignment, 50 in the
    reconstruction, which is one of several combinations of that size; leaky ReLUs of slope 0.1, no normalization;
  - alignment: a modulated deformable 3x3 convolution in 8 groups, whose offsets and weights 8 residual blocks predict
    from both features, at levels 1 and 0 also from twice the enlarged estimate of the coarser level. With
    `alignment="attention"` the nine weights are a softmax and a 1x1 convolution takes the kernel's place, which is
    closer to the formula of the paper;
  - sharing: the extraction is shared by the frames; the layers of a level are shared by the two directions;
  - enlargement is bilinear; fusion of levels takes the coarsest first and the level's own feature last;
  - fusion of the directions: `sigmoid(E0(p) * E1(q))` with a 3x3 convolution each, since a bare product is the same for
    both frames and could prefer neither. `embedded=False` gives the bare product;
  - the last convolution gives the frame itself, not a change of an average; it is not clipped;
  - initial values: residual blocks He normal times 0.1 without bias, the deformable kernels He uniform without bias,
    heads of offsets and weights zero, all others PyTorch's own.

Architecture (`b h w c`; level k has 1/2^k of the frame's sides):
  1. Extraction, each frame: a convolution and residual blocks at level 0; two convolutions to each next level.
  2. Alignment from the coarsest level on, frame 0 to the middle and frame 1 to the middle: both features to offsets and
     weights, by which the direction's own feature is sampled. At the finer levels that feature is first fused with all
     coarser aligned ones, enlarged (cross-scale fusion).
  3. Attention fusion: `m p + (1 - m) q` of the two aligned features of level 0.
  4. Reconstruction: residual blocks and a convolution to the frame at t = 0.5.

Memory: a prediction takes some 8.5 kB per pixel beside the weights (XLA's plan on a CPU, float32): 8 GB at 1280x720,
18 GB at 1920x1080, 75 GB at 4096x2160. A device without it reports "not enough memory".
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UsageError
from vfi_jax.losses.texture import texture_loss
from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, constant, kaiming_normal, kaiming_uniform, leaky_relu, placeholder, scaled
from vfi_jax.ops import Padding, absolute, deform_attend, deform_conv, resize, split_pair, stack_pair
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

LEVELS = 3
TAPS = 9
SLOPE = 0.1
ALIGNMENTS = ("deformable", "attention")


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between them, added to the input."""

    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv0 = Conv(self.width, dtype=self.dtype)
        self.conv1 = Conv(self.width, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        return x + self.conv1(jax.nn.relu(self.conv0(x)))


class ConvLeaky(nn.Module):
    """A convolution and a leaky ReLU."""

    width: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = Conv(self.width, stride=self.stride, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        return leaky_relu(self.conv(x), SLOPE)


class Extraction(nn.Module):
    """Images to features of levels 0, 1 and 2."""

    width: int
    blocks: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.first = ConvLeaky(self.width, dtype=self.dtype)
        self.body = [ResidualBlock(self.width, self.dtype) for _ in range(self.blocks)]
        self.shrink = [ConvLeaky(self.width, 2, self.dtype) for _ in range(LEVELS - 1)]
        self.refine = [ConvLeaky(self.width, dtype=self.dtype) for _ in range(LEVELS - 1)]

    def __call__(self, images: Array) -> list[Array]:
        feature = self.first(images)
        for block in self.body:
            feature = block(feature)
        pyramid = [feature]
        for shrink, refine in zip(self.shrink, self.refine, strict=True):
            pyramid.append(refine(shrink(pyramid[-1])))
        return pyramid


class DeformableConv(nn.Module):
    """`ops.deform_conv` with its kernel and bias; weights through a sigmoid."""

    width: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, offsets: Array, logits: Array) -> Array:
        kernel = self.param("weight", placeholder, (3, 3, x.shape[-1], self.width))
        out = deform_conv(x, offsets, jax.nn.sigmoid(logits), kernel.astype(self.dtype))
        return (out + self.param("bias", placeholder, (self.width,))).astype(self.dtype)


class DeformableAttention(nn.Module):
    """`ops.deform_attend` and a 1x1 convolution; weights through a softmax over the nine places."""

    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.mix = Conv(self.width, 1, dtype=self.dtype)

    def __call__(self, x: Array, offsets: Array, logits: Array) -> Array:
        weights = jax.nn.softmax(logits.reshape(*logits.shape[:-1], -1, TAPS), -1).reshape(logits.shape)
        return self.mix(deform_attend(x, offsets, weights))


class Alignment(nn.Module):
    """Samples a feature where the other frame's feature says: the alignment of one level."""

    width: int
    groups: int
    blocks: int
    alignment: str
    is_coarsest: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.merge = ConvLeaky(self.width, dtype=self.dtype)
        self.refine = ConvLeaky(self.width, dtype=self.dtype)
        if not self.is_coarsest:
            self.join = ConvLeaky(self.width, dtype=self.dtype)
        self.body = [ResidualBlock(self.width, self.dtype) for _ in range(self.blocks)]
        self.head = Conv(3 * TAPS * self.groups)  # float32: offsets are in pixels
        sampler = DeformableConv if self.alignment == "deformable" else DeformableAttention
        self.sampler = sampler(self.width, self.dtype)

    def __call__(self, feature: Array, other: Array, coarser: Array | None = None) -> tuple[Array, Array]:
        """Returns the aligned feature, and the estimate of motion for the next level.

        Args:
          feature: to be sampled.
          other: of the other frame.
          coarser: the estimate of the coarser level; None at the coarsest.
        """
        motion = self.refine(self.merge(jnp.concatenate([feature, other], -1)))
        if coarser is not None:
            # Offsets are in pixels of their level: they double with the sides.
            motion = self.join(jnp.concatenate([motion, 2 * resize(coarser, 2)], -1))
        for block in self.body:
            motion = block(motion)
        offsets, logits = jnp.split(self.head(motion), [2 * TAPS * self.groups], -1)
        return leaky_relu(self.sampler(feature, offsets, logits), SLOPE), motion


class AttentionFusion(nn.Module):
    """`m p + (1 - m) q`, `m = sigmoid(E0(p) * E1(q))`, channel by channel."""

    width: int
    embedded: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if self.embedded:
            self.embed0 = Conv(self.width, dtype=self.dtype)
            self.embed1 = Conv(self.width, dtype=self.dtype)

    def __call__(self, p: Array, q: Array) -> Array:
        mask = jax.nn.sigmoid(self.embed0(p) * self.embed1(q) if self.embedded else p * q)
        return mask * p + (1 - mask) * q


class Reconstruction(nn.Module):
    """Residual blocks, and a convolution to the frame."""

    width: int
    blocks: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.body = [ResidualBlock(self.width, self.dtype) for _ in range(self.blocks)]
        self.last = Conv(3)  # float32: nothing is added to the frame

    def __call__(self, x: Array) -> Array:
        for block in self.body:
            x = block(x)
        return self.last(x)


class CSPA(Network, kw_only=True):
    """The network; the defaults are those of the published size.

    Attributes:
      width: channels of all features.
      groups: of channels that are sampled at the same places.
      extraction_blocks: residual blocks of the extraction.
      alignment_blocks: residual blocks of each alignment.
      reconstruction_blocks: residual blocks of the reconstruction.
      alignment: "deformable" (a convolution) or "attention" (weights that add up to 1).
      embedded: whether the attention fusion embeds both features first.
    """

    width: int = 128
    groups: int = 8
    extraction_blocks: int = 8
    alignment_blocks: int = 8
    reconstruction_blocks: int = 50
    alignment: str = ALIGNMENTS[0]
    embedded: bool = True
    any_time: bool = False

    def setup(self) -> None:
        if self.alignment not in ALIGNMENTS:
            raise UsageError(f"cspa has no alignment {self.alignment!r}: {' or '.join(ALIGNMENTS)}")
        if self.groups < 1 or self.width % self.groups:
            raise UsageError(f"cspa: {self.groups} groups do not divide {self.width} channels")
        self.extraction = Extraction(self.width, self.extraction_blocks, self.dtype)
        self.align = [
            Alignment(self.width, self.groups, self.alignment_blocks, self.alignment, level == LEVELS - 1, self.dtype)
            for level in range(LEVELS)
        ]
        self.fuse = [ConvLeaky(self.width, dtype=self.dtype) for _ in range(LEVELS - 1)]
        self.fusion = AttentionFusion(self.width, self.embedded, self.dtype)
        self.reconstruction = Reconstruction(self.width, self.reconstruction_blocks, self.dtype)

    def __call__(self, frames: Float[Array, "b 2 h w 3"], t: ArrayLike = 0.5) -> Output:
        """Returns the frame, not clipped, at t = 0.5 whatever t is; sides must be multiples of the padding's."""
        pyramid = self.extraction(stack_pair(frames))
        return Output(self.reconstruction(self.fusion(*split_pair(self._aligned(pyramid)))))

    def _aligned(self, pyramid: list[Array]) -> Array:
        """The features of level 0 of both frames, aligned to the middle; each against the other frame's."""
        aligned, motion = [], None  # from the coarsest level on
        for level in reversed(range(LEVELS)):
            own, other = pyramid[level], jnp.concatenate(split_pair(pyramid[level])[::-1])
            if aligned:
                larger = [resize(feature, 2 ** (len(aligned) - index)) for index, feature in enumerate(aligned)]
                own = self.fuse[level](jnp.concatenate([*larger, own], -1))
            feature, motion = self.align[level](own, other, motion)
            aligned.append(feature)
        return aligned[-1]


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weight and form of the texture consistency term.

    The paper's weight is not known. Of L1 penalties, which are larger, 0.1 is about as much as 1 of half squares.

    Attributes:
      texture_weight: against 1 for the reconstruction; 0: the term is left out.
      texture_penalty: "half_square", as the published code, or "l1", as the paper.
      texture_descriptor: what is matched: "census", as the published code, or "rgb", as the paper.
    """

    texture_weight: float = 1.0
    texture_penalty: str = "half_square"
    texture_descriptor: str = "census"


def loss(
    model: CSPA, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`mean |frame - target| + texture_weight * texture_loss(frame, frames)` of the unclipped frame.

    Terms: `reconstruction`, `texture` (if weighted). Source: CVPR 2023; the loss's published code. Sides of the batch
    must be multiples of 4.
    """
    frame = model.apply(variables, batch["frames"], batch["t"]).frame
    terms = {"reconstruction": absolute(frame - batch["target"]).mean()}
    if config.texture_weight:
        form = {"penalty": config.texture_penalty, "descriptor": config.texture_descriptor}
        terms["texture"] = config.texture_weight * texture_loss(frame, batch["frames"], **form)
    return sum(terms.values()), LossAux(terms, frame)


# extraction/body_0/conv1/weight -> extraction.body.0.conv1.weight
NAMES = ((r"(align|body|fuse|refine|shrink)_(\d+)/", r"\1.\2."),)
INIT_RULES = (
    (r"body_\d+/conv\d/bias", constant(0.0)),
    (r"body_\d+/conv\d/weight", scaled(kaiming_normal(0), 0.1)),
    (r"align_\d/head/", constant(0.0)),
    (r"align_\d/sampler/bias", constant(0.0)),
    (r"align_\d/sampler/weight", kaiming_uniform),
)

SPECS = {
    "cspa": ModelSpec(
        kind="interpolation",
        module=CSPA,
        config={},
        num_frames=2,
        any_time=False,
        padding=Padding(4, "reflect"),
        params=28_941_707,
        params_inference=28_941_707,
        gmac=27_756.6,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=INIT_RULES,
        torch_rules=TorchRules(NAMES, ((r"weight$", "conv"),)),
        published=Published("36.76 dB Vimeo90K, as quoted", "none published", "rgb"),
        status="no reference",
    )
}
