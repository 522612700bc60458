"""Recipes: every field has a flag, every name, type and bound is checked, and every file in configs/ is one."""

import dataclasses
import functools
import importlib.util
import json
import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from hypothesis import given, settings
from hypothesis import strategies as st

from vfi_jax import config
from vfi_jax.config import Augment, Footage, Milestones, Mix, Optimizer, Plateau, Train, Window
from vfi_jax.data.windows import frame_selections
from vfi_jax.errors import UsageError
from vfi_jax.models import registry
from vfi_jax.system import strict_json

pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")  # of ml_collections

RECIPES = sorted((Path(__file__).parent.parent / "configs").glob("*.py"))
VARIANTS = {
    "amt_g": ("default", "smoke"),
    "amt_l": ("default", "smoke"),
    "amt_s": ("default", "gopro", "overfit", "smoke"),
    "cain_vimeo90k": ("default", "overfit", "smoke"),
    "cspa_vimeo90k": ("default", "l1", "overfit", "plain", "smoke"),
    "dbvi_gopro": ("default", "smoke", "x4k"),
    "dbvi_vimeo90k_septuplet": ("default", "overfit", "smoke"),
    "ema_vfi_vimeo90k": ("default", "overfit", "smoke"),
    "ema_vfi_vimeo90k_septuplet": ("default", "clearer", "smoke"),
    "d_amt_s": ("default", "overfit", "smoke"),
    "d_ema_vfi": ("default", "overfit", "smoke"),
    "d_ifrnet": ("default", "overfit", "smoke"),
    "d_rife": ("default", "overfit", "smoke"),
    "dr_rife": ("default", "overfit", "smoke"),
    "ifrnet_gopro": ("default", "smoke"),
    "ifrnet_regions": ("default", "smoke"),
    "ifrnet_vimeo90k": ("default", "overfit", "smoke"),
    "ugsp": ("default", "distill", "overfit", "refine", "smoke"),
    "ugsp_uncertainty": ("default", "overfit", "smoke"),
    "vfit_vimeo90k_septuplet": ("default", "overfit", "smoke"),
    "rife_footage": ("default", "scratch", "smoke"),
    "rife_lap": ("default", "first", "second", "third", "fourth", "smoke"),
    "rife_lap_s": ("default", "first", "second", "third", "fourth", "smoke"),
}


def imported(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(name, variant="default"):
    return config.parse(Train, imported(RECIPES[0].with_name(name)).get_config(variant).to_dict())


def parsed(train, *arguments):
    """The recipe that train.py makes of its arguments."""
    values = flags.FlagValues()
    train.parse_flags(["train.py", f"--config={RECIPES[0].with_name('rife_footage.py')}", *arguments], values)
    return config.parse(Train, values.config.to_dict())


def changes(kind, prefix=""):
    """Path of every field, a value that differs from all defaults, and what a flag says for it."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        path, hint = prefix + field.name, hints[field.name]
        if dataclasses.is_dataclass(hint):
            yield from changes(hint, f"{path}.")
        elif typing.get_origin(hint) is Mapping:
            value = {float: 0.25, str: "a-b.c", typing.Any: (4, 5)}[typing.get_args(hint)[1]]
            yield f"{path}.package.module:NAME/0", value, str(value)
        elif hint == tuple[Mix, ...]:
            yield path, (Mix("other", 0.125),), "({'path': 'other', 'share': 0.125},)"
        else:
            values = {bool: field.default is False, int: 77, float: 0.4375, str: "a-b.c", tuple[int, ...]: (4, 5)}
            values[tuple[float, ...]] = (0.5, 0.25)
            value = (values | {tuple[str, ...]: ("a-b.c",)})[hint]
            yield path, value, str(value)


def test_every_field_has_a_flag(train):
    """Nested ones and keys of mappings too, all at once and spelled as a shell has them."""
    wanted = list(changes(Train))
    run = parsed(train, *(f"--config.{path}={text}" for path, _, text in wanted))
    assert len(wanted) > 60
    for path, value, _ in wanted:
        outer, _, key = path.partition(".package")
        found = functools.reduce(getattr, outer.split("."), run)
        assert (found["package" + key] if key else found) == value, path


def test_flags_of_mappings(train):
    run = parsed(train, "--config.optimizer.rate_factors.block0/=0.5", "--config.extra_losses.l1=1")
    assert run.optimizer.rate_factors == {"block0/": 0.5, "block1/": 0.0, "block2/": 0.0}
    assert run.extra_losses == {"charbonnier": 1.0, "psnr": 0.02, "l1": 1.0}
    assert parsed(train, "--config.optimizer.rate_factors={}").optimizer.rate_factors == {}
    assert parsed(train, "--config.fields.widths=(8, 8)").fields == {"widths": (8, 8)}


@pytest.mark.parametrize(
    ("flag", "line"),
    [
        ("stpes=3", "config has no 'stpes'; did you mean 'steps'?"),
        ("dta.path=clips", "config has no 'dta'; did you mean 'data'?"),
        ("data.window.frmes", "config.data.window has no 'frmes'; did you mean 'frames'?"),
        ("steps.x=3", "config.steps has no 'x': it is a single value"),
        ("steps=many", "flag --config.steps=many: invalid literal for int() with base 10: 'many'"),
        ("data.window=3", "flag --config.data.window=3: Failed to parse '3' as a ConfigDict: `3` is not a dict."),
    ],
)
def test_wrong_flags(train, capsys, flag, line):
    with pytest.raises(SystemExit) as caught:
        parsed(train, f"--config.{flag}")
    assert (caught.value.code, capsys.readouterr().err) == (2, f"train.py: {line} (see train.py --help)\n")


def test_unknown_variants_are_one_line(train, capsys):
    with pytest.raises(SystemExit):
        train.parse_flags(["train.py", f"--config={RECIPES[0]}:smokey"], flags.FlagValues())
    variants = ", ".join(VARIANTS[RECIPES[0].stem])
    assert capsys.readouterr().err == f"train.py: no variant 'smokey': there are {variants} (see train.py --help)\n"


def test_variants_change_nested_fields_and_replace_mappings():
    recipe = config.defaults(model="rife", optimizer={"rate": 1.0, "warmup": 3, "rate_factors": {"a": 1.0}})
    changed = config.vary(recipe, "b", b={"optimizer": {"rate": 2.0, "rate_factors": {"b": 2.0}}})
    assert config.parse(Train, changed.to_dict()) == Train(
        "rife", optimizer=Optimizer(2.0, warmup=3, rate_factors={"b": 2.0})
    )
    assert config.vary(recipe, "default", b={}) is recipe
    with pytest.raises(UsageError, match=r"config\.optimizer has no 'rte'; did you mean 'rate'"):
        config.vary(recipe, "b", b={"optimizer": {"rte": 2.0}})


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"batch_size": 0}, "--config.batch_size is 0: 1 or more is needed"),
        ({"ema": 1.5}, "--config.ema is 1.5: a number from 0 to 1 is needed"),
        ({"ema": float("nan")}, "--config.ema is nan: a number from 0 to 1 is needed"),
        (
            {"optimizer": Optimizer(milestones=Milestones((3, 0)))},
            "--config.optimizer.milestones.epochs is (3, 0): 1 or",
        ),
        (
            {"optimizer": Optimizer(rate_factors={"a": -1.0})},
            "--config.optimizer.rate_factors is {'a': -1.0}: 0 or more",
        ),
    ],
)
def test_bounds(change, line):
    with pytest.raises(UsageError) as caught:
        config.check_bounds(Train("rife", **change))
    assert str(caught.value).startswith(line)


def test_bounds_name_the_option_of_another_command():
    with pytest.raises(UsageError, match=r"^--short_side is -1: 0 or more is needed$"):
        config.check_bounds(Footage(short_side=-1), "--{}".format)


def test_defaults_lie_within_their_bounds():
    for kind in (Train("rife"), config.Scenes(), Footage()):
        config.check_bounds(kind)


TEXT = st.text(max_size=8)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
VALUES = {int: st.integers(0, 2**40), float: st.floats(), bool: st.booleans(), str: TEXT, typing.Any: ANY}


@functools.cache
def any_value(hint):
    """Values of a field's type as a recipe spells them, whatever its bounds; not all numbers are finite."""
    if dataclasses.is_dataclass(hint):
        return st.fixed_dictionaries({name: any_value(inner) for name, inner in typing.get_type_hints(hint).items()})
    if typing.get_origin(hint) is tuple:
        return st.lists(any_value(typing.get_args(hint)[0]), max_size=2).map(tuple)
    if typing.get_origin(hint) is Mapping:
        return st.dictionaries(TEXT, any_value(typing.get_args(hint)[1]), max_size=2)
    return VALUES[hint]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_not_refused_is_read_as_it_was_written(data):
    """Every field: the saved config is strict JSON, and the recipe that it gives is that of the run."""
    hints = typing.get_type_hints(Train)
    names = data.draw(st.lists(st.sampled_from(sorted(hints)), max_size=3, unique=True))
    values = {name: data.draw(any_value(hints[name]), name) for name in names}
    run = config.parse(Train, {"model": "rife", **values})
    try:
        config.check_bounds(run)
    except UsageError:
        return
    assert config.parse(Train, json.loads(strict_json.dumps(config.as_dict(run)))) == run


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"extra_losses": {"l1": float("inf")}}, "extra_losses"),
        ({"fields": {"scale": float("nan")}}, "fields"),
        ({"loss": {"weights": ((1.0, float("-inf")),)}}, "loss"),
        ({"fields": {"scale": np.float32(1)}}, "fields"),
        ({"fields": {"widths": {3: 4}}}, "fields"),
        ({"data": config.Data(mix=(Mix("other", float("nan")),))}, "data.mix"),
    ],
)
def test_values_that_a_saved_config_could_not_hold(change, name):
    with pytest.raises(UsageError, match=rf"^--config\.{name} is .*: a config holds finite numbers, text"):
        config.check_bounds(Train("rife", **change))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_are_complete(path):
    module = imported(path)
    assert "train.py --config" in module.__doc__
    for variant in VARIANTS.get(path.stem, ("default", "paper", "smoke")):
        run = config.parse(Train, module.get_config(variant).to_dict())
        config.check_bounds(run)
        assert run.validate_every % run.checkpoint_every == 0
        assert bool(run.steps) != bool(run.epochs)
        assert registry.spec_of(run.model)
        assert config.parse(Train, json.loads(json.dumps(config.as_dict(run)))) == run
    with pytest.raises(ValueError, match="no variant"):
        module.get_config("smokey")


def test_published_figures_of_rife():
    run = read("rife_vimeo90k.py")
    assert (run.epochs, run.batch_size, run.data.augment.crop) == (300, 64, 224)
    assert (run.optimizer.rate, run.optimizer.final_rate, run.optimizer.weight_decay) == (3e-4, 3e-6, 1e-3)


def test_published_figures_of_ifrnet_and_cain():
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


def test_published_figures_of_ema_vfi():
    triplets, septuplets = map(read, ("ema_vfi_vimeo90k.py", "ema_vfi_vimeo90k_septuplet.py"))
    assert triplets.data.augment == septuplets.data.augment == Augment(256, 0.5, 0.5, 0.5, 0.5, 0.75)
    assert (triplets.epochs, triplets.batch_size, triplets.seed, triplets.loss) == (
        300,
        32,
        1234,
        {"merged_weight": 0.5},
    )
    assert triplets.optimizer == septuplets.optimizer == Optimizer(2e-4, 2e-5, warmup=2000, weight_decay=1e-4)


def test_published_figures_of_vfit():
    run = read("vfit_vimeo90k_septuplet.py")
    assert (run.epochs, run.batch_size, run.seed, run.data.window) == (100, 4, 103, Window(7, (0, 2, 4, 6), 3))
    assert run.data.augment == Augment(256, 0.0, 0.5, 0.5, 0.5, 0.0)
    falls = Milestones((40, 60, 75, 85, 95), factors=(0.5, 0.5, 0.5, 0.2, 0.2))
    assert run.optimizer == Optimizer(2e-4, 2e-4, milestones=falls, weight_decay=0.0, method="adamax")


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
