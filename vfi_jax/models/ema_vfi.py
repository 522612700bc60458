"""EMA-VFI: motion and appearance from one attention between the frames (`ema_vfi`, `ema_vfi_small`, `d_ema_vfi`...).

Guozhen Zhang et al., "Extracting Motion and Appearance via Inter-Frame Attention for Efficient Video Frame
Interpolation", CVPR 2023. Follows the published code where the paper differs: a block's skip connection starts from the
normalized tokens, and the last layers of the flow heads have a PReLU.

Architecture (`b h w c`; level k has 1/2^k of the frame's sides; masks as logits until the end):
  1. Backbone, both frames in one batch: convolutions at levels 0, 1, 2; a patch embedding that looks at all three;
     blocks of attention at levels 3 and 4. A block's tokens attend to the window of the other frame at the same
     place. The attended values are appearance; the mean way to the attended tokens is motion.
  2. Two heads, at levels 2 and 1, from motion (times t and 1 - t), appearance of level 4, then 3, and the frames: flow
     (4 channels) and mask (1); the second adds to the first. t enters here only, as a number or as a map.
  3. UNet (RIFE's, wider): from frames, warped frames, mask, flow and the warped appearance of all levels a residual.
  4. Frame: `clip(mask * warped_0 + (1 - mask) * warped_1 + residual)`.
  The networks of `ema_vfi_small_t`, `ema_vfi_t` and `d_ema_vfi` differ from `ema_vfi_small` and `ema_vfi` in their
  weights: those are for any time, and for distance maps. The backbone of `dr_ema_vfi` also sees a reference frame
  between the two and its map, from the side of frame 1 the map's complement (Z. Zhong et al., "Clearer Frames,
  Anytime", ECCV 2024).
"""

from __future__ import annotations

import dataclasses

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.losses.laplacian import laplacian_loss
from vfi_jax.models.base import Network
from vfi_jax.models.rife import Level, UNet
from vfi_jax.models.spec import REFERENCE, ModelSpec, Published, TorchRules
from vfi_jax.nn import (
    Conv,
    ConvPReLU,
    DepthwiseConv,
    LayerNorm,
    Linear,
    constant,
    kaiming_fan_out,
    kaiming_normal,
    normal,
    torch_default,
    torch_default_transposed,
    window_attention,
    zones,
)
from vfi_jax.nn.initializers import placeholder
from vfi_jax.ops import (
    Padding,
    clamp,
    join,
    reference_of,
    resize,
    resize_flow,
    resize_to,
    split_pair,
    stack_halves,
    stack_pair,
    time_array,
    time_map,
    warp,
)
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

WINDOW, SHIFT = 7, 3  # tokens
HEAD_SIZE = 32
BLOCK_EPSILON = 1e-6  # of the layer norms in and after the blocks; those of the embeddings have 1e-5
SCALES = (16, 8)  # of the features that the two heads take, in frames


class ConvBlock(nn.Module):
    """Two ConvPReLU."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv = [ConvPReLU(self.features, dtype=self.dtype) for _ in range(2)]

    def __call__(self, x: Array) -> Array:
        for layer in self.conv:
            x = layer(x)
        return x


class SparseConv(nn.Module):
    """3x3 convolution with a stride and a dilation, which is its padding too, as a product with the slices it reads."""

    features: int
    stride: int
    dilation: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        weight = self.param("weight", placeholder, (3, 3, x.shape[-1], self.features))
        bias = self.param("bias", placeholder, (self.features,))
        around = (self.dilation, self.dilation)
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), around, around, (0, 0)))
        rows, columns = ([slice(i * self.dilation, i * self.dilation + side, self.stride) for i in range(3)]
                         for side in x.shape[1:3])  # fmt: skip
        taps = jnp.concatenate([padded[:, row, column] for row in rows for column in columns], -1)
        return taps @ weight.reshape(-1, self.features).astype(self.dtype) + bias.astype(self.dtype)


class CrossScaleEmbed(nn.Module):
    """Tokens of level 3 from the maps of levels 2, 1 and 0, as deep as 3x3 kernels of several dilations see."""

    features: int
    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.layers = [
            SparseConv(self.width, stride, dilation, self.dtype)
            for stride, dilations in ((2, 1), (4, 2), (8, 4))
            for dilation in range(1, dilations + 1)
        ]
        self.proj = Conv(self.features, 1, dtype=self.dtype)
        self.norm = LayerNorm()

    def __call__(self, maps: list[Array]) -> Array:
        """Takes the maps of levels 0, 1 and 2."""
        seen = (maps[2], *2 * [maps[1]], *4 * [maps[0]])
        return self.norm(self.proj(join(*(layer(x) for layer, x in zip(self.layers, seen, strict=True)))))


class Embed(nn.Module):
    """Tokens of the next level."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.proj = Conv(self.features, stride=2, dtype=self.dtype)
        self.norm = LayerNorm()

    def __call__(self, x: Array) -> Array:
        return self.norm(self.proj(x))


class WayEmbed(nn.Module):
    """Linear layer from ways (x, y) to motion features; each head has its part of the features.

    The published code embeds coordinates and subtracts the embedding of a token's own from the mean of those it
    attends to. That is the product of the way and the weights; the bias, which the files hold, cancels out.
    """

    features: int

    @nn.compact
    def __call__(self, way: Float[Array, "b h w p"]) -> Float[Array, "b h w c"]:
        weight = self.param("weight", placeholder, (2, self.features))
        self.param("bias", placeholder, (self.features,))
        heads = way.shape[-1] // 2
        x, y = (jnp.repeat(way[..., axis::2], self.features // heads, -1) for axis in (0, 1))
        return x * weight[0] + y * weight[1]


class InterFrameAttention(nn.Module):
    """Attention of the tokens of each frame to those of the other, within windows.

    Attributes:
      motion: channels of the motion features.
      head_size: channels of a head.
      dtype: compute dtype; ways are float32.
    """

    motion: int
    head_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, labels: np.ndarray, positions: np.ndarray) -> tuple[Array, Array]:
        """Returns the attended values, and motion, of normalized tokens with their zones and positions."""
        channels = x.shape[-1]
        heads = channels // self.head_size
        q = Linear(channels, self.dtype, name="q")(x)
        of_self = Linear(2 * channels, self.dtype, name="kv")(x)
        k, v = jnp.split(jnp.concatenate(split_pair(of_self)[::-1]), 2, -1)
        out, way = window_attention(q, k, v, heads, (WINDOW, WINDOW), labels, positions=positions)
        motion = WayEmbed(self.motion, name="cor_embed")(way)
        return (
            Linear(channels, self.dtype, name="proj")(out),
            Linear(self.motion, self.dtype, name="motion_proj")(motion),
        )


class MLP(nn.Module):
    """Two linear layers with a depthwise convolution between, four times as wide."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        hidden = Linear(4 * x.shape[-1], self.dtype, name="fc1")(x)
        hidden = jax.nn.gelu(DepthwiseConv(self.dtype, name="dwconv")(hidden), approximate=False)
        return Linear(x.shape[-1], self.dtype, name="fc2")(hidden)


class Block(nn.Module):
    """Attention between the frames, and an MLP.

    Attributes:
      motion: channels of the motion features.
      shifted: whether the windows lie between those of the block before.
      dtype: compute dtype.
      head_size: channels of a head.
    """

    motion: int
    shifted: bool
    dtype: DTypeLike = jnp.float32
    head_size: int = HEAD_SIZE

    def setup(self) -> None:
        self.norm1, self.norm2 = LayerNorm(BLOCK_EPSILON), LayerNorm(BLOCK_EPSILON)
        self.attn = InterFrameAttention(self.motion, self.head_size, self.dtype)
        self.mlp = MLP(self.dtype)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Returns tokens and motion of both frames, which are stacked along the batch."""
        size, shift = x.shape[1:3], SHIFT if self.shifted else 0
        around = padding_of(size)
        x = self.norm1(jnp.roll(jnp.pad(x, ((0, 0), *around, (0, 0))), (-shift, -shift), (1, 2)))
        positions = np.roll(np.pad(grid(size), (*around, (0, 0))), (-shift, -shift), (0, 1))
        out, motion = self.attn(x, block_zones(size, self.shifted), positions)

        def restored(y: Array) -> Array:
            (top, _), (left, _) = around
            return jnp.roll(y, (shift, shift), (1, 2))[:, top : top + size[0], left : left + size[1]]

        y = restored(x + out)
        return y + self.mlp(self.norm2(y)), restored(motion)


def block_zones(size: tuple[int, int], shifted: bool) -> np.ndarray:
    """Zones of a block's padded map: padding apart from tokens, and what a shift brings together kept apart.

    Those of the padding are not shifted with the tokens: so the published weights were trained.

    Args:
      size: (height, width) of the map without padding.
      shifted: whether the block's windows are.
    """
    around = padding_of(size)
    whole = tuple(side + sum(pair) for side, pair in zip(size, around, strict=True))
    inside = [(first, first + side) for side, (first, _) in zip(size, around, strict=True)]
    return zones(whole, inside, *[[(side - WINDOW, side - SHIFT) for side in whole]] * shifted)


def padding_of(size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Tokens of padding before and after, for each axis of a map of that size."""
    top, left = (-side % WINDOW // 2 for side in size)
    return (top, -size[0] % WINDOW - top), (left, -size[1] % WINDOW - left)


def grid(size: tuple[int, int]) -> Float[np.ndarray, "h w 2"]:
    """Positions (x, y) of the tokens, from -1 to 1 over the map."""
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in size)
    return np.stack(np.meshgrid(columns, rows), -1)


class Backbone(nn.Module):
    """Appearance of levels 0 to 4 and motion of levels 3 and 4.

    Attributes:
      width: channels of level 0; each further level has twice as many.
      depths: blocks of levels 3 and 4.
      dtype: compute dtype.
    """

    width: int
    depths: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.block1, self.block2, self.block3 = (ConvBlock(self.width << level, self.dtype) for level in range(3))
        self.patch_embed2, self.patch_embed3 = (ConvPReLU(self.width << level, 2, self.dtype) for level in (1, 2))
        self.patch_embed4 = CrossScaleEmbed(8 * self.width, self.width, self.dtype)
        self.patch_embed5 = Embed(16 * self.width, self.dtype)
        self.block4, self.block5 = (
            [Block((self.width << level) // depth, bool(index % 2), self.dtype) for index in range(depth)]
            for level, depth in zip((3, 4), self.depths, strict=True)
        )
        self.norm4, self.norm5 = LayerNorm(BLOCK_EPSILON), LayerNorm(BLOCK_EPSILON)

    def __call__(self, images: Array) -> tuple[list[Array], list[Array]]:
        """Returns the maps of levels 0 to 4, and motion of levels 3 and 4; both frames are stacked along the batch."""
        maps = [self.block1(images)]
        maps.append(self.block2(self.patch_embed2(maps[-1])))
        maps.append(self.block3(self.patch_embed3(maps[-1])))
        motions = []
        for embed, blocks, norm in (
            (self.patch_embed4, self.block4, self.norm4),
            (self.patch_embed5, self.block5, self.norm5),
        ):
            x = embed(maps if len(maps) == 3 else maps[-1])
            ways = []
            for block in blocks:
                x, way = block(x)
                ways.append(way)
            maps.append(norm(x))
            motions.append(jnp.concatenate(ways, -1))
        return maps, motions


class Head(nn.Module):
    """Change of flow and mask, from features of 1/`scale` of the frame, at `4 / scale` of it."""

    features: int
    scale: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        # float32: a flow
        self.conv = [*(ConvPReLU(self.features, dtype=self.dtype) for _ in range(2)), ConvPReLU(5)]

    def __call__(self, features: Array, images: list[Array], flow: Array | None) -> tuple[Array, Array]:
        """Returns flow in pixels of the frame and mask logit; images and flow have the frame's size."""
        parts = [enlarged(features), *(resize(image, 4 / self.scale) for image in images)]
        x = join(*parts, *([] if flow is None else [resize_flow(flow, 4 / self.scale)]))
        for layer in self.conv:
            x = layer(x)
        out = resize(x, self.scale // 4)
        return out[..., :4] * (self.scale // 4), out[..., 4:5]


def enlarged(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
    """`pixel_shuffle(pixel_shuffle(x, 2), 2)` in one transposition."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // 16, 2, 2, 2, 2)
    return x.transpose(0, 1, 6, 4, 2, 7, 5, 3).reshape(batch, 4 * height, 4 * width, channels // 16)


@flax.struct.dataclass
class Features:
    """Outputs of the backbone, for any number of times.

    Attributes:
      maps: appearance of levels 0 to 4, `[2 b, h_l, w_l, c]`, of the frames.
      motions: motion of levels 3 and 4, `[2 b, h_l, w_l, c]`, of the resized frames.
      tokens: appearance of levels 3 and 4 of the resized frames.
      resized: `[b, 2, h2, w2, 3]`, the frames that flows are estimated on.
    """

    maps: list[Array]
    motions: list[Array]
    tokens: list[Array]
    resized: Array


class EMAVFI(Network, kw_only=True):
    """Any of the variants.

    Attributes:
      width: channels of level 0.
      depths: blocks of levels 3 and 4.
      sees_reference: whether the backbone also sees a reference frame and its distance map.
      scale: flows are estimated on frames resized by it: below 1 for large frames and motions.
    """

    width: int
    depths: tuple[int, int]
    sees_reference: bool = False
    scale: float = 1.0

    def setup(self) -> None:
        self.feature_bone = Backbone(self.width, self.depths, self.dtype)
        self.block = [Head(4 * self.width, scale, self.dtype) for scale in SCALES]
        self.unet = UNet(2, self.dtype, 2 * self.width)

    def __call__(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> Output:
        """Returns frame (clipped to 0..1), flows, mask, residual and merged; sides must be multiples of the padding's.

        Args:
          frames: frames 0 and 1.
          t: time or distance map.
          reference: for networks with `sees_reference` a frame between the inputs; None: frame 0.
          reference_t: its time or distance map.
        """
        return self.predict(frames, self.features(frames, reference, reference_t), t)

    def features(
        self,
        frames: Float[Array, "b 2 h w 3"],
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> Features:
        """Returns what does not depend on t; see `__call__`."""
        given = frames
        if self.sees_reference:
            shown, its_t = reference_of(frames, reference, reference_t)
            distance = time_map(its_t, frames)
            both = [join(frames[:, i], shown, way) for i, way in enumerate((distance, 1 - distance))]
            given = jnp.stack(both, 1)
        maps, motions = self.feature_bone(stack_pair(resize(given, self.scale)))
        tokens = maps[3:]
        if self.scale != 1:
            maps = self.feature_bone(stack_pair(given))[0]
        return Features(maps, motions, tokens, resize(frames, self.scale))

    def levels(self, features: Features, t: ArrayLike) -> list[Level]:
        """Returns the estimates of the two heads, at the size of the resized frames."""
        frames, levels = features.resized, []
        for head, motion, tokens in zip(self.block, features.motions[::-1], features.tokens[::-1], strict=True):
            time = time_map(t, frames, motion.shape[1:3]).astype(motion.dtype)
            first, second = split_pair(motion)
            parts = join(time * first, (1 - time) * second, *split_pair(tokens))
            before, images = levels[-1] if levels else None, [frames[:, 0], frames[:, 1]]
            if before is not None:
                images += [before.warped0, before.warped1, before.mask_logit]
            flow, mask_logit = head(parts, images, before.flow if before else None)
            if before is not None:
                flow, mask_logit = before.flow + flow, before.mask_logit + mask_logit
            levels.append(warped_level(frames, flow, mask_logit))
        return levels

    def predict(self, frames: Float[Array, "b 2 h w 3"], features: Features, t: ArrayLike) -> Output:
        """Returns the output at one time; see `__call__`."""
        return self.refine(frames, features, self.levels(features, _fitting(t, frames, features.resized)))

    def refine(self, frames: Float[Array, "b 2 h w 3"], features: Features, levels: list[Level]) -> Output:
        """Returns the output from the heads' estimates."""
        last, back = levels[-1], 1 / self.scale
        if self.scale != 1:
            last = warped_level(frames, resize_flow(last.flow, back), resize(last.mask_logit, back))
        flow, context = last.flow, []
        for level, appearance in enumerate(features.maps):
            flow = resize_flow(flow, 0.5) if level else flow
            context.append(warp(appearance, stack_halves(flow)))
        first, second = zip(*map(split_pair, context), strict=True)
        inputs = (frames[:, 0], frames[:, 1], last.warped0, last.warped1, last.mask_logit, last.flow)
        residual = self.unet(join(*inputs, first[0], second[0]), list(first[1:]), list(second[1:]))
        return Output(
            frame=clamp(last.merged + residual, 0, 1),
            flows=[*(level.flow for level in levels[:-1]), last.flow],
            mask=jax.nn.sigmoid(last.mask_logit),
            residual=residual,
            merged=last.merged,
        )

    def estimate(
        self,
        frames: Float[Array, "b 2 h w 3"],
        t: ArrayLike,
        reference: Float[Array, "b h w 3"] | None = None,
        reference_t: ArrayLike | None = None,
    ) -> tuple[Output, list[Level]]:
        """Returns the output, and the estimates of both heads, which the objective needs; see `__call__`."""
        features = self.features(frames, reference, reference_t)
        levels = self.levels(features, _fitting(t, frames, features.resized))
        return self.refine(frames, features, levels), levels


def warped_level(frames: Array, flow: Array, mask_logit: Array) -> Level:
    """A level from its flow and mask."""
    return Level(flow, mask_logit, *split_pair(warp(stack_pair(frames), stack_halves(flow))))


def _fitting(t: ArrayLike, frames: Array, resized: Array) -> Array:
    """The time for the resized frames: a map is resized with them."""
    time = time_array(t, frames)
    return time if time.shape[1:3] == (1, 1) else resize_to(time, resized.shape[2:4])


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the published objective.

    Attributes:
      merged_weight: of the distance of each head's merged frame, against 1 for the prediction.
      pyramid_levels: of the Laplacian pyramid; sides must be divisible by `2**pyramid_levels`.
    """

    merged_weight: float = 0.5
    pyramid_levels: int = 5


def loss(
    model: EMAVFI, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`L(frame) + merged_weight * sum_i L(merged_i)`, L the Laplacian-pyramid distance, i the two heads.

    Terms: `reconstruction`, `merged`. Source: the published code (CVPR 2023). The model's `scale` must be 1.
    """
    inputs = {name: batch[name] for name in REFERENCE if name in batch}
    out, levels = model.apply(variables, batch["frames"], batch["t"], **inputs, method="estimate")
    distances = [laplacian_loss(level.merged, batch["target"], config.pyramid_levels) for level in levels]
    terms = {
        "reconstruction": laplacian_loss(out.frame, batch["target"], config.pyramid_levels),
        "merged": config.merged_weight * sum(distances),
    }
    return sum(terms.values()), LossAux(terms, out.frame)


# feature_bone/block1/conv_1/conv/weight     -> feature_bone.block1.conv.2.weight
# feature_bone/patch_embed2/prelu/weight     -> feature_bone.patch_embed2.1.weight
# feature_bone/block4_1/mlp/dwconv/weight    -> feature_bone.block4.1.mlp.dwconv.dwconv.weight
# block_0/conv_2/conv/bias                   -> block.0.conv.2.0.bias
# unet/down0/conv1/prelu/weight              -> unet.down0.conv1.1.weight
NAMES = (
    (r"(block[123])/conv_0/conv/", r"\1/conv/0/"),
    (r"(block[123])/conv_0/prelu/", r"\1/conv/1/"),
    (r"(block[123])/conv_1/conv/", r"\1/conv/2/"),
    (r"(block[123])/conv_1/prelu/", r"\1/conv/3/"),
    (r"(patch_embed[23]|conv_\d|conv[12]|up\d)/conv/", r"\1/0/"),
    (r"(patch_embed[23]|conv_\d|conv[12]|up\d)/prelu/", r"\1/1/"),
    (r"(block\d?|conv|layers)_(\d)/", r"\1/\2/"),
    (r"dwconv/", r"dwconv/dwconv/"),
)
LAYOUTS = (
    (r"unet\.up\d\.0\.weight$", "conv_transpose"),
    (r"\.(q|kv|cor_embed|fc1|fc2|motion_proj|attn\.proj)\.weight$", "linear"),
    (r"(patch_embed[23]\.0|block[123]\.conv\.[02]|block\.\d\.conv\.\d\.0|layers\.\d|patch_embed\d\.proj|dwconv"
     r"|conv[12]\.0|unet\.conv)\.weight$", "conv"),
)  # fmt: skip
INIT_RULES = (
    ("prelu/", constant(0.25)),
    (r"norm\d?/weight", constant(1)),
    (r"norm\d?/bias", constant(0)),
    (r"up\d/conv/", torch_default_transposed),
    (r"^(params/)?block_\d/", torch_default),
    (r"/bias$", constant(0)),
    (r"/(q|kv|cor_embed|fc1|fc2|motion_proj|attn/proj)/weight", normal(0.02)),
    (r"dwconv/weight", kaiming_normal(0)),
    ("", kaiming_fan_out),
)


def _frame_channels(width: int, sees_reference: bool) -> tuple[tuple[str, int, tuple[int, ...]], ...]:
    """Where frames, warped frames and the reference enter and leave the network."""
    first, second = 4 * width, 2 * width
    return (
        (r"^feature_bone\.block1\.conv\.0\.weight$", 1, (0, 3) if sees_reference else (0,)),
        (r"^block\.0\.conv\.0\.0\.weight$", 1, (first, first + 3)),
        (r"^block\.1\.conv\.0\.0\.weight$", 1, (second, second + 3, second + 6, second + 9)),
        (r"^unet\.down0\.conv1\.0\.weight$", 1, (0, 3, 6, 9)),
        (r"^unet\.conv\.(weight|bias)$", 0, (0,)),
    )


def _spec(
    *,
    base: bool = True,
    any_time: bool = True,
    sees_reference: bool = False,
    params: int = 65_662_359,
    gmac: float = 910.4,
    score: str = "-",
) -> ModelSpec:
    network = {"width": 32, "depths": (4, 4)} if base else {"width": 16, "depths": (2, 2)}
    inputs = REFERENCE if sees_reference else ()
    return ModelSpec(
        kind="interpolation",
        module=EMAVFI,
        config={**network, **({"sees_reference": True} if sees_reference else {})},
        num_frames=2,
        any_time=any_time,
        padding=Padding(32, "edge", "center", resized=16),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=INIT_RULES,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        droppable=("attn_mask", "HW"),  # buffers that the published code fills at its first run
        needs=inputs,
        inputs=inputs,
        frame_channels=_frame_channels(network["width"], sees_reference),
        published=Published(score, "Apache-2.0 (code; none stated for weights)", "bgr"),
    )


SMALL = {"base": False, "params": 14_489_815, "gmac": 207.6}
SPECS = {
    "ema_vfi_small": _spec(**SMALL, any_time=False),
    "ema_vfi": _spec(any_time=False, score="36.64 dB Vimeo90K, flip ensemble, as quoted"),
    "ema_vfi_small_t": _spec(**SMALL),
    "ema_vfi_t": _spec(score="31.46 dB X-TEST 4K, flip ensemble, as quoted"),
    "d_ema_vfi": _spec(),
    "dr_ema_vfi": _spec(sees_reference=True, params=65_663_511, gmac=912.6),
}
