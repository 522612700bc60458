"""Extra channels of `Interpolator`: opacity, depth or masks that move with the picture."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import TINY

import vfi_jax
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator, flip_ensemble
from vfi_jax.inference.interpolator import predict
from vfi_jax.models import registry
from vfi_jax.types import Output

SIZE = (32, 64)


@dataclasses.dataclass(frozen=True)
class Shift:
    """Samples frame 0 two pixels to the left and frame 1 one to the right, in equal parts; it adds a residual."""

    with_mask: bool = True
    variant: str = "rife_v4_25"
    channel_order: str = "bgr"
    any_time: bool = True
    scale: float = 1.0

    def apply(self, variables, frames, t):
        flow = jnp.broadcast_to(jnp.float32([-2, 0, 1, 0]), (*frames[:, 0].shape[:-1], 4))
        mask = jnp.full((*frames[:, 0].shape[:-1], 1), 0.5)
        merged = (jnp.roll(frames[:, 0], 2, 2) + jnp.roll(frames[:, 1], -1, 2)) / 2
        return Output(merged + 0.1, flows=[flow], mask=mask if self.with_mask else None)


def frames(channels, dtype=np.float32, count=2):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    return [(np.random.default_rng(i).random((*SIZE, channels)) * 0.8 * top).astype(dtype) for i in range(count)]


def inside(frame):
    return frame[:, 4:-4]


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.uint16])
def test_channels_take_the_flows_and_the_mask_of_the_picture(dtype):
    first, second = frames(5, dtype)
    out = Interpolator(Shift(), {}, extra=2)(first, second)
    assert (out.shape, out.dtype) == ((*SIZE, 5), dtype)
    moved = (np.roll(first.astype(np.float64), 2, 1) + np.roll(second.astype(np.float64), -1, 1)) / 2
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert np.abs(inside(out[..., 3:]) - inside(moved[..., 3:])).max() <= (0.51 if top > 1 else 1e-5)
    assert np.array_equal(out[..., :3], Interpolator(Shift(), {})(first[..., :3], second[..., :3]))


def test_without_a_mask_each_channel_is_a_gray_picture():
    first, second = frames(5)
    out = Interpolator(Shift(with_mask=False), {}, extra=2)(first, second)
    for channel in (3, 4):
        gray = [np.repeat(frame[..., channel : channel + 1], 3, -1) for frame in (first, second)]
        expected = Interpolator(Shift(with_mask=False), {})(*gray).mean(-1)
        assert np.abs(out[..., channel] - expected).max() < 1e-6


def test_between_and_halves():
    first, second = frames(4)
    interpolate = Interpolator(Shift(variant="rife", any_time=False), {}, extra=1)
    assert [frame.shape for frame in interpolate.between([first, second], [0.25, 0.5, 0.75])] == [(*SIZE, 4)] * 3
    assert interpolate.flow(first, second).shape == (*SIZE, 2)


def test_a_network_moves_them_as_it_moves_the_picture():
    """Without residual, the channels that repeat the picture are the picture."""
    model, variables = vfi_jax.create("rife_lap", **TINY)
    pictures = [np.tile(frame, 2) for frame in frames(3)]
    out = Interpolator(model, variables, extra=3)(*pictures)
    assert np.abs(out[..., :3] - out[..., 3:]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rife", "ifrnet_s", "cain", "vfit_s", "dr_rife", "amt_s"])
def test_every_kind_of_model_takes_them(name):
    model, spec = registry.build(name), registry.spec_of(name)
    given = jax.ShapeDtypeStruct((1, spec.num_frames, 64, 64, 5), jnp.float32)
    t = jax.ShapeDtypeStruct((1, 1, 1, 1), jnp.float32)
    out = jax.eval_shape(functools.partial(predict, model), registry.module_shapes(spec, model), given, t, {})
    assert out.shape == (1, 64, 64, 5)


def test_wrappers_and_batches():
    first, second = (np.stack([frame, frame]) for frame in frames(4))
    assert Interpolator(flip_ensemble(Shift()), {}, extra=1)(first, second).shape == (2, *SIZE, 4)
    interpolate = Interpolator(Shift(), {})
    assert interpolate.with_extra(1)(first, second).shape == (2, *SIZE, 4)
    assert interpolate.channels == 3


def test_frames_with_other_channels_are_refused():
    with pytest.raises(UserError, match=r"RGB, is needed; Interpolator\(extra=1\) takes these"):
        Interpolator(Shift(), {})(*frames(4))
    with pytest.raises(UserError, match=r"\[h, w, 4\].*RGB and 1 more, is needed"):
        Interpolator(Shift(), {}, extra=1)(*frames(3))
