"""Recipes: every name and type is checked, and every file in configs/ is one."""

import importlib.util
import json
from pathlib import Path

import pytest

from vfi_jax import config, zoo
from vfi_jax.config import Train
from vfi_jax.types import UsageError

RECIPES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
VARIANTS = {"rife_footage": ("default", "scratch", "smoke")}


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
        assert zoo.spec_of(run.model)
        assert config.parse(Train, json.loads(json.dumps(config.as_dict(run)))) == run
    with pytest.raises(ValueError, match="no variant"):
        module.get_config("smokey")


def test_published_figures_of_rife():
    run = config.parse(Train, recipe(RECIPES[0].with_name("rife_vimeo90k.py")).get_config().to_dict())
    assert (run.epochs, run.batch_size, run.data.augment.crop) == (300, 64, 224)
    assert (run.optimiser.rate, run.optimiser.final_rate, run.optimiser.weight_decay) == (3e-4, 3e-6, 1e-3)


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
    run = config.parse(Train, {"model": "rife", "ema": 0, "data": {"window": {"inputs": [0, 2]}}})
    assert isinstance(run.ema, float)
    assert run.data.window.inputs == (0, 2)
