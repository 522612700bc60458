"""VFIT: a transformer over four frames predicts kernels that sample them, without flow (`vfit_s`, `vfit_b`).

Zhihao Shi et al., "Video Frame Interpolation Transformer", CVPR 2022. Follows the published code where the paper
differs: the offsets of the kernels are truncated towards zero, padding tokens take part in the attention, and the bias
of windows narrower than 8 is that of other places. The published code has no license: this file follows a description.

Architecture (`b n h w c`, n = 4 frames; level k has 1/2^k of the frame's sides, rounded up):
  1. Encoder, of the frames less their mean color: 3x3x3 convolutions at level 0, then at levels 1 to 4 a strided one
     and 2, 2, 6 and 2 blocks. A block attends within 8x8 windows of each frame, shifted in every other block, then
     between the four frames at each pixel, and ends in an MLP.
  2. Decoder: transposed 3x3x3 convolutions up to level 1, with skip connections; at levels 3, 2 and 1, 64 channels.
  3. Synthesis at levels 2, 1 and 0, from the features of the level below: for every frame and pixel 25 taps with
     weights and offsets (`ops.sample_taps`), which sample the frame at that level's size; the four samples are blended.
  4. Frame: the samples of the three levels, each enlarged and added to the next. It is not clipped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float, Int

from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, NoLossConfig, Published, TorchRules
from vfi_jax.nn import (
    Conv,
    Conv3d,
    ConvTranspose3d,
    ConvTranspose3x3,
    LayerNorm,
    Linear,
    constant,
    leaky_relu,
    normal,
    torch_default_transposed,
    window_attention,
    zones,
)
from vfi_jax.nn.initializers import placeholder
from vfi_jax.ops import Padding, absolute, resize_to, sample_taps
from vfi_jax.types import Array, Batch, LossAux, Output, Variables

FRAMES = 4
SLOPE = 0.2
SIDE = 8  # of a window, in tokens
TAPS = 25
HEADS = (2, 4, 8, 16)  # of the attention in each stage
HALO = 4  # rows
BAND = 2**27  # bytes of the map of level 0 above which it is computed in bands
AT_ONCE = 2**29  # bytes of a block's widest features above which it runs on one frame, or on some rows, at a time


class ResBlock3d(nn.Module):
    """`relu(x + conv2(relu(conv1(x))))`."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv1, self.conv2 = Conv3d(self.features, dtype=self.dtype), Conv3d(self.features, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        return jax.nn.relu(x + self.conv2(jax.nn.relu(self.conv1(x))))


class SpatialAttention(nn.Module):
    """Attention within windows of a frame; window and shift follow the sides of the map.

    Attributes:
      heads: number of heads.
      shifted: whether the windows lie between those of the block before, along sides of more than one window.
      dtype: compute dtype.
    """

    heads: int
    shifted: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Takes frames one by one, along the batch; tokens of padding, which are zero, take part as keys and values."""
        size, channels = x.shape[1:3], x.shape[-1]
        table = self.param("relative_position_bias_table", placeholder, ((2 * SIDE - 1) ** 2, self.heads))
        window = tuple(min(SIDE, side) for side in size)
        shift = tuple(SIDE // 2 if self.shifted and side > SIDE else 0 for side in size)
        padded = jnp.pad(x, ((0, 0), *((0, -side % step) for side, step in zip(size, window, strict=True)), (0, 0)))
        rolled = jnp.roll(padded, [-step for step in shift], (1, 2))
        q, k, v = jnp.split(Linear(3 * channels, self.dtype, name="qkv")(rolled), 3, -1)
        bias = jnp.moveaxis(table[window_places(window)], -1, 0)
        out, _ = window_attention(q, k, v, self.heads, window, shift_zones(padded.shape[1:3], window, shift), bias)
        back = jnp.roll(out, shift, (1, 2))[:, : size[0], : size[1]]
        return Linear(channels, self.dtype, name="proj")(back)


def window_places(window: tuple[int, int]) -> Int[np.ndarray, "t t"]:
    """Place in the bias table for each query and key of a window: `15 (r - r' + 7) + (c - c' + 7)`.

    Token t is read as that in row t // 8 and column t % 8 also where the window is narrower: so the published weights
    were trained.
    """
    rows, columns = np.divmod(np.arange(window[0] * window[1]), SIDE)
    down, across = (each[:, None] - each[None, :] + SIDE - 1 for each in (rows, columns))
    return down * (2 * SIDE - 1) + across


def shift_zones(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> np.ndarray | None:
    """Zones of a padded and rolled map: what the shift brings together is kept apart; None without a shift."""
    if not any(shift):
        return None
    return zones(size, [[s - w, s - d] if d else [] for s, w, d in zip(size, window, shift, strict=True)])


def frame_places() -> Int[np.ndarray, "n n"]:
    """Place in the bias table for each query and key frame: `n - n' + 3`."""
    order = np.arange(FRAMES)
    return order[:, None] - order[None, :] + FRAMES - 1


class TemporalAttention(nn.Module):
    """Attention between the frames at each pixel.

    The scores of four queries and four keys are sums over channels, not matrix products, which would be tiny.
    """

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n h w c"]) -> Float[Array, "b n h w c"]:
        """Returns the input's shape; scores and softmax are float32."""
        channels = x.shape[-1]
        table = self.param("relative_position_bias_table", placeholder, (2 * FRAMES - 1, self.heads))
        qkv = Linear(3 * channels, self.dtype, name="qkv")(x)
        q, k, v = (part.reshape(*x.shape[:-1], self.heads, -1) for part in jnp.split(qkv, 3, -1))
        order = np.arange(FRAMES)
        bias = table[frame_places()][:, :, None, None]
        wide = q.astype(jnp.float32)
        # Key by key: of all keys at once XLA's CPU compiler (jaxlib 0.10.2) gets the sums wrong for a batch of one.
        scores = jnp.stack([(wide * k[:, key : key + 1]).sum(-1) for key in order], 2) / math.sqrt(q.shape[-1])
        weights = jax.nn.softmax(scores + bias, 2).astype(v.dtype)
        out = sum(weights[:, :, key, ..., None] * v[:, key : key + 1] for key in order)
        return Linear(channels, self.dtype, name="proj")(out.reshape(x.shape))


class MLP(nn.Module):
    """Two linear layers, four times as wide between, with the exact GELU."""

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        hidden = jax.nn.gelu(Linear(4 * x.shape[-1], self.dtype, name="fc1")(x), approximate=False)
        return Linear(x.shape[-1], self.dtype, name="fc2")(hidden)


class Block(nn.Module):
    """Attention within each frame and between them, with one norm and one skip connection around both, and an MLP."""

    heads: int
    shifted: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.norm1, self.norm2 = LayerNorm(), LayerNorm()
        self.depth_attn = SpatialAttention(self.heads, self.shifted, self.dtype)
        self.point_attn = TemporalAttention(self.heads, self.dtype)
        self.mlp = MLP(self.dtype)

    def __call__(self, x: Float[Array, "b n h w c"]) -> Float[Array, "b n h w c"]:
        """Returns the input's shape."""
        frames = x.shape[1]
        parts = frames if 4 * x.size * x.dtype.itemsize > AT_ONCE else 1
        y = in_parts(Block.within, self, (x,), parts, 1)
        rows = min(x.shape[2], -(-4 * x.size * x.dtype.itemsize // AT_ONCE))
        return in_parts(Block.between, self, (x, y), rows, 2)

    def within(self, x: Array) -> Array:
        """Normalizes, and attends within each frame; every number of frames gives the same."""
        y = self.norm1(x)
        return self.depth_attn(y.reshape(-1, *y.shape[2:])).reshape(x.shape)

    def between(self, x: Array, y: Array) -> Array:
        """Does the rest, for each pixel by itself, from the block's input x and the result y of `within`."""
        x = x + self.point_attn(y)
        return x + self.mlp(self.norm2(x))


def in_parts(method: Callable[..., Array], module: nn.Module, given: Sequence[Array], parts: int, axis: int) -> Array:
    """`method(module, *given)` on `parts` parts of an axis, one after the other; a gradient computes each again.

    The result, which has the shape of the first array, takes its place part by part: XLA's CPU compiler would hold that
    of a plain loop from the program's start.
    """
    if parts <= 1:
        return method(module, *given)
    size, step = given[0].shape[axis], nn.remat(method)
    length = -(-size // parts)

    def advance(module: nn.Module, out: Array, at: ArrayLike, length: int = length) -> tuple[Array, None]:
        cuts = [lax.dynamic_slice_in_dim(x, at, length, axis) for x in (out, *given[1:])]
        part = step(module, *cuts).astype(out.dtype)
        return lax.dynamic_update_slice_in_dim(out, part, at, axis), None

    loop = nn.scan(advance, variable_broadcast="params", split_rngs={"params": False})
    whole = size // length * length
    out, _ = loop(module, given[0], jnp.arange(0, whole, length))
    return advance(module, out, whole, size - whole)[0] if whole < size else out


def by_bands(method: Callable[..., Array], module: nn.Module, frames: Array, bands: int) -> Array:
    """`method(module, frames)`, of half the rows, band by band of rows; a gradient computes each again.

    Args:
      method: convolutions that halve the rows, and read `HALO` rows at most around the two of each.
      module: its first argument.
      frames: `[b, n, h, w, c]`.
      bands: their number.
    """
    height = frames.shape[2]
    rows = -(-height // 2)
    if bands <= 1 or height < 4 * HALO:
        return method(module, frames)
    length = -(-rows // bands)
    size = min(height, 2 * (length + HALO))
    size += (height - size) % 2  # bands begin at even rows
    starts = np.minimum(np.arange(0, rows, length), rows - length)
    first = np.clip(2 * starts - HALO, 0, height - size)

    def step(module: nn.Module, _: None, at: tuple[Array, Array]) -> tuple[None, Array]:
        band = method(module, lax.dynamic_slice_in_dim(frames, at[1], size, 2))
        return None, lax.dynamic_slice_in_dim(band, at[0] - at[1] // 2, length, 2)

    loop = nn.scan(nn.remat(step), variable_broadcast="params", split_rngs={"params": False})
    _, out = loop(module, None, (jnp.asarray(starts), jnp.asarray(first)))
    last = len(starts) * length - rows  # rows of the last band that the one before it has as well
    return jnp.concatenate([*out[:-1], out[-1, :, :, last:]], 2)


class Encoder(nn.Module):
    """Features of levels 1 to 4.

    Attributes:
      widths: channels of each level.
      blocks: of each stage.
      dtype: compute dtype.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.stem_0 = Conv3d(self.widths[0], dtype=self.dtype)
        self.stem_2 = ResBlock3d(self.widths[0], self.dtype)
        self.down = [Conv3d(width, 2, self.dtype) for width in self.widths[1:]]
        for index, (blocks, heads) in enumerate(zip(self.blocks, HEADS, strict=True), 1):
            stage = [Block(heads, bool(number % 2), self.dtype) for number in range(blocks)]
            setattr(self, f"stage{index}", stage)

    def __call__(self, frames: Float[Array, "b n h w 3"]) -> list[Array]:
        """Returns the maps of levels 1 to 4."""
        maps: list[Array] = []
        for index, down in enumerate(self.down, 1):
            x = down(maps[-1]) if maps else self.first(frames)
            for block in getattr(self, f"stage{index}"):
                x = block(x)
            maps.append(x)
        return maps

    def stem(self, frames: Float[Array, "b n h w 3"]) -> Float[Array, "b n h w c"]:
        """Returns the map of level 0."""
        return self.stem_2(leaky_relu(self.stem_0(frames), SLOPE))

    def first(self, frames: Float[Array, "b n h w 3"]) -> Float[Array, "b n h2 w2 c"]:
        """Returns the input of level 1's blocks; that of level 0 is never whole where frames are large."""
        level0 = frames.size // 3 * self.widths[0] * frames.dtype.itemsize
        bands = min(frames.shape[2] // 2, -(-level0 // BAND))
        return by_bands(lambda module, band: module.down[0](module.stem(band)), self, frames, bands)


class Smooth(nn.Module):
    """A convolution and a residual block."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv, self.block = Conv3d(self.features, dtype=self.dtype), ResBlock3d(self.features, self.dtype)

    def __call__(self, x: Array) -> Array:
        return self.block(self.conv(x))


class Head(nn.Module):
    """Convolutions from features to maps of twice their size.

    Attributes:
      width: channels between.
      features: channels out, float32.
      dtype: compute dtype.
    """

    width: int
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, size: tuple[int, int]) -> Array:
        """Returns maps of `size`."""
        x = leaky_relu(Conv(x.shape[-1], dtype=self.dtype, name="conv0")(x), SLOPE)
        x = leaky_relu(Conv(self.width, dtype=self.dtype, name="conv2")(x), SLOPE)
        x = ConvTranspose3x3(self.width, self.dtype, name="up4")(x, size)
        return Conv(self.features, name="conv5")(x.astype(jnp.float32))  # float32: offsets, and weights of pixels


class Synthesis(nn.Module):
    """The image of one level: the frames sampled at its size, and blended.

    Attributes:
      normalized: whether the weights of the taps are made positive with sum 1.
      features: channels of the features.
      dtype: compute dtype of the features.
    """

    normalized: bool
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.weight, self.vertical, self.horizontal = (Head(TAPS, TAPS, self.dtype) for _ in range(3))
        self.fuse = Conv(self.features, 1, dtype=self.dtype)
        self.occlusion = Head(self.features, FRAMES, self.dtype)

    def __call__(self, features: Float[Array, "b n h w c"], frames: Float[Array, "b n h2 w2 3"]) -> Array:
        """Returns `[b, h2, w2, 3]`; features have half the sides of the frames, rounded up."""
        shares = jnp.moveaxis(self.shares(features, frames.shape[2:4]), -1, 1)

        def add(module: Synthesis, total: Array, given: tuple[Array, ...]) -> tuple[Array, None]:
            features, frame, share = given
            weight, *offsets = module.taps(features, frame.shape[1:3])
            return total + share[..., None] * sample_taps(frame, weight, *offsets), None

        # Frame by frame: kernels of one are most of the memory that the network takes.
        step = nn.scan(add, variable_broadcast="params", split_rngs={"params": False}, in_axes=1)
        return step(self, jnp.zeros(frames[:, 0].shape, jnp.float32), (features, frames, shares))[0]

    def taps(self, features: Float[Array, "b h w c"], size: tuple[int, int]) -> tuple[Array, Array, Array]:
        """Returns weights, vertical and horizontal offsets of one frame's taps, `[b, *size, 25]`."""
        weight = self.weight(features, size)
        weight = jax.nn.softmax(weight) if self.normalized else weight
        return weight, self.vertical(features, size), self.horizontal(features, size)

    def shares(self, features: Float[Array, "b n h w c"], size: tuple[int, int]) -> Array:
        """Returns the share of each frame in the pixels, `[b, *size, n]`, which add up to 1."""
        stacked = jnp.moveaxis(features, 1, -1)  # channel c of frame t becomes 4 c + t
        fused = leaky_relu(self.fuse(stacked.reshape(*stacked.shape[:3], -1)), SLOPE)
        return jax.nn.softmax(self.occlusion(fused, size))


class VFIT(Network, kw_only=True):
    """Both variants.

    Attributes:
      widths: channels of levels 0 to 4.
      blocks: number of blocks at levels 1 to 4.
      features: channels of the features that kernels are predicted from.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...] = (2, 2, 6, 2)
    features: int = 64
    any_time: bool = False

    def setup(self) -> None:
        self.encoder = Encoder(self.widths, self.blocks, self.dtype)
        self.decoder = [ConvTranspose3d(width, self.dtype) for width in self.widths[3:0:-1]]
        self.smooth_ll, self.smooth_l, self.smooth = (Smooth(self.features, self.dtype) for _ in range(3))
        self.predict_ll, self.predict_l, self.predict = (
            Synthesis(level == 0, self.features, self.dtype) for level in range(3)
        )

    def __call__(self, frames: Float[Array, "b 4 h w 3"], t: ArrayLike = 0.5) -> Output:
        """Returns frame and iterates (levels 2, 1 and 0), not clipped, at t = 0.5 whatever t is; any sides."""
        mean = frames.mean(3, keepdims=True).mean((1, 2), keepdims=True)  # in two steps, which round less
        maps = self.encoder(frames - mean)
        return self.synthesize(frames, self.decode(maps), [frames.shape[2:4], *(x.shape[2:4] for x in maps)])

    def decode(self, maps: list[Array]) -> list[Array]:
        """Returns the features of levels 3, 2 and 1 from the encoder's maps."""
        x, features = maps[-1], []
        smooths = (self.smooth_ll, self.smooth_l, self.smooth)
        for up, smooth, skip in zip(self.decoder, smooths, maps[2::-1], strict=True):
            x = jnp.concatenate([leaky_relu(up(x, skip.shape[2:4]), SLOPE), skip], -1)
            features.append(smooth(x))
        return features

    def synthesize(self, frames: Array, features: list[Array], sizes: Sequence[tuple[int, int]]) -> Output:
        """Returns the output from the features; `sizes` are those of levels 0, 1, ..."""
        iterates: list[Array] = []
        predictors = (self.predict_ll, self.predict_l, self.predict)
        for predict, x, size in zip(predictors, features, sizes[2::-1], strict=True):
            image = predict(x, resize_to(frames, size))
            iterates.append(resize_to(iterates[-1], size) + image if iterates else image)
        return Output(iterates[-1], iterates=iterates)


def loss(
    model: VFIT, variables: Variables, batch: Batch, config: NoLossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`mean |frame - target|` of the unclipped frame; term `reconstruction`. Source: the published code (CVPR 2022)."""
    frame = model.apply(variables, batch["frames"]).frame
    total = absolute(frame - batch["target"]).mean()
    return total, LossAux({"reconstruction": total}, frame)


# encoder/stem_2/conv1/weight               -> encoder.stem.2.conv1.weight
# encoder/stage3_5/depth_attn/qkv/weight    -> encoder.stage3.upper.blocks.5.depth_attn.qkv.weight
# encoder/down_0/bias                       -> encoder.down0.bias
# decoder_1/weight                          -> decoder.1.upconv.0.weight
# smooth_l/block/conv2/weight               -> smooth_l.1.conv2.weight
# predict_ll/vertical/up4/weight            -> predict_ll.ModuleAlpha.4.weight
NAMES = (
    (r"stem_(\d)", r"stem.\1"),
    (r"stage(\d)_(\d+)", r"stage\1.upper.blocks.\2"),
    (r"down_(\d)", r"down\1"),
    (r"^decoder_(\d)/", r"decoder.\1.upconv.0."),
    (r"^(smooth\w*)/conv/", r"\1.0.conv.0."),
    (r"^(smooth\w*)/block/", r"\1.1."),
    (r"^(predict\w*)/weight/", r"\1.ModuleWeight."),
    (r"/vertical/", ".ModuleAlpha."),
    (r"/horizontal/", ".ModuleBeta."),
    (r"/occlusion/", ".moduleOcclusion."),
    (r"/fuse/", ".feature_fuse.conv.0."),
    (r"^(predict.*)\.(?:conv|up)(\d)/", r"\1.\2."),
)
LAYOUTS = (
    (r"(stem\.\d|stem\.2\.conv\d|down\d|smooth\w*\.0\.conv\.0|smooth\w*\.1\.conv\d)\.weight$", "conv3d"),
    (r"upconv\.0\.weight$", "conv_transpose3d"),
    (r"(qkv|proj|fc1|fc2)\.weight$", "linear"),
    (r"odule\w+\.4\.weight$", "conv_transpose"),
    (r"(odule\w+\.\d|feature_fuse\.conv\.0)\.weight$", "conv"),
)
INIT_RULES = (
    (r"norm\d/weight", constant(1)),
    (r"norm\d/bias", constant(0)),
    (r"bias_table$", normal(0.02)),
    (r"decoder_\d/|/up4/", torch_default_transposed),
)


def index_buffers(model: VFIT) -> dict[str, Int[np.ndarray, "t t"]]:
    """Returns the places in the bias tables, which the published modules keep as buffers."""
    indices = {"depth_attn": window_places((SIDE, SIDE)), "point_attn": frame_places()}
    return {
        f"encoder.stage{stage}.upper.blocks.{block}.{attention}.relative_position_index": index
        for stage, blocks in enumerate(model.blocks, 1)
        for block in range(blocks)
        for attention, index in indices.items()
    }


def _spec(*, widths: tuple[int, ...], params: int, gmac: float, score: str) -> ModelSpec:
    return ModelSpec(
        kind="interpolation",
        module=VFIT,
        config={"widths": widths},
        num_frames=FRAMES,
        any_time=False,
        padding=Padding(1),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        init_rules=INIT_RULES,
        droppable=(r"relative_position_index$",),  # buffers, which are computed
        buffers=index_buffers,
        published=Published(score, "none stated", "rgb"),
    )


SPECS = {
    "vfit_s": _spec(
        widths=(16, 32, 64, 128, 192), params=7_537_489, gmac=1202.1, score="36.48 dB Vimeo septuplet (unchecked)"
    ),
    "vfit_b": _spec(
        widths=(32, 64, 128, 256, 512), params=29_082_065, gmac=2636.5, score="36.96 dB Vimeo septuplet, as quoted"
    ),
}
