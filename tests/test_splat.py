"""Splatting against stored cases of the published code, its transpose, and sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, ops, relative

from vfi_jax.ops import splat_average, splat_linear, splat_softmax, splat_sum

splat = jax.jit(splat_sum)
MODES = {"summation": splat_sum, "average": splat_average, "linear": splat_linear, "softmax": splat_softmax}


@pytest.mark.parametrize("mode", MODES)
def test_values_and_gradients(mode):
    stored = ops("ops_dbvi", "splat")
    inputs = {"input": stored["input"], "flow": stored["flow"]}
    if mode in ("linear", "softmax"):
        metric = stored["metric"]
        inputs["metric"] = np.abs(metric) + np.float32(0.1) if mode == "linear" else metric
    out, pull = jax.vjp(jax.jit(MODES[mode]), *inputs.values())
    assert apart(out, stored[f"{mode}_out"]) < 1e-5
    for name, gradient in zip(inputs, pull(jnp.asarray(stored["upstream"])), strict=True):
        assert relative(gradient, stored[f"{mode}_grad_{name}"]) < 1e-3, name


def test_holes_are_where_nothing_falls():
    stored = ops("ops_dbvi", "splat")
    weight = splat(np.ones_like(stored["metric"]), stored["flow"])
    assert apart(weight, stored["weight_map"]) < 1e-6
    assert np.array_equal(weight == 0, stored["weight_map"] == 0)
    assert (
        np.asarray(jax.jit(splat_average)(stored["input"], stored["flow"]))[np.asarray(weight)[..., 0] == 0] == 0
    ).all()


def test_parts_by_hand():
    image = np.zeros((1, 3, 4, 1), np.float32)
    image[0, 1, 1] = 8
    flow = np.full((1, 3, 4, 2), 0, np.float32)
    flow[0, 1, 1] = 0.25, 0.5
    wanted = np.float32([[0, 0, 0, 0], [0, 3, 1, 0], [0, 3, 1, 0]])
    assert apart(splat(image, flow)[0, ..., 0], wanted) < 1e-6
    flow[0, 1, 1] = 2.5, -1  # half of it outside
    assert apart(splat(image, flow)[0, 0, 3, 0], 4) < 1e-6
    flow[0, 1, 1] = 1e9, -1e9
    assert not np.asarray(splat(image, flow)).any()


def test_softmax_shows_what_is_in_front():
    image = np.float32([[[[1], [2], [0]]]])
    flow = np.float32([[[[1, 0], [0, 0], [9, 0]]]])
    front = np.float32([[[[20], [0], [0]]]])
    splat_in_order = jax.jit(splat_softmax)
    assert apart(splat_in_order(image, flow, front)[0, 0, 1], 1) < 1e-6
    assert apart(splat_in_order(image, flow, -front)[0, 0, 1], 2) < 1e-6


def test_is_the_transpose_of_sampling():
    """Inner products agree with bilinear sampling that is zero outside, written here with NumPy."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 7)).astype(np.float32)
    flow = rng.normal(0, 3, (6, 7, 2)).astype(np.float32)
    sampled = np.zeros((6, 7))
    for row in range(6):
        for column in range(7):
            x, y = column + flow[row, column, 0], row + flow[row, column, 1]
            for i in range(6):
                for j in range(7):
                    sampled[row, column] += max(0, 1 - abs(x - j)) * max(0, 1 - abs(y - i)) * b[i, j]
    splatted = np.asarray(splat(a[None, ..., None], flow[None]))[0, ..., 0]
    assert (splatted * b).sum() == pytest.approx((a * sampled).sum(), rel=1e-4)
