"""Flow labels of whole sets, and flow between two frames."""

import dataclasses
import socket
import subprocess
import sys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity import apart

import vfi_jax
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Footage, Window
from vfi_jax.data import labels, parts, sources
from vfi_jax.data.labels import folder_of, with_labels
from vfi_jax.errors import UsageError, UserError
from vfi_jax.inference.flow import FlowEstimator, dis_flow, write_flow
from vfi_jax.prepare import flow_labels
from vfi_jax.prepare.flow_labels import write_flow_labels
from vfi_jax.prepare.records import write_records
from vfi_jax.system import distributed
from vfi_jax.types import FlowOutput, Output
from vfi_jax.viz.sheets import save_png
from vfi_jax.weights.save import save

SPEED = 4  # pixels per frame, to the right
TRIPLET = Window(3, (0, 2), 1)


def moving(length, size=(72, 96)):
    """A texture that moves to the right: uint8 `[n, h, w, 3]`."""
    height, width = size
    across = width + SPEED * length
    coarse = np.random.default_rng(0).integers(0, 256, (height // 6, across // 6, 3), np.uint8)
    picture = cv2.resize(coarse, (across, height), interpolation=cv2.INTER_CUBIC)
    return np.stack([picture[:, SPEED * (length - i) :][:, :width] for i in range(length)])


@pytest.fixture
def four_per_file(monkeypatch):
    """Smaller files of labels."""
    for module in (flow_labels, labels):
        monkeypatch.setattr(module, "PER_FILE", 4)


def write_set(root, count, length=3, size=(72, 96)):
    frames = moving(length, size)
    for number in range(count):
        (root / f"clip/{number:03d}").mkdir(parents=True)
        for index, frame in enumerate(frames, 1):
            save_png(root / f"clip/{number:03d}/im{index}.png", frame)
    return root


def run(*arguments):
    try:
        return cli_main.main([str(argument) for argument in arguments])
    except SystemExit as ended:  # of the parser
        return ended.code


def inner(flow):
    """Cuts off the edges, where content that enters the frame has no counterpart."""
    return np.asarray(flow, np.float32)[16:-16, 24:-24]


@pytest.mark.parametrize("teacher", ["dis", pytest.param("rife_lap", marks=pytest.mark.slow)])
def test_flows_lead_from_the_target_to_its_inputs(tmp_path, teacher):
    root = write_set(tmp_path / "set", 2)
    assert run("prepare", "flow", root, "--teacher", teacher) == 0
    source = with_labels(sources.open_source(str(root), 3), root, teacher, TRIPLET)
    window = source[1]
    assert window["flow"].dtype == np.float16
    assert np.median(np.abs(inner(window["flow"]) - [-SPEED, 0, SPEED, 0])) < 0.3
    assert np.array_equal(window["frames"], sources.open_source(str(root), 3)[1]["frames"])


@dataclasses.dataclass(frozen=True)
class Countdown:
    """A model whose flow depends on t alone."""

    variant: str = "rife_lap"
    channel_order: str = "rgb"
    any_time: bool = True

    def apply(self, variables, frames, t):
        flow = jnp.concatenate([-t, 0 * t, 1 - t, 0 * t], -1)
        return Output(frames[:, 0], flows=[8 * flow * jnp.ones_like(frames[:, 0, ..., :1])])


def test_an_interpolation_models_labels_are_its_flows_at_the_targets_time(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_labels, "load", lambda name, weights: (Countdown(), {"params": {}}))
    root = write_set(tmp_path / "set", 2, length=5)
    assert run("prepare", "flow", root, "--teacher", "rife_lap", "--target", "1") == 0
    window = with_labels(sources.open_source(str(root), 5), root, "rife_lap", Window(5, (0, 4), 1))[1]
    assert np.array_equal(window["flow"], np.broadcast_to(np.float16([-2, 0, 6, 0]), (72, 96, 4)))


def test_four_inputs_give_the_flows_between_them(tmp_path):
    root = write_set(tmp_path / "set", 1, length=7)
    assert run("prepare", "flow", root, "--teacher", "dis", "--inputs", "0,2,4,6") == 0
    window = Window(7, (0, 2, 4, 6), 3)
    flows = with_labels(sources.open_source(str(root), 7), root, "dis", window)[0]["flows"]
    step = 2 * SPEED
    assert np.median(np.abs(inner(flows) - [-step, 0, step, 0, step, 0, -step, 0])) < 0.5
    with pytest.raises(UsageError, match=r"labels are for inputs \(0, 2, 4, 6\)"):
        with_labels(sources.open_source(str(root), 7), root, "dis", Window(7, (0, 6), 3))


@dataclasses.dataclass(frozen=True)
class Brightness:
    """A flow network whose flow is the change of each pixel in red and green."""

    variant: str = "raft_small"
    channel_order: str = "rgb"
    any_time: bool = True

    def apply(self, variables, frames):
        flow = (frames[:, 1] - frames[:, 0])[..., :2]
        return FlowOutput(flow, flow[:, ::8, ::8], [flow])


def test_a_flow_networks_labels_lead_from_the_target_to_each_input(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_labels, "load", lambda name, weights: (Brightness(), {"params": {}}))
    root = write_set(tmp_path / "set", 5, size=(68, 100))
    assert run("prepare", "flow", root, "--teacher", "raft_small") == 0
    window = with_labels(sources.open_source(str(root), 3), root, "raft_small", TRIPLET)[4]
    first, middle, second = window["frames"][..., :2].astype(np.float32) / 255
    assert apart(window["flow"], np.concatenate([first - middle, second - middle], -1)) < 1e-3


@pytest.fixture(scope="module")
def raft_small():
    """A flow network with fresh weights; its frames here are padded to one size, so that it is compiled once."""
    return vfi_jax.create("raft_small", seed=2)


@pytest.mark.slow
def test_a_networks_labels_are_its_flows(tmp_path, raft_small):
    root, path = write_set(tmp_path / "set", 3, size=(68, 100)), tmp_path / "raft_small.safetensors"
    model, variables = raft_small
    save(path, model, variables)
    assert run("prepare", "flow", root, "--teacher", "raft_small", "--weights", path) == 0
    window = with_labels(sources.open_source(str(root), 3), root, "raft_small", TRIPLET)[2]
    estimate = FlowEstimator(model, variables)
    first, middle, second = window["frames"]
    expected = np.concatenate([estimate(middle, first), estimate(middle, second)], -1)
    assert apart(window["flow"].astype(np.float32), expected) < 2e-3 * np.abs(expected).max()
    save(path, model, jax.tree.map(lambda leaf: 2 * leaf, variables))
    with pytest.raises(UsageError, match="other settings \\(weights:"):
        write_flow_labels(str(root), "raft_small", weights=path, inputs=(), target=-1)


def test_records_are_labeled_and_interrupted_work_continues(tmp_path, four_per_file):
    records = tmp_path / "records"
    write_records("synthetic:6", records, Footage(frames=3), encoding="raw")
    assert run("prepare", "flow", records, "--teacher", "dis") == 0
    folder = folder_of(records, "dis")
    first, second = sorted(folder.glob("*.safetensors"))
    kept, redone = first.read_bytes(), second.read_bytes()
    second.unlink()
    source = sources.open_source(str(records), 3)
    with pytest.raises(UserError, match="unfinished"):
        with_labels(source, records, "dis", TRIPLET)
    first_written = first.stat().st_mtime_ns
    assert run("prepare", "flow", records, "--teacher", "dis") == 0
    assert first.stat().st_mtime_ns == first_written
    assert second.read_bytes() == redone
    labeled_set = with_labels(source, records, "dis", TRIPLET)
    assert labeled_set[5]["flow"].shape == (*source[5]["frames"].shape[1:3], 4)
    second.write_bytes(kept)  # those of other windows
    with pytest.raises(UserError, match="has no scene000005/0"):
        _ = labeled_set[5]
    second.write_bytes(redone[:5000])
    with pytest.raises(UserError, match="cannot be read"):
        _ = labeled_set[5]


def test_labels_of_another_set_are_refused(tmp_path):
    root, other = write_set(tmp_path / "set", 2), write_set(tmp_path / "other", 2, size=(80, 96))
    for folder in (root, other):
        assert run("prepare", "flow", folder, "--teacher", "dis") == 0
    source = sources.open_source(str(root), 3)
    with pytest.raises(UserError, match="96x80 there, and 96x72 in the set"):
        _ = with_labels(source, other, "dis", TRIPLET)[0]
    with pytest.raises(UserError, match="has 2 windows, and the set 1"):
        with_labels(parts.Part(source, [0]), root, "dis", TRIPLET)
    folder_of(root, "dis").rename(folder_of(root, "rife_lap"))
    with pytest.raises(UserError, match="its teacher is dis"):
        with_labels(source, root, "rife_lap", TRIPLET)
    with pytest.raises(UserError, match="no labels: run `vfi-jax prepare flow"):
        with_labels(source, root, "dis", TRIPLET)


@pytest.mark.parametrize(
    ("options", "code", "line"),
    [
        (("--teacher", "raft"), 1, "the weights of raft are not installed"),
        (("--teacher", "dsi"), 2, "no model is called 'dsi'"),
        (("--teacher", "dbvi_2x"), 2, "dbvi_2x cannot teach"),
        (("--teacher", "dis", "--inputs", "0,x"), 2, "--inputs: 0,x: whole numbers are needed"),
        (("--teacher", "dis", "--inputs", "0,1,2"), 2, "2 or 4 indices"),
        (("--teacher", "dis", "--target", "4"), 2, "no target between the inputs 0 and 4"),
        (("--teacher", "rife_lap", "--inputs", "0,1,3,4"), 2, "four inputs need dis or a flow network"),
        (("--teacher", "dis", "--step", "0"), 2, "--step: 0: must lie between 1"),
        (("--teacher", "dis", "--frames", "-1"), 2, "--frames: -1: must lie between 0"),
        (("--teacher", "dis", "--weights", "x.pth"), 2, "dis has no weights"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, monkeypatch, options, code, line):
    monkeypatch.setenv("VFI_JAX_WEIGHTS", str(tmp_path))
    root = write_set(tmp_path / "set", 1, length=5)
    assert run("prepare", "flow", root, *options) == code
    error = capsys.readouterr().err.strip()
    assert line in error
    assert "\n" not in error
    assert not list(root.glob("flow_*/*.safetensors"))


def test_sets_and_weights_that_no_labels_fit(tmp_path, capsys):
    root = write_set(tmp_path / "set", 2)
    (root / "clip/001/im3.png").unlink()
    assert run("prepare", "flow", root, "--teacher", "dis") == 1
    assert "clip/001 has 2 frames, the first window 3" in capsys.readouterr().err
    assert run("prepare", "flow", "synthetic:8", "--teacher", "dis") == 2
    small = write_set(tmp_path / "small", 1, size=(12, 60))
    assert run("prepare", "flow", small, "--teacher", "dis") == 1
    assert "60x12 are too small for DIS" in capsys.readouterr().err
    model, variables = vfi_jax.create("rife")
    save(tmp_path / "rife.safetensors", model, variables)
    seven = write_set(tmp_path / "seven", 1, length=7)
    options = ("--teacher", "rife", "--weights", tmp_path / "rife.safetensors", "--target", "1")
    assert run("prepare", "flow", seven, *options) == 2
    assert "rife's weights support t = 0.5 only" in capsys.readouterr().err
    save(tmp_path / "cain.safetensors", *vfi_jax.create("cain", groups=1, blocks=1))
    options = ("--teacher", "cain", "--weights", tmp_path / "cain.safetensors")
    assert run("prepare", "flow", seven, *options) == 2
    assert "cain gives no flows from time t to the frames" in capsys.readouterr().err
    assert not list(seven.glob("flow_*"))


@pytest.mark.parametrize("text", ["{}", "[]", "7", "{", '{"teacher": "dis"}'])
def test_damaged_description(tmp_path, text):
    root = write_set(tmp_path / "set", 1)
    assert run("prepare", "flow", root, "--teacher", "dis") == 0
    (folder_of(root, "dis") / "labels.json").write_text(text)
    with pytest.raises(UserError, match="prepare the labels again"):
        with_labels(sources.open_source(str(root), 3), root, "dis", TRIPLET)


def test_both_lists_of_a_published_set(tmp_path):
    root = write_set(tmp_path / "vimeo/sequences", 3).parent
    (root / "tri_trainlist.txt").write_text("clip/000\nclip/001\n")
    (root / "tri_testlist.txt").write_text("clip/002\n")
    for listed in ("train", "test"):
        source = sources.open_source(str(root), 3, listed=listed)
        with pytest.raises(UserError, match="no labels: run"):
            with_labels(source, root, "dis", TRIPLET, listed)
        assert run("prepare", "flow", root, "--teacher", "dis", "--list", listed) == 0
        assert len(with_labels(source, root, "dis", TRIPLET, listed)) == len(source)


def test_each_process_writes_its_share_of_the_files(tmp_path, monkeypatch, four_per_file):
    records = tmp_path / "records"
    write_records("synthetic:10", records, Footage(frames=3), encoding="raw")
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed, "barrier", lambda _: None)
    for index, written in ((0, {0, 2}), (1, {0, 1, 2})):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        write_flow_labels(str(records), "dis", weights=None, inputs=(), target=-1)
        assert {int(path.stem) for path in folder_of(records, "dis").glob("*.safetensors")} == written


@pytest.mark.slow
def test_two_processes_of_the_shell(tmp_path):
    """Each of two processes writes one file of a set; the files equal those of a single process."""
    sets = [tmp_path / name for name in ("together", "alone")]
    for folder in sets:
        write_records(f"synthetic:{flow_labels.PER_FILE + 4}", folder, Footage(frames=3), encoding="raw")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vfi_jax.cli.main", "prepare", "flow", str(sets[0]), "--teacher", "dis"]
    several = [f"--coordinator=127.0.0.1:{port}", "--processes=2"]
    each = [
        subprocess.Popen([*command, *several, f"--process={index}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for index in range(2)
    ]
    ends = [process.communicate(timeout=300) for process in each]
    assert [process.returncode for process in each] == [0, 0], ends
    assert [f"{flow_labels.PER_FILE + 4} windows" in out.decode() for out, _ in ends] == [True, False]
    run("prepare", "flow", sets[1], "--teacher", "dis")
    for index in range(2):
        files = [(folder_of(folder, "dis") / f"{index:05d}.safetensors").read_bytes() for folder in sets]
        assert files[0] == files[1]


def test_flow_of_two_pictures(tmp_path, capsys):
    first, second = moving(2)
    save_png(tmp_path / "a.png", first)
    save_png(tmp_path / "b.png", second)
    for name in ("flow.png", "flow.flo"):
        assert run("flow", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / name) == 0
    data = (tmp_path / "flow.flo").read_bytes()
    assert np.frombuffer(data, "<f4", 1)[0] == np.float32(202021.25)  # "PIEH", Middlebury's tag
    assert np.frombuffer(data, "<i4", 2, 4).tolist() == [96, 72]
    flow = np.frombuffer(data, "<f4", offset=12).reshape(72, 96, 2)
    assert np.array_equal(flow, dis_flow(first, second))
    assert np.median(np.abs(inner(flow) - [SPEED, 0])) < 0.3
    assert run("flow", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "flow.jpg") == 2
    assert "written as .png or .flo" in capsys.readouterr().err
    save_png(tmp_path / "b.png", second[1:])
    assert run("flow", tmp_path / "a.png", tmp_path / "b.png", "-o", tmp_path / "flow.png") == 1
    assert "differ in size (96x72 and 96x71)" in capsys.readouterr().err


def test_estimator_takes_any_size_and_refuses_what_is_too_small(tmp_path, raft_small):
    model, variables = raft_small
    estimate = FlowEstimator(model, variables)
    first, second = moving(2, (67, 99))
    flow = estimate(first, second)
    assert flow.shape == (67, 99, 2)
    assert apart(estimate(first[None] / 255, second[None] / 255)[0], flow) < 1e-3
    with pytest.raises(UserError, match="too small for raft_small: 64"):
        estimate(first[:50], second[:50])
    with pytest.raises(UsageError, match="is an interpolation model, not a flow network"):
        FlowEstimator(*vfi_jax.create("rife_v4_12_lite"))
    with pytest.raises(UsageError, match="is a flow network, not an interpolation model"):
        vfi_jax.Interpolator(model, variables)
    with pytest.raises(UsageError, match="written as"):
        write_flow(tmp_path / "x.txt", flow)
