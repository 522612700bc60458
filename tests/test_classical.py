"""The methods without training."""

import cv2
import numpy as np
import pytest

import vfi_jax
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError
from vfi_jax.metrics import psnr

SCENE = random_scene(3, 96, 128, speed=10.0)
FIRST, MIDDLE, SECOND = (np.rint(255 * SCENE.frame(time)).astype(np.uint8) for time in (0, 0.5, 1))


def test_average_weighs_by_time():
    made = vfi_jax.Interpolator("average")(FIRST, SECOND, t=0.25)
    exact = 0.75 * FIRST.astype(np.float64) + 0.25 * SECOND
    assert np.abs(made - exact).max() < 0.5 + 1e-3  # ties fall either way in float32


def test_dis_follows_a_shift():
    """A texture that glides by (6, -4) px is where it should be at any time."""
    image = cv2.resize(SCENE.frame(0), (160, 120))
    first, second = image[8:108, 10:150], image[12:112, 4:144]
    for t, (y, x) in ((0.5, (10, 7)), (0.25, (9, 8.5))):
        truth = cv2.getRectSubPix(image, (100, 60), (x + 70 - 0.5, y + 50 - 0.5))
        made = vfi_jax.Interpolator("dis")(first, second, t=t)[20:80, 20:120]
        assert np.abs(made - truth).mean() < 0.01


def test_dis_beats_the_average_in_either_channel_order():
    scores = {}
    for order in ("rgb", "bgr"):
        model, variables = vfi_jax.load("dis", channel_order=order)
        scores[order] = psnr(vfi_jax.Interpolator(model, variables)(FIRST, SECOND), MIDDLE)
    average = psnr(vfi_jax.Interpolator("average")(FIRST, SECOND), MIDDLE)
    assert min(scores.values()) > average + 3


def test_dis_refuses_frames_that_its_patches_do_not_fit():
    small = np.zeros((15, 40, 3), np.uint8)
    with pytest.raises(UsageError, match="40x15 are too small for DIS"):
        vfi_jax.Interpolator("dis")(small, small)


def test_nothing_to_train():
    model, variables = vfi_jax.create("average")
    assert variables == {"params": {}}
    spec = vfi_jax.MODELS["average"]
    with pytest.raises(UsageError, match="average has no parameters"):
        spec.loss(model, variables, {}, spec.loss_config, step=0, rng=None)
