"""RIFE, RIFE-large, RIFE-m against stored cases of the published code."""

import functools

import jax
import numpy as np
import optax
import pytest
from parity import apart, cases, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.errors import UserError
from vfi_jax.models import registry
from vfi_jax.torch_io import state_dict

FRAME = 1e-4
FLOW = 1e-3


def build(case):
    scale = case.fields.get("scale", 1)
    return registry.build(case.model, scale=scale, channel_order="rgb")


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t):
    return model.apply(variables, frames, t)


@pytest.mark.parametrize(
    "case", cases("rife", lambda f: f.get("kind", "").startswith("inference"), fast="rife_m-t025_b1_64x96")
)
def test_forward(case):
    model, stored = build(case), case.arrays
    if case.fields.get("tta"):
        model = inference.flip_ensemble(model)
    if "padded_to" in case.fields:
        frame = vfi_jax.Interpolator(model, case.variables)(stored["img0"], stored["img1"])
        assert apart(frame, stored["final"]) < FRAME
        return
    out = run(model, case.variables, case.frames, case.t)
    assert apart(out.frame, stored["final"]) < FRAME
    for level in range(3):
        if f"flow_{level}" in stored:
            assert apart(out.flows[level], stored[f"flow_{level}"]) < FLOW
    if "residual" in stored:
        assert apart(out.residual, stored["residual"]) < FRAME
        assert apart(out.merged, stored["merged_2_before_residual"]) < FRAME
        assert apart(out.mask, 1 / (1 + np.exp(-stored["mask_logit_2"]))) < FRAME
        check_intermediates(model, case)


def check_intermediates(model, case):
    levels = jax.jit(functools.partial(model.apply, method="levels"))(case.variables, case.frames, case.t)
    for index, level in enumerate(levels):
        assert apart(level.mask_logit, case.arrays[f"mask_logit_{index}"]) < FRAME
        if index < 2:
            assert apart(level.merged, case.arrays[f"merged_{index}"]) < FRAME

    def context(module, frames, flow):
        return module.contextnet(frames, flow, 4 * [lambda x: x])

    pyramid = jax.jit(functools.partial(model.apply, method=context))
    warped = pyramid(case.variables, case.frames[:, 0], levels[-1].flow[..., :2])
    for index, features in enumerate(warped):
        assert relative(features, case.arrays[f"context0_f{index + 1}"]) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("rife", lambda f: f.get("kind") == "training"))
def test_objective_gradients_and_step(case):
    spec, model, stored = vfi_jax.MODELS[case.model], build(case), case.arrays
    batch = {"frames": case.frames, "target": stored["gt"], "t": case.t}

    def objective(params):
        return spec.loss(model, {"params": params}, batch, spec.loss_config, step=0, rng=None)

    params = case.variables["params"]
    (total, aux), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(params)
    weight = case.fields["distill_weight"]
    assert relative(total, stored["loss_total"]) < 1e-5
    assert relative(aux.terms["reconstruction"], stored["loss_l1"]) < 1e-5
    assert relative(aux.terms["teacher"], stored["loss_tea"]) < 1e-5
    assert relative(aux.terms["distillation"], weight * stored["loss_distill"]) < 1e-5
    assert float(sum(aux.terms.values())) == pytest.approx(float(total), rel=1e-6)
    assert apart(aux.frame[:1], stored["pred_sample0"]) < FRAME
    assert float(optax.tree.norm(gradients)) == pytest.approx(float(stored["grad_global_norm"]), rel=1e-4)
    check_named(stored, "grad/", state_dict.to_torch(spec, {"params": gradients}), relative, 1e-3)
    if case.fields["lr"]:
        optimizer = optax.adamw(case.fields["lr"], weight_decay=1e-3)
        updates, _ = optimizer.update(gradients, optimizer.init(params), params)
        stepped = state_dict.to_torch(spec, {"params": optax.apply_updates(params, updates)})
        # Adam's first step is lr * g / |g|: where g is near 0 the sign of rounding decides.
        check_named(stored, "after_step/", stepped, apart, 1e-5)


def check_named(stored, prefix, ours, distance, tolerance):
    """Compares the stored arrays under a prefix: whole, or their norm and first 64 values."""
    names = [key for key in stored if key.startswith(prefix) and not key.endswith("__mean")]
    assert names
    for key in names:
        name, _, part = key.removeprefix(prefix).partition("__")
        value = {"norm": np.linalg.norm, "first64": lambda a: a.ravel()[:64], "": np.asarray}[part](ours[name])
        assert distance(value, stored[key]) < tolerance, key


def test_inference_weights_lack_the_teacher():
    _, variables = vfi_jax.create("rife")
    state = vfi_jax.to_torch("rife", variables)
    kept = {name: value for name, value in state.items() if not name.startswith("block_tea")}
    loaded = vfi_jax.from_torch("rife", kept)
    spec, model = vfi_jax.MODELS["rife"], registry.build("rife")
    with pytest.raises(UserError, match="lack the teacher"):
        spec.loss(model, loaded, {}, spec.loss_config, step=0, rng=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rife", "rife_m"])
def test_other_channel_order(name):
    """Frames turned on the way in and back on the way out: the same network, its teacher too."""
    spec, model = vfi_jax.MODELS[name], registry.build(name)
    variables = vfi_jax.create(name, seed=4)[1]
    state = state_dict.to_torch(spec, variables)
    turned = vfi_jax.from_torch(name, state_dict.other_channel_order(spec, state))
    frames = np.random.default_rng(0).random((1, 3, 64, 64, 3), np.float32)

    def made(variables, frames):
        _, out, teacher = model.apply(variables, frames[:, :2], 0.5, frames[:, 2], method="distil")
        return out.frame, out.residual, teacher.merged

    expected, found = made(variables, frames), made(turned, frames[..., ::-1])
    for one, other in zip(found, expected, strict=True):
        assert apart(one[..., ::-1], other) < 1e-5
    assert apart(made(variables, frames[..., ::-1])[1][..., ::-1], expected[1]) > 1e-3
    again = state_dict.other_channel_order(spec, state_dict.other_channel_order(spec, state))
    assert all(np.array_equal(again[key], value) for key, value in state.items())


def test_equal_flows_have_finite_gradients():
    """The published root makes NaN of them; a run must not end there."""
    from vfi_jax.models import rife

    zero = np.zeros((1, 4, 4, 4), np.float32)
    gray, white = np.full((1, 4, 4, 3), 0.5, np.float32), np.ones((1, 4, 4, 3), np.float32)

    def distance(flow):
        student = rife.Level(flow, zero[..., :1], white, white)
        return rife._distillation(student, rife.Level(zero, zero[..., :1], gray, gray), gray, 0.01)

    assert (np.asarray(jax.grad(distance)(zero)) == 0).all()
