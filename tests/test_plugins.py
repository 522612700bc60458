"""A model, a loss, a metric and a source of data of another package, by reference and by entry point."""

import dataclasses
import importlib
import subprocess
import sys

import clips
import jax
import numpy as np
import pytest
from tiny_runs import RECIPE, ROOT, RUN, quiet

import vfi_jax
from vfi_jax import config, losses
from vfi_jax.cli import main as cli_main
from vfi_jax.data import sources
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation import evaluate
from vfi_jax.evaluation.extra_metrics import load_metric
from vfi_jax.models import ModelSpec
from vfi_jax.models.registry import spec_of
from vfi_jax.system.plugins import load_object, named_entry_points
from vfi_jax.training import fit
from vfi_jax.training.data import open_data

SOURCE = '''
"""A package of somebody else."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from vfi_jax.models.spec import ModelSpec, Published, TorchRules
from vfi_jax.nn import Conv
from vfi_jax.ops.pad import Padding
from vfi_jax.types import LossAux, Output


class Blend(nn.Module):
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True
    dtype: object = jnp.float32

    def setup(self):
        self.conv = Conv(3, dtype=self.dtype)

    def __call__(self, frames, t):
        merged = (1 - t) * frames[:, 0] + t * frames[:, 1]
        residual = self.conv(jnp.concatenate([frames[:, 0], frames[:, 1]], -1)).astype(jnp.float32)
        return Output(merged + residual, merged=merged, residual=residual)


def loss(model, variables, batch, config, *, step, rng):
    frame = model.apply(variables, batch["frames"], batch["t"]).frame
    total = jnp.abs(frame - batch["target"]).mean()
    return total, LossAux({"reconstruction": total}, frame)


BLEND = ModelSpec(
    kind="interpolation",
    module=Blend,
    config={},
    num_frames=2,
    any_time=True,
    padding=Padding(1),
    params=165,
    params_inference=165,
    gmac=0.1,
    loss=loss,
    torch_rules=TorchRules((), ((r"weight$", "conv"),)),
    published=Published("-", "MIT", "rgb"),
)


def squares(frame, target):
    return ((frame - target) ** 2).mean()


def worst_error(frame, truth):
    return np.abs(np.asarray(frame, np.float64) - truth).max((1, 2, 3))


@dataclasses.dataclass(frozen=True)
class Ramps:
    names: tuple = tuple(f"ramp/{number}" for number in range(12))
    has_own_split: bool = False
    by_clip: bool = False

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        window = np.arange(3 * 64 * 64 * 3).reshape(3, 64, 64, 3) // 64 + int(index)
        return {"frames": (window % 256).astype(np.uint8), "name": self.names[index]}


RAMPS = Ramps()


def ramps(argument, *, length, step, listed):
    return Ramps(tuple(f"{listed}/{number}" for number in range(int(argument or 12))))


def nothing(argument, **options):
    return [argument]


ENTRIES = [1, 2]
'''
ENTRY_POINTS = """
[vfi_jax.models]
blend = PACKAGE.parts:BLEND

[vfi_jax.losses]
squares = PACKAGE.parts:squares

[vfi_jax.metrics]
worst = PACKAGE.parts:worst_error

[vfi_jax.sources]
ramps = PACKAGE.parts:ramps
"""


def install(folder, package, source=SOURCE, entry_points=ENTRY_POINTS):
    """Writes a package as pip installs it: the module, and beside it the metadata with its entry points."""
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    (folder / package / "parts.py").write_text(source)
    information = folder / f"{package}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(entry_points.replace("PACKAGE", package))


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on `sys.path`, of the test's own; modules imported from it are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def package(site):
    """The name of an installed package with a model `blend`, a loss `squares`, a metric `worst`, a source `ramps`."""
    install(site, "outside")
    return "outside"


@pytest.mark.parametrize("name", ["blend", "outside.parts:BLEND"])
def test_a_model_from_outside(package, name, tmp_path):
    """Created, applied, interpolated, saved, loaded."""
    model, variables = vfi_jax.create(name, seed=3)
    assert model.variant == name
    assert sum(leaf.size for leaf in jax.tree.leaves(variables)) == spec_of(name).params
    frames = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    frame = vfi_jax.Interpolator(model, variables)(*frames, t=0.25)
    expected = np.clip(model.apply(variables, frames[None], 0.25).frame[0], 0, 1)
    np.testing.assert_allclose(frame, expected, atol=1e-6)
    vfi_jax.save(tmp_path / "blend.safetensors", model, variables)
    again, loaded = vfi_jax.load(name, tmp_path / "blend.safetensors")
    assert again == model
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded, variables))
    evaluated = evaluate.load_model(f"{name}={tmp_path / 'blend.safetensors'}")
    assert evaluated.label == f"{name.rpartition(':')[2]}-blend"
    assert evaluated.about["model"] == name


def test_the_shell_takes_a_model_from_outside(package, tmp_path, weights_folder):
    name = "outside.parts:BLEND"
    vfi_jax.save(tmp_path / "blend.safetensors", *vfi_jax.create(name, seed=3))
    clips.make_clip(tmp_path / "in.mp4", frames=2)
    assert cli_main.main(["convert", "--model", name, "--weights", str(tmp_path / "blend.safetensors")]) == 0
    command = ["interpolate", str(tmp_path / "in.mp4"), "-o", str(tmp_path / "out.mp4"), "--model", name]
    assert cli_main.main(command) == 0
    assert len(clips.pictures(tmp_path / "out.mp4")) == 3
    assert cli_main.main([*command, "--overwrite", "--weights", str(tmp_path / "blend.safetensors")]) == 0


def test_a_run_of_a_model_from_outside(package, tmp_path):
    run = dataclasses.replace(RUN, model="outside.parts:BLEND", fields={}, steps=2, validate_every=2)
    fit.fit(run, tmp_path / "run", quiet)
    model, variables = vfi_jax.load(run.model, tmp_path / "run")
    fresh = vfi_jax.create(run.model, seed=run.seed)[1]
    assert model.variant == run.model
    assert not np.array_equal(variables["params"]["conv"]["weight"], fresh["params"]["conv"]["weight"])


@pytest.mark.slow
def test_the_command_takes_a_model_from_outside(package, site, tmp_path):
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE.format(values=config.as_dict(dataclasses.replace(RUN, fields={}, steps=2))))
    arguments = [f"--config={recipe}", "--config.model=outside.parts:BLEND", f"--workdir={tmp_path / 'run'}"]
    environment = {"PYTHONPATH": f"{site}:{ROOT}", "JAX_PLATFORMS": "cpu", "PATH": ""}
    subprocess.run([sys.executable, "train.py", *arguments], cwd=ROOT, env=environment, check=True)
    assert vfi_jax.load("outside.parts:BLEND", tmp_path / "run")[0].variant == "outside.parts:BLEND"


def test_a_loss_from_outside(package):
    images = np.random.default_rng(0).random((2, 1, 16, 16, 3), np.float32)
    for name in ("squares", "outside.parts:squares"):
        assert losses.RECONSTRUCTION[name](*images) == pytest.approx(((images[0] - images[1]) ** 2).mean())


def test_a_metric_from_outside(package):
    frame, truth = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 7, np.uint8)
    for reference, name in (("worst", "worst"), ("outside.parts:worst_error", "worst_error")):
        metric = load_metric(reference)
        assert {name: [7, 7]} == {key: list(values) for key, values in metric.function(frame, truth, frame).items()}


@pytest.mark.parametrize(
    ("path", "count"),
    [("outside.parts:RAMPS", 12), ("outside.parts:ramps", 12), ("outside.parts:ramps?5", 5), ("ramps?7", 7)],
)
def test_a_source_from_outside(package, path, count):
    source = sources.open_source(path, 3)
    assert isinstance(source, sources.Source)
    assert len(source) == count
    assert source[1]["frames"].shape == (3, 64, 64, 3)


def test_a_run_with_a_source_from_outside(package, tmp_path):
    """With a mix and a validation set from outside, whose factory is asked for the test list."""
    data = config.Data(
        path="ramps?16", mix=(config.Mix("outside.parts:RAMPS", 0.5),), validation="ramps?4",
        augment=dataclasses.replace(RUN.data.augment, crop=32),
    )  # fmt: skip
    run = dataclasses.replace(RUN, data=data)
    opened = open_data(run, tmp_path / "run", labeled_validation=False)
    names = {str(name).partition("/")[0] for _ in range(2) for name in next(opened.batches)["name"]}
    assert names == {"train", "ramp"}
    assert {str(name) for batch in opened.validation() for name in batch["name"]} <= {f"test/{i}" for i in range(4)}
    opened.batches.close()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("outside.parts:RAMPS?5", "takes no argument"),
        ("outside.parts:nothing", "gives a list, which lacks names, has_own_split, by_clip"),
        ("outside.parts:SOME", "has no SOME"),
        ("outside.parts:ENTRIES", "neither a Source nor a function"),
        ("outside.parts:ramps?0", "no windows in it"),
        ("nowhere.parts:ramps", "nowhere.parts cannot be imported"),
        ("slopes", "no such folder"),
    ],
)
def test_sources_that_cannot_be_used(package, path, message):
    with pytest.raises(UserError) as error:
        sources.open_source(path, 3)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_labels_need_a_folder(package, capsys):
    assert cli_main.main(["prepare", "flow", "ramps", "--teacher", "dis"]) == 2
    assert "ramps has no folder for labels" in capsys.readouterr().err


def test_models_lists_what_is_installed(package, capsys):
    assert cli_main.main(["models"]) == 0
    assert "| blend " in capsys.readouterr().out
    assert "blend" in list(vfi_jax.MODELS)
    assert len(vfi_jax.MODELS) == len(list(vfi_jax.MODELS))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.parts:BLEND", "nowhere.parts cannot be imported (No module named 'nowhere')"),
        ("broken.parts:BLEND", "broken.parts cannot be imported (division by zero)"),
        ("outside.parts:NONE", "outside.parts has no NONE"),
        ("outside.parts:squares", "is no ModelSpec, but of type function"),
        ("outside.parts:", "must read package.module:NAME"),
    ],
)
def test_a_reference_that_leads_nowhere(package, site, reference, message):
    install(site, "broken", "1 / 0", "")
    for call in (lambda: load_object(reference, ModelSpec, "model"), lambda: vfi_jax.create(reference)):
        with pytest.raises(UsageError) as error:
            call()
        assert message in str(error.value)
        assert "\n" not in str(error.value)


def test_a_bad_plugin_affects_itself_only(package, site, capsys):
    """One that fails, one with a built-in name, and two of one name: noted by `models`, refused when asked for."""
    install(site, "broken", "1 / 0", "[vfi_jax.models]\nfails = PACKAGE.parts:BLEND\nrife = PACKAGE.parts:BLEND\n")
    install(site, "second", SOURCE, "[vfi_jax.models]\nblend = PACKAGE.parts:BLEND\n")
    assert named_entry_points("vfi_jax.models")["blend"] == ("outside.parts:BLEND", "second.parts:BLEND")
    assert spec_of("rife").module.__name__ == "RIFE"
    assert not {"fails", "blend"} & set(vfi_jax.MODELS)
    for name, message in (("fails", "division by zero"), ("blend", "two plugins register a model 'blend'")):
        with pytest.raises(UsageError, match=message):
            vfi_jax.create(name)
    assert cli_main.main(["models"]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 3
    assert any("'rife' is a built-in model" in note for note in notes)
