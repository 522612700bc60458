"""RAFT: optical flow by recurrent look-ups in an all-pairs correlation volume (`raft`, `raft_small`).

Z. Teed and J. Deng, "RAFT: Recurrent All-Pairs Field Transforms for Optical Flow", ECCV 2020. Follows the published
code; batch norm is frozen (running statistics), as there in every stage of training but the first.

Architecture (`b h w c`; after the encoders, sides are 1/8 of the frame's):
  1. Feature encoder `fnet` (instance norm): both frames to 256 channels (small: 128). Context encoder `cnet` (frozen
     batch norm; small: none): frame 0 to the initial state of the recurrence and a constant context.
  2. Correlation of all pairs of pixels, pooled to four levels.
  3. `iterations` times: look up 9x9 (small: 7x7) correlations around the current flow's targets; a motion encoder, a
     convolutional GRU and a flow head change the flow, which starts at 0 or at `flow_init`.
  4. Upsampling by 8: convex combinations of 3x3 neighbors, weights from the state (small: bilinear).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Float

from vfi_jax.errors import UserError
from vfi_jax.models.base import Network
from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv, EighthEncoder, constant, convolved, kaiming_fan_out, placeholder
from vfi_jax.ops import (
    Padding,
    absolute,
    correlate,
    correlation_volume,
    look_up,
    resize_flow_corners,
    split_pair,
    stack_pair,
)
from vfi_jax.types import Array, Batch, FlowOutput, LossAux, Variables

FACTOR = 8  # of the encoders
SMALLEST = 64  # pixels per side; in smaller frames the coarsest level of the volume is empty
CORRELATIONS = ("volume", "on_demand")


class MotionEncoder(nn.Module):
    """Encodes correlations and flow into motion features, whose last two channels are the flow itself."""

    correlation_widths: tuple[int, ...]
    flow_widths: tuple[int, int]
    features: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for index, width in enumerate(self.correlation_widths):
            setattr(self, f"convc{index + 1}", Conv(width, 3 if index else 1, dtype=self.dtype))
        self.convf1 = Conv(self.flow_widths[0], 7, dtype=self.dtype)
        self.convf2 = Conv(self.flow_widths[1], dtype=self.dtype)
        self.conv = Conv(self.features - 2, dtype=self.dtype)

    def __call__(self, correlation: Array, flow: Array) -> Array:
        for index in range(len(self.correlation_widths)):
            correlation = nn.relu(getattr(self, f"convc{index + 1}")(correlation))
        motion = nn.relu(self.convf2(nn.relu(self.convf1(flow))))
        both = nn.relu(self.conv(jnp.concatenate([correlation, motion], -1)))
        return jnp.concatenate([both, flow.astype(both.dtype)], -1)


class Gate(nn.Module):
    """A convolution of state, context and motion; the context's part is computed once for all iterations."""

    features: int
    channels: tuple[int, int, int]  # of state, context and motion
    kernel: tuple[int, int]
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.weight = self.param("weight", placeholder, (*self.kernel, sum(self.channels), self.features))
        self.bias = self.param("bias", placeholder, (self.features,))

    def of_context(self, context: Array) -> Array:
        """Returns the context's part of the convolution, with the bias."""
        return self._convolved(context, self._parts()[1]) + self.bias.astype(self.dtype)

    def __call__(self, state: Array, motion: Array, of_context: Array) -> Array:
        of_state, _, of_motion = self._parts()
        moving = jnp.concatenate([state, motion.astype(state.dtype)], -1)
        return self._convolved(moving, jnp.concatenate([of_state, of_motion], 2)) + of_context

    def _parts(self) -> list[Array]:
        return jnp.split(self.weight, np.cumsum(self.channels)[:-1], 2)

    def _convolved(self, x: Array, weight: Array) -> Array:
        borders = tuple((side // 2, side // 2) for side in self.kernel)
        return convolved(x.astype(self.dtype), weight.astype(self.dtype), 1, borders)


class GRU(nn.Module):
    """Convolutional gated recurrent unit; two kernels (1x5, then 5x1) make two passes, one after the other."""

    features: int
    channels: tuple[int, int]  # of context and motion
    kernels: tuple[tuple[str, tuple[int, int]], ...]  # suffix of the layers' names, kernel
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        for suffix, kernel in self.kernels:
            for gate in "zrq":
                layer = Gate(self.features, (self.features, *self.channels), kernel, self.dtype)
                setattr(self, f"conv{gate}{suffix}", layer)

    def of_context(self, context: Array) -> list[list[Array]]:
        """Returns the context's part of each gate, by pass, which all iterations share."""
        return [[gate.of_context(context) for gate in gates] for gates in self._gates()]

    def __call__(self, state: Array, motion: Array, of_context: list[list[Array]]) -> Array:
        for (z, r, q), (of_z, of_r, of_q) in zip(self._gates(), of_context, strict=True):
            update, reset = nn.sigmoid(z(state, motion, of_z)), nn.sigmoid(r(state, motion, of_r))
            state = (1 - update) * state + update * nn.tanh(q(reset * state, motion, of_q))
        return state

    def _gates(self) -> list[list[Gate]]:
        return [[getattr(self, f"conv{gate}{suffix}") for gate in "zrq"] for suffix, _ in self.kernels]


class FlowHead(nn.Module):
    """Predicts the change of the flow from the state."""

    width: int
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        self.conv1 = Conv(self.width, dtype=self.dtype)
        self.conv2 = Conv(2)  # float32: a flow

    def __call__(self, state: Array) -> Array:
        return self.conv2(nn.relu(self.conv1(state)))


class UpdateBlock(nn.Module):
    """The network of one iteration, with the head for the convex upsampling's weights (large only)."""

    small: bool
    dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        if self.small:
            self.encoder = MotionEncoder((96,), (64, 32), 82, self.dtype)
            self.gru = GRU(96, (64, 82), (("", (3, 3)),), self.dtype)
            self.flow_head = FlowHead(128, self.dtype)
            return
        self.encoder = MotionEncoder((256, 192), (128, 64), 128, self.dtype)
        self.gru = GRU(128, (128, 128), (("1", (1, 5)), ("2", (5, 1))), self.dtype)
        self.flow_head = FlowHead(256, self.dtype)
        self.mask_0, self.mask_2 = Conv(256, dtype=self.dtype), Conv(9 * FACTOR**2, 1)

    def of_context(self, context: Array) -> list[list[Array]]:
        """Returns what all iterations share, see `GRU`."""
        return self.gru.of_context(context)

    def __call__(
        self, state: Array, of_context: list[list[Array]], correlation: Array, flow: Array
    ) -> tuple[Array, Array]:
        """Returns the next state, and the change of the flow."""
        state = self.gru(state, self.encoder(correlation, flow), of_context).astype(jnp.float32)
        return state, self.flow_head(state)

    def mask(self, state: Array) -> Array:
        """Returns the upsampling weights before the softmax, `[b, h, w, 576]`."""
        return 0.25 * self.mask_2(nn.relu(self.mask_0(state)))


class RAFT(Network, kw_only=True):
    """Either size.

    Attributes:
      small: whether it is the small network, which upsamples bilinearly.
      iterations: of the recurrence; the authors use 20 for pictures, 24 for KITTI, 32 for Sintel.
      correlation: "volume" (fast) or "on_demand" (little memory; see `ops.correlation`). Memory of the large network
        for one pair, float32, compiled for CPU: 1.2 or 0.6 GB at 1280x720, 5.9 or 1.3 GB at 1920x1088, 5.3 GB on
        demand at 3840x2160.
    """

    small: bool = False
    iterations: int = 12
    correlation: str = "volume"
    any_time: bool = False  # there is no time

    def setup(self) -> None:
        widths, features, norm = ((32, 64, 96), 128, "none") if self.small else ((64, 96, 128), 256, "batch")
        self.state_width, context_width = (96, 64) if self.small else (128, 128)
        self.fnet = EighthEncoder(widths, features, "instance", self.small, self.dtype)
        self.cnet = EighthEncoder(widths, self.state_width + context_width, norm, self.small, self.dtype)
        self.update_block = UpdateBlock(self.small, self.dtype)

    def __call__(
        self, frames: Float[Array, "b 2 h w 3"], flow_init: Float[Array, "b h8 w8 2"] | None = None
    ) -> FlowOutput:
        """Estimates the flow from frame 0 to frame 1.

        Args:
          frames: in 0..1; sides are multiples of 8 and at least 64 (the published code fails below 128).
          flow_init: the initial flow, at 1/8 of the size.

        Raises:
          UserError: sides too small or no multiples of 8; no such `correlation`.
        """
        return self.estimate(2 * frames - 1, flow_init)

    def estimate(
        self, frames: Float[Array, "b 2 h w 3"], flow_init: Float[Array, "b h8 w8 2"] | None = None
    ) -> FlowOutput:
        """Does the same for frames in -1..1."""
        self._check(frames.shape)
        first, second = split_pair(self.fnet(stack_pair(frames)))
        state, context = jnp.split(self.cnet(frames[:, 0]), [self.state_width], -1)
        state, of_context = nn.tanh(state), self.update_block.of_context(nn.relu(context))
        correlations = self._correlations(first, second)
        flow = jnp.zeros((*first.shape[:-1], 2)) if flow_init is None else jnp.asarray(flow_init)
        grid = _grid(*first.shape[1:3])

        def step(module: RAFT, carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            state, flow = carry[0], lax.stop_gradient(carry[1])
            state, change = module.update_block(state, of_context, correlations(grid + flow), flow)
            return (state, flow + change), (state, flow + change)

        scan = nn.scan(
            step,
            variable_broadcast=("params", "batch_stats"),
            split_rngs={"params": False},
            length=self.iterations,
        )
        (state, flow), (states, flows) = scan(self, (state, flow), None)
        # XLA does not compute those that the caller drops.
        iterates = [self._upsampled(*pair) for pair in zip(states[:-1], flows[:-1], strict=True)]
        last = self._upsampled(state, flow)
        return FlowOutput(last, flow, [*iterates, last])

    def _check(self, shape: tuple[int, ...]) -> None:
        height, width = shape[-3:-1]
        if min(height, width) < SMALLEST:
            raise UserError(f"frames of {width}x{height} are too small for {self.variant}: {SMALLEST} pixels a side")
        if height % FACTOR or width % FACTOR:
            raise UserError(f"sides of {width}x{height} are no multiples of {FACTOR}")
        if self.correlation not in CORRELATIONS:
            raise UserError(f"correlation is {self.correlation!r}: one of {', '.join(CORRELATIONS)}")

    def _correlations(self, first: Array, second: Array) -> Callable[[Array], Array]:
        """Returns a function of centers `[b, h, w, 2]` that gives the correlations around them."""
        radius = 3 if self.small else 4
        if self.correlation == "volume":
            volume = correlation_volume(first, second)
            return lambda centers: look_up(volume, centers, radius)
        return lambda centers: correlate(first, second, centers, radius)

    def _upsampled(self, state: Array, flow: Array) -> Array:
        if not self.small:
            return convex_upsample(flow, self.update_block.mask(state))
        height, width = flow.shape[1:3]
        return resize_flow_corners(flow, (FACTOR * height, FACTOR * width))


def _grid(height: int, width: int) -> np.ndarray:
    """Returns `[h, w, 2]`, (x, y) of each pixel."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def convex_upsample(flow: Float[Array, "b h w 2"], mask: Float[Array, "b h w 576"]) -> Float[Array, "b h8 w8 2"]:
    """`up[8i + a, 8j + b] = sum_k softmax_k(mask[i, j, 64 k + 8 a + b]) 8 flow[i + k // 3 - 1, j + k % 3 - 1]`.

    Neighbors outside the map are zero and keep their share of the softmax. Source: section 3.3, the published code.
    """
    batch, height, width, _ = flow.shape
    weights = nn.softmax(mask.reshape(batch, height, width, 9, FACTOR, FACTOR), 3)
    padded = jnp.pad(FACTOR * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    near = jnp.stack([padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)], 3)
    up = jnp.einsum("bijkyx,bijkc->biyjxc", weights, near, precision=lax.Precision.HIGHEST)
    return up.reshape(batch, FACTOR * height, FACTOR * width, 2)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Weights of the sequence loss.

    Attributes:
      decay: gamma; 0.85 for Sintel and KITTI.
      limit: true flows of this length, pixels, and longer ones are left out.
    """

    decay: float = 0.8
    limit: float = 400.0


def loss(
    model: RAFT, variables: Variables, batch: Batch, config: LossConfig, *, step: ArrayLike, rng: Array | None
) -> tuple[Array, LossAux]:
    """`sum_i decay^(n - 1 - i) mean(v |flow_i - truth|)` over n iterations; term `reconstruction`.

    v is 1 where `valid` is 0.5 or more and the true flow is shorter than `limit`, else 0; the mean is over all pixels.
    Source: section 3.4 and the published code.
    """
    truth = batch["flow"]
    counted = (batch["valid"] >= 0.5) & (jnp.linalg.norm(truth, axis=-1) < config.limit)
    iterates = model.apply(variables, batch["frames"]).iterates
    errors = [absolute(jnp.where(counted[..., None], flow - truth, 0)).mean() for flow in iterates]
    total = sum(config.decay ** (len(errors) - 1 - i) * error for i, error in enumerate(errors))
    return total, LossAux({"reconstruction": total}, None)


# fnet/layer1_0/conv2/bias          -> fnet.layer1.0.conv2.bias
# cnet/layer2_0/downsample_1/weight -> cnet.layer2.0.downsample.1.weight
# update_block/mask_0/weight        -> update_block.mask.0.weight
NAMES = ((r"layer(\d)_(\d)/", r"layer\1.\2."), (r"(downsample|mask)_(\d)/", r"\1.\2."))
# torchvision's raft_large and raft_small: fnet/layer1_0/conv2/bias -> feature_encoder.layer1.0.convnormrelu2.0.bias
TORCHVISION_NAMES = (
    *NAMES,
    (r"fnet/", "feature_encoder."),
    (r"cnet/", "context_encoder."),
    (r"(encoder\.)conv1/", r"\1convnormrelu.0."),
    (r"(encoder\.)norm1/", r"\1convnormrelu.1."),
    (r"(encoder\.)conv2/", r"\1conv."),
    (r"(layer\d\.\d\.)conv(\d)/", r"\1convnormrelu\2.0."),
    (r"(layer\d\.\d\.)norm(\d)/", r"\1convnormrelu\2.1."),
    (r"update_block/encoder/convc(\d)/", r"update_block.motion_encoder.convcorr\1.0."),
    (r"update_block/encoder/convf(\d)/", r"update_block.motion_encoder.convflow\1.0."),
    (r"update_block/encoder/conv/", r"update_block.motion_encoder.conv.0."),
    (r"gru/conv([zrq])(\d?)/", r"recurrent_block.convgru\2.conv\1."),
    (r"convgru\.", "convgru1."),
    (r"update_block/mask\.0\.", "mask_predictor.convrelu.0."),
    (r"update_block/mask\.2\.", "mask_predictor.conv."),
)
CONV = ((r"(?<!norm\d)(?<!\.1)\.weight$", "conv"),)  # not those of norms: norm1, downsample.1, convnormrelu1.1


def _spec(*, small: bool, params: int, gmac: float, score: str) -> ModelSpec:
    return ModelSpec(
        kind="flow",
        module=RAFT,
        config={"small": small},
        num_frames=2,
        any_time=False,
        padding=Padding(FACTOR, "edge", "center"),
        params=params,
        params_inference=params,
        gmac=gmac,
        loss=loss,
        loss_config=LossConfig(),
        init_rules=(
            (r"norm.*/weight|downsample_1/weight|running_var", constant(1.0)),
            (r"norm.*/bias|downsample_1/bias|running_mean", constant(0.0)),
            (r"net/.*/weight", kaiming_fan_out),
        ),
        torch_rules=TorchRules(NAMES, CONV),
        other_torch_rules=(TorchRules(TORCHVISION_NAMES, CONV),),
        droppable=(r"num_batches_tracked$", r"^cnet\.layer\d\.0\.norm3\."),
        duplicates=((r"^(cnet\.layer[23]\.0\.)downsample\.1\.", r"\1norm3."),),
        published=Published(score, "BSD-3 (code; none stated for weights)", "rgb"),
    )


SPECS = {
    "raft": _spec(small=False, params=5_257_536, gmac=719.5, score="1.43 / 2.71 px Sintel clean / final (unchecked)"),
    "raft_small": _spec(
        small=True, params=990_162, gmac=168.9, score="2.21 / 3.35 px Sintel clean / final (unchecked)"
    ),
}
