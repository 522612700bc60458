"""DBVI: MAP estimation of frame and flows by unrolled, learned gradient descent (`dbvi_2x`, `dbvi_8x`).

Zhiyang Yu et al., "Deep Bayesian Video Frame Interpolation", ECCV 2022. Follows the published code where the paper
differs: the gradient on the frame is divided by the splatted weights, the one on the flows is that of a learned prior
only, and every step has a network of its own.

Architecture (`b h w c`, padded; images are in -1..1, less their mean color; flows are forward, on the grid of frame 0
or 1, in pixels):
  1. A frozen flow network (RAFT) estimates four flows between the four input frames: 0 to -1, 0 to 1, 1 to 2, 1 to 0.
  2. Constant acceleration turns them into the initial flows 0 to t and 1 to t. The image starts at zero.
  3. Six (2x) or four (8x) steps, each with weights of its own, update image (3 channels), features (16), flow error
     (32; its first four channels are the change of the flows) and flows (4):
     a. data gradient: sample the image at the flows, subtract from the frames, splat the error back to time t;
     b. prior gradient: a learned prior of the flow error, `W^T (s (W d - mu))`, with mu and s from the features;
     c. a style block of four U-Nets, normalized and modulated by a constant code, to new features; from these the
        changes of image and flow error.
  4. Frame: the image of the last step. Training compares every step's image with the target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.models import raft
from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import (
    Conv,
    GroupNorm,
    Linear,
    UpConv,
    constant,
    instance_norm,
    kaiming_normal,
    leaky_relu,
    orthogonal,
    torch_default,
)
from vfi_jax.ops import (
    Padding,
    absolute,
    pad_amounts,
    pad_reflected,
    resize_corners,
    resize_flow_corners,
    splat_average,
    split_pair,
    stack_halves,
    time_map,
    warp_inside,
)
from vfi_jax.types import FOUR_FRAME_FLOWS, Array, Batch, LossAux, Output, Variables

GROUPS = 4
SLOPE = 0.2
WIDTH = 16  # features
ERROR = 32  # channels of the flow error
CODE = 512
NOISE = 128  # channels of the code's input, all of them 0
MAPPING = range(0, 16, 2)  # numbers of the code's linear layers in the reference
MULTIPLE = 8  # of the sides that the flow network takes
LARGE = 1080 * 2048  # pixels; frames of this area and more have their flows estimated at half the size
LAYERS = {"n": "norm", "a": "activate", "c": "conv", "u": "conv"}  # "u" doubles the sides first

Estimator = Callable[[Array, Array], Array]  # two images to the flow from the first to the second


class Block(nn.Module):
    """A convolution with its norm and activation.

    Attributes:
      features: channels out.
      kernel: odd side of the kernel.
      stride: the same in both axes.
      order: the layers in turn, one letter of LAYERS each.
      dtype: compute dtype.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    order: str = "nac"
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if "n" in self.order:
            self.norm = GroupNorm(GROUPS)
        if "u" in self.order:
            self.conv = UpConv(self.features, self.dtype)
        else:
            self.conv = Conv(self.features, self.kernel, self.stride, self.dtype, bias=False)

    def __call__(self, x: Array) -> Array:
        for letter in self.order:
            x = getattr(self, LAYERS[letter])(x)
        return x

    def activate(self, x: Array) -> Array:
        """Applies the exact GELU."""
        return jax.nn.gelu(x, approximate=False)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions on a quarter of the channels, added to the input."""

    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        narrow = self.features // 4
        self.conv0 = Block(narrow, 1, dtype=self.dtype)
        self.conv1 = Block(narrow, dtype=self.dtype)
        self.conv2 = Block(self.features, 1, dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        return x + self.conv2(self.conv1(self.conv0(x)))


class UNet(nn.Module):
    """Three levels down and up again, added to the input; sides must be multiples of 8.

    Attributes:
      order: layers of the first block.
      dtype: compute dtype.
    """

    order: str
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.down1 = Block(WIDTH, stride=2, order=self.order, dtype=self.dtype)
        self.down2 = Block(4 * WIDTH, stride=2, dtype=self.dtype)
        self.down3 = Block(16 * WIDTH, stride=2, dtype=self.dtype)
        self.pre1 = Bottleneck(16 * WIDTH, self.dtype)
        self.pre2 = Bottleneck(16 * WIDTH, self.dtype)
        self.up0 = Block(4 * WIDTH, order="nau", dtype=self.dtype)
        self.up1 = Block(WIDTH, order="nau", dtype=self.dtype)
        self.up2 = Block(WIDTH, order="nau", dtype=self.dtype)

    def __call__(self, x: Array) -> Array:
        half = self.down1(x)
        quarter = self.down2(half)
        eighth = self.pre2(self.pre1(self.down3(quarter)))
        return self.up2(self.up1(self.up0(eighth) + quarter) + half) + x


class Residual(nn.Module):
    """Two UNets, added to the input."""

    order: str
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.RDB1 = UNet(self.order, self.dtype)
        self.RDB2 = UNet("nac", self.dtype)

    def __call__(self, x: Array) -> Array:
        return self.RDB2(self.RDB1(x)) + x


class Style(nn.Module):
    """Style block: twice a residual network, instance norm, and a scale and shift predicted from the code."""

    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for index, order in enumerate(("nac", "ac")):
            setattr(self, f"residual{index}", Residual(order, self.dtype))
            setattr(self, f"trans{index}", Linear(2 * WIDTH, self.dtype))
        self.lrConv = Block(WIDTH, dtype=self.dtype)

    def __call__(self, x: Array, code: Array) -> Array:
        y = x
        for residual, trans in ((self.residual0, self.trans0), (self.residual1, self.trans1)):
            scale, shift = jnp.split(trans(code)[:, None, None], 2, -1)
            y = (1 + jnp.tanh(scale)) * instance_norm(residual(y)) + shift
        return (self.lrConv(y) + x) / 2


class Basis(nn.Module):
    """A square matrix `[out, in]` over channels."""

    features: int

    def setup(self) -> None:
        self.weight = self.param("weight", nn.initializers.zeros_init(), (self.features, self.features))

    def __call__(self, x: Array) -> Array:
        return x @ self.weight.T

    def back(self, x: Array) -> Array:
        """Multiplies by the transpose, which after training is no inverse."""
        return x @ self.weight


@flax.struct.dataclass
class State:
    """The state of the descent after a step.

    Attributes:
      image: `b h w 3`, the iterate.
      features: `b h w 16`.
      error: `b h w 32`, the flow error.
      flows: `b h w 4`, 0 to t, then 1 to t.
    """

    image: Array
    features: Array
    error: Array
    flows: Array


class Step(nn.Module):
    """One step of the descent."""

    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for index in MAPPING:
            setattr(self, f"mapping{index}", Linear(CODE, self.dtype))
        self.convUV = [Block(WIDTH, dtype=self.dtype), Block(2 * ERROR, 1, dtype=self.dtype)]
        self.invConv = Basis(ERROR)
        self.compConv = Block(4, 1, dtype=self.dtype)
        self.inConv = Block(WIDTH, order="cna", dtype=self.dtype)
        self.style_block = Style(self.dtype)
        self.convNext = [Block(WIDTH, dtype=self.dtype), Block(WIDTH, dtype=self.dtype)]
        self.toRGB = Block(3, dtype=self.dtype)
        self.toFlow = [Block(WIDTH, dtype=self.dtype), Block(ERROR, 1)]  # float32: a flow

    def __call__(self, state: State, pair: Array, t: Array) -> State:
        """Returns the next state; `pair` is `b h w 6`, frames 0 and 1, and t is `b h w 1`."""
        images = jnp.concatenate([state.image, state.image])
        first, second = split_pair(data_gradient(images, stack_halves(pair), stack_halves(state.flows)))
        return self.update(state, pair, jnp.concatenate([(1 - t) * first, t * second], -1))

    def update(self, state: State, pair: Array, descent: Array) -> State:
        """Returns the next state from `descent`, `b h w 6`, the weighted data gradients of frames 0 and 1."""
        prior = self.compConv(self.prior_gradient(state)).astype(jnp.float32)
        x = self.inConv(
            jnp.concatenate([pair, state.image, descent, state.flows, state.features.astype(jnp.float32), prior], -1)
        )
        features = self.convNext[1](self.convNext[0](self.style_block(x, self.code())))
        change = self.toFlow[1](self.toFlow[0](features).astype(jnp.float32))
        image = state.image + self.toRGB(features).astype(jnp.float32)
        return State(image, features, state.error + change, state.flows + change[..., :4])

    def prior_gradient(self, state: State) -> Array:
        """`W^T (s (W d - mu))` of the flow error d; mu and `s = sigmoid(l)` come from the features."""
        mean, logit = jnp.split(self.convUV[1](self.convUV[0](state.features)).astype(jnp.float32), 2, -1)
        return self.invConv.back(jax.nn.sigmoid(logit) * (self.invConv(state.error) - mean))

    def code(self) -> Array:
        """Returns `[1, 512]`, the same for every image: the input of the published mapping network is zero."""
        code = jnp.zeros((1, NOISE), self.dtype)
        for index in MAPPING:
            code = leaky_relu(getattr(self, f"mapping{index}")(code), SLOPE)
        return code


def data_gradient(
    image: Float[Array, "b h w c"], frame: Float[Array, "b h w c"], flow: Float[Array, "b h w 2"]
) -> Float[Array, "b h w c"]:
    """`A(m (frame - W(image)))`: W samples at `p + flow[p]`, m is 1 where that is inside, A is the average splat.

    This is the negative gradient of `|m (frame - W(image))|^2 / 2` by the image, divided by the splatted weights.
    """
    warped, mask = warp_inside(image, flow)
    return splat_average(mask * (frame - warped), flow)


def quadratic_motion(flows: Float[Array, "b h w 8"], t: Float[Array, "b #h #w 1"]) -> Float[Array, "b h w 4"]:
    """Flows 0 to t and 1 to t at constant acceleration: `(F+ + F-) / 2 s^2 + (F+ - F-) / 2 s`.

    s is t for frame 0, and 1 - t for frame 1, whose F+ leads to frame 0 and F- to frame 2.

    Args:
      flows: 0 to -1, 0 to 1, 1 to 2, 1 to 0.
      t: time of the wanted frame.
    """
    before, forth, after, back = jnp.split(flows, 4, -1)
    return jnp.concatenate(
        [(to + fro) / 2 * s**2 + (to - fro) / 2 * s for to, fro, s in ((forth, before, t), (back, after, 1 - t))], -1
    )


def four_flows(estimate: Estimator, images: Float[Array, "b 4 h w 3"]) -> Float[Array, "b h w 8"]:
    """Flows 0 to -1, 0 to 1, 1 to 2, 1 to 0, without gradients; one pair after the other, to save memory.

    Args:
      estimate: two images `b h w 3` to the flow `b h w 2` from the first to the second.
      images: sides are multiples of 8; those of LARGE or more pixels are halved for the estimate.
    """
    size = images.shape[2:4]
    halved = size[0] * size[1] >= LARGE
    if halved:
        # The published code needs halves that are multiples of 8; others are rounded up here.
        small = tuple(MULTIPLE * -(-side // (2 * MULTIPLE)) for side in size)
        images = resize_corners(images, small)
    pairs = [jnp.stack([images[:, pair[side]] for pair in FOUR_FRAME_FLOWS]) for side in (0, 1)]
    flows = jnp.concatenate(list(lax.map(lambda pair: estimate(*pair), tuple(pairs))), -1)
    return lax.stop_gradient(resize_flow_corners(flows, size) if halved else flows)


class DBVI(Network, kw_only=True):
    """The network with any number of steps.

    Attributes:
      steps: number of steps of the descent.
      flow_network: name in MODELS of the frozen network whose weights are `variables["frozen"][flow_network]`.
      correlation: of the flow network: "volume" (fast) or "on_demand" (little memory; see `ops.correlation`).
      pad_multiple: sides are reflected to multiples of it, at the bottom and right; a multiple of 8.
      remat: whether only the state of each step is kept for the gradient and the rest is recomputed: less memory, more
        time. XLA's CPU compiler undoes it.
    """

    steps: int
    flow_network: str = "raft"
    correlation: str = "volume"
    pad_multiple: int = 8
    remat: bool = False

    def setup(self) -> None:
        step = nn.remat(Step) if self.remat else Step
        self.subNet = [step(self.dtype) for _ in range(self.steps)]

    def __call__(
        self, frames: Float[Array, "b 4 h w 3"], t: ArrayLike, flows: Float[Array, "b h2 w2 8"] | None = None
    ) -> Output:
        """Returns frame, iterates and forward flows (one entry per step, on the padded size); nothing is clipped.

        Args:
          frames: at times -1, 0, 1, 2.
          t: time of the wanted frame.
          flows: 0 to -1, 0 to 1, 1 to 2, 1 to 0, instead of those of the flow network; on the padded size, or on that
            of the frames, which is padded by its edges.

        Raises:
          UserError: sides too small to be reflected, flows of another size, or no weights of the flow network.
        """
        padding = Padding(self.pad_multiple, "reflect")
        edges = ((0, 0), *pad_amounts(*frames.shape[2:4], padding), (0, 0))
        images = 2 * frames - 1
        mean = images.mean((1, 2, 3), keepdims=True)
        images = pad_reflected(images - mean, padding, self.variant)
        if flows is None:
            flows = four_flows(self._flow, images)
        elif flows.shape[1:3] == frames.shape[2:4]:
            flows = jnp.pad(flows, edges, mode="edge")
        if flows.shape[1:3] != images.shape[2:4]:
            given, wanted = (f"{width}x{height}" for height, width in (flows.shape[1:3], images.shape[2:4]))
            raise UserError(f"flows are {given}: these frames are padded to {wanted}")
        states = self._descend(images, jnp.pad(time_map(t, frames), edges, mode="edge"), flows)
        inside = (slice(None), slice(frames.shape[2]), slice(frames.shape[3]))
        iterates = [(state.image[inside] + mean[:, 0] + 1) / 2 for state in states]
        return Output(iterates[-1], forward_flows=[state.flows for state in states], iterates=iterates)

    def initialize(self, frames: Float[Array, "b 4 h w 3"], t: ArrayLike) -> Output:
        """Uses every parameter with motionless flows, so that `create` needs no flow network."""
        return self(frames, t, jnp.zeros((*frames[:, 0].shape[:3], 2 * len(FOUR_FRAME_FLOWS))))

    def _descend(self, images: Array, t: Array, flows: Array) -> list[State]:
        pair = jnp.concatenate([images[:, 1], images[:, 2]], -1)
        image, features, error = (jnp.zeros((*pair.shape[:3], channels)) for channels in (3, WIDTH, ERROR))
        state, states = State(image, features.astype(self.dtype), error, quadratic_motion(flows, t)), []
        for step in self.subNet:
            state = step(state, pair, t)
            states.append(state)
        return states

    def _flow(self, first: Array, second: Array) -> Array:
        """Runs the flow network from the first images to the second; as published, they are not rescaled for it."""
        if not self.has_variable("frozen", self.flow_network):
            raise UserError(
                f"{self.variant} needs the weights of its flow network, {self.flow_network}: "
                f"load(..., frozen={{'{self.flow_network}': FILE}}), in the shell --frozen {self.flow_network}=FILE"
            )
        config = {**raft.SPECS[self.flow_network].config, "variant": self.flow_network, "parent": None}
        network = raft.RAFT(**config, correlation=self.correlation, dtype=self.dtype)
        weights = self.get_variable("frozen", self.flow_network)
        return network.apply(weights, jnp.stack([first, second], 1), method="estimate").flow


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The published objective.

    Attributes:
      weights: of the iterates; a model with fewer steps takes the last ones.
    """

    weights: tuple[float, ...]


def loss(
    model: DBVI, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`sum_k weights_k mean |iterate_k - target|`, with images in -1..1; term `reconstruction`.

    Source: ECCV 2022. With `flows` in the batch the flow network is not run.

    Raises:
      UserError: more steps than weights.
    """
    if model.steps > len(config.weights):
        raise UserError(f"{model.steps} steps, but {len(config.weights)} weights in the objective: give one a step")
    out = model.apply(variables, batch["frames"], batch["t"], batch.get("flows"))
    pairs = zip(config.weights[-model.steps :], out.iterates, strict=True)
    total = sum(2 * weight * absolute(iterate - batch["target"]).mean() for weight, iterate in pairs)
    return total, LossAux({"reconstruction": total}, out.frame)


# subNet_0/mapping2/weight              -> subNet_0.mapping.2.weight
# subNet_1/compConv/conv/weight         -> subNet_1.compConv.block.2.weight
# subNet_2/style_block/residual0/RDB2/down3/norm/bias
#   -> subNet_2.style_block.0.RDB2.block3.0.downConv1.block.0.bias
NAMES = (
    (r"(convUV|convNext|toFlow)_(\d)", r"\1.\2"),
    (r"mapping(\d+)", r"mapping.\1"),
    (r"residual(\d)", r"\1"),
    (r"inConv/conv", "inConv.block.0"),
    (r"inConv/norm", "inConv.block.1"),
    (r"1/RDB1/down1/conv", "1.RDB1.down1.block.1"),
    (r"/norm/", ".block.0."),
    (r"/conv/", ".block.2."),
    (r"down([123])", r"block\1.0.downConv1"),
    (r"pre([12])", r"block3.\1"),
    (r"up([012])", r"deBlock\1.0.upConv1.1"),
)
LAYOUTS = (
    (r"(mapping\.\d+|trans\d)\.weight$", "linear"),
    (r"(block\.2|inConv\.block\.0|1\.RDB1\.block1\.0\.downConv1\.block\.1)\.weight$", "conv"),
)
# The last layers of a step start at 0, so that a fresh network changes neither image nor flows.
INIT_RULES = (
    (r"(toRGB|toFlow_1)/conv/", constant(0)),
    (r"toFlow_0/conv/", torch_default),
    (r"invConv/", orthogonal),
    (r"norm/weight$", constant(1)),
    (r"bias$", constant(0)),
    (r"weight$", kaiming_normal(SLOPE)),
)


def _spec(*, weights: tuple[float, ...], params: int, gmac: float, score: str) -> ModelSpec:
    return ModelSpec(
        kind="interpolation",
        module=DBVI,
        config={"steps": len(weights)},
        num_frames=4,
        any_time=True,
        padding=Padding(1),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(weights),
        init_rules=INIT_RULES,
        torch_rules=TorchRules(NAMES, LAYOUTS),
        needs=("flows",),
        inputs=("flows",),
        flow_network="flow_network",
        published=Published(score, "MIT (code; none stated for weights)", "rgb"),
    )


SPECS = {
    "dbvi_2x": _spec(
        weights=(1.0,) * 6, params=22_779_072, gmac=3257.9, score="36.17 dB Vimeo septuplet (4 steps, as quoted)"
    ),
    "dbvi_8x": _spec(weights=(0.2, 0.4, 1.0, 1.0), params=15_186_048, gmac=3131.2, score="-"),
}
