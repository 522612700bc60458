"""Recipes: every name and type is checked, and every file in configs/ is one."""

import importlib.util
import json
from pathlib import Path

import pytest

from vfi_jax import config
from vfi_jax.config import Augment, Milestones, Optimizer, Plateau, Train, Window
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError
from vfi_jax.models import registry

RECIPES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
VARIANTS = {
    "cain_vimeo90k": ("default", "overfit", "smoke"),
    "dbvi_gopro": ("default", "smoke", "x4k"),
    "dbvi_vimeo90k_septuplet": ("default", "overfit", "smoke"),
    "ifrnet_gopro": ("default", "smoke"),
    "ifrnet_vimeo90k": ("default", "overfit", "smoke"),
    "rife_footage": ("default", "scratch", "smoke"),
    "rife_lap": ("default", "first", "second", "third", "fourth", "smoke"),
    "rife_lap_s": ("default", "first", "second", "third", "fourth", "smoke"),
}


def recipe(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_complete(path):
    module = recipe(path)
    assert "train.py --config" in module.__doc__
    for variant in VARIANTS.get(path.stem, ("default", "paper", "smoke")):
        run = config.parse(Train, module.get_config(variant).to_dict())
        assert run.validate_every % run.checkpoint_every == 0
        assert bool(run.steps) != bool(run.epochs)
        assert registry.spec_of(run.model)
        assert config.parse(Train, json.loads(json.dumps(config.as_dict(run)))) == run
    with pytest.raises(ValueError, match="no variant"):
        module.get_config("smokey")


def test_published_figures_of_rife():
    run = config.parse(Train, recipe(RECIPES[0].with_name("rife_vimeo90k.py")).get_config().to_dict())
    assert (run.epochs, run.batch_size, run.data.augment.crop) == (300, 64, 224)
    assert (run.optimizer.rate, run.optimizer.final_rate, run.optimizer.weight_decay) == (3e-4, 3e-6, 1e-3)


def test_published_figures_of_ifrnet_and_cain():
    read = lambda name: config.parse(Train, recipe(RECIPES[0].with_name(name)).get_config().to_dict())  # noqa: E731
    ifrnet, gopro, cain = map(read, ("ifrnet_vimeo90k.py", "ifrnet_gopro.py", "cain_vimeo90k.py"))
    chances = Augment(224, 0.5, 0.3, 0.5, 0.5, 0.0, enlarge=0.1, transpose=0.05)
    assert ifrnet.data.augment == gopro.data.augment == chances
    assert (ifrnet.epochs, ifrnet.batch_size, gopro.batch_size) == (300, 24, 2 * 4 * 7)
    assert ifrnet.optimizer == gopro.optimizer == Optimizer(rate=1e-4, final_rate=1e-5, weight_decay=0.0)
    assert cain.data.augment == Augment(256, 0.0, 0.5, 0.5, 0.5, 0.0, jitter=0.05)
    assert (cain.epochs, cain.batch_size) == (200, 16)
    assert cain.optimizer == Optimizer(
        2e-4, 2e-4, plateau=Plateau(0.5, 5), beta2=0.99, weight_decay=0.0, clip_norm=0.1, skip_above=10.0
    )


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"model": "rife", "stpes": 3}, "config has no 'stpes'; did you mean 'steps'?"),
        (
            {"model": "rife", "data": {"window": {"frmes": 3}}},
            "config.data.window has no 'frmes'; did you mean 'frames'?",
        ),
        ({"model": "rife", "batch_size": "8"}, "config.batch_size must be int, not '8' (str)"),
        ({"model": "rife", "batch_size": 8.5}, "config.batch_size must be int, not 8.5 (float)"),
        ({"model": "rife", "tensorboard": 1}, "config.tensorboard must be bool, not 1 (int)"),
        ({"model": "rife", "extra_losses": {"l1": "much"}}, "config.extra_losses.l1 must be float, not 'much' (str)"),
        ({"model": "rife", "data": 3}, "config.data must be Data, not 3 (int)"),
        ({}, "config lacks 'model'"),
    ],
)
def test_typos_and_wrong_types(values, line):
    with pytest.raises(UsageError) as caught:
        config.parse(Train, values)
    assert str(caught.value) == line


def test_whole_numbers_and_lists_are_taken_as_what_is_wanted():
    falls = {"milestones": {"epochs": [108, 133], "factor": 0.4}, "rate_factors": {"mapping": 1}}
    run = config.parse(Train, {"model": "rife", "ema": 0, "data": {"window": {"inputs": [0, 2]}}, "optimizer": falls})
    assert isinstance(run.ema, float)
    assert run.data.window.inputs == (0, 2)
    assert run.optimizer.milestones.epochs == (108, 133)
    assert isinstance(run.optimizer.rate_factors["mapping"], float)


def test_published_figures_of_dbvi():
    def read(name, *variant):
        return config.parse(Train, recipe(RECIPES[0].with_name(name)).get_config(*variant).to_dict())

    twice, eight, x4k = read("dbvi_vimeo90k_septuplet.py"), read("dbvi_gopro.py"), read("dbvi_gopro.py", "x4k")
    assert (twice.batch_size, twice.data.augment.crop, twice.data.window) == (32, 256, Window(7, (0, 2, 4, 6), 3))
    assert (eight.batch_size, eight.data.augment.crop) == (16, 512)
    assert sorted(set(frame_selections(eight.data.window)[1].tolist())) == list(range(9, 16))
    assert sorted(set(frame_selections(x4k.data.window)[1].tolist())) == list(range(18, 31, 2))
    for run, epochs in ((twice, (108, 133)), (eight, (78, 118, 158))):
        assert run.optimizer == Optimizer(
            5e-4, 5e-4, milestones=Milestones(epochs, 0.4), rate_factors={"mapping": 0.01}, weight_decay=0.0
        )
        weights = registry.spec_of(run.model).loss_config.weights
        assert (tuple(run.loss["weights"]), run.fields["steps"]) == (weights, len(weights))
