"""Samples that cannot be used, and sets that are looked at before the first step."""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_runs import RUN

from vfi_jax.benchmarks import clip_sets
from vfi_jax.cli import main as cli_main
from vfi_jax.config import Mix
from vfi_jax.data import images, listed, packed, parts
from vfi_jax.data.fitness import Requirement
from vfi_jax.data.packed import METADATA_KEY
from vfi_jax.data.sources import open_source
from vfi_jax.errors import DamagedError, UsageError, UserError
from vfi_jax.training.data import open_data
from vfi_jax.viz.sheets import save_png

GOOD = {"frames": np.zeros((3, 70, 80, 3), np.uint8), "name": "a/1"}


@dataclasses.dataclass(frozen=True)
class Windows:
    """A source whose first window is `first`, a window or an exception; the others are good."""

    first: object
    names = tuple(f"a/{index}" for index in range(6))
    has_own_split = by_clip = False

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if index == 0 and isinstance(self.first, Exception):
            raise self.first
        return self.first if index == 0 else GOOD


def changed(**fields):
    return {**GOOD, **fields}


UNFIT = {
    "missing frame": (changed(frames=GOOD["frames"][:2]), "set: a/1 has 2 frames instead of 3"),
    "no frame": (changed(frames=GOOD["frames"][:0]), "set: a/1: no images in it"),
    "too small": (changed(frames=GOOD["frames"][:, :60]), r"set: a/1 is 80x60: too small for data\.augment\.crop = 64"),
    "gray": (changed(frames=GOOD["frames"][..., 0]), r"set: a/1: frames are uint8 \[3, 70, 80\], not uint8 \[n, h"),
    "four channels": (changed(frames=np.zeros((3, 70, 80, 4), np.uint8)), r"uint8 \[3, 70, 80, 4\], not"),
    "floats": (changed(frames=np.zeros((3, 70, 80, 3))), "frames are float64"),
    "list": (changed(frames=[1]), "set: a/1: a window needs `frames`"),
    "no name": ({"frames": GOOD["frames"]}, "set: window 0: a window needs"),
    "no window": (None, "set: window 0: a window needs"),
    "label of another size": (changed(flow=np.zeros((70, 81, 4), np.float16)), r"label flow has the shape \[70, 81, 4"),
    "label of other channels": (changed(flows=np.zeros((70, 80, 4), np.float16)), r"shape .* not \[70, 80, 8\]"),
    "label with NaN": (changed(flow=np.full((70, 80, 4), np.nan, np.float16)), "its label flow is not finite"),
    "damaged": (DamagedError("im1.png: cut short"), r"^im1\.png: cut short$"),
    "label damaged": (UserError("0.safetensors cannot be read"), r"^0\.safetensors cannot be read$"),
    "no permission": (PermissionError(13, "Permission denied", "im1.png"), "PermissionError: .*im1.png"),
    "source of others": (KeyError("frame"), "KeyError: 'frame'"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_unfit_window_is_replaced_and_named(kind):
    first, reason = UNFIT[kind]
    window = parts.Tolerant(Windows(first), Requirement(3, 64), "set")[0]
    assert window["frames"] is GOOD["frames"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(window["damaged"])


def test_wrong_usage_is_no_damage():
    with pytest.raises(UsageError, match="wrong"):
        parts.Tolerant(Windows(UsageError("wrong")), Requirement(), "set")[0]


def write_triplets(folder, count=20, size=(72, 80)):
    """Vimeo90K's layout; returns the folders of the triplets."""
    rng, names = np.random.default_rng(0), [f"{1 + i // 4:05d}/{1 + i % 4:04d}" for i in range(count)]
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    for name in names:
        (folder / "sequences" / name).mkdir(parents=True)
        for number in (1, 2, 3):
            save_png(folder / "sequences" / name / f"im{number}.png", image)
    (folder / "tri_trainlist.txt").write_text("\n".join(names))
    return [folder / "sequences" / name for name in names]


def shrink(triplet):
    for file in triplet.iterdir():
        save_png(file, np.zeros((60, 80, 3), np.uint8))


LISTED = {
    "no folder": (shutil.rmtree, ": no images in it"),
    "no middle frame": (lambda triplet: (triplet / "im2.png").unlink(), " has 2 frames instead of 3"),
    "one frame more": (lambda triplet: shutil.copy(triplet / "im1.png", triplet / "im4.png"), " has 4 frames"),
    "another size": (
        lambda triplet: save_png(triplet / "im2.png", np.zeros((64, 64, 3), np.uint8)),
        r" mixes sizes \(64x64 and 80x72\)",
    ),
    "too small": (shrink, " is 80x60: too small"),
    "empty": (lambda triplet: (triplet / "im2.png").write_bytes(b""), "/im2.png: the file is empty"),
    "no image": (lambda triplet: (triplet / "im2.png").write_bytes(b"<html>"), "/im2.png: not an image"),
}


@pytest.fixture(scope="module")
def triplets(tmp_path_factory):
    return write_triplets(tmp_path_factory.mktemp("triplets") / "set")[0].parents[2]


@pytest.mark.parametrize("kind", LISTED)
def test_a_listed_set_is_looked_at_before_the_first_step(triplets, tmp_path, kind):
    """One of 19 triplets is unfit: too many by default; replaced and counted where that is allowed."""
    damage, reason = LISTED[kind]
    shutil.copytree(triplets, tmp_path / "set")
    triplet = tmp_path / "set/sequences/00001/0004"
    damage(triplet)
    run, lines = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path=str(tmp_path / "set"))), []
    few = r"1 of 19 windows of .*set are unfit, more than --config\.data\.damaged=0\.01 allows: .*"
    with pytest.raises(UserError, match=f"{few}{triplet}{reason}"):
        open_data(run, tmp_path, labeled_validation=False)
    if kind != "no middle frame":
        return
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, damaged=0.06))
    batches = open_data(run, tmp_path, labeled_validation=False, log=lines.append).batches
    for _ in range(36):  # four epochs: more than 100 samples would allow by themselves
        next(batches)
    place = batches.get_state()
    batches.close()
    assert place["damaged"] == place["expected"] == 4
    assert len(lines) == 2
    assert all(str(triplet) in line for line in lines)


def test_validation_and_mixed_sets_are_looked_at(triplets, tmp_path):
    shutil.copytree(triplets, tmp_path / "set")
    (tmp_path / "set/sequences/00001/0001/im2.png").unlink()
    for fields in ({"validation": str(tmp_path / "set")}, {"mix": (Mix(str(tmp_path / "set"), 0.5),)}):
        run = dataclasses.replace(RUN, data=dataclasses.replace(RUN.data, path=str(triplets), **fields))
        with pytest.raises(UserError, match=r"1 of 20 windows of .*set/sequences/00001/0001 has 2 frames instead of 3"):
            open_data(run, tmp_path, labeled_validation=False)


def test_unfit_samples_of_validation_are_replaced_and_counted(triplets, tmp_path):
    """Those that only decoding shows, too; many of them end the validation."""
    shutil.copytree(triplets, tmp_path / "set")
    (tmp_path / "set/sequences/00001/0001/im2.png").unlink()
    cut = tmp_path / "set/sequences/00005/0004/im2.png"
    cut.write_bytes(cut.read_bytes()[:200])
    data = dataclasses.replace(RUN.data, validation=str(tmp_path / "set"), damaged=0.05)
    run, lines = dataclasses.replace(RUN, data=data, validation_samples=20), []
    opened = open_data(run, tmp_path, labeled_validation=False, log=lines.append)
    for _ in range(2):
        validation = opened.validation()
        assert sum(len(batch["t"]) for batch in validation) == 20
        assert validation.damaged == 2
    assert [line.split(":")[0] for line in lines] == [
        "warning",
        "replaced (1 of 2 samples so far)",
        "replaced (2 of 20 samples so far)",
    ]
    for number in (2, 3):
        for file in (tmp_path / f"set/sequences/0000{number}").rglob("im3.png"):
            file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=r"samples cannot be used, more than --config\.data\.damaged=0\.05 allows"):
        list(opened.validation())
    opened.batches.close()


@pytest.mark.slow
def test_workers_name_unfit_samples(triplets, tmp_path):
    shutil.copytree(triplets, tmp_path / "set")
    (tmp_path / "set/sequences/00001/0001/im2.png").unlink()
    data = dataclasses.replace(RUN.data, path=str(tmp_path / "set"), damaged=0.1, workers=1)
    lines = []
    batches = open_data(
        dataclasses.replace(RUN, data=data), tmp_path, labeled_validation=False, log=lines.append
    ).batches
    for _ in range(9):
        next(batches)
    assert batches.get_state()["damaged"] == 1
    assert "sequences/00001/0001 has 2 frames instead of 3" in lines[-1]
    batches.close()


def test_sizes_from_headers(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in {"a.png": (3, 5), "b.jpg": (40, 30), "c.jpg": (300, 500), "d.jpeg": (8, 8)}.items():
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 256, (*size, 3), np.uint8))
        assert images.image_size(tmp_path / name) == size[::-1]
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert images.image_size(tmp_path / "a.jpg") == (5, 3)
    for content in (b"", b"\x89PNG", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0\0", b"text"):
        (tmp_path / "bad.jpg").write_bytes(content)
        with pytest.raises(DamagedError, match=r"bad\.jpg"):
            images.image_size(tmp_path / "bad.jpg")


def test_usual_length():
    """The most common one; the recipe's among equally common ones, whatever stands first."""
    short = changed(frames=GOOD["frames"][:2])
    assert listed.usual_length(Windows(short), 9) == 3
    assert listed.usual_length(parts.Part(Windows(short), [0, 1]), 3) == 3
    assert listed.usual_length(Windows(KeyError("a")), 3) == 3
    with pytest.raises(UserError, match="no window that can be read: cut"):
        listed.usual_length(parts.Part(Windows(DamagedError("cut")), [0]), 3)


@pytest.mark.parametrize(
    ("dtype", "shape", "names"),
    [("f4", (2, 3, 8, 8, 3), 2), ("u1", (2, 3, 8, 8), 2), ("u1", (2, 3, 8, 8, 4), 2), ("u1", (2, 3, 8, 8, 3), 1)],
)
def test_packed_files_of_another_kind(tmp_path, dtype, shape, names):
    about = {METADATA_KEY: f'{{"names": {["a/0"] * names}}}'.replace("'", '"')}
    save_file({"frames": np.zeros(shape, dtype)}, tmp_path / "set.safetensors", about)
    with pytest.raises(UserError, match=r"not uint8 \[m, n, h, w, 3\] and m names: make it again"):
        packed.read(tmp_path / "set.safetensors")


NUMBERED = {
    "frame_000001 frame_000002 frame_000004 frame_000005": "no picture 3 between frame_000002.png and frame_000004.png",
    "a9 a10 a13 a14 a15": "no pictures 11 to 12 between a10.png and a13.png",
    "0 4 8 16 20": "no picture 12 between 8.png and 16.png",
    "im1 im2 im3": "",
    "1 2": "",
    "": "",
    "16683 33366 50050 66733": "",  # times
    "frame10 frame10i11 frame11": "",
    "a b c d": "",
    "0 5 6 9 20": "",
    "a1 b2 a3 b4": "",
    "7 7b 8": "",
}


@pytest.mark.parametrize("names", NUMBERED)
def test_gaps_in_numbered_folders(names):
    found = images.gaps([Path(f"{name}.png") for name in names.split()])
    assert [str(gap) for gap in found] == ([NUMBERED[names]] if NUMBERED[names] else [])


@pytest.fixture
def gapped(tmp_path):
    """A long folder of 20 pictures of which number 8 is missing."""
    folder = tmp_path / "set/clip"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(1, 21):
        if number != 8:
            save_png(folder / f"frame_{number:06d}.png", rng.integers(0, 256, (64, 64, 3), np.uint8))
    return folder


def test_windows_over_a_gap_are_unfit(gapped, capsys):
    """In training and `prepare`, and a benchmark of such pictures is refused; each names the number."""
    line = f"{gapped} has no picture 8 between frame_000007.png and frame_000009.png"
    source = open_source(str(gapped.parent), 3)
    assert listed.unfit(source, Requirement(3, 64)) == [line] * 2  # of 17: those that begin at 6 and 7
    replaced = parts.Tolerant(source, Requirement(3, 64), "set")[5]
    assert replaced["damaged"] == line
    with pytest.raises(UserError, match=f"^{line}: frames that are no neighbors"):
        clip_sets.frames_of(gapped.parent)
    arguments = [
        "prepare",
        "records",
        str(gapped.parent),
        "-o",
        str(gapped.parents[1] / "out"),
        "--frames",
        "3",
        "--step",
        "1",
    ]
    assert cli_main.main(arguments) == 1
    assert capsys.readouterr().err.endswith(f"{line}\n")
