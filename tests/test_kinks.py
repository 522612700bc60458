"""Derivatives at kinks, where they are a convention: as the published PyTorch code has them, model by model."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import vfi_jax
from vfi_jax import losses, ops
from vfi_jax.models import amt, ifrnet, raft, rife
from vfi_jax.nn import PReLU, leaky_relu

RNG = np.random.default_rng(0)
FLAT = np.full((1, 4, 4, 3), 0.5, np.float32)
STILL = np.zeros((1, 5, 6, 2), np.float32)
IMAGE = np.float32([[[[1], [3], [7]]]])  # one row of three pixels
VOLUME = IMAGE.reshape(1, 1, 1, 1, 3)
AMT = amt.AMT(widths=(4, 4, 4, 4), encoder_widths=(4, 4, 4), encoder_features=4, update_widths=((4,), 4, 4, 4))


def prelu(x, slope=-0.3):
    return PReLU().apply({"params": {"weight": jnp.full(1, slope)}}, jnp.reshape(x, (1, 1, 1, 1))).sum()


def row(x, operator):
    """`operator` of IMAGE and a flow whose middle pixel points x to the right."""
    flow = jnp.zeros((1, 1, 3, 2)).at[0, 0, 1, 0].set(x)
    return operator(IMAGE, flow)


# (function of a number, the number, its derivative there by the definition of PyTorch's backward pass)
POINTS = {
    "leaky ReLU: x > 0, else the slope": (lambda x: leaky_relu(jnp.reshape(x, 1), 0.2).sum(), 0, 0.2),
    "leaky ReLU above": (lambda x: leaky_relu(jnp.reshape(x, 1), 0.2).sum(), 1e-6, 1),
    "PReLU: x > 0, else the slope": (prelu, 0, -0.3),
    "PReLU by its slope: min(0, x)": (lambda slope: prelu(0.0, slope), -0.3, 0),
    "ReLU: x > 0, else 0": (jax.nn.relu, 0, 0),
    "absolute value: the sign": (ops.absolute, 0, 0),
    "absolute value below": (ops.absolute, -1e-6, -1),
    "clamp at the lower limit: low <= x <= high": (lambda x: ops.clamp(x, 0, 1), 0, 1),
    "clamp at the upper limit": (lambda x: ops.clamp(x, 0, 1), 1, 1),
    "clamp below": (lambda x: ops.clamp(x, 0, 1), -1e-6, 0),
    "clamp above": (lambda x: ops.clamp(x, 0, 1), 1 + 1e-6, 0),
    "square root": (jnp.sqrt, 0, np.inf),
    "length of a vector": (lambda x: ops.root(x**2 + (2 * x) ** 2), 0, 0),
    "maximum of two": (lambda x: jnp.maximum(x, 1), 1, 0.5),
    "amax of three": (lambda x: jnp.max(jnp.stack([x, 1.0, 1.0])), 1, 1 / 3),
    "power by its base, exponent 0": (lambda x: x ** jnp.float32(0), 2, 0),
    # grid_sample(padding_mode="border"): the cell to the right of the position, 0 where the position is clamped.
    "warp at a whole pixel": (lambda x: row(x, ops.warp)[0, 0, 1, 0], 0, 7 - 3),
    "warp at the right border": (lambda x: row(x, ops.warp)[0, 0, 1, 0], 1, 0),
    "warp at the left border": (lambda x: row(x, ops.warp)[0, 0, 1, 0], -1, 0),
    # grid_sample(padding_mode="zeros"): the same without clamping.
    "warp inside, at a whole pixel": (lambda x: row(x, ops.warp_inside)[0][0, 0, 1, 0], 0, 7 - 3),
    "warp inside, at the left border": (lambda x: row(x, ops.warp_inside)[0][0, 0, 1, 0], -1, 3 - 1),
    # softsplat's kernel: -1 for the pixel to the left of the position, 1 for the one to the right.
    "splatting, into the pixel itself": (lambda x: row(x, ops.splat_sum)[0, 0, 1, 0], 0, -3),
    "splatting, into its neighbor": (lambda x: row(x, ops.splat_sum)[0, 0, 2, 0], 0, 3),
    "a hole of splatting": (lambda x: ops.splat_average(IMAGE * x, np.full((1, 1, 3, 2), 9.0))[0, 0, 1, 0], 1, 0),
    "RAFT's look-up at a whole pixel": (
        lambda x: ops.look_up([VOLUME], jnp.stack([x, 0.0]).reshape(1, 1, 1, 2), 0).sum(), 1, 7 - 3
    ),
    "endpoint error of equal flows": (lambda x: losses.endpoint_error(STILL + x, STILL).mean(), 0, 0),
    "adaptive distance, full trust": (lambda x: losses.adaptive_flow_loss(STILL + x, STILL[..., :1] + 1), 0, 0),
    "adaptive distance, no trust": (lambda x: losses.adaptive_flow_loss(STILL + x, STILL[..., :1]), 0, 0),
}  # fmt: skip


@pytest.fixture(scope="module")
def derivatives():
    """Of all POINTS, by one program."""
    at = {name: np.float32(point) for name, (_, point, _) in POINTS.items()}
    return jax.jit(lambda at: {name: jax.grad(POINTS[name][0])(x) for name, x in at.items()})(at)


@pytest.mark.parametrize("name", POINTS)
def test_derivative_at_the_kink(derivatives, name):
    assert derivatives[name] == pytest.approx(POINTS[name][2], abs=1e-6)


def test_each_difference_of_l1_counts_by_its_sign():
    """Pixels that equal their target get none."""
    frame = FLAT.copy()
    frame[0, 0, :2, 0] += np.float32([0.1, -0.1])
    gradient = jax.grad(losses.RECONSTRUCTION["l1"])(frame, FLAT) * FLAT.size
    assert gradient[0, 0, :3, 0].tolist() == pytest.approx([1, -1, 0], rel=1e-5)
    assert np.count_nonzero(gradient) == 2


def test_pooling_takes_the_first_of_equals():
    def pooled(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 2), "VALID").sum()

    assert jax.grad(pooled)(jnp.ones((2, 2))).tolist() == [[1, 0], [0, 0]]


def test_kinks_keep_values_and_dtypes():
    x = jnp.concatenate([jnp.float32([0, jnp.nan, jnp.inf]), jnp.asarray(RNG.normal(size=8), jnp.float32)])
    for function in (ops.absolute, ops.root, lambda x: leaky_relu(x, 0.2), lambda x: ops.clamp(x, 0, 1)):
        assert function(x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_array_equal(leaky_relu(x, 0.2), jnp.where(x >= 0, x, 0.2 * x), strict=True)
    np.testing.assert_array_equal(ops.clamp(x, 0, 1), jnp.clip(x, 0, 1), strict=True)
    np.testing.assert_array_equal(ops.absolute(x), jnp.abs(x), strict=True)
    np.testing.assert_array_equal(ops.root(x**2), jnp.sqrt(x**2), strict=True)
    batched = jax.vmap(jax.grad(lambda x: ops.clamp(x, 0, 1)))(jnp.float32([-1, 0, 0.5, 1, 2, jnp.nan]))
    assert batched.tolist() == [0, 1, 1, 1, 0, 0]


# What may stand in models, layers, operators and losses although its derivative at a kink is another than PyTorch's, or
# infinite; each with the reason why that is harmless. `vfi_jax.ops.kinks` has what to use instead.
HARMLESS = {
    ("ops/kinks.py", "abs"): "has a derivative of its own",
    ("ops/kinks.py", "clip"): "has a derivative of its own",
    ("ops/kinks.py", "sqrt"): "guarded",
    ("ops/correlation.py", "clip"): "whole numbers",
    ("ops/correlation.py", "sqrt"): "of a constant",
    ("ops/resize.py", "maximum"): "constants",
    ("ops/resize.py", "minimum"): "constants",
    ("ops/taps.py", "clip"): "whole numbers",
    ("ops/warp.py", "minimum"): "whole numbers",
    ("losses/laplacian.py", "abs"): "constants",
    ("losses/charbonnier.py", "sqrt"): "of epsilon^2 or more",
    ("losses/contrast.py", "sqrt"): "of TINY^2 or more",
    ("models/classical.py", "clip"): "rounded to whole numbers",
    ("models/amt.py", "maximum"): "of times, which nothing is trained through",
    ("models/ugsp.py", "maximum"): "of epochs",
    ("models/ugsp.py", "minimum"): "of epochs",
    ("models/raft.py", "norm"): "compared only",
    ("nn/initializers.py", "sqrt"): "constants",
    ("nn/conv3d.py", "clip"): "whole numbers",
    ("nn/regions.py", "clip"): "of labels, which nothing is trained through",
    ("nn/regions.py", "maximum"): "of labels, which nothing is trained through",
    ("nn/regions.py", "sqrt"): "of labels, which nothing is trained through",
    ("models/vfit.py", "clip"): "whole numbers",
    ("models/vfit.py", "minimum"): "whole numbers",
}
KINKED = {
    *("abs", "clip", "clamp", "fmax", "fmin", "hypot", "leaky_relu", "max", "maximum", "min", "minimum"),
    *("norm", "relu6", "sqrt"),
}
LIBRARIES = {"jnp", "lax", "jax", "nn", "np", "linalg"}


def kinked(root):
    """(file, function) of all calls of a library's functions with kinks."""
    for folder in ("models", "nn", "ops", "losses"):
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINKED:
                    owner = node.func.value
                    if getattr(owner, "id", getattr(owner, "attr", "")) in LIBRARIES:
                        yield path.relative_to(root).as_posix(), node.func.attr


def test_no_other_kink_is_left_to_the_library():
    assert set(kinked(Path(vfi_jax.__file__).parent)) == HARMLESS.keys()


def test_flows_equal_to_the_teachers_leave_the_distillation_finite():
    """Of the published code the gradient is NaN there: its plain root."""

    def distance(x):
        level = lambda flow, bright: rife.Level(flow, jnp.zeros((1, 4, 4, 1)), *2 * [jnp.full((1, 4, 4, 3), bright)])  # noqa: E731
        student, teacher = level(jnp.full((1, 4, 4, 4), x), 1.0), level(jnp.full((1, 4, 4, 4), 2.0), 0.0)
        return rife._distillation(student, teacher, jnp.zeros((1, 4, 4, 3)), 0.01)

    assert jax.grad(distance)(2.0) == 0
    assert jax.grad(distance)(2.5) == pytest.approx(1)
    assert jax.grad(distance)(1.5) == pytest.approx(-1)


class Flows(raft.RAFT):
    """A flow network that answers with what it is given."""

    def apply(self, variables, frames):
        flow = variables["flow"]
        return raft.FlowOutput(flow, flow, [flow])


def test_objective_of_raft_at_the_truth_and_where_it_is_unknown():
    truth = np.zeros((1, 2, 2, 2), np.float32)
    truth[0, 1] = np.nan, np.inf
    batch = {"flow": truth, "valid": np.float32([[[1, 1], [0, 0]]]), "frames": truth}
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 1] = 3, -4
    loss = lambda flow: raft.loss(Flows(), {"flow": flow}, batch, raft.LossConfig(), step=0, rng=None)[0]  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(flow)
    assert value == pytest.approx(7 / 8)
    wanted = np.zeros((1, 2, 2, 2), np.float32)
    wanted[0, 0, 1] = 1 / 8, -1 / 8
    np.testing.assert_allclose(gradient, wanted)


@pytest.mark.parametrize(
    ("model", "layer", "wanted"),
    [
        # The residual 2 sigmoid(x) - 1 has half the slope of x.
        pytest.param(rife.RIFE(sees_time=False, stride=2), ("unet", "conv"), 0.5, marks=pytest.mark.slow),
        pytest.param(ifrnet.IFRNet(widths=(4, 4, 4, 4)), ("decoder1", "convblock_2"), 1, marks=pytest.mark.slow),
        pytest.param(AMT, ("comb_block_2",), 1, marks=[pytest.mark.slow, pytest.mark.long]),
    ],
)
def test_frames_at_the_limits_learn(model, layer, wanted):
    """Black frames, predicted black: the residual's bias has the whole gradient, as with `torch.clamp`."""
    frames = np.zeros((1, 2, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), frames, 0.5)["params"]
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
    gradient = jax.jit(jax.grad(lambda params: model.apply({"params": params}, frames, 0.5).frame.mean()))(params)
    for name in layer:
        gradient = gradient[name]
    assert gradient["bias"][-3:] == pytest.approx(np.full(3, wanted / 3), rel=1e-5)
