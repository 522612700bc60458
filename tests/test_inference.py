"""Interpolator and the wrappers, mostly on a model whose right answers are known."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import TINY

import vfi_jax
from vfi_jax import inference
from vfi_jax.errors import NotFiniteError, UsageError, UserError
from vfi_jax.inference import interpolator
from vfi_jax.types import Output

RNG = np.random.default_rng(0)


class Blend(nn.Module):
    """`(1 - t) * frame 0 + t * frame 1`, under the name of a real variant, whose padding it takes."""

    variant: str = "rife_v4_25"
    channel_order: str = "rgb"
    any_time: bool = True
    scale: float = 1.0

    def __call__(self, frames, t):
        t = jnp.asarray(t)
        return Output((1 - t) * frames[:, 0] + t * frames[:, 1], flows=[jnp.zeros((*frames.shape[:1], 8, 8, 4))])


def blend(**fields):
    return inference.Interpolator(Blend(**fields), {})


def midpoint():
    return blend(variant="rife", any_time=False)


def pair(shape=(45, 70, 3), dtype=np.uint8):
    top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    return [(RNG.random(shape) * top).astype(dtype) for _ in range(2)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(45, 70, 3), (2, 45, 70, 3)])
def test_shape_and_dtype_in_and_out(shape, dtype):
    first, second = pair(shape, dtype)
    out = blend()(first, second, t=0.25)
    assert out.shape == shape
    assert out.dtype == dtype
    exact = 0.75 * first.astype(np.float64) + 0.25 * second
    if np.issubdtype(dtype, np.integer):
        assert np.abs(out - exact).max() <= 0.5 + np.iinfo(dtype).max * 1e-6  # rounded, of float32 arithmetic
    else:
        assert np.abs(out - exact).max() < 1e-6


def test_integers_round_half_to_even():
    first, second = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)
    assert (blend()(first, second) == 128).all()  # 127.5


def test_jax_arrays_and_clipping():
    first, second = jnp.full((8, 8, 3), 1.2), jnp.full((8, 8, 3), 1.5)
    assert (blend()(first, second) == 1).all()


class Foreign:
    """An array of another library, which has DLPack's protocol and nothing else."""

    def __init__(self, array, fault=None):
        self._array, self._fault = array, fault

    def __dlpack_device__(self):
        return self._array.__dlpack_device__()

    def __dlpack__(self, **options):
        if self._fault:
            raise self._fault
        return self._array.__dlpack__(**options)


def test_arrays_of_other_libraries():
    first, second = pair((9, 7, 3), np.float32)
    out = blend()(Foreign(first), Foreign(second), t=0.25)
    assert np.array_equal(out, blend()(first, second, t=0.25))
    assert np.array_equal(out, blend()(jnp.asarray(first), Foreign(second), t=0.25))
    taken = np.from_dlpack(out)  # without a copy, and to be written on
    taken[0, 0] = 7
    assert (out[0, 0] == 7).all()
    assert (next(blend().between([Foreign(first), Foreign(second)], [0.25]))[1:] == out[1:]).all()
    with pytest.raises(UserError, match=r"test_inference cannot be read through DLPack: tracks gradients$"):
        blend()(Foreign(first, BufferError("tracks gradients\nand more")), second)


@pytest.mark.torch
def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    first, second = pair((2, 9, 7, 3), np.float32)
    tensors = torch.from_numpy(first), torch.from_numpy(second).permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    out = torch.from_dlpack(blend()(*tensors, t=0.25))
    assert torch.equal(out, torch.from_numpy(blend()(first, second, t=0.25)))
    out += 1
    half = blend()(*(tensor.half() for tensor in tensors))
    assert torch.from_dlpack(half).dtype == torch.half
    assert torch.from_dlpack(blend()(*((255 * tensor).byte() for tensor in tensors))).dtype == torch.uint8
    with pytest.raises(UserError, match="cannot be read through DLPack"):
        blend()(tensors[0].clone().requires_grad_(), tensors[1])
    with pytest.raises(UserError, match="cannot be read through DLPack: Unsupported dtype"):
        blend()(*(tensor.bfloat16() for tensor in tensors))


def test_times_a_frame_and_maps():
    first, second = pair((2, 45, 70, 3), np.float32)
    interpolate = blend()
    each = interpolate(first, second, t=np.float32([0.25, 0.75]))
    assert np.allclose(each[1], interpolate(first[1], second[1], t=0.75), atol=1e-6)
    mapped = np.full((45, 70, 1), 0.25, np.float32)
    assert np.allclose(interpolate(first, second, t=mapped)[0], each[0], atol=1e-6)


def test_channel_order_is_that_of_the_weights():
    class Blue(Blend):
        def __call__(self, frames, t):
            return Output(frames[:, 0] * jnp.array([0.0, 0.0, 1.0]))  # keeps the last channel it sees

    first, second = pair(dtype=np.float32)
    kept = lambda order: inference.Interpolator(Blue(channel_order=order), {})(first, second)  # noqa: E731
    assert np.array_equal(kept("rgb")[..., 2], first[..., 2])
    assert np.array_equal(kept("bgr")[..., 0], first[..., 0])


def test_one_compilation_for_all_sizes_with_one_padded_shape():
    interpolate = blend()
    before = interpolator.predict._cache_size()
    for height in range(129, 193):
        frames = pair((height, 255, 3))
        assert interpolate(*frames).shape == (height, 255, 3)
    assert interpolator.predict._cache_size() == before + 1


@pytest.mark.parametrize(
    ("frames", "t", "message"),
    [
        (pair()[:1], 0.5, "takes 2 frames, not 1"),
        ([pair()[0], pair((44, 70, 3))[0]], 0.5, r"frames differ: \(44, 70, 3\) and \(45, 70, 3\)"),
        ([pair()[0], pair(dtype=np.float32)[0]], 0.5, "float32 and uint8"),
        (pair((45, 70)), 0.5, "RGB, is needed"),
        (pair((45, 70, 4)), 0.5, "RGB, is needed"),
        (pair((0, 70, 3)), 0.5, "RGB, is needed"),
        (pair(dtype=np.int32), 0.5, "frames are int32"),
        ([255 * f for f in pair(dtype=np.float32)], 0.5, "divide by 255"),
        ([np.full((8, 8, 3), np.nan)] * 2, 0.5, "float frames are in 0..1"),
        (pair(), 0, "between 0 and 1"),
        (pair(), 1.0, "between 0 and 1"),
        (pair(), float("nan"), "between 0 and 1"),
        (pair(), np.full((3, 3, 1), 0.5, np.float32), "t has shape"),
    ],
)
def test_bad_input_is_a_value_error(frames, t, message):
    with pytest.raises(ValueError, match=message) as caught:
        blend()(*frames, t=t)
    assert "\n" not in str(caught.value)


def test_midpoint_weights_reject_other_times():
    with pytest.raises(ValueError, match=r"support t = 0\.5 only, not 0\.3"):
        midpoint()(*pair(), t=0.3)
    with pytest.raises(UsageError, match="power of two, not 3"):
        midpoint().times(3)
    assert midpoint().times(4) == [0.25, 0.5, 0.75]
    assert blend().times(3) == [1 / 3, 2 / 3]


class Spoilt(Blend):
    """A model with one pixel that is not finite."""

    value: float = 0.0

    @nn.nowrap
    def __call__(self, frames, t):
        return Output(super().__call__(frames, t).frame.at[:, 5, 7, 1].set(self.value))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_what_is_not_finite_becomes_no_picture(value, dtype):
    first, second = pair((8, 8, 3), dtype)
    interpolate = inference.Interpolator(Spoilt(value=value), {})
    with pytest.raises(NotFiniteError, match="rife_v4_25 predicts NaN or infinity for these frames"):
        interpolate(first, second)
    with pytest.raises(NotFiniteError):
        list(interpolate.between([first, second], [0.25, 0.5]))
    white = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    assert inference.Interpolator(Spoilt(value=2.0), {})(first, second)[5, 7, 1] == white


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_between_of_a_midpoint_model_halves(factor):
    first, second = pair(dtype=np.float32)
    interpolate = midpoint()
    times = interpolate.times(factor)
    for t, frame in zip(times, interpolate.between((first, second), times), strict=True):
        assert np.abs(frame - ((1 - t) * first + t * second)).max() < 1e-6


def test_recursive_meets_dyadic_times():
    first, second = pair((3, 45, 70, 3), np.float32)
    model = inference.recursive(Blend(variant="rife", any_time=False))
    interpolate = inference.Interpolator(model, {})
    times = np.float32([0.5, 0.25, 0.6875])
    out = interpolate(first, second, t=times)
    for i, t in enumerate(times):
        assert np.abs(out[i] - ((1 - t) * first[i] + t * second[i])).max() < 1e-6
    with pytest.raises(ValueError, match=r"k / 2\^n"):
        interpolate(first, second, t=0.3)


def test_flip_ensemble_is_symmetric():
    """The model itself is not: its frame depends on the neighbors at the upper left, and on t as a map."""

    class Lopsided(Blend):
        def __call__(self, frames, t):
            return Output(super().__call__(frames, t).frame * 0.7 + 0.3 * jnp.roll(frames[:, 0], (1, 1), axis=(1, 2)))

    frames, t = pair((64, 64, 3), np.float32), RNG.uniform(0.1, 0.9, (64, 64, 1)).astype(np.float32)
    plain = inference.Interpolator(Lopsided(), {})
    averaged = inference.Interpolator(inference.flip_ensemble(Lopsided()), {})
    for interpolate, symmetric in ((plain, False), (averaged, True)):
        rotated = interpolate(*[frame[::-1, ::-1] for frame in frames], t=t[::-1, ::-1])[::-1, ::-1]
        assert (np.abs(interpolate(*frames, t=t) - rotated).max() < 1e-6) == symmetric
    rotated = plain(*[frame[::-1, ::-1] for frame in frames], t=t[::-1, ::-1])[::-1, ::-1]
    assert np.abs(averaged(*frames, t=t) - (plain(*frames, t=t) + rotated) / 2).max() < 1e-6
    upside_down = inference.Interpolator(inference.flip_ensemble(Lopsided(), columns=False), {})
    flipped = plain(*[frame[::-1] for frame in frames], t=t[::-1])[::-1]
    assert np.abs(upside_down(*frames, t=t) - (plain(*frames, t=t) + flipped) / 2).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [
        ("rife_lap", TINY, (63, 95)),
        pytest.param("rife_v4_25", {}, (255, 447), marks=pytest.mark.slow),
        pytest.param("rife", {}, (255, 447), marks=pytest.mark.slow),
    ],
)
def test_odd_size_of_a_real_model(name, fields, size):
    """The padding is cropped, and the frame is finite and near the frames that it is between."""
    model, variables = vfi_jax.create(name, **fields)
    interpolate = inference.Interpolator(model, variables)
    still = RNG.integers(0, 255, (*size, 3), np.uint8)
    out = interpolate(still, still)
    assert out.shape == still.shape
    assert np.abs(out.astype(int) - still).mean() < 64


def test_padding_follows_scale():
    seen = []

    class Seen(Blend):
        def __call__(self, frames, t):
            seen.append(frames.shape)
            return Output(frames[:, 0])

    inference.Interpolator(Seen(scale=0.5), {})(*pair())
    assert seen[0][2:4] == (128, 128)


def test_interpolator_needs_variables():
    with pytest.raises(UsageError, match="needs its variables"):
        inference.Interpolator(Blend())


def test_wrappers_pass_on_what_belongs_to_the_model():
    model = Blend(scale=0.5, channel_order="bgr")
    for wrapper in (inference.flip_ensemble(model), inference.recursive(model)):
        assert (wrapper.variant, wrapper.channel_order, wrapper.any_time) == ("rife_v4_25", "bgr", True)
        assert wrapper.scale == 0.5
        assert dataclasses.is_dataclass(wrapper)
        assert hash(wrapper) == hash(dataclasses.replace(wrapper))
