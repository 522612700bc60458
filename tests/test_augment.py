"""Windows to samples: selection of frames, and augmentation that agrees in NumPy and JAX."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import ops

from vfi_jax.config import Augment, Window
from vfi_jax.data.augment import Decision, crop, draw, transform
from vfi_jax.data.color_jitter import STEPS, Jitter, draw_jitter, enlarge, jitter, recolor
from vfi_jax.data.windows import frame_selections, training_sample, validation_sample
from vfi_jax.errors import UsageError, UserError
from vfi_jax.ops import warp

RNG = np.random.default_rng(0)
NOTHING = Decision(False, False, False, False, 0, False)


@pytest.fixture
def sample():
    return {
        "frames": RNG.integers(0, 256, (2, 8, 8, 3), np.uint8),
        "target": RNG.integers(0, 256, (8, 8, 3), np.uint8),
        "t": np.full((1, 1, 1), 0.25, np.float32),
        "flow": RNG.normal(size=(8, 8, 4)).astype(np.float32),
        "flows": RNG.normal(size=(8, 8, 8)).astype(np.float16),
        "name": "a/0",
    }


def test_reversal_of_time(sample):
    turned = transform(sample, NOTHING._replace(reverse_time=True))
    assert turned["t"] == 0.75
    assert np.array_equal(turned["frames"], sample["frames"][::-1])
    assert np.array_equal(turned["target"], sample["target"])
    assert np.array_equal(turned["flow"], sample["flow"][..., [2, 3, 0, 1]])
    # 0 -> -1, 0 -> 1, 1 -> 2, 1 -> 0, in which 0 and 1, -1 and 2 change places.
    assert np.array_equal(turned["flows"], sample["flows"][..., [4, 5, 6, 7, 0, 1, 2, 3]])
    assert turned["flows"].dtype == np.float16
    assert turned["name"] == "a/0"


@pytest.mark.parametrize("rotation", range(4))
def test_images_are_flipped_then_rotated_clockwise(sample, rotation):
    for channels, rows, columns in itertools.product((False, True), repeat=3):
        wanted = sample["target"][:, :, ::-1] if channels else sample["target"]
        wanted = wanted[::-1] if rows else wanted
        wanted = wanted[:, ::-1] if columns else wanted
        turned = transform(sample, Decision(channels, rows, columns, False, rotation, False))
        assert np.array_equal(turned["target"], np.rot90(wanted, -rotation))


@pytest.mark.parametrize(
    "decision", [Decision(False, r, c, False, q, p) for r in (0, 1) for c in (0, 1) for q in range(4) for p in (0, 1)]
)
def test_flow_still_leads_to_the_same_pixels(decision):
    """Warping and augmentation commute: the augmented flow warps the augmented image."""
    image = RNG.integers(0, 256, (1, 8, 8, 3)).astype(np.float32)
    inside = np.stack(np.meshgrid(np.arange(8), np.arange(8)), -1)
    # Whole steps to positions inside the frame, so that neither rounding nor edges matter.
    flow = (RNG.integers(0, 8, (8, 8, 2)) - inside).astype(np.float32)
    sample = {"frames": image, "target": np.asarray(warp(image, flow[None]))[0], "t": np.float32(0.5)}
    sample["flow"] = np.concatenate([flow, flow], -1)
    turned = transform(sample, decision)
    again = warp(turned["frames"], turned["flow"][None, ..., :2])
    assert np.abs(np.asarray(again)[0] - turned["target"]).max() < 1e-3  # levels of 255


def test_numpy_and_jax_agree(sample):
    sample.pop("name")
    device = jax.jit(transform)
    for flags in itertools.product((False, True), (False, True), (False, True), (False, True), range(4), (False, True)):
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
    transposed = [draw(rng, Augment(transpose=0.05)).transpose for _ in range(count)]
    assert np.mean(transposed) == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / count) ** 0.5)


def published(case):
    """Loads a stored sample of IFRNet's code, with the published flow."""
    stored, prefix = ops("ops_ifrnet", "augment"), case and f"{case}/"
    frames = np.stack([stored[f"{prefix}img0"], stored[f"{prefix}img1"]])
    return {"frames": frames, "target": stored[f"{prefix}imgt"], "flow": stored[f"{prefix}flow"]}


@pytest.mark.parametrize(
    ("case", "decision", "columns"),
    [
        ("reverse_channel", NOTHING._replace(reverse_channels=True), slice(0, 10)),
        ("vflip", NOTHING._replace(flip_rows=True), slice(0, 10)),
        ("hflip", NOTHING._replace(flip_columns=True), slice(4, 14)),  # what was the left is the right
        ("transpose", NOTHING._replace(transpose=True), slice(0, 10)),
        ("reverse_time", NOTHING._replace(reverse_time=True), slice(0, 10)),
    ],
)
def test_published_augmentation_of_ifrnet(case, decision, columns):
    """On a square of the stored 10x14 images."""
    sample = {name: value[..., :10, :] for name, value in published("").items()}
    turned = transform({**sample, "t": np.float32(0.5)}, decision)
    for name, value in published(case).items():
        assert np.array_equal(turned[name], value[..., :10, columns, :]), name


def test_published_enlargement_of_ifrnet():
    larger, wanted = enlarge(published("")), published("resize2x")
    for name in ("frames", "target"):
        assert np.abs(larger[name].astype(int) - wanted[name]).max() <= 1  # the rounding of an OpenCV version
    assert np.abs(larger["flow"] - wanted["flow"]).max() < 1e-5


def test_enlarging_keeps_types(sample):
    larger = enlarge(sample)
    for name in ("frames", "target", "flow", "flows"):
        assert larger[name].dtype == sample[name].dtype
        assert larger[name].shape[-3:-1] == (16, 16)
    # Bilinear doubling keeps the mean, except at the edges.
    assert larger["flows"][..., 0].astype(float).mean() == pytest.approx(
        2 * sample["flows"][..., 0].mean(dtype=float), abs=0.2
    )


def test_published_jitter():
    stored = ops("ops_dbvi", "colour_jitter")
    image = stored.pop("image")
    for case, wanted in stored.items():
        step, value = case.removesuffix("_wrapped").split("_")
        index = Jitter._fields.index(step)
        assert np.array_equal(STEPS[index](image, float(value)), wanted), case


def test_jitter_is_the_same_for_all_pictures(sample):
    sample = {**sample, "frames": np.stack([sample["target"]] * 2)}
    first, second = (jitter(sample, 0.05, np.random.default_rng(seed)) for seed in (0, 1))
    assert all(np.array_equal(frame, first["target"]) for frame in first["frames"])
    assert not np.array_equal(first["target"], second["target"])
    drawn = [draw_jitter(np.random.default_rng(seed), 0.05) for seed in range(200)]
    factors, shifts = np.array([one[:3] for one in drawn]), np.array([one.hue for one in drawn])
    assert (factors.min(), factors.max()) == pytest.approx((0.95, 1.05), abs=1e-3)
    assert (shifts.min(), shifts.max()) == pytest.approx((-0.05, 0.05), abs=1e-3)
    assert len({one.order for one in drawn}) == 24  # of four steps
    still = Jitter(1.0, 1.0, 1.0, 0.0, (2, 0, 1))
    assert np.array_equal(recolor(sample["target"], still), sample["target"])


def test_rife_m_takes_three_sorted_frames():
    inputs, target, chance = frame_selections(Window(frames=7, sorted_share=1.0))
    assert len(target) == 35  # 7 over 3
    assert (inputs[:, 0] < target).all()
    assert (target < inputs[:, 1]).all()
    assert np.ptp(chance[chance > 0]) < 1e-12


@pytest.mark.parametrize("length", [3, 4, 5, 7, 8, 9])
def test_midpoints_of_any_window(length):
    inputs, target, chance = frame_selections(Window(frames=length))
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
    sample = training_sample(record, window, np.random.default_rng(0))
    assert sample["frames"][:, 0, 0, 0].tolist() == [0, 2, 4, 6]
    assert (sample["target"][0, 0, 0], sample["t"].item()) == (3, 0.5)
    sample = training_sample(record, Window(frames=7, inputs=(0, 4), target=1), np.random.default_rng(0))
    assert sample["t"].item() == 0.25


@pytest.mark.parametrize(
    ("window", "targets", "middle"),
    [
        (Window(9, (0, 8)), range(1, 8), 4),  # GoPro, eight times the frames
        (Window(25, (0, 8, 16, 24)), range(9, 16), 12),  # the same of four frames
        (Window(49, (0, 16, 32, 48), target_step=2), range(18, 32, 2), 24),  # X-TRAIN
        (Window(4, (0, 3)), (1, 2), 1),
    ],
)
def test_targets_between_given_inputs(window, targets, middle):
    inputs, target, chance = frame_selections(window)
    assert target.tolist() == list(targets)
    assert inputs.tolist() == [list(window.inputs)] * len(targets)
    assert chance == pytest.approx([1 / len(targets)] * len(targets))
    frames = np.arange(window.frames, dtype=np.uint8).repeat(3).reshape(-1, 1, 1, 3)
    drawn = training_sample({"frames": frames, "name": "a"}, window, np.random.default_rng(0))
    assert drawn["target"][0, 0, 0] in targets
    sample = validation_sample({"frames": frames, "name": "a"}, window)
    assert sample["frames"][:, 0, 0, 0].tolist() == list(window.inputs)
    assert sample["target"][0, 0, 0] == middle


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
        (Window(frames=5, inputs=(0, 1)), "no target between the inputs 0 and 1"),
        (Window(frames=5, inputs=(0, 2), target_step=2), "no target between the inputs 0 and 2"),
        (Window(frames=5, inputs=(0, 1, 2), target=1), "2 or 4"),
    ],
)
def test_bad_windows(window, wrong):
    with pytest.raises(UsageError, match=wrong):
        frame_selections(window)


def test_windows_of_another_length_and_small_frames(sample):
    record = {"frames": np.zeros((3, 8, 8, 3), np.uint8), "name": "clip/3"}
    with pytest.raises(UserError, match=r"clip/3 has 3 frames; data.window.frames says 5"):
        training_sample(record, Window(frames=5), np.random.default_rng(0))
    with pytest.raises(UserError, match="a/0 is 8x8: too small"):
        crop(sample, 9, np.random.default_rng(0))
    cut = crop(sample, 5, np.random.default_rng(0))
    assert cut["frames"].shape == (2, 5, 5, 3)
    assert (cut["flow"].shape, cut["flows"].shape) == ((5, 5, 4), (5, 5, 8))


@pytest.mark.parametrize("make", [training_sample, lambda record, window, _: validation_sample(record, window)])
def test_labels_are_passed_on(make):
    record = {"frames": np.zeros((3, 8, 8, 3), np.uint8), "name": "a", "flow": np.ones((8, 8, 4), np.float16)}
    sample = make(record, Window(3), np.random.default_rng(0))
    assert sample["flow"] is record["flow"]
    assert "flows" not in sample
