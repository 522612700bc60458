"""The frozen flow network of a model: in files, in runs, and where it is missing."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from clips import make_clip, pictures
from parity import apart

import vfi_jax
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Augment, Data, Optimizer, Train, Window
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.flow import dis_flow
from vfi_jax.metrics import psnr
from vfi_jax.prepare.flow_labels import write_flow_labels
from vfi_jax.runs.log import read_log
from vfi_jax.training import fit
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights.average import average
from vfi_jax.weights.files import read_weights
from vfi_jax.weights.flow_network import frozen_files, require

FIELDS = {"steps": 1, "flow_network": "raft_small"}  # small and quick
RUN = Train(
    model="dbvi_2x",
    fields=FIELDS,
    steps=2,
    batch_size=2,
    data=Data("synthetic:8", window=Window(7, (0, 2, 4, 6), 3), augment=Augment(crop=64)),
    optimizer=Optimizer(rate=1e-3),
    log_every=1,
    checkpoint_every=2,
    validate_every=2,
    validation_samples=2,
)


@pytest.fixture(scope="module")
def narrow():
    model, variables = vfi_jax.create("dbvi_2x", **FIELDS)
    # A fresh network returns its input: the shift makes it change something.
    params = jax.tree.map(lambda leaf: leaf + np.float32(0.01), variables["params"])
    return model, {**variables, "params": params}


def test_a_first_try_leaves_no_flow_network_behind(tmp_path):
    """An untrained one is replaced by another as long as no step was saved."""
    run = dataclasses.replace(
        RUN, frozen={"raft_small": "untrained"}, data=dataclasses.replace(RUN.data, path="nowhere")
    )
    with pytest.raises(UserError, match="nowhere: no such folder"):
        fit.fit(run, tmp_path / "run")
    vfi_jax.save(tmp_path / "other.safetensors", *vfi_jax.create("raft_small", seed=7))
    run = dataclasses.replace(run, frozen={"raft_small": str(tmp_path / "other.safetensors")})
    _, _, variables, _ = fit.build(run, tmp_path / "run")
    expected = vfi_jax.create("raft_small", seed=7)[1]
    assert jax.tree.all(jax.tree.map(np.array_equal, variables["frozen"]["raft_small"], expected))


def test_labels_where_none_are_needed_or_missing(tmp_path):
    data = dataclasses.replace(RUN.data, labels="dis")
    with pytest.raises(UsageError, match="rife takes no flow labels"):
        fit.fit(dataclasses.replace(RUN, model="rife", fields={}, data=data), tmp_path / "run")


def frames(count=4, size=(70, 90)):
    return list(np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8))


def test_create_gives_the_flow_network_too(narrow):
    _, variables = narrow
    assert set(variables) == {"params", "frozen"}
    expected = vfi_jax.create("raft_small")[1]
    assert jax.tree.all(jax.tree.map(np.array_equal, variables["frozen"], {"raft_small": expected}))


def test_one_file_holds_both(narrow, tmp_path):
    model, variables = narrow
    vfi_jax.save(tmp_path / "both.safetensors", model, variables)
    names = read_weights(tmp_path / "both.safetensors")[0]
    own = vfi_jax.to_torch("dbvi_2x", variables)
    network = vfi_jax.to_torch("raft_small", variables["frozen"]["raft_small"])
    assert set(names) == set(own) | {f"frozen.raft_small.{name}" for name in network}


def test_flow_network_from_a_file_from_the_weights_folder_and_missing(narrow, tmp_path, monkeypatch):
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path))
    model, variables = narrow
    without, file = tmp_path / "without.safetensors", tmp_path / "file.safetensors"
    vfi_jax.save(without, model, {"params": variables["params"]})
    vfi_jax.save(file, *vfi_jax.create("raft_small", seed=5))
    loaded, bare = vfi_jax.load("dbvi_2x", without)
    assert set(bare) == {"params"}
    with pytest.raises(UserError, match=r"dbvi_2x needs the weights of its flow network, raft_small: .*--frozen"):
        vfi_jax.Interpolator(loaded, bare)(*frames())
    with pytest.raises(UserError, match=r"dbvi_2x needs the weights of raft_small: --frozen raft_small=FILE"):
        require(loaded, bare)
    _, given = vfi_jax.load("dbvi_2x", without, frozen={"raft_small": file})
    expected = vfi_jax.create("raft_small", seed=5)[1]
    assert jax.tree.all(jax.tree.map(np.array_equal, given["frozen"]["raft_small"], expected))
    file.rename(tmp_path / "raft_small.safetensors")
    _, installed = vfi_jax.load("dbvi_2x", without)
    assert jax.tree.all(jax.tree.map(np.array_equal, installed, given))


def test_a_file_keeps_the_fields_it_was_written_with(narrow, tmp_path):
    """The number of steps and the name of the flow network need not be given again."""
    model, variables = narrow
    vfi_jax.save(tmp_path / "whole.safetensors", model, variables)
    loaded, back = vfi_jax.load("dbvi_2x", tmp_path / "whole.safetensors")
    assert (loaded.steps, loaded.flow_network) == (1, "raft_small")
    assert jax.tree.all(jax.tree.map(np.array_equal, back, variables))
    with pytest.raises(UsageError, match="dbvi_2x has no frozen 'raft'; it takes: raft_small"):
        vfi_jax.load("dbvi_2x", tmp_path / "whole.safetensors", frozen={"raft": tmp_path / "x"})


def test_mean_of_weights_with_flow_networks(narrow):
    _, variables = narrow
    other = {**variables, "params": jax.tree.map(lambda leaf: leaf + 2, variables["params"])}
    mean = average([variables, other])
    assert jax.tree.all(jax.tree.map(lambda a, b: np.allclose(a, b + 1), mean["params"], variables["params"]))
    assert jax.tree.all(jax.tree.map(np.array_equal, mean["frozen"], variables["frozen"]))
    for frozen in ({}, {"frozen": {"raft_small": vfi_jax.create("raft_small", seed=9)[1]}}):
        with pytest.raises(UsageError, match="no mean"):
            average([variables, {"params": variables["params"], **frozen}])


def test_flow_networks_that_a_model_does_not_have(tmp_path):
    with pytest.raises(UsageError, match="rife_lap_s has no frozen 'raft'; it takes: none"):
        vfi_jax.load("rife_lap_s", frozen={"raft": tmp_path / "x"})
    with pytest.raises(UsageError, match="dbvi_2x has no frozen 'rife'; it takes: raft, raft_small"):
        vfi_jax.from_torch("dbvi_2x", {}, frozen={"rife": {}})
    with pytest.raises(UsageError, match="flow_network is 'rife', which is no flow network"):
        vfi_jax.create("dbvi_2x", flow_network="rife")
    with pytest.raises(UsageError, match="--frozen raft: NAME=FILE is needed"):
        frozen_files(["raft"])


@pytest.mark.slow
def test_four_frames_of_any_size(narrow):
    """Two frames are too few; odd sizes are padded and cropped; the flow network's output matters."""
    model, variables = narrow
    interpolate = vfi_jax.Interpolator(model, variables)
    four = frames()
    with pytest.raises(UserError, match="takes 4 frames, not 2"):
        interpolate(*four[:2])
    ours = interpolate(*four, t=0.3)
    assert ours.shape == (70, 90, 3)
    flows = np.full((1, 72, 96, 8), 2, np.float32)
    given = interpolate(*four, t=0.3, flows=flows)
    assert apart(ours.astype(int), given.astype(int)) > 0
    # Those of the frames' own size are padded as the frames are.
    assert np.array_equal(interpolate(*four, t=0.3, flows=flows[:, :70, :90]), given)


@pytest.mark.slow
def test_a_run_keeps_its_flow_network(tmp_path):
    """Training leaves the flow network as it is, and `load` finds it in the run."""
    run = dataclasses.replace(RUN, frozen={"raft_small": "untrained"})
    fit.fit(run, tmp_path / "run", lambda line: None)
    model, variables = vfi_jax.load("dbvi_2x", tmp_path / "run")
    assert (model.steps, model.flow_network) == (1, "raft_small")
    expected = vfi_jax.create("raft_small", seed=run.seed)[1]
    assert jax.tree.all(jax.tree.map(np.array_equal, variables["frozen"]["raft_small"], expected))
    assert vfi_jax.Interpolator(model, variables)(*frames(), t=0.25).shape == (70, 90, 3)
    lines = []
    fit.fit(dataclasses.replace(run, steps=4), tmp_path / "run", lines.append)
    assert "continuing from step 2" in lines


@pytest.mark.slow
def test_labels_instead_of_the_flow_network(tmp_path):
    for number in range(4):
        (tmp_path / f"set/{number}").mkdir(parents=True)
        for index, frame in enumerate(frames(7, (66, 74)), 1):  # no multiples of 8: validation pads
            save_png(tmp_path / f"set/{number}/im{index}.png", frame)
    path = str(tmp_path / "set")
    shutil.copytree(path, tmp_path / "unlabeled")
    write_flow_labels(path, "dis", weights=None, inputs=(0, 2, 4, 6), target=3)
    run = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path=path, validation=path, labels="dis"))
    bare = dataclasses.replace(run.data, validation=str(tmp_path / "unlabeled"))
    with pytest.raises(UserError, match="unlabeled/flow_dis: no labels"):
        fit.fit(dataclasses.replace(run, data=bare), tmp_path / "bare", lambda line: None)
    fit.fit(run, tmp_path / "run", lambda line: None)
    model, variables = vfi_jax.load("dbvi_2x", tmp_path / "run")
    assert set(variables) == {"params"}
    window = frames(7, (66, 74))
    batch = [frame[None] for frame in window]
    flows = [dis_flow(window[a], window[b]) for a, b in ((2, 0), (2, 4), (4, 6), (4, 2))]
    flows = np.concatenate(flows, -1).astype(np.float16).astype(np.float32)
    scores = [
        psnr(vfi_jax.Interpolator(model, variables)(*batch[::2], t=0.5, flows=given[None])[0], window[3])
        for given in (flows, 0 * flows)
    ]
    assert read_log(tmp_path / "run")[-1]["validation_psnr"] == pytest.approx(scores[0], abs=1e-4)
    assert abs(scores[0] - scores[1]) > 1e-3  # fresh weights see little of them


def test_training_needs_a_flow_network_or_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs the weights of raft_small: set --config\.frozen\.raft_small=FILE"):
        fit.fit(RUN, tmp_path / "run")
    with pytest.raises(UsageError, match=r"config\.frozen has 'raft': dbvi_2x takes raft_small"):
        fit.fit(dataclasses.replace(RUN, frozen={"raft": "untrained"}), tmp_path / "run")
    with pytest.raises(UsageError, match="raft is a flow network, not an interpolation model"):
        fit.fit(dataclasses.replace(RUN, model="raft", fields={}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_video_through_the_shell(tmp_path):
    """Ends of the clip included: n frames become 2 n - 1."""
    model, variables = vfi_jax.create("dbvi_8x")
    vfi_jax.save(tmp_path / "dbvi.safetensors", model, {"params": variables["params"]})
    vfi_jax.save(tmp_path / "raft.safetensors", *vfi_jax.create("raft"))
    make_clip(tmp_path / "in.mkv", frames=3, size=(72, 64))
    arguments = ["interpolate", tmp_path / "in.mkv", "-o", tmp_path / "out.mp4", "--model", "dbvi_8x"]
    arguments += ["--weights", tmp_path / "dbvi.safetensors", "--frozen", f"raft={tmp_path / 'raft.safetensors'}"]
    assert cli_main.main(list(map(str, arguments))) == 0
    assert len(pictures(tmp_path / "out.mp4")) == 5
