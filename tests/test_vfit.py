"""VFIT and the sampling of moved taps, against stored cases of the published code."""

import functools
import json

import jax
import numpy as np
import pytest
from parity import STORED, apart, cases, make_array, make_state, ops, relative

import vfi_jax
from vfi_jax import inference
from vfi_jax.errors import UsageError, UserError
from vfi_jax.models import registry, vfit
from vfi_jax.nn import Conv3d, ConvTranspose3d, ConvTranspose3x3, conv3d
from vfi_jax.ops import resize_to, sample_taps
from vfi_jax.torch_io import state_dict
from vfi_jax.torch_io.reader import read_torch
from vfi_jax.weights import published

FRAME = 5e-5
OPERATOR, OPERATOR_GRADIENT = 2e-6, 1e-5
LOSS = 1e-6
GRADIENT = 1e-3  # relative l2
OFFSET = 1e-5  # pixels; the stored cases keep about as far from the jumps of the sampling
NARROW = {"widths": (4, 8, 8, 16, 16), "blocks": (1, 1, 1, 1), "features": 8}
LEVELS = ("predict_ll", "predict_l", "predict")


def frames_of(case):
    return np.stack([case.arrays[name] for name in ("In", "I0", "I1", "I2")], 1)


# Most of the time is the compiler's, of which this takes half.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def run(model, variables, frames):
    return model.apply(variables, frames)


@functools.partial(jax.jit, static_argnums=0)
def run_parts(model, variables, frames):
    """Maps, features, and of each level the shares of the frames and the taps of frame I0."""

    def parts(model, frames):
        centered = frames - frames.mean((1, 2, 3), keepdims=True)
        maps = model.encoder(centered)
        features = model.decode(maps)
        maps = [model.encoder.stem(centered), *maps]
        sizes = [x.shape[2:4] for x in maps]
        shares, taps = {}, {}
        for name, x, size in zip(LEVELS, features, sizes[2::-1], strict=True):
            shares[name] = getattr(model, name).shares(x, size)
            taps[name] = getattr(model, name).taps(x[:, 1], size)
        return maps, features, shares, taps

    return model.apply(variables, frames, method=parts)


@pytest.mark.parametrize("case", cases("vfit", lambda fields: fields["kind"] == "inference", fast="vfit_s-fwd_77x101"))
def test_forward(case):
    out = run(registry.build(case.model), case.variables, frames_of(case))
    assert apart(out.frame, case.arrays["pred"]) < FRAME
    assert out.iterates[-1] is out.frame or apart(out.iterates[-1], out.frame) == 0
    if "mid/out_ll" in case.arrays:
        assert apart(out.iterates[0], case.arrays["mid/out_ll"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("vfit", lambda fields: fields["name"] == "fwd_72x104_b2"))
def test_what_lies_between(case):
    """Encoder, decoder, shares and taps."""
    maps, features, shares, taps = run_parts(registry.build(case.model), case.variables, frames_of(case))
    stored = {name.removeprefix("mid/"): array for name, array in case.arrays.items()}
    for level, (x, step) in enumerate(zip(maps, (4, 4, 2, 1, 1), strict=True)):
        assert relative(x[:, :, ::step, ::step, :4], stored[f"x{level}_ch0_4"]) < 1e-5
    for name, x, step in zip(("smooth_ll", "smooth_l", "smooth"), features, (1, 2, 4), strict=True):
        assert relative(x[:, :, ::step, ::step, :4], stored[f"{name}_ch0_4"]) < 1e-5
    for name, step in zip(LEVELS, (2, 4, 8), strict=True):
        assert apart(shares[name][:, ::step, ::step], stored[f"{name}_occlusion_sub{step}"]) < 1e-5
        for part, array in zip(("weight", "vertical", "horizontal"), taps[name], strict=True):
            assert apart(array[:, ::step, ::step], stored[f"{name}_{part}_frame1_sub{step}"]) < OFFSET


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("vfit", lambda fields: fields["kind"] == "training"))
def test_objective_and_gradients(case):
    spec, model, stored = vfi_jax.MODELS[case.model], registry.build(case.model), case.arrays
    batch = {"frames": frames_of(case), "target": stored["gt"], "t": 0.5}

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(variables, batch):
        return spec.loss(model, variables, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = objective(case.variables, batch)
    assert relative(total, stored["loss_l1"]) < LOSS
    assert float(aux.terms["reconstruction"]) == float(total)
    assert apart(aux.frame, stored["pred"]) < FRAME
    ours, checked = vfi_jax.to_torch(case.model, gradients), 0
    for key, wanted in stored.items():
        kind, _, name = key.partition("/")
        if kind == "grad":
            assert np.linalg.norm(ours[name] - wanted) < GRADIENT * np.linalg.norm(wanted), name
        elif kind == "grad_head":
            assert np.abs(ours[name].ravel()[:64] - wanted).max() < GRADIENT * np.abs(ours[name]).max(), name
        elif kind == "grad_stats":
            assert np.linalg.norm(ours[name]) == pytest.approx(wanted[1], rel=GRADIENT), name
        else:
            continue
        checked += 1
    assert checked >= 18
    length = np.sqrt(sum((gradient.astype(np.float64) ** 2).sum() for gradient in ours.values()))
    assert length == pytest.approx(float(stored["grad_global_norm"]), rel=1e-4)


@jax.jit
def sampled(upstream, *given):
    out, back = jax.vjp(sample_taps, *given)
    return out, back(upstream)


def test_sampling_of_moved_taps():
    """Offsets are truncated, not rounded down; the image has no gradient."""
    stored = ops("ops_vfit", "deform")
    given = [stored[name] for name in ("frame", "weight", "vertical", "horizontal")]
    out, (image, *gradients) = sampled(stored["upstream"], *given)
    assert relative(out, stored["out"]) < OPERATOR
    assert apart(out, stored["out_if_floor"]) > 0.01
    for name, gradient in zip(("weight", "vertical", "horizontal"), gradients, strict=True):
        assert relative(gradient, stored[f"grad_{name}"]) < OPERATOR_GRADIENT, name
    assert not np.any(image)


def test_far_taps_are_the_edge():
    """Offsets of any size, also infinite ones that have no weight; each axis by itself."""
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)
    for vertical, horizontal, wanted in ((3e9, -3e9, image[0, 2, 0, 0]), (-3e9, 3e9, image[0, 0, 3, 0])):
        full = [np.full((1, 3, 4, 1), value, np.float32) for value in (1, vertical, horizontal)]
        assert np.all(np.asarray(sample_taps(image, *full)) == wanted)
    with pytest.raises(UserError, match=r"^24 taps: they are a square of odd side, such as 25$"):
        sample_taps(image, *(np.zeros((1, 3, 4, 24), np.float32),) * 3)


@pytest.mark.parametrize("name", ["shifted", "low", "narrow"])
def test_attention_blocks(name):
    """Of a batch of one: shifted windows, a map lower than a window, and one narrower, whose bias is misplaced."""
    stored, params = ops("ops_vfit", "block"), block_params()

    @jax.jit
    def both(x):
        apply = functools.partial(vfit.Block(2, shifted=True).apply, {"params": params}, x)
        return apply(method="within"), apply()

    within, out = both(stored[f"{name}_in"])
    assert relative(within, stored[f"{name}_after_spatial"]) < OPERATOR
    assert relative(out, stored[f"{name}_out"]) < OPERATOR


def block_params():
    """Of the stored blocks, in our layouts."""
    meta = json.loads((STORED / "ops_vfit/meta.json").read_text())
    shapes, params = meta["params"]["block (seed 5, gain 1.0)"], {}
    for key, array in make_state(shapes, 5, 1.0).items():
        *path, leaf = key.split(".")
        linear = leaf == "weight" and path[-1] in ("qkv", "proj", "fc1", "fc2")
        node = functools.reduce(lambda node, part: node.setdefault(part, {}), path, params)
        node[leaf] = array.T if linear else array
    return params


@jax.jit
def enlarged(volume, image):
    """Both transposed convolutions of each stored size, with the stored weights."""
    weights = {"weight": make_array("weight", (6, 4, 3, 3, 3), 8, 1.0), "bias": make_array("bias", (4,), 8, 1.0)}
    flat = {"weight": make_array("weight", (5, 5, 3, 3), 8, 1.0), "bias": make_array("bias", (5,), 8, 1.0)}
    weights["weight"] = state_dict.LAYOUTS["conv_transpose3d"].ours(weights["weight"])
    flat["weight"] = state_dict.LAYOUTS["conv_transpose"].ours(flat["weight"])
    return {
        f"{name}_{size[0]}x{size[1]}": module.apply({"params": params}, x, size)
        for size in ((10, 14), (9, 13), (9, 14))
        for name, module, params, x in (
            ("deconv3d", ConvTranspose3d(4), weights, volume),
            ("deconv2d", ConvTranspose3x3(5), flat, image),
        )
    }


def test_transposed_convolutions_and_resizing():
    """To even and odd sizes."""
    stored = ops("ops_vfit", "deconv")
    out = enlarged(stored["deconv3d_in"], stored["deconv2d_in"])
    assert len(out) == 6
    for name, array in out.items():
        assert relative(array, stored[name]) < OPERATOR, name
    stored = ops("ops_vfit", "resize")
    for name in ("to_19x26", "to_10x13", "to_37x51"):
        size = tuple(map(int, name.removeprefix("to_").split("x")))
        assert relative(jax.jit(resize_to, static_argnums=1)(stored["frame"], size), stored[name]) < OPERATOR, name


@pytest.mark.slow
@pytest.mark.parametrize("height", [49, 64, 70])
def test_bands_of_the_first_level(monkeypatch, height):
    """In bands of rows, the last of which overlaps another, the input of level 1 and its gradient are the same."""
    encoder = vfit.Encoder((4, 8, 8, 8, 8), (0, 0, 0, 0))
    frames = np.random.default_rng(0).random((1, 4, height, 32, 3), np.float32)
    variables = encoder.init(jax.random.key(0), frames)
    variables = jax.tree.map(lambda x: np.random.default_rng(1).normal(0, 0.2, x.shape).astype(np.float32), variables)

    def both(variables):
        def total(variables):
            return (encoder.apply(variables, frames, method="first") ** 2).sum()

        return jax.jit(encoder.apply, static_argnames="method")(variables, frames, method="first"), jax.grad(total)(
            variables
        )

    whole, gradient = both(variables)
    monkeypatch.setattr(vfit, "BAND", 4 * frames.size // 3 * 4 // 5)
    bands, other = both(variables)
    assert apart(whole, bands) < 1e-5
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient))
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: apart(a, b) < 1e-4 * largest, other, gradient)))


@pytest.mark.slow
def test_in_parts_nothing_changes(monkeypatch):
    """Frame by frame, and some rows at a time, as large frames are computed; the gradient too."""
    x, block, params = ops("ops_vfit", "block")["shifted_in"], vfit.Block(2, shifted=True), block_params()
    conv, weights = Conv3d(3), {"weight": make_array("weight", (3, 3, 3, 16, 3), 0, 1.0), "bias": np.ones(3)}

    def both(x):
        def total(x):
            out = conv.apply({"params": weights}, block.apply({"params": params}, x))
            return (out**2).mean()

        return jax.jit(jax.value_and_grad(total))(x)

    whole, gradient = both(x)
    monkeypatch.setattr(vfit, "AT_ONCE", x.nbytes)
    monkeypatch.setattr(conv3d, "AT_ONCE", 0)
    parts, other = both(x)
    assert float(parts) == pytest.approx(float(whole), rel=1e-6)
    assert relative(other, gradient) < 1e-5


def test_published_files(tmp_path):
    """A training checkpoint as it is exported: names with a prefix, index buffers that the loader demands, an epoch."""
    model, variables = registry.create("vfit_s", seed=1)
    state = published.published_state(model, variables, print)
    indices = {name: array for name, array in state.items() if name.endswith("relative_position_index")}
    assert len(indices) == 24
    spatial = indices["encoder.stage3.upper.blocks.5.depth_attn.relative_position_index"]
    places = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij")).reshape(2, -1)  # as Swin computes it
    across = (places[:, :, None] - places[:, None]) + 7
    assert np.array_equal(spatial, across[0] * 15 + across[1])
    temporal = indices["encoder.stage1.upper.blocks.0.point_attn.relative_position_index"]
    assert np.array_equal(temporal, [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]])
    published.write_published(tmp_path / "model_best.pth", "vfit_s", state, half=False)
    file = read_torch(tmp_path / "model_best.pth")
    assert file["module.encoder.stage1.upper.blocks.0.point_attn.relative_position_index"].dtype == np.int64
    model, loaded = vfi_jax.load("vfit_s", tmp_path / "model_best.pth")
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, variables))
    assert (model.channel_order, model.any_time) == ("rgb", False)
    with pytest.raises(UserError, match=r"^these weights do not fit vfit_b: 2\d\d misshapen"):
        vfi_jax.from_torch("vfit_b", state)


def test_other_inputs_are_refused():
    interpolate = inference.Interpolator(registry.build("vfit_s", **NARROW), {})
    frame = np.zeros((24, 33, 3), np.uint8)
    with pytest.raises(ValueError, match=r"support t = 0\.5 only"):
        interpolate(frame, frame, frame, frame, t=0.25)
    with pytest.raises(UsageError, match=r"^vfit_s takes four frames, at t = 0\.5 only: the factor must be 2, not 4$"):
        interpolate.times(4)
    assert interpolate.times(2) == [0.5]
    four = np.zeros((1, 4, 24, 33, 3), np.float32)
    with pytest.raises(UserError, match=r"^recursion takes two frames, not 4: vfit_s predicts"):
        inference.recursive(interpolate.model).apply({}, four, 0.25)
    with pytest.raises(ValueError, match="this model takes 4 frames, not 2"):
        interpolate(frame, frame)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(24, 33), (3, 5)])
def test_frames_of_any_size(size):
    model, variables = registry.create("vfit_s", **NARROW)
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    out = inference.Interpolator(model, variables)(frame, frame, frame, frame)
    assert (out.shape, out.dtype) == (frame.shape, np.uint8)
