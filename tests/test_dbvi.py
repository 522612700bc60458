"""DBVI against stored cases of the published code."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, cases, make_state, ops, relative

import vfi_jax
from vfi_jax.errors import UserError
from vfi_jax.models import dbvi, registry
from vfi_jax.nn import GroupNorm, UpConv, instance_norm
from vfi_jax.ops import resize_corners, splat_sum, warp_inside
from vfi_jax.types import Output

NEAR = 2e-5  # of images in -1..1 and of flows
GRADIENT = 5e-5
RNG = np.random.default_rng(0)


@functools.partial(jax.jit, static_argnums=0)
def run(model, variables, frames, t, flows):
    return model.apply(variables, frames, t, flows)


def inputs(case):
    """Frames, t, and the flows instead of the flow network's."""
    stored = case.arrays
    frames = np.stack([stored[name] for name in ("In", "I0", "I1", "I2")], 1)
    flows = np.concatenate([stored[name] for name in ("F0n", "F01", "F12", "F10")], -1)
    return frames, stored["t"].reshape(-1, 1, 1, 1), flows


def thin(array, step):
    return array[:, ::step, ::step]


def check(found, stored):
    for name, ours in found.items():
        assert apart(ours, stored[name]) < NEAR * max(1, np.abs(stored[name]).max()), name


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("dbvi", lambda f: f["kind"] == "forward_core"))
def test_forward(case):
    """All steps; `test_one_update` is the fast one."""
    model, stored = registry.build(case.model), case.arrays
    out = run(model, case.variables, *inputs(case))
    assert len(out.iterates) == len(out.forward_flows) == model.steps
    ours = {f"It_step{index}": 2 * iterate - 1 for index, iterate in enumerate(out.iterates[:-1])}
    ours |= {
        "F0t_last": out.forward_flows[-1][..., :2],
        "F1t_last": out.forward_flows[-1][..., 2:],
        "out": 2 * out.frame - 1,
    }
    check({name: array for name, array in ours.items() if name in stored}, stored)
    assert np.array_equal(out.frame, out.iterates[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("dbvi_2x", lambda f: "step0_style_code" in f["keys"]))
def test_what_steps_see_and_say(case):
    stored, step = case.arrays, dbvi.Step()
    frames, t, flows = inputs(case)
    images = 2 * frames - 1
    assert apart(images.mean((1, 2, 3), keepdims=True)[:, 0], stored["channel_mean"]) < 1e-6
    pair = jnp.concatenate([images[:, 1], images[:, 2]], -1) - np.tile(stored["channel_mean"], 2)
    state = dbvi.State(*(jnp.zeros((*pair.shape[:3], c)) for c in (3, 16, 32)), dbvi.quadratic_motion(flows, t))
    check({"F0t_init": state.flows[..., :2], "F1t_init": state.flows[..., 2:]}, stored)

    @jax.jit
    def advance(variables, state):
        first, second = (
            dbvi.data_gradient(state.image, pair[..., 3 * i : 3 * i + 3], state.flows[..., 2 * i : 2 * i + 2])
            for i in (0, 1)
        )
        seen, after = step.apply(variables, state, pair, t, mutable=["intermediates"], capture_intermediates=True)[::-1]
        prior = step.apply(variables, state, method="prior_gradient")
        return ((1 - t) * first, t * second), prior, after, seen["intermediates"]

    for index in (0, 1):
        variables = {"params": case.variables["params"][f"subNet_{index}"]}
        change, before = state, state.error
        (first, second), prior, state, seen = advance(variables, change)
        found = {
            "fid0_weighted": first,
            "fid1_weighted": second,
            "grad_flow": thin(seen["compConv"]["__call__"][0], 2),
            "grad_flow32_every4px": thin(prior, 4),
            "d01_every4px": thin(state.error - before, 4),
            "xcode_every4px": thin(seen["inConv"]["__call__"][0], 4),
            "rrrb0_every4px": thin(seen["style_block"]["residual0"]["__call__"][0], 4),
            "backbone_every4px": thin(seen["style_block"]["__call__"][0], 4),
            "fea_every4px": thin(state.features, 4),
            "style_code": step.apply(variables, method="code"),
        }
        check({f"step{index}_{name}": array for name, array in found.items()}, stored)


@pytest.mark.parametrize("case", cases("dbvi_2x", lambda f: f["kind"] == "subnet"))
def test_one_update(case):
    """No input is 0, and the weights make the code and the prior count."""
    stored, meta, step = case.arrays, case.meta, dbvi.Step()
    weights = vfi_jax.from_torch(case.model, make_state(meta["params"], meta["seed"], case.fields["gain"]))
    variables = {"params": weights["params"][case.fields["module"]]}
    flows = np.concatenate([stored["F0t"], stored["F1t"]], -1)
    state = dbvi.State(stored["It"], stored["fea"], stored["df"], flows)
    pair = np.concatenate([stored["I0"], stored["I1"]], -1)
    descent = np.concatenate([stored["fid0_weighted"], stored["fid1_weighted"]], -1)
    update = functools.partial(step.apply, method="update", capture_intermediates=True)
    after, seen = jax.jit(update)(variables, state, pair, descent)
    seen = seen["intermediates"]
    style = seen["style_block"]
    found = {
        "out_fea": after.features,
        "out_It": after.image,
        "out_d01": after.error - state.error,
        "mu_and_logit": thin(seen["convUV_1"]["__call__"][0], 4),
        "grad_flow32": thin(step.apply(variables, state, method="prior_gradient"), 2),
        "grad_flow": seen["compConv"]["__call__"][0],
        "xcode_every2px": thin(seen["inConv"]["__call__"][0], 2),
        "style_code": step.apply(variables, method="code"),
        "rrrb0_unet1_every2px": thin(style["residual0"]["RDB1"]["__call__"][0], 2),
        "rrrb0_every2px": thin(style["residual0"]["__call__"][0], 2),
        "rrrb1_every2px": thin(style["residual1"]["__call__"][0], 2),
        "backbone": style["__call__"][0],
    }
    check(found, stored)
    assert apart(after.flows - flows, stored["out_d01"][..., :4]) < NEAR


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("dbvi", lambda f: f["kind"] == "train_core"))
def test_objective_and_gradients(case):
    spec, stored, model = vfi_jax.MODELS[case.model], case.arrays, registry.build(case.model)
    frames, t, flows = inputs(case)
    batch = {"frames": frames, "target": stored["It"], "t": t, "flows": flows}

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(variables):
        return spec.loss(model, variables, batch, spec.loss_config, step=0, rng=None)

    (total, aux), gradients = objective(case.variables)
    assert float(total) == pytest.approx(float(stored["loss_total"]), rel=1e-5)
    assert float(aux.terms["reconstruction"]) == pytest.approx(float(total))
    assert spec.loss_config.weights == tuple(stored["alphas"])
    norm = np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(gradients)))
    assert norm == pytest.approx(float(stored["grad_total_norm"]), rel=GRADIENT)
    check_stored(case, vfi_jax.to_torch(case.model, gradients))


def check_stored(case, gradients):
    """Whole arrays, or the first entries, length and mean of large ones; 0 where PyTorch has none."""
    for key, theirs in case.arrays.items():
        kind, _, name = key.partition("::")
        if not kind.startswith("grad") or not name:
            continue
        ours = gradients[name]
        scale = np.abs(ours).max() or 1
        if kind == "grad_norm":
            assert float(np.linalg.norm(ours)) == pytest.approx(float(theirs), rel=GRADIENT), key
        elif kind == "grad_none":
            assert not ours.any(), key
        else:
            seen = {"grad": ours, "grad_mean": ours.mean(), "grad_first64": ours.ravel()[:64]}[kind]
            assert apart(seen, theirs) < GRADIENT * scale, key
    for name in case.fields["params_without_gradient"] + case.fields["params_with_zero_gradient"]:
        assert not gradients[name].any(), name


@pytest.mark.parametrize(("weights", "steps", "wanted"), [("2x", 6, "2x"), ("8x", 4, "8x"), ("8x", 1, "single")])
def test_weights_of_the_objective(weights, steps, wanted):
    stored, spec = ops("ops_dbvi", "losses"), vfi_jax.MODELS[f"dbvi_{weights}"]

    class Stored(dbvi.DBVI):
        def apply(self, variables, frames, t, flows):
            iterates = [(iterate + 1) / 2 for iterate in stored["rgbs"][:steps]]
            return Output(iterates[-1], iterates=iterates)

    target = (stored["gt"] + 1) / 2
    batch = {"frames": target, "t": target, "target": target}
    total, _ = spec.loss(Stored(steps=steps), {}, batch, spec.loss_config, step=0, rng=None)
    assert float(total) == pytest.approx(float(stored[f"loss_{wanted}"]), rel=1e-5)
    with pytest.raises(UserError, match="7 steps, but"):
        spec.loss(Stored(steps=7), {}, batch, spec.loss_config, step=0, rng=None)


@pytest.fixture(scope="module")
def short():
    """One step, fresh, and what it is given: a shorter compilation."""
    model, variables = vfi_jax.create("dbvi_2x", steps=1)
    frames, flows = RNG.random((1, 4, 20, 22, 3), np.float32), RNG.normal(0, 2, (1, 24, 24, 8)).astype(np.float32)
    return model, variables, frames, flows


@pytest.mark.slow
def test_fresh_weights_change_nothing(short):
    """The iterate is the mean of the channel, the flows are those of the motion."""
    model, variables, frames, flows = short
    t = np.full((1, 1, 1, 1), 0.3, np.float32)
    out = run(model, variables, frames, t, flows)
    assert apart(out.frame, np.broadcast_to(frames.mean((1, 2, 3))[:, None, None], out.frame.shape)) < 1e-6
    assert apart(out.forward_flows[0], dbvi.quadratic_motion(flows, t)) < 1e-6
    basis = variables["params"]["subNet_0"]["invConv"]["weight"]
    assert apart(basis @ basis.T, np.eye(32)) < 1e-6
    style = variables["params"]["subNet_0"]["style_block"]["residual0"]["RDB1"]
    assert style["down3"]["conv"]["weight"].std() == pytest.approx((2 / 1.04 / (64 * 9)) ** 0.5, rel=0.02)
    assert (style["down3"]["norm"]["weight"] == 1).all()


def shaken(variables):
    """The weights with noise, so that nothing is 0."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda a: a + rng.normal(0, 0.02, a.shape).astype(np.float32), variables)


@pytest.mark.slow
def test_a_map_of_one_time_equals_the_number(short):
    model, variables, frames, flows = short
    variables = shaken(variables)
    number = run(model, variables, frames, np.full((1, 1, 1, 1), 0.3, np.float32), flows)
    mapped = run(model, variables, frames, np.full((1, 20, 22, 1), 0.3, np.float32), flows)
    assert apart(number.frame, mapped.frame) < 1e-6
    assert apart(number.frame, np.broadcast_to(number.frame.mean((1, 2)), number.frame.shape)) > 0.01


@pytest.mark.slow
def test_rematerialized_steps_give_the_same_gradients(short):
    """And keep less for them: what the pull-back holds, counted from the trace."""
    _, _, frames, flows = short
    model, variables = vfi_jax.create("dbvi_2x", steps=2)
    spec, variables = vfi_jax.MODELS["dbvi_2x"], shaken(variables)
    batch = {"frames": frames, "target": frames[:, 1], "t": np.full((1, 1, 1, 1), 0.4, np.float32), "flows": flows}
    found, held = [], []
    for chosen in (model, model.clone(remat=True)):

        def objective(variables, model=chosen):
            return spec.loss(model, variables, batch, spec.loss_config, step=0, rng=None)[0]

        found.append(jax.jit(jax.value_and_grad(objective))(variables))
        pull = jax.eval_shape(lambda variables, f=objective: jax.vjp(f, variables)[1], variables)
        held.append(sum(leaf.size for leaf in jax.tree.leaves(pull)) - sum(map(np.size, jax.tree.leaves(variables))))
    (total, gradients), (again, same) = found
    assert float(total) == pytest.approx(float(again), rel=1e-6)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(same), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
    assert held[1] < held[0] / 10, held


def test_wrong_inputs_are_told(short):
    model, variables, frames, flows = short
    with pytest.raises(
        UserError, match="frames of 22x3 are too small for dbvi_2x, which reflects them to multiples of 8"
    ):
        model.apply(variables, frames[:, :, :3], 0.5, flows)
    with pytest.raises(UserError, match="flows are 24x16: these frames are padded to 24x24"):
        model.apply(variables, frames, 0.5, flows[:, :16])
    with pytest.raises(UserError, match="dbvi_2x needs the weights of its flow network, raft"):
        model.apply({"params": variables["params"]}, frames, 0.5)


def test_names_are_a_bijection():
    """Import and export cancel out, and weights of more steps are refused."""
    _, variables = vfi_jax.create("dbvi_8x", seed=1)
    state = vfi_jax.to_torch("dbvi_8x", variables)
    assert state["subNet_3.style_block.1.RDB1.block1.0.downConv1.block.1.weight"].shape == (16, 16, 3, 3)
    back = vfi_jax.from_torch("dbvi_8x", state)
    assert jax.tree.all(jax.tree.map(np.array_equal, {"params": variables["params"]}, back))
    state["subNet_4.invConv.weight"] = state["subNet_3.invConv.weight"]
    with pytest.raises(UserError, match=r"do not fit dbvi_8x: 1 unknown \(\+subNet_4"):
        vfi_jax.from_torch("dbvi_8x", state)


def test_masked_warp():
    stored = ops("ops_dbvi", "backwarp")
    (out, mask), pull = jax.vjp(jax.jit(warp_inside), stored["img"], stored["flow"])
    assert apart(out, stored["out"]) < 1e-5
    assert np.array_equal(np.broadcast_to(mask, out.shape), stored["mask"])
    grad_image, grad_flow = pull((jnp.asarray(stored["upstream"]), jnp.ones_like(mask)))
    assert relative(grad_image, stored["grad_img"]) < 1e-5
    comparable = stored["grad_flow_comparable"]
    assert relative(grad_flow * comparable, stored["grad_flow"] * comparable) < 1e-4


def test_data_gradient():
    stored = ops("ops_dbvi", "data_gradient")
    image, frame, flow = (stored[name] for name in ("It", "I0", "flow"))
    assert apart(jax.jit(dbvi.data_gradient)(image, frame, flow), stored["grad_average_used_by_the_net"]) < 1e-5
    warped, mask = jax.jit(warp_inside)(image, flow)
    splat = jax.jit(splat_sum)
    assert apart(mask * (frame - warped), stored["residual"]) < 1e-5
    assert apart(splat(stored["residual"], flow), stored["grad_autodiff_unused"]) < 1e-5

    def energy(image):
        warped, mask = warp_inside(image, flow)
        return 0.5 * jnp.sum((mask * (frame - warped)) ** 2)

    assert apart(-jax.jit(jax.grad(energy))(image), splat(mask * (frame - warped), flow)) < 1e-5


def test_motion_and_resize():
    stored = ops("ops_dbvi", "motion_resize")
    flows = np.concatenate([stored[name] for name in ("F0n", "F01", "F12", "F10")], -1)
    found = dbvi.quadratic_motion(flows, stored["t"].reshape(-1, 1, 1, 1))
    assert apart(found, np.concatenate([stored["F0t"], stored["F1t"]], -1)) < 1e-5
    image = stored["image"]
    # PyTorch computes coordinates in float32.
    assert apart(resize_corners(image, (6, 8)), stored["half_align_corners"]) < 1e-5
    assert apart(resize_corners(image, (24, 32)), stored["double_align_corners"]) < 1e-5
    assert apart(resize_corners(image, (1, 1)), image[:, :1, :1]) == 0
    padded = np.pad(stored["pad_in"], ((0, 0), (0, 5), (0, 3), (0, 0)), mode="reflect")
    assert np.array_equal(padded, stored["pad_out"])


def test_four_flows_in_order():
    """An estimator that tells which images it was given."""
    images = np.broadcast_to(np.arange(4, dtype=np.float32)[None, :, None, None, None], (2, 4, 8, 16, 3))
    found = dbvi.four_flows(lambda first, second: jnp.concatenate([first[..., :1], second[..., :1]], -1), images)
    assert np.array_equal(found, np.broadcast_to(np.float32([1, 0, 1, 2, 2, 3, 2, 1]), (2, 8, 16, 8)))


@pytest.mark.parametrize(("height", "half"), [pytest.param(16, 8, marks=pytest.mark.slow), (24, 16)])
def test_large_frames_are_halved_for_their_flows(height, half):
    """To the next multiple of 8, so that any large frame can be; flows grow by the ratio of each side."""
    width = dbvi.LARGE // 16
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None, None, None, :, None]
    images, sizes = np.broadcast_to(ramp, (1, 4, height, width, 3)), []

    def estimate(first, second):
        sizes.append(first.shape[1:3])
        return first[..., :2] + second[..., :2]

    found = jax.jit(functools.partial(dbvi.four_flows, estimate))(images)
    assert set(sizes) == {(half, width // 2)}
    grown = np.tile(np.float32([4, 2 * height / half]), 4)
    assert apart(found, np.broadcast_to(ramp[0] * grown, found.shape)) < 1e-5


def test_norms_and_activation():
    stored = ops("ops_dbvi", "norms")
    assert apart(jax.nn.gelu(stored["gelu_x"], approximate=False), stored["gelu_y"]) < 1e-6
    params = {"params": {"weight": stored["gn_weight"], "bias": stored["gn_bias"]}}
    assert apart(GroupNorm(4).apply(params, stored["norm_x"]), stored["group_norm4"]) < 1e-5
    assert apart(instance_norm(stored["norm_x"]), stored["instance_norm"]) < 1e-5
    # The variance of what is small beside its mean.
    assert apart(instance_norm(stored["norm_x"] + 1000), stored["instance_norm"]) < 1e-3


def test_convolution_of_the_doubled_image():
    image, kernel = RNG.normal(size=(2, 5, 7, 3)).astype(np.float32), RNG.normal(size=(3, 3, 3, 4)).astype(np.float32)
    doubled = image.repeat(2, 1).repeat(2, 2)
    wanted = nn.Conv(4, (3, 3), padding=1, use_bias=False).apply({"params": {"kernel": kernel}}, doubled)
    assert apart(UpConv(4).apply({"params": {"weight": kernel}}, image), wanted) < 1e-5
    stored = ops("ops_dbvi", "norms")
    identity = np.zeros((3, 3, 8, 8), np.float32)
    identity[1, 1] = np.eye(8)
    assert apart(UpConv(8).apply({"params": {"weight": identity}}, stored["norm_x"]), stored["nearest2"]) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("dbvi", lambda f: f["kind"] == "forward_full"))
def test_whole_with_its_flow_network(case):
    meta, stored = case.meta, case.arrays
    flow_network = make_state(meta["raft_params"], meta["raft_seed"], meta["raft_gain"])
    variables = vfi_jax.from_torch(case.model, case.state, frozen={"raft": flow_network})
    model = registry.build(case.model)
    frames = np.stack([stored[name] for name in ("In", "I0", "I1", "I2")], 1)
    out = jax.jit(model.apply)(variables, frames, stored["t"].reshape(-1, 1, 1, 1))
    assert apart(2 * out.frame - 1, stored["out"]) < 1e-4
    assert apart(thin(2 * out.iterates[0] - 1, 2), stored["It_step0_every2px"]) < 1e-4
