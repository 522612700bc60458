"""Checksums against a sum in whole numbers, and steps of a run that were damaged."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from tiny_runs import RUN

from vfi_jax.errors import UsageError, UserError
from vfi_jax.runs import checkpoints as steps
from vfi_jax.runs import checksums
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.folder import has_checkpoint, open_run, read_config, read_params, write
from vfi_jax.runs.selection import parse_step

RNG = np.random.default_rng(0)
LEAVES = {
    "float32": RNG.normal(size=(3, 5, 2)).astype(np.float32),
    "bfloat16": RNG.normal(size=(4, 3)).astype(ml_dtypes.bfloat16),
    "float16": RNG.normal(size=7).astype(np.float16),
    "bool": RNG.random(9) < 0.5,
    "int8": np.array([-1, 0, 127], np.int8),
    "int32": np.array(-7, np.int32),
    "uint32": np.array([2**32 - 1, 1], np.uint32),
    "float64": RNG.normal(size=(2, 3)),
    "int64": np.array([[-1, 2**40]]),
    "empty": np.zeros((0, 3), np.float32),
}


def plain(array):
    """The definition, in Python's numbers, from the bytes in memory."""
    size = array.dtype.itemsize
    width = min(size, 4)
    data = np.ascontiguousarray(array).tobytes()
    words = [int.from_bytes(data[at : at + width], "little") for at in range(0, len(data), width)]
    return sum((2 * i + 1) * word for i, word in enumerate(words)) % 2**32


def test_the_sum_is_the_defined_one():
    wanted = {f"tree/{name}": plain(leaf) for name, leaf in LEAVES.items()}
    assert checksums.checksums({"tree": LEAVES}) == wanted
    small = {name: jnp.asarray(leaf) for name, leaf in LEAVES.items() if leaf.dtype.itemsize <= 4}
    assert checksums.checksums({"tree": small}) == {f"tree/{name}": wanted[f"tree/{name}"] for name in small}
    key = jax.random.key(3)
    assert checksums.checksums([key]) == {"0": plain(np.asarray(jax.random.key_data(key)))}


def test_what_differs_is_named():
    """Any one bit, two elements that changed places, a leaf too many or too few."""
    tree = {"a": {"b": LEAVES["float32"]}, "c": np.arange(4)}
    recorded = checksums.checksums(tree)
    assert checksums.differing(tree, recorded) == []
    for bit in range(0, LEAVES["float32"].nbytes * 8, 37):
        data = bytearray(LEAVES["float32"].tobytes())
        data[bit // 8] ^= 1 << bit % 8
        flipped = np.frombuffer(data, np.float32).reshape(3, 5, 2)
        assert checksums.differing({**tree, "a": {"b": flipped}}, recorded) == ["a/b"]
    assert checksums.differing({**tree, "c": np.array([0, 2, 1, 3])}, recorded) == ["c"]
    assert checksums.differing({"c": tree["c"], "d": np.zeros(1)}, recorded) == ["a/b", "d"]


@pytest.mark.slow
def test_any_sharding_has_the_same_sum():
    code = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from vfi_jax.runs import checksums
mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(AxisType.Auto,) * 2)
array = np.random.default_rng(0).normal(size=(4, 6, 8)).astype(np.float32)
specs = [P(), P("a"), P(None, "b"), P(("a", "b")), P("b", None, "a")]
sums = {checksums.checksums(jax.device_put(array, NamedSharding(mesh, spec)))[""] for spec in specs}
assert sums == {checksums.checksums(array)[""]}, sums
"""
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **flags})
    assert done.returncode == 0, done.stderr


ITEMS = {"params": {"a": jnp.arange(5000.0), "b": {"c": jnp.ones((30, 30))}}, "optimizer": {"m": jnp.ones(3)}}


def save(folder, steps):
    checkpoints = Checkpoints(folder)
    for step, psnr in steps.items():
        items = jax.tree.map(lambda leaf, step=step: leaf + step, ITEMS)
        checkpoints.save(step, items, {"step": step, "data": {"next": 10 * step}, "model": {}}, pytest.fail)
        checkpoints.validations.finish(step, {"psnr": psnr})
    checkpoints.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Three steps, the first of which is the best."""
    folder = tmp_path_factory.mktemp("saved")
    save(folder, {1: 30.0, 2: None, 3: 20.0})
    return folder


def flip(place):
    """One bit of an array's data, which lies in the largest file; nothing of Orbax's notices."""
    file = max((place / "params/ocdbt.process_0").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def truncate(pattern):
    def damage(place):
        for file in place.glob(pattern):
            os.truncate(file, file.stat().st_size // 2)

    return damage


def half_write(place):
    shutil.rmtree(place)
    (place / "params").mkdir(parents=True)


def unseal(place):
    file = place / "position/metadata"
    position = json.loads(file.read_text())
    file.write_text(json.dumps({name: position[name] for name in ("step", "data", "model")}))


def move_data(place):
    file = place / "position/metadata"
    file.write_text(file.read_text().replace('"next": 30', '"next": 31').replace('"next":30', '"next":31'))


DAMAGES = {
    "flipped bit": (flip, r"3 cannot be restored: params/a changed since it was saved \(checksum\)"),
    "truncated data": (truncate("params/**/d/*"), "3 cannot be restored: .*params"),
    "truncated manifest": (truncate("params/manifest.ocdbt"), "3 cannot be restored: .*params"),
    "truncated position": (truncate("position/metadata"), "3 cannot be restored: "),
    "changed position": (move_data, "3 cannot be restored: position has changed since it was saved"),
    "no checksums": (unseal, "3 cannot be restored: position has changed since it was saved"),
    "no optimizer": (lambda place: shutil.rmtree(place / "optimizer"), "3 cannot be restored: it has no optimizer"),
    "no position": (lambda place: shutil.rmtree(place / "position"), "3 cannot be restored: it has no position"),
    "half-written": (half_write, "3 cannot be restored: it has no optimizer"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_the_newest_good_step_is_used(saved, tmp_path, kind):
    """Said in one line; the damaged one is kept elsewhere, and its number can be saved again."""
    damage, line = DAMAGES[kind]
    folder = tmp_path / "run"
    shutil.copytree(saved, folder)
    damage(folder / "checkpoints/3")
    before = sorted(path.name for path in (folder / "checkpoints/3").rglob("*"))
    checkpoints, lines = Checkpoints(folder), []
    step, items, position = checkpoints.newest_good(ITEMS, lines.append)
    assert (step, position["data"]) == (2, {"next": 20})
    jax.tree.map(np.testing.assert_array_equal, items, jax.tree.map(lambda leaf: leaf + 2, ITEMS))
    assert len(lines) == 2
    assert re.match(f"warning: .*{line}", lines[0])
    assert lines[1].endswith("damaged/3")
    assert sorted(path.name for path in (folder / "damaged/3").rglob("*")) == before
    checkpoints.close()
    save(folder, {3: 40.0})
    again = Checkpoints(folder)
    assert again.newest_good(ITEMS, pytest.fail)[0] == again.chosen("best") == 3
    again.close()


def test_an_empty_step_is_no_step(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    (tmp_path / "run/checkpoints/9").mkdir()
    checkpoints = Checkpoints(tmp_path / "run")
    assert checkpoints.newest_good(ITEMS, pytest.fail)[0] == 3
    checkpoints.close()


def test_where_no_step_is_whole_all_stay(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    for step in (1, 2, 3):
        flip(tmp_path / f"run/checkpoints/{step}")
    checkpoints = Checkpoints(tmp_path / "run")
    with pytest.raises(UserError, match=r"none of the steps in .* can be restored; they stay as they are"):
        checkpoints.newest_good(ITEMS, lambda line: None)
    assert checkpoints.steps() == [1, 2, 3]
    checkpoints.close()


def test_parameters_of_a_damaged_step(saved, tmp_path):
    """Only what is read is looked at; a step that was asked for by its number is not replaced."""
    folder, lines = tmp_path / "run", []
    shutil.copytree(saved, folder)
    truncate("optimizer/**/d/*")(folder / "checkpoints/3")
    params, _ = read_params(folder, "newest", ITEMS["params"], pytest.fail)
    assert params["a"][0] == 3
    assert read_params(folder, None, ITEMS["params"], pytest.fail)[0]["a"][0] == 1  # the best
    flip(folder / "checkpoints/3")
    params, _ = read_params(folder, "newest", ITEMS["params"], lines.append)
    assert params["a"][0] == 2
    assert len(lines) == 1
    assert lines[0].endswith("trying step 2 instead")
    flip(folder / "checkpoints/1")
    assert read_params(folder, "best", ITEMS["params"], lines.append)[0]["a"][0] == 2
    assert "checkpoints/1 cannot be restored" in lines[1]
    with pytest.raises(UserError, match="checkpoints/3 cannot be restored: params/a changed"):
        read_params(folder, 3, ITEMS["params"], pytest.fail)
    assert (folder / "checkpoints/3").is_dir()


DEVICES = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.runs.folder import read_params
from vfi_jax.system import sharding

def save(folder):
    leaves = {"a": jnp.arange(12.0).reshape(4, 3), "b": jnp.full(5, jax.device_count(), jnp.bfloat16)}
    checkpoints = Checkpoints(folder)
    position = {"step": 1, "model": {"any_time": True}}
    checkpoints.save(1, {"params": sharding.replicate(leaves)}, position, sys.exit)
    checkpoints.close()

def read(folder):
    like = {"a": jax.ShapeDtypeStruct((4, 3), jnp.float32), "b": jax.ShapeDtypeStruct((5,), jnp.bfloat16)}
    before = {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}
    params, fields = read_params(folder, None, like, sys.exit)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(params)), params
    np.testing.assert_array_equal(params["a"], np.arange(12.0).reshape(4, 3))
    np.testing.assert_array_equal(params["b"].astype(float), int(folder.name))
    assert fields == {"any_time": True}
    assert {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")} == before

for order, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    {"save": save, "read": read}[order](Path(folder))
"""


def on_devices(number, *orders):
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", DEVICES, *map(str, orders)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **flags})
    assert done.returncode == 0, done.stderr


def test_parameters_need_no_devices(saved):
    """Without a place they are NumPy arrays: those that saved them may not be there."""
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), ITEMS["params"])
    checkpoints = Checkpoints(saved, read_only=True)
    items, _ = checkpoints.restore(2, {"params": like})
    with pytest.raises(UserError, match=r"params/a has the shape \(5000,\) instead of \(7,\)"):
        checkpoints.restore(2, {"params": {**like, "a": jax.ShapeDtypeStruct((7,), np.float32)}})
    checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, items["params"], jax.tree.map(lambda leaf: leaf + 2, ITEMS["params"]))
    assert {type(leaf) for leaf in jax.tree.leaves(items)} == {np.ndarray}


@pytest.mark.slow
def test_any_number_of_devices_reads_what_another_saved(tmp_path):
    """Also in another place that cannot be written; reading changes nothing."""
    on_devices(2, "save", tmp_path / "2")
    there = tmp_path / "there/2"
    shutil.copytree(tmp_path / "2", there)
    for path in (there, *there.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    on_devices(1, "read", there, "save", tmp_path / "1")
    on_devices(3, "read", there, "read", tmp_path / "1")


def test_latest_and_best_are_kept(tmp_path):
    save(tmp_path, {1: 20.0, 2: 30.0, 3: None, 4: 25.0, 5: None, 6: None})
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == [2, 5, 6]
    assert [checkpoints.chosen(step) for step in (None, "best", "newest", 5)] == [2, 2, 6, 5]
    checkpoints.close()


def test_the_step_that_the_shell_names():
    assert [parse_step(text) for text in (None, "", "best", "newest", "12")] == [None, None, "best", "newest", 12]
    with pytest.raises(UsageError, match="--step last: a number, `best` or `newest` is needed"):
        parse_step("last")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax drops its coroutines
@pytest.mark.parametrize("where", ["seen before", "in the background"])
def test_a_full_disk(tmp_path, monkeypatch, where):
    """Told at first; the run goes on and saves again; two in a row end it, and so does one at the last step."""
    checkpoints, lines = Checkpoints(tmp_path), []

    def attempt(step, *, full, **options):
        """Saves, and waits until the disk has taken it or not."""
        with monkeypatch.context() as patch:
            if full and where == "seen before":
                patch.setattr(steps.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9e6, 9e6, 100))
            most = resource.getrlimit(resource.RLIMIT_FSIZE)
            if full and where == "in the background":  # as if the disk took files of 10 kB at most
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most[1]))
            try:
                checkpoints.save(step, ITEMS, {"step": step}, lines.append, **options)
                while checkpoints._manager.is_saving_in_progress():
                    time.sleep(0.01)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, most)

    late = where == "in the background"  # the next save, or the end, tells of it
    attempt(1, full=False)
    attempt(2, full=True)
    assert len(lines) == (not late)
    attempt(3, full=False)
    assert len(lines) == 1
    assert re.search(
        r"cannot be written: .*; the run goes on and tries again at the next save \(step 1 is kept", lines[0]
    )
    attempt(4, full=True)
    if late:
        attempt(5, full=True)
    with pytest.raises(UserError, match=r"cannot be written: .*; free some space and run the same .*\(step 3 is kept"):
        attempt(6, full=True)
    assert len(lines) == 2
    if not late:
        with pytest.raises(UserError, match="the disk is full"):
            attempt(7, full=True, last=True)
    checkpoints.close()
    assert checkpoints.steps() == [1, 3]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Orbax drops its coroutines
def test_a_full_disk_at_the_end(tmp_path):
    """The last save is waited for."""
    checkpoints = Checkpoints(tmp_path)
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, most[1]))
    try:
        checkpoints.save(1, ITEMS, {"step": 1}, pytest.fail, last=True)
        with pytest.raises(UserError, match="cannot be written"):
            checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)


def test_a_step_under_another_number_is_damaged(saved, tmp_path):
    folder, lines = tmp_path / "run", []
    shutil.copytree(saved, folder)
    (folder / "checkpoints/3").rename(folder / "checkpoints/7")
    checkpoints = Checkpoints(folder)
    assert checkpoints.newest_good(ITEMS, lines.append)[0] == 2
    assert lines[0].endswith("checkpoints/7 cannot be restored: it holds step 3")
    checkpoints.close()


def test_what_a_kill_left_is_removed_by_the_next_owner(tmp_path):
    """Orbax's folder of a step, and files that were being written; files of others stay."""
    unfinished = tmp_path / "checkpoints/12.orbax-checkpoint-tmp-4"
    (unfinished / "params").mkdir(parents=True)
    (tmp_path / ".config.1.part.json").write_text("{")
    (tmp_path / ".clip.1.part.mp4").write_text("")
    lines = []
    assert not has_checkpoint(tmp_path)
    with open_run(tmp_path, lines.append):
        write(tmp_path, RUN, {})
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            ".clip.1.part.mp4", ".lock", "checkpoints", "config.json", "environment.txt", "sets.json"
        ]  # fmt: skip
    assert lines == [
        f"warning: {tmp_path}/.config.1.part.json was half-written when a process was killed; it is removed",
        f"warning: step 12 was half-written when the run was killed; {unfinished} is removed",
    ]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_config_of_another_version_is_called_that(tmp_path):
    write(tmp_path, RUN, {})
    path = tmp_path / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "moons": 2, "data": {**values["data"], "tides": {}}}))
    with pytest.raises(UserError, match=r"config.json was written by another version of vfi_jax.*: this one .* does "
                       r"not know data.tides, moons; install that version"):  # fmt: skip
        read_config(tmp_path)
    (tmp_path / "environment.txt").write_text("vfi_jax: 7.1.0\n")
    with pytest.raises(UserError, match=r"another version of vfi_jax \(7.1.0\): this one"):
        read_config(tmp_path)
    for text in ("[1]", "{", '{"model": 3}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"config.json is damaged: "):
            read_config(tmp_path)


def test_every_nth_step_stays(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep_every=2)
    for step in range(1, 8):
        checkpoints.save(step, {"params": {"a": jnp.ones(2)}}, {"step": step}, pytest.fail)
        checkpoints.validations.finish(step, {"psnr": -step})
    checkpoints.settle()
    assert checkpoints.steps() == [1, 2, 4, 6, 7]  # 1 is the best
    checkpoints.close()
