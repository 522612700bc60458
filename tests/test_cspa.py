"""CSPA: deformable sampling against a stored case, and the network, which has no reference."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parity import apart, ops

import vfi_jax
from vfi_jax.errors import UsageError
from vfi_jax.losses import texture_loss
from vfi_jax.models import cspa, registry
from vfi_jax.ops import deform_attend, deform_conv, sample_inside
from vfi_jax.torch_io import state_dict
from vfi_jax.types import Output

RNG = np.random.default_rng(0)
NARROW = {"width": 8, "groups": 2, "extraction_blocks": 1, "alignment_blocks": 1, "reconstruction_blocks": 1}
SIDE = 16


@functools.cache
def narrow(**fields):
    """A narrow network whose heads are not zero."""
    model, variables = registry.create("cspa", seed=1, **NARROW, **fields)
    for level in range(cspa.LEVELS):
        head = variables["params"][f"align_{level}"]["head"]
        head["weight"] = RNG.normal(0, 0.05, head["weight"].shape).astype(np.float32)
    return model, variables


def example():
    """Input, offsets and weights of two groups."""
    x = RNG.normal(size=(2, 7, 9, 4)).astype(np.float32)
    cells = RNG.integers(-3, 3, (2, 7, 9, 36))
    offsets = (cells + RNG.uniform(0.2, 0.8, cells.shape)).astype(np.float32)
    return x, offsets, RNG.random((2, 7, 9, 18), np.float32)


def test_deformable_convolution():
    stored = ops("ops_cspa", "deform_align")
    kernel = stored["kernel_oihw"].transpose(2, 3, 1, 0)
    out = jax.jit(deform_conv)(stored["x"], stored["offset_head"], stored["weight_mask"], kernel) + stored["bias"]
    assert apart(out, stored["out"]) < 1e-5 * np.abs(stored["out"]).max()


def test_without_offsets_it_is_a_convolution():
    x, offsets, weights = example()
    kernel = RNG.normal(size=(3, 3, 4, 5)).astype(np.float32)
    wanted = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    out = jax.jit(deform_conv)(x, 0 * offsets, np.ones_like(weights), kernel)
    assert apart(out, wanted) < 1e-5
    # Each place adds the pixel there: of a kernel that passes the channels on, and without one.
    identity = np.broadcast_to(np.eye(4, dtype=np.float32), (3, 3, 4, 4))
    passed = jax.jit(deform_conv)(x, offsets, weights, identity)
    assert apart(jax.jit(deform_attend)(x, offsets, weights), passed) < 1e-5


def test_samples_outside_are_zero():
    image = np.ones((4, 5, 1), np.float32)
    x, y = np.float32([[-1.5, -0.25, 0, 4, 4.75, 9e9]]), np.zeros((1, 6), np.float32)
    assert sample_inside(image, x, y)[0, :, 0].tolist() == [0, 0.75, 1, 1, 0.25, 0]
    assert sample_inside(image, y, x)[0, :, 0].tolist() == [0, 0.75, 1, 0, 0, 0]


def test_gradients_of_deformable_sampling():
    """Of each argument, against differences along random directions: exact up to rounding within a cell."""
    x, offsets, weights = example()
    args = x, offsets, weights, RNG.normal(size=(3, 3, 4, 5)).astype(np.float32)
    seen = RNG.normal(size=(2, 7, 9, 5)).astype(np.float32)

    @jax.jit
    def total(*args):
        return (deform_conv(*args) * seen).sum()

    gradients = jax.jit(jax.grad(total, argnums=range(4)))(*args)
    for index, gradient in enumerate(gradients):
        direction = np.where(gradient > 0, 0.1, -0.1).astype(np.float32)
        sides = [
            float(total(*args[:index], args[index] + sign * direction, *args[index + 1 :])) for sign in (1, -1)
        ]  # fmt: skip
        assert (sides[0] - sides[1]) / 2 == pytest.approx(float((gradient * direction).sum()), rel=1e-3)


class Given(cspa.CSPA):
    """A network that predicts the frame it is given."""

    def apply(self, variables, frames, t):
        return Output(variables["frame"])


@pytest.mark.parametrize("form", [{}, {"texture_weight": 0.1, "texture_penalty": "l1", "texture_descriptor": "rgb"}])
def test_objective(form):
    """Terms by their formulas, and the gradient: by the sign for L1, and that of the texture loss."""
    frame, target = RNG.random((2, 1, SIDE, SIDE, 3), np.float32)
    frames, config = RNG.random((1, 2, SIDE, SIDE, 3), np.float32), cspa.LossConfig(**form)
    penalty, descriptor = form.get("texture_penalty", "half_square"), form.get("texture_descriptor", "census")
    batch = {"frames": frames, "target": target, "t": np.full((1, 1, 1, 1), 0.5)}

    @jax.jit
    def both(frame):
        ours = functools.partial(cspa.loss, Given(), batch=batch, config=config, step=0, rng=None)
        texture = functools.partial(texture_loss, inputs=frames, penalty=penalty, descriptor=descriptor)
        return jax.value_and_grad(ours, has_aux=True)({"frame": frame}), jax.value_and_grad(texture)(frame)

    ((total, aux), gradient), (texture, its_gradient) = both(frame)
    weight = form.get("texture_weight", 1)
    assert float(aux.terms["reconstruction"]) == pytest.approx(np.abs(frame - target).mean(), rel=1e-5)
    assert float(aux.terms["texture"]) == pytest.approx(weight * float(texture), rel=1e-5)
    assert float(total) == pytest.approx(sum(map(float, aux.terms.values())), rel=1e-6)
    wanted = np.sign(frame - target) / frame.size + weight * its_gradient
    assert apart(gradient["frame"], wanted) < 1e-4 * np.abs(wanted).max()
    plain = cspa.loss(Given(), {"frame": frame}, batch, cspa.LossConfig(texture_weight=0.0), step=0, rng=None)[1]
    assert set(plain.terms) == {"reconstruction"}


@pytest.mark.slow
def test_gradients_of_the_network():
    """All parameters have one, which agrees with a difference along it."""
    model, variables = narrow()
    frames = RNG.random((2, 2, SIDE, SIDE, 3), np.float32)
    total = jax.jit(jax.value_and_grad(lambda variables: model.apply(variables, frames).frame.mean()))
    gradients = total(variables)[1]
    leaves = jax.tree.leaves(gradients)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in leaves)
    squared = sum(float((leaf**2).sum()) for leaf in leaves)

    def moved(by):
        return float(total(jax.tree.map(lambda value, gradient: value + by * gradient, variables, gradients))[0])

    step = 3e-3 / np.sqrt(squared)
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(squared, rel=0.02)


def test_initial_values():
    """Heads give no offsets; residual blocks hardly change their input."""
    params = registry.create("cspa", **NARROW | {"width": 32})[1]["params"]
    assert not any(map(np.any, params["align_1"]["head"].values()))
    sampler, block = params["align_0"]["sampler"], params["reconstruction"]["body_0"]
    assert np.abs(sampler["weight"]).max() == pytest.approx(np.sqrt(6 / (9 * 32)), rel=1e-2)
    assert not sampler["bias"].any()
    assert block["conv1"]["weight"].std() == pytest.approx(0.1 * np.sqrt(2 / (9 * 32)), rel=0.05)
    assert not block["conv0"]["bias"].any()
    assert np.abs(params["fuse_1"]["conv"]["weight"]).max() == pytest.approx((9 * 64) ** -0.5, rel=1e-2)


def test_parameters_of_its_parts():
    shapes = registry.shapes("cspa")["params"]
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in shapes.items()}
    assert count == {
        "extraction": 2_955_264, "align_2": 3_200_600, "align_1": 3_495_640, "align_0": 3_495_640, "fuse_1": 295_040,
        "fuse_0": 442_496, "fusion": 295_168, "reconstruction": 14_758_400 + 3_459,
    }  # fmt: skip


def test_names_of_a_state_dict_and_back():
    model, variables = narrow()
    state = vfi_jax.to_torch("cspa", variables)
    assert state["align.0.sampler.weight"].shape == (8, 8, 3, 3)
    assert {"extraction.shrink.1.conv.bias", "fuse.1.conv.weight", "reconstruction.body.0.conv1.weight"} <= state.keys()
    back = state_dict.from_torch(model, state, vfi_jax.MODELS["cspa"])
    assert jax.tree.all(jax.tree.map(np.array_equal, variables, back))


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"alignment": "attention"}, {"embedded": False}], ids=str)
def test_options(fields):
    model, variables = registry.create("cspa", seed=1, **NARROW, **fields)
    frames = RNG.random((1, 2, SIDE, SIDE, 3), np.float32)
    frame = jax.jit(lambda variables: model.apply(variables, frames).frame)(variables)
    assert np.isfinite(frame).all()
    params = variables["params"]
    assert ("mix" in params["align_0"]["sampler"]) == ("alignment" in fields)
    assert ("fusion" in params) == ("alignment" in fields)


@pytest.mark.slow
def test_any_size_at_half_time_only():
    interpolate = vfi_jax.Interpolator(*narrow())
    frames = RNG.integers(0, 256, (2, 33, 46, 3), np.uint8)
    assert interpolate(*frames).shape == (33, 46, 3)
    with pytest.raises(ValueError, match=r"support t = 0\.5 only"):
        interpolate(*frames, t=0.25)


def test_what_does_not_fit_is_refused_in_one_line():
    frames = jnp.zeros((1, 2, 16, 16, 3))
    for fields, message in (
        ({"groups": 3}, "3 groups do not divide 8 channels"),
        ({"alignment": "flow"}, "no alignment 'flow': deformable or attention"),
    ):
        model = registry.build("cspa", **NARROW | fields)
        with pytest.raises(UsageError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), frames)
