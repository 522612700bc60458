"""Precisions: what stays float32 in every model, and what is multiplied how."""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfi_jax
from vfi_jax import config, inference
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError
from vfi_jax.metrics import psnr
from vfi_jax.models import raft, registry, rife, rife_v4
from vfi_jax.nn import precision

# The layers that give flows and masks, by the ends of their paths.
HEADS = {
    "rife": ("lastconv",),
    "rife_large": ("lastconv",),
    "rife_v4_6": ("lastconv",),
    "rife_v4_25": ("lastconv",),
    "rife_v4_26_heavy": ("lastconv",),
    "ifrnet_s": ("convblock_2",),
    "amt_s": ("convblock_2", "feat_head_2", "flow_head_2", "comb_block_2"),
    "ema_vfi_small": ("conv_2",),
    "ugsp_refine": ("dconv_last", "conv_mask"),
    "ugsp_uncertainty": ("dconv_last", "uncertainty_1"),
    "dbvi_2x": ("toFlow_1",),
    "vfit_s": ("conv5",),
    "cain": (),
    "cspa": ("head", "last"),
}


def dtypes(function, *arguments):
    """Of the floating values that a function would return, by path."""

    def flat(*arguments):
        leaves = jax.tree.leaves_with_path(function(*arguments))
        return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}

    made = jax.eval_shape(flat, *arguments)
    return {path: leaf.dtype for path, leaf in made.items() if jnp.issubdtype(leaf.dtype, jnp.floating)}


# Their layers are those of a fast one, or they are deep.
SLOW = (
    *("rife_large", "rife_v4_6", "rife_v4_26_heavy", "ugsp_uncertainty", "ugsp_refine", "cspa"),
    *("dbvi_2x", "ema_vfi_small", "vfit_s"),
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in HEADS]
)
def test_outputs_are_float32_in_bfloat16(name):
    """The whole output, and each head by itself: its values are not rounded and cast back."""
    fields = {"steps": 1} if name == "dbvi_2x" else {}
    spec, model = vfi_jax.MODELS[name], registry.build(name, dtype=jnp.bfloat16, **fields)
    frames = jax.ShapeDtypeStruct((1, spec.num_frames, 128, 128, 3), jnp.float32)
    extra = [jax.ShapeDtypeStruct((1, 128, 128, 8), jnp.float32)] if name.startswith("dbvi") else []

    def made(variables, frames, *extra):
        return model.apply(variables, frames, 0.5, *extra, capture_intermediates=True, mutable=["intermediates"])

    found = dtypes(made, registry.shapes(name, **fields), frames, *extra)
    assert {dtype for path, dtype in found.items() if path.startswith("0/")} == {np.dtype(np.float32)}
    layers = {path: dtype for path, dtype in found.items() if path.startswith("1/")}
    assert jnp.bfloat16 in layers.values()
    heads = {path: dtype for path, dtype in layers.items() if path.split("/")[-3] in HEADS[name]}
    assert bool(heads) == bool(HEADS[name])
    assert set(heads.values()) <= {np.dtype(np.float32)}


@pytest.mark.parametrize("small", [False, True])
def test_flow_networks_are_float32_in_bfloat16(small):
    name = "raft_small" if small else "raft"
    model = registry.build(name, dtype=jnp.bfloat16)
    frames = jax.ShapeDtypeStruct((1, 2, 128, 128, 3), jnp.float32)
    assert set(dtypes(model.apply, registry.shapes(name), frames).values()) == {np.dtype(np.float32)}
    block, state = raft.UpdateBlock(small, jnp.bfloat16), jnp.zeros((1, 8, 8, 96 if small else 128))

    def heads(module):
        return module.flow_head(state), None if small else module.mask_2(state)

    layers = dtypes(lambda: block.init_with_output(jax.random.key(0), method=heads, capture_intermediates=True)[1])
    found = {path: dtype for path, dtype in layers.items() if path.split("/")[-3] in ("conv2", "mask_2")}
    assert len(found) == 2 - small
    assert set(found.values()) == {np.dtype(np.float32)}


@pytest.mark.parametrize("block", [rife.IFBlock(16, 2, jnp.bfloat16), rife_v4.IFBlock(16, 0, jnp.bfloat16)])
def test_a_flow_of_64_pixels_is_not_rounded(block):
    """A head whose weights are zero gives its bias, which bfloat16 would round by up to a quarter of a pixel."""
    x = jnp.zeros((1, 32, 32, 6))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, 4))
    variables = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
    enlarged = 8 if isinstance(block, rife.IFBlock) else 4
    wanted = np.float32([64.2, -63.9, 64.3, 33.1])
    bias = np.zeros(variables["params"]["lastconv"]["bias"].shape, np.float32).reshape(-1, 4 if enlarged == 4 else 1)
    bias[:4] = wanted[:, None] / enlarged
    variables["params"]["lastconv"]["bias"] = jnp.asarray(bias.reshape(-1))
    flow = np.asarray(jax.jit(lambda variables, x: block.apply(variables, x, 4)[0])(variables, x))
    np.testing.assert_allclose(flow, np.broadcast_to(wanted, flow.shape), rtol=1e-6)
    assert np.abs(np.float32(jnp.asarray(wanted, jnp.bfloat16)) - wanted).max() > 0.09


def test_precisions_decide_on_products():
    def products(name):
        def product(a):
            with precision.named(name).scope():
                return a @ a

        jaxpr = jax.make_jaxpr(jax.grad(lambda a: product(a).sum()))(jnp.ones((2, 2)))
        return {str(eqn.params["precision"]) for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general"}

    highest = str((jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST))
    assert products("float32") == {highest}
    assert products("default") == products("bfloat16") == {"None"}
    assert [precision.named(name).dtype for name in ("float32", "default", "bfloat16")] == [
        jnp.float32,
        jnp.float32,
        jnp.bfloat16,
    ]
    with pytest.raises(UsageError, match="no precision is called 'half': float32, default or bfloat16"):
        precision.named("half")


def test_one_default_everywhere():
    of_training = {field.name: field.default for field in dataclasses.fields(config.Train)}
    assert of_training["precision"] == precision.DEFAULT
    assert inspect.signature(vfi_jax.Interpolator).parameters["precision"].default == precision.DEFAULT


def test_precisions_of_the_interpolator(monkeypatch):
    """They reach the products of the network, in wrappers too; None leaves the model as it is."""
    model, variables = vfi_jax.create("rife_v4_12_lite", widths=(8, 8), level_scales=(2, 1))
    seen = []

    def predict(model, variables, frames, t, inputs):
        convolutions = []

        def walk(jaxpr):
            for eqn in jaxpr.eqns:
                if eqn.primitive.name == "conv_general_dilated":
                    convolutions.append((eqn.invars[0].aval.dtype.name, str(eqn.params["precision"])))
                for value in jax.tree.leaves(eqn.params, is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")):
                    if hasattr(value, "jaxpr") or hasattr(value, "eqns"):
                        walk(getattr(value, "jaxpr", value))

        walk(jax.make_jaxpr(lambda v, f: model.apply(v, f, t).frame)(variables, frames).jaxpr)
        seen.append(set(convolutions))
        return frames[:, 0]

    monkeypatch.setattr("vfi_jax.inference.interpolator.predict", predict)
    frame = np.zeros((64, 64, 3), np.uint8)
    for wrapped in (model, inference.flip_ensemble(model)):
        for name in (None, "float32", "default", "bfloat16"):
            vfi_jax.Interpolator(wrapped, variables, precision=name)(frame, frame)
    highest = str((jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST))
    assert seen[:4] == seen[4:]
    assert seen[0] == seen[2] == {("float32", "None")}
    assert seen[1] == {("float32", highest)}
    assert ("bfloat16", "None") in seen[3]
    with pytest.raises(UsageError, match="no precision is called 'half'"):
        vfi_jax.Interpolator(model, variables, precision="half")


@pytest.mark.slow
def test_bfloat16_keeps_the_quality_of_large_motion():
    """The shipped weights on scenes whose fastest layer moves 64 pixels; at most 0.1 dB less than in float32."""
    scores = {}
    scenes = [random_scene(seed, 256, 384, speed=64) for seed in range(4)]
    triplets = [[np.rint(255 * scene.frame(t)).astype(np.uint8) for t in (0, 0.5, 1)] for scene in scenes]
    for name in ("float32", "bfloat16"):
        interpolate = vfi_jax.Interpolator("rife_lap", precision=name)
        made = [interpolate(first, last, t=0.5) for first, _, last in triplets]
        scores[name] = np.mean([psnr(a[None], b[None]) for a, (_, b, _) in zip(made, triplets, strict=True)])
    assert scores["float32"] > 15
    assert scores["float32"] - scores["bfloat16"] < 0.1
