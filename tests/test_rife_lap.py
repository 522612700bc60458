"""RIFE-Lap: the refinement, the sharpening, and blocks that see smaller frames."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vfi_jax.models.rife_lap import RIFELap, loss
from vfi_jax.models.rife_v4 import LossConfig

TINY = {"widths": (8, 8), "level_scales": (2, 1), "features": 0, "encoder": (4, 2)}
ROUNDING = 2e-5  # of float32 coordinates up to 64 pixels
FRAMES = np.random.default_rng(3).random((1, 2, 64, 64, 3), np.float32)


def still(model, **biases):
    """Variables of zeros but for the biases, which the network then outputs everywhere."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), FRAMES, 0.5)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    for path, bias in biases.items():
        module, layer = path.split("_", 1)
        params[module][layer]["bias"][:] = bias
    return {"params": params}


@pytest.mark.parametrize("model", [RIFELap(**TINY), RIFELap(**TINY, reduction=2)])
def test_flow_is_in_pixels_of_the_whole_frame(model):
    """Every block outputs (1, 0.5, -2, 0) in its own pixels; level scale and reduction turn them into the frame's."""
    flow = np.float32([1, 0.5, -2, 0, 0])
    blocks = {f"block{index}_lastconv": np.repeat(flow, 4) for index in (0, 1)}
    out = jax.jit(model.apply)(still(model, **blocks), FRAMES, 0.5)
    for level, wanted in enumerate((2, 3)):
        np.testing.assert_allclose(
            out.flows[level], np.broadcast_to(wanted * model.reduction * flow[:4], (1, 64, 64, 4))
        )
    x, y = 3 * model.reduction, 3 * model.reduction // 2
    halves = [
        FRAMES[:, 0, y : 64 - 12 + y, 12 + x : 64 - 12 + x],
        FRAMES[:, 1, : 64 - 12, 12 - 2 * x : 64 - 12 - 2 * x],
    ]
    if model.reduction == 1:  # y lies half-way between rows
        halves[0] = (halves[0] + FRAMES[:, 0, y + 1 : 64 - 12 + y + 1, 12 + x : 64 - 12 + x]) / 2
    np.testing.assert_allclose(out.frame[:, : 64 - 12, 12 : 64 - 12], sum(halves) / 2, atol=ROUNDING)


@pytest.mark.parametrize(
    ("reduction", "sharpening"), [(1, True), pytest.param(2, True, marks=pytest.mark.slow), (2, False)]
)
def test_refinement_adds_the_output_of_its_last_layer(reduction, sharpening):
    model = RIFELap(**TINY, reduction=reduction, refinement=(4, 8, 1), sharpening=sharpening)
    plain = jax.jit(RIFELap(**TINY, reduction=reduction).apply)(still(model), FRAMES, 0.5)
    zero = jax.jit(model.apply)(still(model), FRAMES, 0.5)
    np.testing.assert_array_equal(zero.frame, plain.frame)
    bias = [0.1, 0.2, 0.3, 50, *(2 * sharpening * [0])]
    changed = jax.jit(model.apply)(still(model, refine_last=bias), FRAMES, 0.5)
    np.testing.assert_allclose(
        changed.frame, FRAMES[:, 0] + np.float32([0.1, 0.2, 0.3]), atol=ROUNDING
    )  # the mask is 1


def test_gain_one_samples_as_catmull_rom():
    """A flow of half a pixel along x: taps -1, 9, 9, -1 of 16 (Keys, a = -0.5)."""
    model = RIFELap(**TINY, refinement=(4, 8, 1), sharpening=True)
    half = np.repeat(np.float32([0.5, 0, 0.5, 0, 0]), 4)
    variables = still(model, block1_lastconv=half, refine_last=[0, 0, 0, 50, 1, 1])
    frame = jax.jit(model.apply)(variables, FRAMES, 0.5).frame[:, :, 2:-3]
    taps = [FRAMES[:, 0, :, 2 + shift : 64 - 3 + shift] for shift in (-1, 0, 1, 2)]
    np.testing.assert_allclose(frame, (9 * (taps[1] + taps[2]) - taps[0] - taps[3]) / 16, atol=ROUNDING)


@pytest.mark.slow
def test_terms_of_a_teacher():
    """Flows a pixel away from the teacher's, and a frame that is the teacher's: weight times one, and nothing."""
    model = RIFELap(**TINY)
    variables = still(model)
    frame = jax.jit(model.apply)(variables, FRAMES, 0.5).frame
    batch = {"frames": FRAMES, "target": FRAMES[:, 0], "t": jnp.float32(0.5)}
    teacher_frame = batch | {"teacher_frame": frame, "flow": jnp.ones((1, 64, 64, 4))}
    config = LossConfig(flow_weight=0.3)
    terms = loss(model, variables, teacher_frame, config, step=0, rng=None)[1].terms
    assert terms.pop("distillation") == pytest.approx(0.3)
    assert terms.pop("teacher") == pytest.approx(0, abs=1e-6)
    assert terms == loss(model, variables, batch, config, step=0, rng=None)[1].terms
