"""From a window to a sample: the choice of frames, and an augmentation that is the same in NumPy and in JAX."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfi_jax.config import Augment, Window
from vfi_jax.data.augment import Decision, choices, crop, draw, sample_of, transform, validation_sample
from vfi_jax.ops import warp
from vfi_jax.types import UsageError, UserError

RNG = np.random.default_rng(0)
NOTHING = Decision(False, False, False, False, 0)


@pytest.fixture
def sample():
    return {
        "frames": RNG.integers(0, 256, (2, 8, 8, 3), np.uint8),
        "target": RNG.integers(0, 256, (8, 8, 3), np.uint8),
        "t": np.full((1, 1, 1), 0.25, np.float32),
        "flow": RNG.normal(size=(8, 8, 4)).astype(np.float32),
        "name": "a/0",
    }


def test_reversal_of_time(sample):
    turned = transform(sample, NOTHING._replace(reverse_time=True))
    assert turned["t"] == 0.75
    assert np.array_equal(turned["frames"], sample["frames"][::-1])
    assert np.array_equal(turned["target"], sample["target"])
    assert np.array_equal(turned["flow"], sample["flow"][..., [2, 3, 0, 1]])
    assert turned["name"] == "a/0"


@pytest.mark.parametrize("rotation", range(4))
def test_pictures_are_flipped_then_turned_clockwise(sample, rotation):
    for channels, rows, columns in itertools.product((False, True), repeat=3):
        wanted = sample["target"][:, :, ::-1] if channels else sample["target"]
        wanted = wanted[::-1] if rows else wanted
        wanted = wanted[:, ::-1] if columns else wanted
        turned = transform(sample, Decision(channels, rows, columns, False, rotation))
        assert np.array_equal(turned["target"], np.rot90(wanted, -rotation))


@pytest.mark.parametrize(
    "decision", [Decision(False, r, c, False, q) for r in (0, 1) for c in (0, 1) for q in range(4)]
)
def test_flow_still_leads_to_the_same_pixels(decision):
    """Warping and augmenting change places: the augmented flow warps the augmented image."""
    image = RNG.integers(0, 256, (1, 8, 8, 3)).astype(np.float32)
    inside = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1)
    # Whole steps to places inside the frame, so that no rounding and no border comes in.
    flow = (RNG.integers(0, 8, (8, 8, 2)) - inside).astype(np.float32)
    sample = {"frames": image, "target": np.asarray(warp(image, flow[None]))[0], "t": np.float32(0.5)}
    sample["flow"] = np.concatenate([flow, flow], -1)
    turned = transform(sample, decision)
    again = warp(turned["frames"], turned["flow"][None, ..., :2])
    assert np.abs(np.asarray(again)[0] - turned["target"]).max() < 1e-3  # levels of 255


def test_numpy_and_jax_agree(sample):
    sample.pop("name")
    device = jax.jit(transform)
    for flags in itertools.product((False, True), (False, True), (False, True), (False, True), range(4)):
        host, other = transform(sample, Decision(*flags)), device(jax.tree.map(jnp.asarray, sample), Decision(*flags))
        for name, value in host.items():
            assert np.array_equal(value, other[name]), (name, flags)


def test_decisions_have_the_published_chances():
    rng, count = np.random.default_rng(1), 4000
    drawn = np.array([draw(rng, Augment()) for _ in range(count)])
    # Three standard deviations of a share of one half, of 4000.
    assert np.abs(drawn[:, :4].mean(0) - 0.5).max() < 3 * 0.5 / count**0.5
    assert np.abs(np.bincount(drawn[:, 4], minlength=4) / count - 0.25).max() < 3 * 0.5 / count**0.5
    assert {draw(rng, Augment(0, 0, 0, 0, 0, 0)) for _ in range(9)} == {NOTHING}


def test_rife_m_takes_three_sorted_frames():
    inputs, target, chance = choices(Window(frames=7, sorted_share=1.0))
    assert len(target) == 35  # 7 over 3
    assert (inputs[:, 0] < target).all()
    assert (target < inputs[:, 1]).all()
    assert np.ptp(chance[chance > 0]) < 1e-12


@pytest.mark.parametrize("length", [3, 4, 5, 7, 8, 9])
def test_midpoints_of_any_window(length):
    inputs, target, chance = choices(Window(frames=length))
    assert (inputs.sum(1) == 2 * target).all()
    assert inputs.min() >= 0
    assert inputs.max() < length
    assert chance.sum() == pytest.approx(1)
    distance = target - inputs[:, 0]
    shares = [chance[distance == far].sum() for far in range(1, (length - 1) // 2 + 1)]
    assert shares == pytest.approx([1 / len(shares)] * len(shares))


def test_fixed_windows():
    frames = np.arange(7, dtype=np.uint8).repeat(3).reshape(7, 1, 1, 3)
    record = {"frames": frames, "name": "a/0"}
    window = Window(frames=7, inputs=(0, 2, 4, 6), target=3)
    sample = sample_of(record, window, np.random.default_rng(0))
    assert sample["frames"][:, 0, 0, 0].tolist() == [0, 2, 4, 6]
    assert (sample["target"][0, 0, 0], sample["t"].item()) == (3, 0.5)
    sample = sample_of(record, Window(frames=7, inputs=(0, 4), target=1), np.random.default_rng(0))
    assert sample["t"].item() == 0.25


def test_validation_takes_the_outermost_frames():
    record = {
        "frames": np.zeros((7, 4, 4, 3), np.uint8) + np.arange(7, dtype=np.uint8)[:, None, None, None],
        "name": "a",
    }
    for window in (Window(frames=7), Window(frames=7, sorted_share=1.0)):
        sample = validation_sample(record, window)
        assert sample["frames"][:, 0, 0, 0].tolist() == [0, 6]
        assert (sample["target"][0, 0, 0], sample["t"].item()) == (3, 0.5)


@pytest.mark.parametrize(
    ("window", "wrong"),
    [
        (Window(frames=2), "need 3"),
        (Window(frames=3, inputs=(0, 3), target=1), "do not fit"),
        (Window(frames=3, inputs=(2, 0), target=1), "rising order"),
        (Window(frames=5, inputs=(0, 2), target=3), "between the inputs 0 and 2"),
        (Window(frames=5, inputs=(0, 1, 2), target=1), "2 or 4"),
    ],
)
def test_bad_windows(window, wrong):
    with pytest.raises(UsageError, match=wrong):
        choices(window)


def test_windows_of_another_length_and_small_frames(sample):
    record = {"frames": np.zeros((3, 8, 8, 3), np.uint8), "name": "clip/3"}
    with pytest.raises(UserError, match=r"clip/3 has 3 frames; data.window.frames says 5"):
        sample_of(record, Window(frames=5), np.random.default_rng(0))
    with pytest.raises(UserError, match="a/0 is 8x8: too small"):
        crop(sample, 9, np.random.default_rng(0))
    assert crop(sample, 5, np.random.default_rng(0))["frames"].shape == (2, 5, 5, 3)
