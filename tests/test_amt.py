"""AMT against stored cases of the published code."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, cases, ops, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.errors import UserError
from vfi_jax.losses import flow_distillation
from vfi_jax.models import registry
from vfi_jax.ops import correlator, resize, warp
from vfi_jax.weights import files as weight_files

FRAME = 1e-5
FLOW = 5e-5  # pixels, where flows reach 13
LOOK_UP = 2e-4  # of correlations that reach 46
LOSS = 1e-6
GRADIENT = 5e-3  # rounding, through instance norms and bilinear look-ups
NARROW = {
    "widths": (4, 4, 4, 4),
    "encoder_widths": (4, 4, 4),
    "encoder_features": 4,
    "update_widths": ((4,), 2, 4, 4),
}


@pytest.fixture(scope="module")
def stored():
    return ops("ops_amt", "ops")


def arrays_of(case):
    """The stored arrays without their groups, `in/` and the like."""
    return {name.split("/", 1)[1]: array for name, array in case.arrays.items() if not name.startswith("grad")}


def subsampled(array, name):
    """Every n-th row and column, as names that end in `_subN` are stored."""
    step = int(name.rpartition("_sub")[2]) if "_sub" in name else 1
    return array[:, ::step, ::step]


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t, **inputs):
    return model.apply(variables, frames, t, method="estimate", **inputs)


def fields_of(flows, number, index):
    """The flows of all fields to frame `index`, field by field."""
    fields = np.asarray(flows).reshape(*flows.shape[:3], number, 2, 2)
    return fields[..., index, :].reshape(*flows.shape[:3], 2 * number)


def compare(model, estimate, arrays):
    """Every stored output and intermediate value that the network gives."""
    out, count = estimate.out, 0
    flows = {f"level{level}": (flow, 1) for level, flow in zip((4, 3, 2), out.flows[:3], strict=True)}
    flows["level1"] = (out.flows[3], model.fields)
    ours = {"pred": (out.frame, FRAME)}
    if model.scale == 1:
        ours |= {"decoder1_mask": (out.mask, FRAME), "decoder1_img_res": (estimate.residuals, FRAME)}
    for name, (flow, number) in flows.items():
        ours |= {f"flow{index}_{name}": (fields_of(flow, number, index), FLOW) for index in (0, 1)}
    ours |= {f"corr_lookup{number}": (look_up, LOOK_UP) for number, look_up in enumerate(estimate.look_ups)}
    for name, wanted in arrays.items():
        if name.partition("_sub")[0] in ours:
            value, tolerance = ours[name.partition("_sub")[0]]
            assert apart(subsampled(np.asarray(value), name), wanted) < tolerance, name
            count += 1
    return count


@pytest.mark.parametrize(
    "case", cases("amt", lambda fields: fields["name"].startswith("fwd"), fast="amt_s-fwd_128x128_b2_t")
)
def test_forward(case):
    arrays = arrays_of(case)
    model = registry.build(case.model, scale=case.fields.get("scale_factor", 1.0))
    frames = np.stack([arrays["img0"], arrays["img1"]], 1)
    estimate = run(model, case.variables, frames, arrays["timestep"])
    assert compare(model, estimate, arrays) >= (1 if model.scale != 1 else 11)
    out = estimate.out
    assert apart(out.frame, np.clip(out.merged + out.residual, 0, 1)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("amt", lambda fields: fields["name"].startswith("train")))
def test_objective_and_gradients(case):
    spec, arrays = vfi_jax.MODELS[case.model], arrays_of(case)
    model = registry.build(case.model)
    frames = np.stack([arrays["img0"], arrays["img1"]], 1)
    batch = {"frames": frames, "target": arrays["imgt"], "t": arrays["timestep"].reshape(-1, 1, 1, 1)}
    batch["flow"] = arrays["flow"]

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(variables):
        return spec.loss(model, variables, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = objective(case.variables)
    assert float(total) == pytest.approx(float(arrays["total"]), rel=LOSS)
    reconstruction = float(arrays["l_rec"] + arrays["l_ter"])
    assert float(aux.terms["reconstruction"]) == pytest.approx(reconstruction, rel=LOSS)
    assert float(aux.terms["distillation"]) == pytest.approx(float(arrays["l_flo"]), rel=LOSS)
    ours, count = vfi_jax.to_torch(case.model, gradients), 0
    for name, wanted in case.arrays.items():
        kind, _, parameter = name.partition("/")
        if kind == "grad":
            assert relative(ours[parameter], wanted) < GRADIENT, parameter
        elif kind == "grad_head64":
            assert np.abs(ours[parameter].ravel()[:64] - wanted).max() < GRADIENT * np.abs(ours[parameter]).max()
        elif kind == "grad_norm":
            assert float(np.linalg.norm(ours[parameter])) == pytest.approx(float(wanted), rel=GRADIENT)
        else:
            continue
        count += 1
    assert count == 11


@pytest.mark.slow
@pytest.mark.parametrize("case", [*cases("d_amt"), *cases("dr_amt", lambda fields: "one_step" in fields["name"])])
def test_distance_indexing(case):
    arrays, model = arrays_of(case), registry.build(case.model)
    frames, inputs = np.stack([arrays["img0"], arrays["img1"]], 1), {}
    if model.sees_reference:
        inputs = {"reference": arrays["img_ref"], "reference_t": arrays["D_ref"]}
    assert compare(model, run(model, case.variables, frames, arrays["D"], **inputs), arrays) == 9


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("dr_amt", lambda fields: "iters" in fields["name"]))
def test_reference_by_reference(case):
    """From frame 0 in two equal steps; one step needs no reference."""
    arrays, model = arrays_of(case), registry.build(case.model)
    frames, distance = np.stack([arrays["img0"], arrays["img1"]], 1), arrays["D"]
    only = run(model, case.variables, frames, distance).out.frame
    assert apart(only[:, ::2, ::2], arrays["pred_iters1_sub2"]) < FRAME
    wrapped = inference.iterate_reference(model, 2)
    second = jax.jit(wrapped.apply)(case.variables, frames, distance).frame
    assert apart(second[:, ::2, ::2], arrays["pred_iters2_sub2"]) < FRAME


def test_warp_and_resize(stored):
    names = ("resize_out_0.0625", "resize_out_0.8", "resize_out_1.25", "resize_out_4")

    @jax.jit
    def ours(image, flow, small, large):
        squares, gradient = jax.value_and_grad(lambda flow: (warp(image, flow) ** 2).sum())(flow)
        scales = [float(name.rpartition("_")[2]) for name in names]
        resized = [resize(small if scale < 0.2 else large, scale) for scale in scales]
        return warp(image, flow), squares, gradient, resized

    inputs = [stored[name] for name in ("warp_img", "warp_flow", "resize_in_16x32", "resize_in_20x40")]
    warped, _, gradient, resized = ours(*inputs)
    assert apart(warped, stored["warp_out"]) < 1e-5
    assert relative(gradient, stored["warp_grad_flow_of_sum_sq"]) < 1e-3
    for name, image in zip(names, resized, strict=True):
        assert apart(image, stored[name]) < 1e-6, name


@pytest.mark.parametrize("form", ["volume", "on_demand"])
def test_correlations_of_both_directions(stored, form):
    look_up = correlator(stored["corr_fmap0"], stored["corr_fmap1"], 3, form)
    both = jax.jit(look_up)(stored["corr_coords0"], stored["corr_coords1"])
    assert apart(both[:, ::5, ::5, :196], stored["corr_out0_sub5"]) < LOOK_UP
    assert apart(both[:, ::5, ::5, 196:], stored["corr_out1_sub5"]) < LOOK_UP


def test_distillation_of_several_fields(stored):
    interleaved = jnp.stack(
        [stored[f"mfl_flow{index}_level1"].reshape(1, 16, 24, 3, 2) for index in (0, 1)], -2
    ).reshape(1, 16, 24, 12)
    pair = lambda level: np.concatenate([stored[f"mfl_flow{index}_level{level}"] for index in (0, 1)], -1)  # noqa: E731
    flows = [*map(pair, (4, 3, 2)), interleaved]
    distance = jax.jit(flow_distillation, static_argnums=2)(flows, stored["mfl_gt"], 0.3)
    assert float(distance) == pytest.approx(float(stored["loss_multiple_flow_w1"]), rel=LOSS)


def test_sizes_and_inputs_that_no_network_takes():
    """One line each, before anything is computed."""
    model = registry.build("amt_s", **NARROW)
    variables = registry.shapes("amt_s", **NARROW)

    def fault(model, height, width, **inputs):
        frames = jax.ShapeDtypeStruct((1, 2, height, width, 3), jnp.float32)
        with pytest.raises(UserError) as info:
            jax.eval_shape(lambda v, f: model.apply(v, f, 0.5, **inputs).frame, variables, frames)
        return str(info.value)

    assert fault(model, 48, 80) == "frames of 80x48 are too small for amt_s: 64 pixels a side"
    half = registry.build("amt_s", scale=0.5, **NARROW)
    assert fault(half, 96, 160) == "frames of 160x96 are too small for amt_s at scale 0.5: 64 pixels a side"
    assert fault(model, 72, 64) == "sides of 64x72 are no multiples of 16"
    reference = np.zeros((1, 64, 64, 3), np.float32)
    assert fault(model, 64, 64, reference=reference) == "amt_s takes no reference frame"
    other = registry.build("amt_s", correlation="sparse", **NARROW)
    assert fault(other, 64, 64) == "correlation is 'sparse': one of volume, on_demand, auto"


def test_small_frames_are_refused_in_one_line():
    model, variables = registry.create("amt_s", **NARROW)
    frame = np.zeros((20, 24, 3), np.uint8)
    with pytest.raises(UserError, match=r"^frames of 32x32 are too small for amt_s: 64 pixels a side"):
        inference.Interpolator(model, variables)(frame, frame)


def test_published_files_know_their_times(tmp_path):
    """Weights for Vimeo90K are for the middle only; the name of the published file says which they are."""
    _, variables = registry.create("amt_s")
    state = vfi_jax.to_torch("amt_s", variables)
    for name, any_time in (("amt-s.pth", False), ("gopro_amt-s.pth", True), ("mine.safetensors", True)):
        weight_files.write_weights(tmp_path / name, state, {})
        assert vfi_jax.load("amt_s", tmp_path / name)[0].any_time == any_time
    model, variables = vfi_jax.load("amt_s", tmp_path / "amt-s.pth")
    frame = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match=r"support t = 0\.5 only"):
        inference.Interpolator(model, variables)(frame, frame, t=0.3)
