"""UGSP against stored cases of the published code, its first stage, and label masks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart, cases, check_gradients, ops, relative
from test_labels import run as shell
from test_labels import write_set
from tiny_runs import quiet

import vfi_jax
from vfi_jax.config import Augment, Data, Train, Window
from vfi_jax.data import sources
from vfi_jax.data.augment import Decision, transform
from vfi_jax.data.masks import with_masks
from vfi_jax.errors import UsageError, UserError
from vfi_jax.losses import laplacian_loss, laplacian_pyramid
from vfi_jax.losses.pruning import keep_rate, label_distance, laplace_likelihood, soft_keep
from vfi_jax.models import registry, ugsp, ugsp_network, ugsp_uncertainty
from vfi_jax.prepare import masks
from vfi_jax.runs.log import read_log
from vfi_jax.training import checks, fit
from vfi_jax.weights.save import save

FRAME = 1e-5
FLOW = 2e-5  # pixels
LOSS = 1e-5
GRADIENT = 2e-3  # kinks of PReLU and bilinear sampling
NARROW = {"widths": (4, 6, 8, 10)}
RNG = np.random.default_rng(0)
TRIPLET = Window(3, (0, 2), 1)


@functools.partial(jax.jit, static_argnums=0)
def branches(model, variables, frames):
    """Both branches, with the masks of inference."""
    return model.apply(variables, frames, model.keep, method="branches")


@pytest.mark.parametrize("case", cases("ugsp", lambda f: f["kind"] == "inference", fast="ugsp-infer_48x64"))
def test_forward(case):
    model, stored = registry.build(case.model), case.arrays
    found = branches(model, case.variables, case.frames)
    pruned, unpruned = found.pruned.branch, found.unpruned
    for number, keep in enumerate(pruned.keep, 1):
        np.testing.assert_array_equal(keep, stored[f"keep_mask_{number}"])
    rate = keep_rate(pruned.keep, model.block_widths)
    assert float(rate) == pytest.approx(float(stored["sparsity"]), rel=1e-6)
    assert apart(found.pruned.out.frame, stored["pred"]) < FRAME
    assert apart(unpruned.out.frame, stored["pred_unpruned_branch"]) < FRAME
    assert apart(found.pruned.out.mask, stored["mask_full"]) < FRAME
    for number, flow in enumerate(found.pruned.out.flows):
        assert apart(flow, stored[f"flow_{number}"]) < FLOW
    assert apart(unpruned.out.flows[-1], stored["flow_c_last"]) < FLOW
    for number in (1, 2, 3):
        feature = pruned.features[number].mean(-1, keepdims=True)
        assert apart(feature, stored[f"feat_{number}_mean_c"]) < FRAME


@pytest.mark.slow
@pytest.mark.parametrize("case", cases("ugsp", lambda f: f["kind"] == "training"))
def test_objective_and_gradients(case):
    spec, stored, model = vfi_jax.MODELS[case.model], case.arrays, registry.build(case.model)
    batch = {"frames": case.frames, "target": stored["gt"], "masks": stored["guide_mask"]}
    if "flow_label" in stored:
        batch["flow"] = stored["flow_label"]
    uniform, epoch = [stored[f"uniform_{number}"] for number in (1, 2, 3)], int(stored["epoch"])

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def objective(variables):
        return ugsp.objective(model, variables, batch, spec.loss_config, epoch=epoch, uniform=uniform)

    (total, aux), gradients = objective(case.variables)
    weight = float(stored["lambda_sparsity"])
    guided = weight * float(stored["w_step"]) * stored["loss_local_mask_label"]
    wanted = {
        "reconstruction": stored["loss_l1"],
        "unpruned": 0.5 * stored["loss_l1_c"],
        "self_contrast": 0.001 * stored["loss_contrast_feat"],
        "sparsity": weight * spec.loss_config.sparsity_weight
        * abs(stored["loss_sparsity"] - spec.loss_config.keep_rate),
        "guidance": guided,
    }  # fmt: skip
    names = {"geometry": "loss_geo", "distillation": "loss_dis", "teacher": "loss_tea"}
    wanted |= {term: stored[name] for term, name in names.items() if name in stored}
    if "loss_distill" in stored:
        wanted["teacher_distillation"] = 0.02 * stored["loss_distill"]
    assert aux.terms.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float(aux.terms[name]) == pytest.approx(float(value), rel=1e-5), name
    assert float(total) == pytest.approx(float(stored["loss_total"]), rel=LOSS)
    assert apart(aux.frame, stored["pred"]) < FRAME
    check_gradients(case, gradients, GRADIENT)


def test_soft_masks():
    stored = ops("ops_ugsp", "gumbel")
    for temperature, name in ((0.4, "out_tau04"), (1.0, "out_tau10")):
        assert apart(soft_keep(stored["logits"], stored["uniform"], temperature), stored[name][..., :1]) < 1e-6


def test_labels_are_read_at_the_top_left_pixels():
    stored = ops("ops_ugsp", "label_downsample")
    smaller = [stored[f"d{step}"][..., index : index + 1] for index, step in enumerate((8, 4, 2))]
    assert label_distance(smaller, stored["guide"]) == 0
    assert label_distance([1 - mask for mask in smaller], stored["guide"]) == pytest.approx(0.3)


def test_laplacian_distance():
    stored = ops("ops_ugsp", "laplacian_5")
    value = jax.jit(jax.value_and_grad(lambda x, y: laplacian_loss(x, y, 5)))
    loss, gradient = value(stored["x"], stored["y"])
    assert float(loss) == pytest.approx(float(stored["loss"]), rel=LOSS)
    assert relative(gradient, stored["grad_x"]) < 1e-4
    assert len(jax.eval_shape(lambda x: laplacian_pyramid(x, 5), stored["x"])) == 5


def test_keep_rate_and_likelihood():
    half = [jnp.full((1, side, side, 1), 0.5) for side in (4, 8, 16)]
    assert keep_rate(half, registry.build("ugsp").block_widths) == pytest.approx((0.75 + 37.6875 / 2) / 38.4375)
    frame = jnp.full((1, 4, 4, 3), 0.5)
    likelihood = functools.partial(laplace_likelihood, frame, frame + 0.1)
    assert likelihood(frame * 0) == pytest.approx(0.1)
    # exp(-U) |e| + 2 U is least where exp(-U) |e| = 2.
    best = jnp.full_like(frame, np.log(0.1 / 2))
    assert likelihood(best) < min(likelihood(best - 0.1), likelihood(best + 0.1))


@pytest.fixture(scope="module")
def narrow():
    return registry.create("ugsp", **NARROW)


@pytest.mark.slow
def test_nothing_is_kept_within_what_was_pruned(narrow):
    model, variables = narrow
    frames = RNG.random((1, 2, 32, 48, 3), np.float32)
    drawn = [
        jnp.asarray(RNG.random((1, 32 // side, 48 // side, 1)) < 0.5, jnp.float32) for side in ugsp_network.MASK_STEPS
    ]

    @jax.jit
    def run(variables, frames, bias):
        chosen = model.apply(variables, frames, ugsp_network.given(drawn), method="estimate")
        by_bias = model.apply(variables, frames, lambda number, logits: model.keep(number, logits) * bias,
                              method="estimate")  # fmt: skip
        return chosen, by_bias

    chosen, none = run(variables, frames, 0.0)
    first, second, third = (np.asarray(keep) for keep in chosen.branch.keep)
    np.testing.assert_array_equal(first, drawn[0])
    for coarse, fine, own in ((first, second, drawn[1]), (second, third, drawn[2])):
        np.testing.assert_array_equal(fine, own * coarse.repeat(2, 1).repeat(2, 2))
    # Where nothing is kept, the last 1x1 convolution gives its bias.
    with pytest.raises(UsageError, match=r"^keep mask 1 has shape \(1, 8, 12, 1\): \(1, 4, 6, 1\) is needed, 1/8 of"):
        model.apply(variables, frames, ugsp_network.given(drawn[1:]), method="estimate")
    bias = variables["params"]["glblock_final"]["conv_last"]["bias"]
    assert apart(none.branch.features[-1], np.broadcast_to(bias, none.branch.features[-1].shape)) < 1e-6


@pytest.mark.slow
def test_schedules_and_missing_parts(narrow):
    """The sparsity term is below 0 in epoch 0, 0 in epoch 1; without labels there is no guidance."""
    model, variables = narrow
    config = ugsp.LossConfig(steps_per_epoch=2)
    batch = {
        "frames": RNG.random((1, 2, 64, 64, 3), np.float32),
        "target": RNG.random((1, 64, 64, 3), np.float32),
    }
    loss = jax.jit(lambda variables, step, rng: ugsp.loss(model, variables, batch, config, step=step, rng=rng)[1].terms)
    first, second, later = (loss(variables, step, jax.random.key(0)) for step in (1, 2, 32))
    assert first["sparsity"] < 0
    assert second["sparsity"] == 0
    assert later["sparsity"] > 0
    assert "guidance" not in first
    assert loss(variables, 1, jax.random.key(1))["reconstruction"] != first["reconstruction"]
    with pytest.raises(UsageError, match="it needs rng"):
        ugsp.loss(model, variables, batch, config, step=0, rng=None)
    with pytest.raises(UsageError, match=r"set loss\.steps_per_epoch"):
        ugsp.loss(model, variables, batch, ugsp.LossConfig(), step=0, rng=jax.random.key(0))
    refined, lacking = registry.build("ugsp_refine", **NARROW), {"params": {}}
    with pytest.raises(UserError, match="lack the teacher"):
        ugsp.loss(refined, lacking, batch, config, step=0, rng=jax.random.key(0))


@pytest.fixture(scope="module")
def uncertain():
    return registry.create("ugsp_uncertainty", **NARROW)


@pytest.mark.slow
def test_stage_one(uncertain):
    """U begins near -3 in its limits, and counts from its first epoch on."""
    model, variables = uncertain
    batch = {
        "frames": RNG.random((1, 2, 64, 64, 3), np.float32),
        "target": RNG.random((1, 64, 64, 3), np.float32),
    }
    config = ugsp_uncertainty.UncertaintyLossConfig(steps_per_epoch=2, uncertainty_from=1)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(variables, step):
        total, aux = ugsp_uncertainty.uncertainty_loss(model, variables, batch, config, step=step, rng=None)
        return total, (aux.terms, model.apply(variables, batch["frames"], method="estimate_uncertainty")[1])

    (_, (before, log_scale)), without = loss(variables, 1)
    (_, (after, _)), gradients = loss(variables, 2)
    assert np.abs(log_scale + 3).max() < 0.5
    assert before["uncertainty"] == 0 != after["uncertainty"]
    assert before["reconstruction"] == after["reconstruction"]
    assert not np.any(without["params"]["uncertainty_1"]["weight"])
    assert np.any(gradients["params"]["uncertainty_1"]["weight"])


# Label masks


def test_fractions_meet_the_keep_rate():
    for rate in (0.1, 0.35, 0.8, 1.0):
        kept = masks.fractions(rate)
        assert (0.75 + masks.SHARES @ kept) / 38.4375 == pytest.approx(rate, abs=1e-6)
        assert (np.diff(kept) <= 0).all()
    assert masks.fractions(0.351) == pytest.approx([0.60, 0.45, 0.26], abs=2e-3)
    for rate in (0.01, 1.1):
        with pytest.raises(UsageError, match="up to 1 is needed"):
            masks.fractions(rate)


@pytest.fixture(scope="module")
def masked(tmp_path_factory, uncertain):
    """A set of five windows with masks, and the weights file that they are of."""
    root = write_set(tmp_path_factory.mktemp("masks") / "set", 5)
    weights = root.parent / "stage1.safetensors"
    save(weights, *uncertain)
    assert shell("prepare", "masks", root, "--weights", weights, "--keep-rate", "0.5") == 0
    return root, weights


def opened(root):
    return with_masks(sources.open_source(str(root), 3), root, masks.UNCERTAINTY, TRIPLET)


def test_masks_are_where_uncertainty_is_high(masked, uncertain):
    root, _ = masked
    window = opened(root)[3]
    labels, frames = window["masks"], window["frames"][[0, 2]][None].astype(np.float32) / 255
    assert labels.dtype == np.uint8
    assert labels.shape == (72, 96, 3)
    assert set(np.unique(labels)) == {0, 1}
    np.testing.assert_allclose(labels.mean((0, 1)), masks.fractions(0.5), atol=0.05)
    assert (np.diff(labels.astype(int), axis=-1) <= 0).all()  # nested
    model, variables = uncertain
    padded = np.pad(frames, ((0, 0), (0, 0), (0, 8), (0, 0), (0, 0)))
    level = np.asarray(masks.uncertainty(model, variables, padded))[0, :72]
    for index in range(3):
        assert level[labels[..., index] == 1].min() > level[labels[..., index] == 0].max()


def test_masks_move_with_the_images(masked):
    window = opened(masked[0])[0]
    sample = {
        "frames": window["frames"][[0, 2], :72, :72],
        "target": window["frames"][1, :72, :72],
        "t": np.float32(0.5),
    }
    sample["masks"] = window["masks"][:, :72]
    decision = Decision(True, True, False, True, 1, False)
    moved = transform(sample, decision)["masks"]
    np.testing.assert_array_equal(moved, np.rot90(sample["masks"][::-1], -1))


def test_wrong_masks_are_one_line(masked, tmp_path):
    root, weights = masked
    assert shell("prepare", "masks", root, "--weights", weights, "--keep-rate", "0.5") == 0  # nothing to do
    with pytest.raises(UsageError, match="holds labels with other settings"):
        masks.write_masks(str(root), weights=weights, keep_rate=0.4)
    source = sources.open_source(str(root), 3)
    with pytest.raises(UserError, match=r"no masks: run `vfi-jax prepare masks"):
        with_masks(source, tmp_path, masks.UNCERTAINTY, TRIPLET)
    with pytest.raises(UsageError, match=r"config\.data\.window must say the same"):
        with_masks(source, root, masks.UNCERTAINTY, Window(5, (0, 4), 2))


@pytest.mark.slow
def test_a_run_follows_masks(masked, tmp_path):
    """Stage 2 on a set with masks, two steps per epoch."""
    root, _ = masked
    recipe = Train(
        model="ugsp",
        fields=NARROW,
        steps=6,
        batch_size=2,
        data=Data(
            path=str(root),
            validation=str(root),
            masks=masks.UNCERTAINTY,
            window=TRIPLET,
            augment=Augment(crop=64, transpose=0.5),
        ),
        log_every=1,
        checkpoint_every=6,
        validate_every=6,
        validate_at_start=False,
        validation_samples=1,
    )
    fit.fit(recipe, tmp_path, log=quiet)
    rows = [row for row in read_log(tmp_path) if "loss/guidance" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    # Epochs of two steps: below 0 in the first, 0 in the second.
    assert [np.sign(row["loss/guidance"]) for row in rows] == [-1, -1, 0, 0, 1, 1]


RECIPE = Train(model="ugsp", steps=1, batch_size=8, data=Data(window=TRIPLET))


def test_recipes_and_masks_fit():
    masked = dataclasses.replace(RECIPE, data=dataclasses.replace(RECIPE.data, masks=masks.UNCERTAINTY))
    checks.check(masked, vfi_jax.MODELS["ugsp"])
    checks.check(dataclasses.replace(RECIPE, loss={"guidance_weight": 0.0}), vfi_jax.MODELS["ugsp"])
    with pytest.raises(UsageError, match=r"data\.masks is empty: ugsp is trained with the masks of `vfi-jax prepare"):
        checks.check(RECIPE, vfi_jax.MODELS["ugsp"])
    with pytest.raises(UsageError, match="cain takes no label masks"):
        checks.check(dataclasses.replace(masked, model="cain"), vfi_jax.MODELS["cain"])
