"""Losses against numbers of the published PyTorch code, and what must hold of any distance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, ops, relative

from vfi_jax.errors import UsageError
from vfi_jax.losses import RECONSTRUCTION, census_loss, census_map, charbonnier_loss, contrast_loss, psnr_loss

RNG = np.random.default_rng(0)
LUMA = np.float32([0.2989, 0.5870, 0.1140])


def test_charbonnier():
    stored = ops("ops_ifrnet", "charbonnier")
    zeros = np.zeros_like(stored["diff"])
    loss, gradient = jax.value_and_grad(charbonnier_loss)(stored["diff"], zeros)
    assert abs(loss / stored["loss"] - 1) < 1e-6  # float32 rounding
    assert relative(gradient, stored["grad"]) < 1e-6


def test_psnr_loss_counts_a_decibel_the_same_everywhere():
    """Both samples 1 dB better give 1 dB less, and so does one of them 2 dB better, be it the good or the bad one."""
    errors = np.float32([1e-2, 1e-4])  # 20 and 40 dB

    def loss(decibels):
        level = np.sqrt(errors * 10 ** (-np.float32(decibels) / 10)).reshape(2, 1, 1, 1)
        return psnr_loss(np.full((2, 4, 5, 3), 0.5) + level, np.full((2, 4, 5, 3), 0.5, np.float32))

    assert loss([0, 0]) == pytest.approx(60 - 30, abs=0.03)  # the 1 in the logarithm
    for better in ([1, 1], [2, 0], [0, 2]):
        assert loss([0, 0]) - loss(better) == pytest.approx(1, abs=0.02)
    frame = np.zeros((1, 4, 4, 3), np.float32)
    assert psnr_loss(frame, frame) == 0
    assert np.isfinite(jax.grad(psnr_loss)(frame, frame)).all()


def test_contrast_loss_sees_blur_but_neither_motion_nor_a_mesh():
    stripes = np.broadcast_to(np.float32([0.2, 0.2, 0.6, 0.6] * 8)[:, None], (1, 32, 32, 3))
    loss = jax.jit(contrast_loss)
    assert loss(np.roll(stripes, 1, 2), stripes) < 1e-6
    half = 0.4 + (stripes - 0.4) / 2  # pixels two apart are 0.2 apart instead of 0.4, times 4 / 8
    assert loss(half, stripes) == pytest.approx(0.1, rel=1e-3)
    mesh = 0.4 + 0.1 * (-1.0) ** np.add.outer(np.arange(32), np.arange(32))[None, ..., None] * np.ones(3, np.float32)
    assert loss(mesh.astype(np.float32), np.full_like(stripes, 0.4)) < 1e-6
    assert np.isfinite(jax.jit(jax.grad(contrast_loss))(np.zeros_like(stripes), stripes)).all()
    with pytest.raises(UsageError, match="no cell of 8x8"):
        contrast_loss(stripes[:, :9], stripes[:, :9])


@pytest.mark.parametrize(("patch", "border"), [(3, 1), (7, 3)])
def test_census_of_ifrnet(patch, border):
    stored = ops("ops_ifrnet", f"census_{patch}")

    def loss(x):
        gray = x.mean(-1, keepdims=True), stored["y"].mean(-1, keepdims=True)
        return census_map(*gray, patch=patch, border=border).mean()

    value, gradient = jax.value_and_grad(loss)(stored["x"])
    assert abs(value / stored["loss"] - 1) < 1e-5  # 49 terms a pixel, added in another order
    assert relative(gradient, stored["grad_x"]) < 1e-5
    if patch == 7:
        assert abs(census_loss(stored["x"], stored["y"]) / value - 1) < 1e-6


def test_census_gives_the_target_no_gradient():
    stored = ops("ops_ifrnet", "census_7")
    gradient = jax.grad(census_loss, argnums=1)(stored["x"], stored["y"])
    assert (gradient == 0).all()


def test_census_of_features():
    stored = ops("ops_ifrnet", "geometry_3")

    def loss(x, y):
        return census_map(x, y, patch=3, border=1).mean()

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1))(stored["x"], stored["y"])
    assert abs(value / stored["loss"] - 1) < 1e-5
    assert relative(gradients[0], stored["grad_x"]) < 1e-5
    assert relative(gradients[1], stored["grad_y"]) < 1e-5


def test_ternary_of_rife():
    stored = ops("ops_rife", "ternary_sobel_epe")
    gray = [(stored[name] @ LUMA)[..., None] for name in ("a", "b")]
    assert apart(census_map(*gray, patch=7, border=1), stored["ternary"]) < 1e-5  # values reach 0.5


@pytest.mark.parametrize("name", RECONSTRUCTION)
def test_reconstruction(name):
    """Least at the target, larger the farther from it, and the gradient leads there."""
    target = RNG.random((2, 64, 96, 3), np.float32)
    noise = RNG.standard_normal(target.shape).astype(np.float32) * 0.1
    loss = jax.jit(jax.value_and_grad(RECONSTRUCTION[name]))
    (at_target, still), (near, gradient), (far, _) = (loss(target + part * noise, target) for part in (0, 0.5, 1))
    assert at_target.shape == ()
    assert at_target == pytest.approx(1e-3 if name == "charbonnier" else 0, abs=1e-6)
    assert at_target < near < far
    assert jnp.isfinite(still).all()
    if name not in ("census", "contrast"):  # whose two sides may be rounded apart
        assert not still.any()  # what equals its target is not moved
    assert (gradient * noise).sum() > 0


def test_reconstruction_scales():
    """Of a constant offset of 0.1: L1 and Charbonnier see all of it, Laplacian and census (inside) nothing."""
    target = np.full((1, 64, 64, 3), 0.4, np.float32)
    seen = {name: float(jax.jit(loss)(target + np.float32(0.1), target)) for name, loss in RECONSTRUCTION.items()}
    assert seen["l1"] == pytest.approx(0.1, abs=1e-6)
    assert seen["charbonnier"] == pytest.approx(np.hypot(0.1, 1e-3), abs=1e-6)
    assert seen["laplacian"] == pytest.approx(0, abs=1e-5)
    assert seen["census"] == pytest.approx(0, abs=1e-10)
