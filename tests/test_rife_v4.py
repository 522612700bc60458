"""The v4 line against stored cases of the published code."""

import functools

import jax
import numpy as np
import pytest
from parity import apart, cases, make_state

import vfi_jax
from vfi_jax.errors import UserError
from vfi_jax.models import registry
from vfi_jax.torch_io import state_dict

FRAME = 1e-4
FLOW = 1e-3
NARROW = {"widths": (16, 16), "level_scales": (2, 1)}


def build(case, **fields):
    return registry.build(case.model, scale=case.fields["scale"], ensemble=case.fields["ensemble"], **fields)


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t):
    return model.apply(variables, frames, t)


@pytest.mark.parametrize("case", cases("rife_v4", lambda f: "pad_multiples" not in f, fast="rife_v4_6-full_b1_32x64"))
def test_forward(case):
    model, stored = build(case), case.arrays
    out = run(model, case.variables, case.frames, case.t)
    assert apart(out.frame, stored["final"]) < FRAME
    for level, flow in enumerate(out.flows):
        if f"flow_{level}" in stored:
            assert apart(flow, stored[f"flow_{level}"]) < FLOW
    if "flow_last" in stored:
        assert apart(out.flows[-1], stored["flow_last"]) < FLOW
    if "flow_last_stride4" in stored:
        assert apart(out.flows[-1][:, ::4, ::4], stored["flow_last_stride4"]) < FLOW
    if "mask_logit_0" in stored:
        check_intermediates(model, case)


def check_intermediates(model, case):
    _, levels = jax.jit(functools.partial(model.apply, method="stages"))(case.variables, case.frames, case.t)
    for index, level in enumerate(levels):
        assert apart(level.mask_logit, case.arrays[f"mask_logit_{index}"]) < FRAME
    if "feat_0_stride4" in case.arrays:
        assert apart(levels[0].features[:, ::4, ::4], case.arrays["feat_0_stride4"]) < FRAME
    if "encode0" in case.arrays:
        encode = jax.jit(functools.partial(model.apply, method=lambda module, x: module.encode(x, lambda x: x)))
        encoded = encode(case.variables, case.frames[:, 0])
        assert apart(encoded, case.arrays["encode0"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("rife_v4", lambda f: "pad_multiples" in f))
def test_padding_by_both_tools(case):
    model, stored = build(case), case.arrays
    t = float(case.t.ravel()[0])
    frame = vfi_jax.Interpolator(model, case.variables)(stored["img0"], stored["img1"], t=t)
    multiple = case.fields["pad_multiples"][0]  # vs-rife's rule, which is ours
    assert apart(frame, stored[f"final_pad{multiple}"]) < FRAME
    wider = np.pad(case.frames, ((0, 0), (0, 0), (0, 128 - 45), (0, 128 - 70), (0, 0)))
    out = run(model, case.variables, wider, case.t)
    assert apart(out.frame[:, :45, :70], stored["final_pad128"]) < FRAME


def narrow(name, **fields):
    """A model of few channels, and variables as lively as trained ones."""
    model, variables = vfi_jax.create(name, **{**NARROW, **fields})
    spec = vfi_jax.MODELS[name]
    shapes = {key: value.shape for key, value in state_dict.to_torch(spec, variables).items()}
    return model, state_dict.from_torch(model, make_state(shapes, seed=1, gain=0.85), spec)


def test_constant_map_equals_the_number():
    model, variables = narrow("rife_v4_6")
    frames = np.random.default_rng(0).random((2, 2, 32, 64, 3), np.float32)
    per_sample = np.float32([0.2, 0.7]).reshape(2, 1, 1, 1)
    mapped = np.broadcast_to(per_sample, (2, 32, 64, 1))
    assert apart(run(model, variables, frames, per_sample).frame, run(model, variables, frames, mapped).frame) < 1e-6


def test_what_is_not_read_is_not_missed():
    """Blocks see the same of the frames where all levels are wanted, as in training, and where they are not."""
    model, variables = narrow("rife_v4_22_lite", level_scales=(4, 1))
    frames = np.random.default_rng(0).random((1, 2, 64, 96, 3), np.float32)
    out, _ = jax.jit(functools.partial(model.apply, method="stages"))(variables, frames, 0.3)
    assert float(abs(out.flows[-1]).max()) > 0.01
    assert apart(run(model, variables, frames, 0.3).frame, out.frame) < 1e-6


def test_time_reversal_of_the_ensemble():
    """Averaged with its own reversal, swapping the frames and t changes nothing."""
    model, variables = narrow("rife_v4_6", ensemble=True)
    frames = np.random.default_rng(0).random((1, 2, 32, 64, 3), np.float32)
    t = np.full((1, 1, 1, 1), 0.3, np.float32)
    there, back = run(model, variables, frames, t), run(model, variables, frames[:, ::-1], 1 - t)
    assert apart(there.frame, back.frame) < 1e-4
    assert apart(there.flows[-1], back.flows[-1][..., [2, 3, 0, 1]]) < 1e-3


def test_no_ensemble_where_none_was_published():
    with pytest.raises(UserError, match="has no ensemble"):
        vfi_jax.create("rife_v4_25", ensemble=True)


def test_training_only_names_are_dropped():
    state = vfi_jax.to_torch("rife_v4_25", vfi_jax.create("rife_v4_25")[1])
    extra = {"teacher.conv0.0.0.weight": np.zeros((32, 31, 3, 3)), "caltime.0.weight": np.zeros((32, 17, 3, 3))}
    published = {f"module.{name}": value for name, value in {**state, **extra}.items()}
    again = vfi_jax.to_torch("rife_v4_25", vfi_jax.from_torch("rife_v4_25", {**published, "epoch": np.zeros(1)}))
    assert again.keys() == state.keys()
    assert all((again[name] == state[name]).all() for name in state)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rife_v4_6", "rife_v4_25"])
def test_objective_adds_up_and_falls(name):
    spec = vfi_jax.MODELS[name]
    model, variables = vfi_jax.create(name, seed=1, **NARROW)
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.random((1, 4, 4, 3)), np.ones((1, 16, 16, 1))).astype(np.float32)
    batch = {
        "frames": np.stack([smooth, np.roll(smooth, 4, 2)], 1),
        "target": np.roll(smooth, 2, 2),
        "t": np.full((1, 1, 1, 1), 0.5, np.float32),
    }

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(params):
        return spec.loss(model, {"params": params}, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = objective(variables["params"])
    assert float(sum(aux.terms.values())) == pytest.approx(float(total), rel=1e-6)
    assert set(aux.terms) == {"reconstruction", "levels"}
    norm = float(np.sqrt(sum(float((g**2).sum()) for g in jax.tree.leaves(gradients))))
    lower = jax.tree.map(lambda p, g: p - 1e-3 * g / norm, variables["params"], gradients)
    # A step of length 1e-3 against the gradient lowers the loss by about 1e-3 times its norm.
    fall = float(total) - float(objective(lower)[0][0])
    assert 0.5 < fall / (1e-3 * norm) < 1.5
