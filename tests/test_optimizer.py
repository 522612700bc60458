"""Rates over time, the optimizer, and which steps it takes."""

import dataclasses
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from parity import ops

from vfi_jax.config import Milestones, Optimizer, Plateau, Train, parse
from vfi_jax.errors import UsageError
from vfi_jax.training.optimizer import make_optimizer, make_schedule, observe, plateau_factor


def test_published_schedule():
    stored = ops("ops_rife", "lr_schedule")
    schedule = make_schedule(Optimizer(rate=3e-4, final_rate=3e-6, warmup=2000), 300 * 761, 761)
    rates = [float(schedule(step)) for step in stored["steps"]]
    # optax computes in float32, and cos near pi loses digits of what is left.
    assert rates == pytest.approx(stored["lr"].tolist(), rel=1e-4, abs=1e-12)


def test_published_schedule_of_ifrnet():
    stored = ops("ops_ifrnet", "lr")
    schedule = make_schedule(Optimizer(rate=1e-4, final_rate=1e-5), int(stored["total"]), 2137)
    rates = [float(schedule(step)) for step in stored["iteration"] if step <= stored["total"]]
    assert rates == pytest.approx(stored["lr"][stored["iteration"] <= stored["total"]].tolist(), rel=1e-4)


@pytest.mark.parametrize(("case", "epochs"), [("lr_core_2x", (108, 133)), ("lr_core_8x", (78, 118, 158))])
def test_published_milestones_of_dbvi(case, epochs):
    stored, epoch = ops("ops_dbvi", "losses")[case], 7
    config = Optimizer(rate=5e-4, final_rate=5e-4, milestones=Milestones(epochs, 0.4))
    schedule = make_schedule(config, len(stored) * epoch, epoch)
    for first, wanted in enumerate(stored):
        ends = [float(schedule(step)) for step in (first * epoch, first * epoch + epoch - 1)]
        assert ends == pytest.approx([wanted, wanted], rel=1e-6)


def test_published_milestones_of_vfit():
    """Each with a factor of its own."""
    falls = Milestones((40, 60, 75, 85, 95), factors=(0.5, 0.5, 0.5, 0.2, 0.2))
    schedule = make_schedule(Optimizer(2e-4, 2e-4, milestones=falls), 200, 2)
    rates = [float(schedule(2 * epoch)) for epoch in (0, 40, 60, 75, 85, 95)]
    assert rates == pytest.approx([2e-4, 1e-4, 5e-5, 2.5e-5, 5e-6, 1e-6], rel=1e-5)


def stepped(config, gradients, losses, params):
    """Parameters after each step of the optimizer."""
    transform = make_optimizer(config, len(losses), len(losses))
    state, found = transform.init(params), []
    for loss in losses:
        updates, state = transform.update(gradients, state, params, value=jnp.float32(loss))
        params = optax.apply_updates(params, updates)
        found.append(params)
    return found


def test_adam_is_the_textbook_one():
    """With another second moment, learning rates by the parameter's path, and a gradient that is always zero."""
    config = Optimizer(0.1, 0.1, beta2=0.99, weight_decay=0.0, rate_factors={"mapping": 0.01})
    gradients = {"mapping_0": {"kernel": jnp.float32(0.5)}, "head": jnp.float32(0.5), "idle": jnp.float32(0)}
    params = jax.tree.map(jnp.ones_like, gradients)
    head, first, second = 1.0, 0.0, 0.0
    for count, found in enumerate(stepped(config, gradients, [1, 1, 1], params), 1):
        first, second = 0.9 * first + 0.1 * 0.5, 0.99 * second + 0.01 * 0.5**2
        head -= 0.1 * first / (1 - 0.9**count) / ((second / (1 - 0.99**count)) ** 0.5 + 1e-8)
        assert float(found["head"]) == pytest.approx(head, rel=1e-5)
        assert float(found["mapping_0"]["kernel"]) == pytest.approx(1 + 0.01 * (head - 1), rel=1e-5)
        assert float(found["idle"]) == 1
    with pytest.raises(UsageError, match="no parameter's path has 'maping' in it"):
        make_optimizer(Optimizer(rate_factors={"maping": 0.01}), 1, 1).init(params)


def test_adamax_is_the_textbook_one():
    """PyTorch's: the second moment is the larger of the decayed one and the gradient's size."""
    config = Optimizer(0.1, 0.1, weight_decay=0.0, method="adamax")
    transform, param = make_optimizer(config, 3, 3), jnp.float32(1)
    state, wanted, first, most = transform.init(param), 1.0, 0.0, 0.0
    for count, gradient in enumerate((0.5, -0.1, 0.2), 1):
        update, state = transform.update(jnp.float32(gradient), state, param, value=jnp.float32(1))
        param += update
        first, most = 0.9 * first + 0.1 * gradient, max(0.999 * most, abs(gradient) + 1e-8)
        wanted -= 0.1 / (1 - 0.9**count) * first / most
        assert float(param) == pytest.approx(wanted, rel=1e-5)


def test_a_loss_far_above_the_first_is_skipped():
    """As if the step had not been; CAIN's rule."""
    config, params = Optimizer(0.1, 0.1, skip_above=10), {"a": jnp.float32(1), "b": jnp.ones(3)}
    gradients = jax.tree.map(lambda leaf: 0.3 * leaf, params)
    found = stepped(config, gradients, [0.2, 0.1, 2.01, 1.99], params)
    plain = stepped(dataclasses.replace(config, skip_above=0), gradients, [0, 0, 0], params)
    jax.tree.map(np.testing.assert_array_equal, found, [*plain[:2], plain[1], plain[2]])


def test_the_first_loss_is_the_first_that_is_a_number():
    config, params = Optimizer(0.1, 0.1, skip_above=10), {"a": jnp.float32(1)}
    found = stepped(config, {"a": jnp.float32(0.3)}, [np.nan, np.inf, 0.2, 2.01, 1.99], params)
    moved = [float(a["a"] - b["a"]) for a, b in zip(found, [params, *found], strict=False)]
    assert [move != 0 for move in moved] == [True, True, True, False, True]


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "configs").glob("*.py")), ids=lambda p: p.stem)
def test_no_recipe_starts_with_nan(path):
    """Processes of one run compare their states before it starts, and NaN does not equal itself."""
    recipe = parse(Train, runpy.run_path(str(path))["get_config"]().to_dict())
    config = dataclasses.replace(recipe.optimizer, clip_norm=1.0)
    state = make_optimizer(config, 10, 10).init({f"{name}x": jnp.ones(2) for name in ("", *config.rate_factors)})
    assert not any(np.isnan(leaf).any() for leaf in jax.tree.leaves(state))


def test_options_that_are_off_leave_the_state_as_it_was():
    params = {"a": jnp.ones(3)}
    theirs = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.constant_schedule(1e-3))).init(params)
    ours = make_optimizer(Optimizer(clip_norm=1.0), 10, 10).init(params)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)


@pytest.mark.parametrize("seed", range(4))
def test_plateaus_are_those_of_pytorch(seed):
    """Its rule in plain words: after more than `patience` losses in a row that are not 1e-4 better, the rate falls."""
    config = Plateau(factor=0.5, patience=2)
    transform = make_optimizer(Optimizer(1.0, 1.0, plateau=config, weight_decay=0.0), 100, 100)
    params = {"a": jnp.ones(2)}
    state = transform.init(params)
    rate, best, bad = 1.0, float("inf"), 0
    falling = 0.02 * np.exp(np.random.default_rng(seed).normal(-0.02 * np.arange(60), 0.2))
    creeping = falling.min() * (1 - 2e-5 * np.arange(1, 5))  # better, but by less than 1e-4
    losses = np.concatenate([falling, creeping])
    for loss in losses.tolist():
        state = observe(state, loss, config)
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > 2:
            rate, bad = 0.5 * rate, 0
        assert plateau_factor(state) == rate
    assert rate < 0.1
    updates, _ = transform.update({"a": jnp.ones(2)}, state, params, value=jnp.float32(1))
    assert np.asarray(updates["a"]) == pytest.approx(-rate, rel=1e-4)  # Adam's first step is as long as the rate


def test_decay_is_on_every_parameter():
    transform = make_optimizer(Optimizer(rate=0.1, weight_decay=0.5), 10, 10)
    params = {"bias": jnp.ones(3), "weight": jnp.ones((2, 2))}
    updates, _ = transform.update(jax.tree.map(jnp.zeros_like, params), transform.init(params), params, value=0.0)
    for update in jax.tree.leaves(updates):
        assert np.asarray(update) == pytest.approx(-0.1 * 0.5, rel=1e-6)


def test_frozen_parameters_stay_and_do_not_count_in_the_norm():
    """Weight decay does not move them either; the others are clipped as if they were alone."""
    params = {"encoder": {"kernel": jnp.float32(2)}, "head": {"kernel": jnp.float32(1)}}
    gradients = {"encoder": {"kernel": jnp.float32(1e6)}, "head": {"kernel": jnp.float32(1e-4)}}
    config = Optimizer(0.1, 0.1, weight_decay=0.1, clip_norm=1.0, freeze=("^encoder/",))
    frozen = stepped(config, gradients, [1.0, 1.0], params)
    assert [float(step["encoder"]["kernel"]) for step in frozen] == [2, 2]
    alone = stepped(
        dataclasses.replace(config, freeze=()), {"head": gradients["head"]}, [1.0] * 2, {"head": params["head"]}
    )
    assert [step["head"] for step in frozen] == [step["head"] for step in alone]
    with pytest.raises(UsageError, match=r"freeze: no parameter's path has 'decoder' in it"):
        make_optimizer(dataclasses.replace(config, freeze=("decoder",)), 1, 1).init(params)
    with pytest.raises(UsageError, match="no parameter is left to train"):
        make_optimizer(dataclasses.replace(config, freeze=("kernel",)), 1, 1).init(params)
