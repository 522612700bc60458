"""Sets of windows: folders, records and their preparation, packed files, and one-line errors."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import make_clip

from vfi_jax.cli import main as cli_main
from vfi_jax.config import Footage, Scenes
from vfi_jax.data import packed, parts, sources
from vfi_jax.data.records import ABOUT, INFO
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare import parallel, record_writer
from vfi_jax.prepare.pack import pack_footage
from vfi_jax.prepare.records import write_records
from vfi_jax.prepare.scenes import pack_scenes
from vfi_jax.viz.sheets import save_png

CUT = Footage(frames=3, step=3)


def write_windows(root, names, length=3, size=(20, 24)):
    """Writes a tree of window folders; returns its frames by name."""
    rng, stored = np.random.default_rng(0), {}
    for name in names:
        frames = rng.integers(0, 256, (length, *size, 3), np.uint8)
        (root / name).mkdir(parents=True)
        for index, frame in enumerate(frames, 1):
            save_png(root / name / f"im{index}.png", frame)
        stored[name] = frames
    return stored


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two clips of a moving scene, one of another size."""
    folder = tmp_path_factory.mktemp("videos")
    for name, (width, height) in {"a.mkv": (96, 80), "sub/b.mkv": (112, 96)}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        scene = random_scene(7, height, width, speed=60)
        frames = [np.rint(255 * scene.frame(time)).astype(np.uint8) for time in np.linspace(0, 1, 20)]
        make_clip(
            folder / name, frames=20, size=(width, height), picture=lambda i, _, frames=frames: frames[i],
            codec="ffv1", pix_fmt="bgr0",
        )  # fmt: skip
    return folder


@pytest.mark.parametrize("length", [3, 7])
def test_vimeo_layout(tmp_path, length):
    names = ["00001/0001", "00001/0002", "00002/0001"]
    kind = {3: "tri", 7: "sep"}[length]
    stored = write_windows(tmp_path / "sequences", names, length)
    (tmp_path / f"{kind}_trainlist.txt").write_text("\n".join(names[:2]) + "\n\n")
    (tmp_path / f"{kind}_testlist.txt").write_text(names[2] + "\n")
    train = sources.open_source(str(tmp_path), length)
    assert train.names == names[:2]
    assert train.has_own_split
    assert np.array_equal(train[1]["frames"], stored[names[1]])
    assert sources.open_source(str(tmp_path), length, listed="test").names == names[2:]


def test_published_split_of_vimeo():
    """The first 95 % of 51,313 names, as RIFE's code has it, whatever their clips."""
    source = sources.WindowFolders(Path(), [f"{i // 300:05d}/{i % 300:04d}" for i in range(51313)], has_own_split=True)
    train, held_out = parts.split(source, 0.5)
    assert (len(train), len(held_out)) == (48747, 2566)


def test_clips_are_kept_whole():
    names = [f"{clip}/{window}" for clip in "abcd" for window in range(10)]
    train, held_out = parts.split(sources.WindowFolders(Path(), names), 0.15)
    assert (len(train), len(held_out)) == (30, 10)
    assert not {name[0] for name in train.names} & {name[0] for name in held_out.names}
    with pytest.raises(UserError, match="one clip only"):
        parts.split(sources.WindowFolders(Path(), names[:10]), 0.15)


def test_clips_are_drawn_alike(videos, tmp_path):
    """Footage is sampled by clip: windows of the shorter clip are repeated, and none of the longer is lost."""
    write_records(str(videos), tmp_path / "set", CUT)
    source = sources.open_source(str(tmp_path / "set"), 3)
    assert source.by_clip
    part = parts.Part(source, range(2, len(source)))  # four of six windows of the first clip
    alike = parts.balanced(part)
    first = [name for name in alike.names if name.startswith("a.mkv")]
    assert len(first) == len(alike) / 2
    assert set(alike.names) == set(part.names)
    assert alike[len(alike) - 1]["name"] == alike.names[-1]


def test_pictures_are_in_the_order_of_their_numbers(tmp_path):
    stored = write_windows(tmp_path, ["clip"], length=11)
    assert np.array_equal(sources.open_source(str(tmp_path), 11)[0]["frames"], stored["clip"])


def test_longer_folders_are_cut(tmp_path):
    """A folder with more images than a window, as in GoPro and X-TRAIN, holds several windows of one clip."""
    stored = write_windows(tmp_path / "in", ["a", "c/x"], length=9)
    stored |= write_windows(tmp_path / "in", ["b/1", "b/2"], length=3) | write_windows(tmp_path / "in", ["d"], length=2)
    source = sources.open_source(str(tmp_path / "in"), 3, step=4)
    cut = [(folder, first) for folder in ("a", "c/x") for first in (0, 4)]
    assert source.names == ["a/000000", "a/000004", "b/1", "b/2", "c/x/000000", "c/x/000004", "d"]
    windows = {name: source[index]["frames"] for index, name in enumerate(source.names)}
    for folder, first in cut:
        assert np.array_equal(windows[f"{folder}/{first:06d}"], stored[folder][first : first + 3])
    for folder in ("b/1", "b/2", "d"):
        assert np.array_equal(windows[folder], stored[folder])
    train, held_out = parts.split(source, 0.4)
    assert (train.names[-1], held_out.names[0]) == ("b/2", "c/x/000000")
    assert [len(sources.open_source(str(tmp_path / "in" / "a"), 3, step=step)) for step in (1, 3, 6)] == [7, 3, 2]
    shutil.rmtree(tmp_path / "in" / "d")
    counts = write_records(str(tmp_path / "in"), tmp_path / "out", CUT)
    assert counts["windows"] == 8
    kept = sources.open_source(str(tmp_path / "out"), 3)
    assert np.array_equal(kept[1]["frames"], stored["a"][3:6])
    shutil.rmtree(tmp_path / "in" / "a")
    with pytest.raises(UserError, match="a/000004: no images in it"):
        source[1]


def test_bad_folders(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        sources.open_source(str(tmp_path / "nowhere"), 3)
    with pytest.raises(UsageError, match=r"data\.path is empty"):
        sources.open_source("", 3)
    with pytest.raises(UsageError, match="a number of scenes from 1 to 10000000 is needed"):
        sources.open_source("synthetic:many", 3)
    with pytest.raises(UserError, match="no set that is known"):
        sources.open_source(str(tmp_path), 3)
    write_windows(tmp_path, ["a/1"])
    save_png(tmp_path / "a/1/im2.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"a/1 mixes sizes \(8x8 and 24x20\)"):
        sources.open_source(str(tmp_path), 3)[0]
    (tmp_path / "a/1/im2.png").write_bytes(b"\x89PNG cut")
    with pytest.raises(UserError, match=r"im2\.png: the image is cut short"):
        sources.open_source(str(tmp_path), 3)[0]


@pytest.mark.parametrize("encoding", ["png", "raw"])
def test_records_are_what_they_were_made_of(tmp_path, encoding):
    stored = write_windows(tmp_path / "in", ["a/1", "a/2", "b/1"])
    counts = write_records(str(tmp_path / "in"), tmp_path / "out", CUT, encoding=encoding)
    assert counts == {"windows": 3, "clips": 1, "rejected": {}}
    source = sources.open_source(str(tmp_path / "out"), 3)
    assert list(source.names) == list(stored)
    for index, (name, frames) in enumerate(stored.items()):
        assert source[index]["name"] == name
        assert np.array_equal(source[index]["frames"], frames)


def test_records_of_videos(videos, tmp_path, capsys):
    command = ["prepare", "records", str(videos), "-o", str(tmp_path / "set"), "--frames", "3", "--step", "3"]
    assert cli_main.main(command) == 0
    assert capsys.readouterr().out.endswith("from 2 clips; rejected: none\n")
    source = sources.open_source(str(tmp_path / "set"), 3)
    assert [name for name in source.names if name.startswith("a.mkv")] == [f"a.mkv/{i:06d}" for i in range(0, 18, 3)]
    assert source[0]["frames"].shape == (3, 80, 96, 3)
    assert source[len(source) - 1]["frames"].shape == (3, 96, 112, 3)
    smaller = write_records(str(videos), tmp_path / "large", CUT, smallest=90)
    assert smaller["rejected"] == {"small": 6}


def test_tfds_reads_records(tmp_path):
    """The set is an ordinary TFDS one, and TensorFlow stays out of it."""
    write_windows(tmp_path / "in", ["a/1"])
    write_records(str(tmp_path / "in"), tmp_path / "out", CUT)
    code = (
        "import sys, tensorflow_datasets as tfds; "
        f"print(len(tfds.builder_from_directory({str(tmp_path / 'out')!r}).as_data_source('train')[0]['frames'])); "
        "assert 'tensorflow' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "3\n"


KILLED = """
import os, pathlib, signal, sys
from vfi_jax.config import Footage
from vfi_jax.data.sources import Synthetic
from vfi_jax.prepare import record_writer
from vfi_jax.prepare.records import write_records

read = Synthetic.__getitem__

def read_or_die(self, index):
    if index == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(self, index)

record_writer.RECORDS_PER_FILE, Synthetic.__getitem__ = 8, read_or_die
write_records("synthetic:24", pathlib.Path(sys.argv[1]), Footage(frames=3))
"""


@pytest.fixture
def eight_per_file(monkeypatch):
    """Smaller record files."""
    monkeypatch.setattr(record_writer, "RECORDS_PER_FILE", 8)


def test_records_continue_after_a_kill(tmp_path, eight_per_file):
    """Killed with complete files behind it; the same call finishes, and the set equals that of an unbroken run."""
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed")], capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    about = json.loads((tmp_path / "killed" / ABOUT).read_text())
    assert not about["finished"]
    assert len(about["names"]) == 16
    with pytest.raises(UserError, match="is unfinished: run the `vfi-jax prepare records` that made it again"):
        sources.open_source(str(tmp_path / "killed"), 3)
    (tmp_path / "killed" / INFO).write_text("")  # as a kill while TFDS writes leaves it
    write_records("synthetic:24", tmp_path / "killed", Footage(frames=3))
    continued, drawn = sources.open_source(str(tmp_path / "killed"), 3), sources.Synthetic(24, 3)
    assert list(continued.names) == list(drawn.names)
    for index in (0, 7, 8, 15, 16, 23):
        assert np.array_equal(continued[index]["frames"], drawn[index]["frames"])


def test_damaged_records(tmp_path, eight_per_file):
    write_records("synthetic:10", tmp_path / "set", Footage(frames=3))
    with pytest.raises(UsageError, match="records with other settings"):
        write_records("synthetic:11", tmp_path / "set", Footage(frames=3))
    file = tmp_path / "set" / "windows-train.array_record-00001"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"record 9 .* cannot be read"):
        sources.open_source(str(tmp_path / "set"), 3)
    file.unlink()
    with pytest.raises(UserError, match=r"record 9 .* cannot be read"):
        sources.open_source(str(tmp_path / "set"), 3)


def test_sets_without_a_usable_window(tmp_path, capsys):
    still = np.full((64, 64, 3), 90, np.uint8)
    make_clip(tmp_path / "still.mp4", frames=12, size=(64, 64), picture=lambda i, _: still)
    for kind, output in (("records", tmp_path / "set"), ("pack", tmp_path / "set.safetensors")):
        assert cli_main.main(["prepare", kind, str(tmp_path), "-o", str(output), "--frames", "3", "--step", "1"]) == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "no usable window in 1 clips; rejected: 10 duplicate" in error
    assert not (tmp_path / "set.safetensors").exists()


def test_unreadable_clip(videos, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mkv").write_bytes((videos / "a.mkv").read_bytes())
    (tmp_path / "in/b.mp4").write_bytes(b"junk" * 1000)
    command = ["prepare", "records", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--frames", "3", "--step", "3"]
    assert cli_main.main(command) == 1
    assert "b.mp4" in capsys.readouterr().err.strip().splitlines()[-1]
    (tmp_path / "in/b.mp4").unlink()
    assert cli_main.main(command) == 0  # what was written before is part of it
    assert len(sources.open_source(str(tmp_path / "out"), 3)) == 6


def test_mixed_sizes_in_raw_records(videos, tmp_path):
    with pytest.raises(UserError, match="raw records have one size"):
        write_records(str(videos), tmp_path / "out", CUT, encoding="raw")


def test_folders_that_cannot_be_written(videos, capsys):
    assert cli_main.main(["prepare", "records", str(videos), "-o", "/proc/nowhere/set"]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_packed_windows(videos, tmp_path):
    output = tmp_path / "set.safetensors"
    counts = pack_footage(videos, output, CUT, size=64, megabytes=1)
    frames, about = packed.read(output)
    assert frames.shape == (counts["windows"], 3, 64, 64, 3)
    assert (len(about["names"]), about["clips"]) == (counts["windows"], 2)
    again = tmp_path / "again.safetensors"
    pack_footage(videos, again, CUT, size=64, megabytes=1)
    assert again.read_bytes() == output.read_bytes()
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is not a complete packed set"):
        packed.read(output)


def test_processes_change_nothing(tmp_path, monkeypatch):
    few = Scenes(count=2, size=32, slowest=2, fastest=8)
    pack_scenes(None, tmp_path / "one.safetensors", few)
    monkeypatch.setattr(parallel, "MIN_ITEMS", 2)
    pack_scenes(None, tmp_path / "several.safetensors", few)
    assert (tmp_path / "several.safetensors").read_bytes() == (tmp_path / "one.safetensors").read_bytes()


def test_crops_are_of_the_frames(videos, tmp_path):
    pack_footage(videos, tmp_path / "set.safetensors", CUT, size=72, megabytes=10)
    frames, about = packed.read(tmp_path / "set.safetensors")
    write_records(str(videos), tmp_path / "set", CUT)
    source = sources.open_source(str(tmp_path / "set"), 3)
    whole = source[list(source.names).index(about["names"][0])]["frames"]
    places = [(y, x) for y in range(80 - 72 + 1) for x in range(96 - 72 + 1)]
    assert any(np.array_equal(whole[:, y : y + 72, x : x + 72], frames[0]) for y, x in places)


def test_small_windows_are_left_out_one_by_one(tmp_path, eight_per_file):
    """Across an interruption too: windows that were left out before it are counted and not read again."""
    stored = write_windows(tmp_path / "in", [f"a/{i:03d}" for i in range(14)])
    for index in (3, 12):
        for image in (tmp_path / f"in/a/{index:03d}").iterdir():
            save_png(image, np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "in/a/013/im2.png").write_bytes(b"\x89PNG cut")
    command = ["prepare", "records", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--frames", "3"]
    command += ["--smallest", "16"]
    assert cli_main.main(command) == 1
    save_png(tmp_path / "in/a/013/im2.png", stored["a/013"][1])
    assert cli_main.main(command) == 0
    source = sources.open_source(str(tmp_path / "out"), 3)
    assert list(source.names) == [f"a/{i:03d}" for i in range(14) if i not in (3, 12)]
    assert np.array_equal(source[11]["frames"], stored["a/013"])
    assert write_records(str(tmp_path / "in"), tmp_path / "out", Footage(frames=3), smallest=16)["rejected"] == {
        "small": 2
    }


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["records", "synthetic:9", "-o", "OUT", "--frames", "0"], 2, "--frames is 0: 1 or more"),
        (["pack", "IN", "-o", "OUT/no/set.safetensors"], 1, "no: no such folder"),
        (["pack", "IN", "-o", "OUT/set.npz"], 2, "is a .safetensors file"),
        (["pack", "OUT", "-o", "OUT/set.safetensors"], 1, "no video files in it"),
        (["records", "nowhere", "-o", "OUT/set"], 1, "nowhere: no such folder"),
    ],
)
def test_wrong_use_of_prepare(videos, tmp_path, capsys, arguments, code, line):
    places = {"IN": str(videos), "OUT": str(tmp_path)}
    arguments = [places.get(word, word.replace("OUT/", f"{tmp_path}/")) for word in arguments]
    assert cli_main.main(["prepare", *arguments]) == code
    assert line in capsys.readouterr().err.strip().splitlines()[-1]


def test_options_below_their_bound(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli_main.main(["prepare", "pack", ".", "-o", str(tmp_path / "set.safetensors"), "--size", "0"])
    assert ended.value.code == 2
    assert "--size: 0: must lie between 1" in capsys.readouterr().err
