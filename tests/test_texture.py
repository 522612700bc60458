"""The texture consistency loss against stored cases of the published code, and as an additional loss of any model."""

import functools

import jax
import numpy as np
import pytest
from parity import apart, ops, relative

from vfi_jax.errors import UsageError
from vfi_jax.losses import CONSISTENCY, extra_loss, texture_loss
from vfi_jax.losses.texture import census_code, match_patches
from vfi_jax.ops import shrink_cubic

RNG = np.random.default_rng(0)
FORMS = {"tcl_default": (4, 7), "tcl_scale2": (2, 7), "tcl_scale1_n3": (1, 3)}
SMALL = {"scale": 2, "window": 3}


@functools.partial(jax.jit, static_argnames=("scale", "window", "penalty", "descriptor"))
def loss_and_gradient(frame, inputs, **form):
    return jax.value_and_grad(functools.partial(texture_loss, **form))(frame, inputs)


find = functools.partial(jax.jit, static_argnames=("scale", "window", "descriptor"))(match_patches)


@functools.cache
def scene():
    """A prediction and two input frames, `[1, 24, 32, 3]`."""
    return RNG.random((1, 24, 32, 3), np.float32), RNG.random((1, 2, 24, 32, 3), np.float32)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name != "tcl_default" else name for name in FORMS]
)
def test_parity(name):
    """All matches, ties among them, the loss and its gradient."""
    stored, (scale, window) = ops("ops_tcl", name), FORMS[name]
    inputs = np.stack([stored["img0"], stored["img1"]], 1)
    index, _ = find(stored["pred"], inputs, scale=scale, window=window, descriptor="census")
    np.testing.assert_array_equal(index, stored["match_index"])
    total, gradient = loss_and_gradient(stored["pred"], inputs, scale=scale, window=window)
    assert float(total) == pytest.approx(float(stored["loss"]), rel=1e-6)
    assert relative(gradient, stored["grad_pred"]) < 1e-5  # measured: 1.6e-6
    codes = np.rint(255 * np.asarray(census_code(stored["pred"])))
    np.testing.assert_array_equal(codes, stored["census_pred"])


def test_cubic_reduction():
    stored = ops("ops_tcl", "bicubic_down4")
    reduced = jax.jit(lambda x: {factor: shrink_cubic(x, factor) for factor in (1, 2, 3, 4)})(stored["x"])
    for factor in (2, 4):
        assert apart(reduced[factor], stored[f"out{factor}"]) < 1e-6
    np.testing.assert_array_equal(reduced[1], stored["x"])
    np.testing.assert_array_equal(reduced[3], stored["x"][:, 1::3, 1:-1:3])
    shape = jax.eval_shape(lambda x: shrink_cubic(x, 4), stored["x"][:, :23, :30]).shape
    assert shape == (1, 5, 7, 3)


def test_a_frame_that_is_one_of_the_inputs_costs_nothing():
    """Nor does one that is moved within the reach of the window, inside; the average of two patterns costs."""
    frame, _ = scene()
    moved = np.roll(frame, 2, 2)
    inputs = np.stack([moved, 1 - frame], 1)
    assert loss_and_gradient(moved, inputs, **SMALL)[0] == 0
    matched = find(frame, inputs, descriptor="census", **SMALL)[1]
    assert apart(matched[:, 1:-1, 2:-2, 12:15], shrink_cubic(frame, 2)[:, 1:-1, 2:-2]) < 1e-6
    assert loss_and_gradient((moved + frame) / 2, np.stack([moved, frame], 1), **SMALL)[0] > 1e-3


@pytest.mark.slow
def test_forms_of_the_paper():
    """L1 and colors: of all nine pixels of the patches, so nearly as of the middle one; inputs have no gradient."""
    frame, inputs = scene()
    form = {**SMALL, "penalty": "l1", "descriptor": "rgb"}
    total, gradient = loss_and_gradient(frame, inputs, **form)
    center = shrink_cubic(frame, 2) - find(frame, inputs, descriptor="rgb", **SMALL)[1][..., 12:15]
    assert float(total) == pytest.approx(float(np.abs(center).mean()), rel=0.1)
    assert (np.asarray(gradient) != 0).mean() > 0.9
    of_inputs = jax.jit(jax.grad(functools.partial(texture_loss, **form), argnums=1))(frame, inputs)
    assert not of_inputs.any()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_window():
    frame, inputs = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((1, 64, 64, 3), (1, 2, 64, 64, 3)))
    taken = [
        jax.jit(jax.grad(functools.partial(texture_loss, window=window))).lower(frame, inputs).compile()
        .memory_analysis().temp_size_in_bytes
        for window in (3, 7)
    ]  # fmt: skip
    assert taken[1] < 1.5 * taken[0]  # with all candidates at once: 5 times


def test_an_extra_loss_of_any_model():
    """It sees the two frames around the target, of four the middle ones."""
    frame, pair = scene()
    four = np.concatenate([pair[:, :1] + 1, pair, pair[:, :1] - 1], 1)
    losses = jax.jit(lambda frames: [extra_loss(name)(frame, {"frames": frames}) for name in CONSISTENCY])
    wanted = [float(loss) for loss in losses(pair)]
    assert [float(loss) for loss in losses(four)] == pytest.approx(wanted, rel=1e-6)
    form = {"scale": 4, "window": 7}
    assert float(loss_and_gradient(frame, pair, **form)[0]) == pytest.approx(wanted[0], rel=1e-6)
    assert extra_loss("l1")(frame, {"frames": four, "target": frame}) == 0
    with pytest.raises(UsageError, match="no loss is called 'textures'; did you mean texture"):
        extra_loss("textures")


@pytest.mark.parametrize(
    ("size", "form", "message"),
    [
        ((24, 30), {}, "sides divisible by 4 and of 16 or more pixels, not 30x24: choose another crop"),
        ((12, 32), {}, "of 16 or more pixels, not 32x12"),
        ((24, 32), {"penalty": "l2"}, "no penalty of the texture loss is called 'l2': half_square or l1"),
        ((24, 32), {"descriptor": "gray"}, "no descriptor of the texture loss is called 'gray': census or rgb"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(size, form, message):
    frame, inputs = np.zeros((1, *size, 3), np.float32), np.zeros((1, 2, *size, 3), np.float32)
    with pytest.raises(UsageError, match=message):
        texture_loss(frame, inputs, **form)
