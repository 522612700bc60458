"""EMA-VFI and attention in windows, against stored cases of the published code."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from parity import STORED, apart, cases, make_state, ops, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.errors import UserError
from vfi_jax.losses.laplacian import laplacian_loss, laplacian_pyramid
from vfi_jax.models import ema_vfi, registry
from vfi_jax.nn import window
from vfi_jax.torch_io import state_dict

FRAME, FLOW, LOSS = 1e-5, 2e-5, 1e-6
GRADIENT = 1e-3
NARROW = {"width": 4, "depths": (2, 2)}
FAST = "ema_vfi_small_t-fwd_64x96_t0.25"


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def run(model, variables, frames, *args, method="estimate", **inputs):
    return model.apply(variables, frames, *args, method=method, **inputs)


def networks(wanted, fast=""):
    """The stored cases of all variants."""
    return [case for family in ("ema_vfi", "d_ema_vfi", "dr_ema_vfi") for case in cases(family, wanted, fast)]


def frames_of(case):
    return np.stack([case.arrays["in/img0"], case.arrays["in/img1"]], 1)


def time_of(case):
    if "in/D" in case.arrays:
        return case.arrays["in/D"]
    return float(case.arrays.get("in/timestep", np.float32([0.5]))[0])


def reference_of(case):
    if "in/img_ref" not in case.arrays:
        return {}
    return {"reference": case.arrays["in/img_ref"], "reference_t": case.arrays["in/D_ref"]}


def every(array, name):
    """The entries that are stored under a name that ends in `_subN`."""
    _, found, step = name.rpartition("_sub")
    return array[:, :: int(step), :: int(step)] if found else array


@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith("fwd"), FAST))
def test_forward(case):
    model, stored = registry.build(case.model), case.arrays
    out, levels = run(model, case.variables, frames_of(case), time_of(case), **reference_of(case))
    found = {"out/pred": out.frame, "mid/unet_sub2": (out.residual + 1) / 2}
    for index, level in enumerate(levels):
        found[f"mid/flow_stage{index}"] = level.flow
        found[f"mid/mask_sigmoid_stage{index}"] = jax.nn.sigmoid(level.mask_logit)
        found[f"mid/merged_stage{index}"] = level.merged
    compared = 0
    for key, array in stored.items():
        key = "mid/unet_sub2" if key == "mid/unet" else key
        name = key if key == "mid/unet_sub2" else key.partition("_sub")[0]
        if name in found:
            limit = FLOW if "flow" in name else FRAME
            assert apart(every(found[name], key), array) < limit, key
            compared += 1
    assert compared >= 3


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith("fwd") and "b2" in f["name"]))
def test_features(case):
    """Appearance and motion, of which some channels are stored."""
    features = run(registry.build(case.model), case.variables, frames_of(case), method="features")
    for index, (maps, step) in enumerate(zip(features.maps, (8, 4, 2, 1, 1), strict=True)):
        assert apart(maps[:, ::step, ::step, :8], case.arrays[f"mid/appearance{index}"]) < FRAME
    for level, motion in zip((3, 4), features.motions, strict=True):
        assert apart(motion[..., :8], case.arrays[f"mid/motion{level}"]) < FRAME
        assert apart(motion[..., -4:], case.arrays[f"mid/motion{level}_last4"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith("hr")))
def test_flows_of_smaller_frames(case):
    model = registry.build(case.model, scale=float(case.arrays["in/down_scale"]))
    frame = run(model, case.variables, frames_of(case), 0.5)[0].frame
    assert apart(every(frame, "_sub2"), case.arrays["out/pred_sub2"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith("tta")))
def test_flip_ensemble(case):
    model, frames = registry.build(case.model), frames_of(case)
    averaged = jax.jit(inference.flip_ensemble(model).apply)
    assert apart(run(model, case.variables, frames, 0.5)[0].frame, case.arrays["out/inference"]) < FRAME
    assert apart(averaged(case.variables, frames, 0.5).frame, case.arrays["out/inference_tta"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f["name"].startswith("multi")))
def test_several_times_of_the_same_features(case):
    model, frames = registry.build(case.model), frames_of(case)
    features = run(model, case.variables, frames, method="features")
    for t, stored in zip(case.arrays["in/timesteps"], case.arrays["out/preds"], strict=True):
        out = run(model, case.variables, frames, features, t, method="predict")
        assert apart(out.frame[0], stored) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: "iters" in f["name"]))
def test_iteration_by_reference(case):
    wrapped = inference.iterate_reference(registry.build(case.model), 2)
    frame = jax.jit(wrapped.apply)(case.variables, frames_of(case), case.arrays["in/D"]).frame
    assert apart(every(frame, "_sub2"), case.arrays["out/pred_iters2_sub2"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", networks(lambda f: f.get("kind") == "training"))
def test_objective_and_gradients(case):
    spec, model, stored = vfi_jax.MODELS[case.model], registry.build(case.model), case.arrays
    batch = {"frames": frames_of(case), "target": stored["in/imgt"], "t": 0.5}

    def objective(params):
        return spec.loss(model, {"params": params}, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = jax.jit(jax.value_and_grad(objective, has_aux=True))(case.variables["params"])
    assert relative(total, stored["loss/total"]) < LOSS
    assert relative(aux.terms["reconstruction"], stored["loss/lap_pred"]) < LOSS
    assert relative(2 * aux.terms["merged"], stored["loss/lap_merged0"] + stored["loss/lap_merged1"]) < LOSS
    assert sum(map(float, aux.terms.values())) == pytest.approx(float(total), rel=1e-6)
    assert apart(every(aux.frame, "_sub2"), stored["out/pred_sub2"]) < FRAME
    ours, checked = state_dict.to_torch(spec, {"params": gradients}), 0
    for key in [key for key in stored if key.startswith("grad")]:
        kind, _, name = key.partition("/")
        part = {"grad_norm": np.linalg.norm, "grad_mean": np.mean, "grad_head64": lambda a: a.ravel()[:64]}
        value, limit = part.get(kind, lambda a: a)(ours[name]), GRADIENT * np.abs(ours[name]).max()
        assert apart(value, stored[key]) < (GRADIENT * stored[key] if kind == "grad_norm" else limit), key
        checked += 1
    assert checked == 17
    # The bias of the embedded coordinates cancels out.
    assert not np.any(ours["feature_bone.block4.0.attn.cor_embed.bias"])


# Attention


@functools.cache
def stored_ops():
    return ops("ops_ema", "ops")


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def parameters(which):
    shapes = json.loads((STORED / "ops_ema/meta.json").read_text())["params"]
    return next(value for name, value in shapes.items() if name.startswith(which))


@pytest.mark.parametrize("masked", [False, True])
def test_attention_with_large_scores(masked):
    """And the motion: the embedding of the mean way."""
    stored, state = stored_ops(), make_state(parameters("attention"), 3, 2.0)
    q, (k, v) = linear(state, "q", stored["att_x1"]), np.split(linear(state, "kv", stored["att_x2"]), 2, -1)
    by_image = [x.reshape(4, 2, *x.shape[1:]) for x in (q, k, v, stored["att_cor"])]
    mask = stored["att_mask"] if masked else None
    out, way = jax.jit(window.attention, static_argnums=3)(*by_image[:3], 4, mask, None, by_image[3])
    suffix = "_masked" if masked else ""
    assert relative(linear(state, "proj", out.reshape(q.shape)), stored[f"att_out{suffix}"]) < 2e-6
    embed = {"weight": state["cor_embed.weight"].T, "bias": state["cor_embed.bias"]}
    motion = ema_vfi.WayEmbed(16).apply({"params": embed}, way.reshape(1, 8, 9, 8))
    assert relative(linear(state, "motion_proj", motion[0]), stored[f"att_motion{suffix}"]) < 2e-6


def block_of(state):
    """The stored block as a module, and its variables."""
    block = ema_vfi.Block(16, shifted=True, head_size=8)
    shapes = jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((2, 8, 12, 32)))
    params = {}
    for path, leaf in traverse_util.flatten_dict(shapes["params"]).items():
        value = state[".".join(path).replace("dwconv.", "dwconv.dwconv.")]
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        params[path] = (value.T if value.ndim == 2 else value).reshape(leaf.shape)
    return block, {"params": traverse_util.unflatten_dict(params)}


def test_a_shifted_and_padded_block():
    stored = stored_ops()
    block, variables = block_of(make_state(parameters("block"), 4, 1.5))
    out, motion = jax.jit(block.apply)(variables, stored["block_x"].reshape(2, 8, 12, 32))
    assert relative(out.reshape(2, 96, 32), stored["block_out"]) < 2e-6
    assert relative(motion.reshape(2, 96, 16), stored["block_motion"]) < 2e-6


@pytest.mark.parametrize("size", [(8, 12), (4, 6), (14, 14), (7, 7), (10, 14)])
def test_masks(size):
    stored = stored_ops()

    def mask(shifted):
        labels = ema_vfi.block_zones(size, shifted)
        cut = window.to_windows(labels[None, ..., None], (7, 7)).reshape(-1, 49)
        return cut[:, :, None] != cut[:, None, :]

    name = f"{size[0]}x{size[1]}"
    padding, shift = (stored.get(f"{kind}_{name}", np.zeros((1, 49, 49))) for kind in ("padmask", "shiftmask"))
    np.testing.assert_array_equal(mask(False), np.broadcast_to(padding, mask(False).shape))
    np.testing.assert_array_equal(mask(True), np.maximum(shift, padding))


def test_a_row_of_windows_at_a_time():
    """Gives the same, and the same gradients."""
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.standard_normal((2, 6, 8, 12)), jnp.float32) for _ in range(3))
    labels = window.zones((6, 8), ((1, 5), (3,)))
    bias = jnp.asarray(rng.standard_normal((3, 6, 6)), jnp.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def both(at_once, *arrays):
        def total(*arrays):
            *given, bias = arrays
            out, way = window.window_attention(*given, 3, (3, 2), labels, bias, ema_vfi.grid((6, 8)), at_once=at_once)
            return (jnp.sin(out).sum() + (way**2).sum()), (out, way)

        return jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)(*arrays)

    whole, rows = (both(at_once, q, k, v, bias) for at_once in (2**20, 0))
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(rows), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert "while" in both.lower(0, q, k, v, bias).as_text()
    assert "while" not in both.lower(2**20, q, k, v, bias).as_text()


def test_windows_and_back():
    x = np.arange(2 * 6 * 4 * 3).reshape(2, 6, 4, 3)
    cut = window.to_windows(x, (3, 2))
    assert cut.shape == (2, 2, 2, 6, 3)
    np.testing.assert_array_equal(cut[0, 0, 1, :2], x[0, 0, 2:4])
    np.testing.assert_array_equal(window.from_windows(cut, (3, 2)), x)


def test_temporaries_do_not_grow_with_the_height():
    """Those of the attention of a row of windows, by XLA's account."""

    def temporaries(height):
        maps = [jax.ShapeDtypeStruct((1, height, 14, 32), np.float32)] * 3
        attend = jax.jit(lambda q, k, v: window.window_attention(q, k, v, 1, (7, 7), at_once=0)[0])
        memory = attend.lower(*maps).compile().memory_analysis()
        return memory.temp_size_in_bytes - 5 * 4 * height * 14 * 32  # copies of maps

    assert temporaries(280) < temporaries(140) + 2**16


# The rest


def test_pixel_shuffles():
    stored = stored_ops()
    np.testing.assert_array_equal(
        ema_vfi.enlarged(stored["pixelshuffle2x2_in_nhwc"]), stored["pixelshuffle2x2_out_nhwc"]
    )


def test_laplacian_distance():
    stored = stored_ops()
    loss, gradient = jax.jit(jax.value_and_grad(laplacian_loss), static_argnums=2)(stored["lap_a"], stored["lap_b"], 5)
    assert float(loss) == pytest.approx(float(stored["lap_loss"]), rel=LOSS)
    # Where a band is next to 0, its sign, and with it a gradient, differs between frameworks.
    difference = np.abs(every(gradient, "_sub4") - stored["lap_grad_a_sub4"])
    assert np.quantile(difference, 0.9) < 1e-5 * np.abs(stored["lap_grad_a_sub4"]).max()
    for index, band in enumerate(jax.jit(laplacian_pyramid, static_argnums=1)(stored["lap_a"], 5)):
        key = next(key for key in stored if key.startswith(f"lap_pyr_a_level{index}"))
        assert apart(every(band, key), stored[key]) < 2e-6


def test_weights_for_the_middle_take_no_other_time():
    model, variables = vfi_jax.create("ema_vfi_small", **NARROW)
    frame = np.zeros((40, 50, 3), np.uint8)
    with pytest.raises(UserError, match=r"^ema_vfi_small's weights support t = 0\.5 only, not 0\.3$"):
        vfi_jax.Interpolator(model, variables)(frame, frame, t=0.3)


def test_buffers_of_the_published_code_are_dropped():
    """They are filled at its first run, and depend on the size of the frames."""
    state = vfi_jax.to_torch("ema_vfi_small", vfi_jax.create("ema_vfi_small")[1])
    assert len(state) == 186
    state |= {"feature_bone.block4.1.attn_mask": np.zeros((4, 49, 49)), "feature_bone.block4.1.HW": np.array(196)}
    back = vfi_jax.from_torch("ema_vfi_small", {f"module.{key}": value for key, value in state.items()})
    assert back["params"]["feature_bone"]["block4_1"]["mlp"]["dwconv"]["weight"].shape == (3, 3, 1, 512)


def test_initial_values_are_those_of_the_published_code():
    params = vfi_jax.create("ema_vfi_small", seed=1)[1]["params"]
    bone = params["feature_bone"]
    assert bone["block5_1"]["attn"]["q"]["weight"].std() == pytest.approx(0.02, rel=0.02)
    assert not bone["block5_1"]["attn"]["q"]["bias"].any()
    assert bone["block5_1"]["mlp"]["dwconv"]["weight"].std() == pytest.approx((2 / 9) ** 0.5, rel=0.05)
    assert bone["patch_embed5"]["proj"]["weight"].std() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert (bone["norm4"]["weight"] == 1).all()
    assert not params["unet"]["down0"]["conv1"]["conv"]["bias"].any()
    assert np.abs(params["block_0"]["conv_0"]["conv"]["bias"]).max() == pytest.approx((70 * 9) ** -0.5, rel=0.1)
    assert (params["block_0"]["conv_2"]["prelu"]["weight"] == 0.25).all()


@pytest.mark.slow
def test_frames_of_any_size():
    """Padded, with maps of time too, and with flows of smaller frames."""
    model, variables = vfi_jax.create("ema_vfi_small_t", **NARROW)
    frames = np.random.default_rng(0).integers(0, 256, (2, 70, 101, 3), np.uint8)
    interpolate = vfi_jax.Interpolator(model, variables)
    assert interpolate(*frames, t=0.3).shape == (70, 101, 3)
    mapped = interpolate(*frames, t=np.full((70, 101, 1), 0.3, np.float32))
    assert apart(mapped.astype(int), interpolate(*frames, t=0.3).astype(int)) <= 1
    assert interpolate.flow(*frames, t=0.3).shape == (70, 101, 2)
    small = vfi_jax.Interpolator(model.clone(scale=0.5), variables)
    assert small(*frames, t=0.3).shape == (70, 101, 3)
