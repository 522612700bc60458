"""Distance indexing against stored cases of InterpAny-Clearer: networks, iteration by reference, maps."""

import functools

import jax
import numpy as np
import pytest
from parity import apart, cases, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.models import registry
from vfi_jax.torch_io import state_dict

FRAME, FLOW = 1e-4, 1e-3
FAST = ("d_ifrnet-fwd_64x96_smap", "dr_ifrnet-infer_64x64_iters12")


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t, **inputs):
    return model.apply(variables, frames, t, **inputs)


def networks(wanted):
    """The stored cases of all four networks."""
    return [case for family in ("d_ifrnet", "d_rife", "dr_ifrnet", "dr_rife") for case in cases(family, wanted)]


def frames_of(case):
    return np.stack([case.arrays["in/img0"], case.arrays["in/img1"]], 1)


def reference_of(case):
    if "in/img_ref" not in case.arrays:
        return {}
    return {"reference": case.arrays["in/img_ref"], "reference_t": case.arrays["in/D_ref"]}


def every(array, name):
    """The entries that are stored under a name that ends in `_subN`."""
    _, found, step = name.rpartition("_sub")
    return array[:, :: int(step), :: int(step)] if found else array


@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith(("fwd", "infer_64x64_b2"))))
def test_forward(case):
    out = run(registry.build(case.model), case.variables, frames_of(case), case.arrays["in/D"], **reference_of(case))
    assert apart(out.frame, case.arrays["out/pred"]) < FRAME
    for key in [key for key in case.arrays if key.startswith("mid/")]:
        name, stored = key.removeprefix("mid/"), case.arrays[key]
        if name.startswith("flow_block"):
            assert apart(every(out.flows[int(name[10])], name), stored) < FLOW, key
        elif name.startswith("flow"):  # flow0_level1_sub4; level 1 is the finest
            half = slice(0, 2) if name[4] == "0" else slice(2, 4)
            assert apart(every(out.flows[-int(name[11])][..., half], name), stored) < FLOW, key
        elif name.startswith("mask"):
            assert apart(every(out.mask, name), stored) < FRAME, key


@pytest.mark.parametrize("case", networks(lambda f: "iters" in f["name"] or "anchor" in f["name"]))
def test_iteration_by_reference(case):
    model, frames, distance = registry.build(case.model), frames_of(case), case.arrays["in/D"]
    for key in [key for key in case.arrays if key.startswith("out/")]:
        wrapped = inference.iterate_reference(model, int(key.removeprefix("out/pred_iters")[0]))
        out = run(wrapped, case.variables, frames, distance, **reference_of(case))
        assert apart(every(out.frame, key), case.arrays[key]) < FRAME, key


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f.get("kind") == "training"))
def test_objective_and_gradients(case):
    spec, model, stored = vfi_jax.MODELS[case.model], registry.build(case.model), case.arrays
    batch = {"frames": frames_of(case), "target": stored["in/imgt"], "t": stored["in/D"]}

    def objective(params):
        return spec.loss(model, {"params": params}, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(case.variables["params"])
    assert relative(total, stored["loss/total"]) < 1e-5
    assert relative(aux.terms["reconstruction"], stored["loss/loss_l1"]) < 1e-5
    assert relative(aux.terms["teacher"], stored["loss/loss_tea"]) < 1e-5
    assert relative(aux.terms["distillation"], 0.002 * stored["loss/loss_distill"]) < 1e-5
    assert apart(every(aux.frame, "_sub2"), stored["out/pred_sub2"]) < FRAME
    ours = state_dict.to_torch(spec, {"params": gradients})
    checks = {
        "grad/": lambda a: a,
        "grad_mean/": np.mean,
        "grad_norm/": np.linalg.norm,
        "grad_head64/": lambda a: a.ravel()[:64],
    }
    for prefix, part in checks.items():
        for key in [key for key in stored if key.startswith(prefix)]:
            tolerance = 1e-3 * np.abs(ours[key.removeprefix(prefix)]).max() if prefix == "grad_mean/" else None
            value = part(ours[key.removeprefix(prefix)])
            assert apart(value, stored[key]) < tolerance if tolerance else relative(value, stored[key]) < 1e-3, key
