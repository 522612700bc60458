"""Training sets in the layout that their authors publish, as small trees."""

import dataclasses

import cv2
import numpy as np
import pytest

from vfi_jax.cli.main import main
from vfi_jax.data import published
from vfi_jax.data.sources import open_source
from vfi_jax.prepare.records import write_published

SIZE = (24, 32)


@pytest.fixture
def layouts(monkeypatch):
    """The published layouts, for small sets of small images."""
    small = {
        name: dataclasses.replace(layout, size=SIZE, clips=min(layout.clips, 3), frames=min(layout.frames, 7))
        for name, layout in published.PUBLISHED.items()
    }
    small["x4k1000fps"] = dataclasses.replace(small["x4k1000fps"], window=7)
    small["gopro"] = dataclasses.replace(small["gopro"], names=small["gopro"].names[:3])
    monkeypatch.setattr(published, "PUBLISHED", small)


def write(folder, count, size=SIZE, start=1):
    folder.mkdir(parents=True)
    for number in range(start, start + count):
        image = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(str(folder / f"im{number}.png"), image)


@pytest.mark.usefixtures("layouts")
def test_vimeo_with_gaps(tmp_path, capsys):
    root = tmp_path / "vimeo_triplet"
    for clip in ("00001/0001", "00001/0002"):
        write(root / "sequences" / clip, 3)
    write(root / "sequences/00002/0001", 2)
    write(root / "sequences/00009/0001", 3)  # of the test list
    (root / "tri_trainlist.txt").write_text("00001/0001\n00001/0002\n00002/0001\n")
    damaged = root / "sequences/00001/0002/im2.png"
    damaged.write_bytes(damaged.read_bytes()[:80])
    assert main(["prepare", "published", "vimeo_triplet", str(root), "-o", str(tmp_path / "set")]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 clips, 1 good windows; missing: 1, damaged: 1" in out
    report = (tmp_path / "set/report.txt").read_text()
    assert "missing: 00002/0001 has 2 of 3 images" in report
    assert f"damaged: cannot read {damaged}: the image is cut short" in report
    (window,) = list(open_source(str(tmp_path / "set"), 3))
    expected = cv2.imread(str(root / "sequences/00001/0001/im2.png"))[..., ::-1]
    assert np.array_equal(window["frames"][1], expected)


@pytest.mark.usefixtures("layouts")
def test_gopro_is_cut_into_windows_of_nine(tmp_path):
    names = published.PUBLISHED["gopro"].names
    write(tmp_path / "train" / names[0], 25)
    write(tmp_path / "train" / names[1], 10)
    report = published.survey("gopro", tmp_path)
    assert report.source.names == [
        f"{names[0]}/000000",
        f"{names[0]}/000008",
        f"{names[0]}/000016",
        f"{names[1]}/000000",
    ]
    assert report.missing == [f"clip {names[2]}"]
    assert report.lines()[0] == "2 of 3 clips, 4 good windows; missing: 1, damaged: 0"


@pytest.mark.usefixtures("layouts")
def test_wrong_sizes_take_their_windows_away(tmp_path):
    write(tmp_path / "train/video", 17)
    image = np.zeros((10, 12, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "train/video/im12.png"), image)
    report = published.survey("adobe240", tmp_path)
    assert report.source.names == ["video/000000"]
    assert report.damaged == [f"{tmp_path / 'train/video/im12.png'} is 12x10, not 32x24"]


@pytest.mark.usefixtures("layouts")
def test_long_clips_are_whole_windows(tmp_path):
    write(tmp_path / "train/002/occ008.320_f2881", 7, start=0)
    write(tmp_path / "train/003/occ008.320_f1", 6, start=0)
    counts = write_published("x4k1000fps", tmp_path, tmp_path / "set", encoding="raw")
    assert counts == {"windows": 1, "clips": 2, "expected": 3, "rejected": {"missing": 2, "damaged": 0}}
    assert open_source(str(tmp_path / "set"), 7)[0]["frames"].shape == (7, *SIZE, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (("vimeo", "."), 2, "no training set is called 'vimeo'; there are: vimeo_triplet"),
        (("gopro", "."), 1, "train: no such folder"),
    ],
)
def test_wrong_use(tmp_path, monkeypatch, capsys, arguments, code, line):
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "published", *arguments, "-o", "set"]) == code
    error = capsys.readouterr().err
    assert line in error
    assert len(error.strip().splitlines()) == 1


def test_counts_are_those_of_the_published_lists():
    assert published.PUBLISHED["vimeo_triplet"].clips == 51_313
    assert len(set(published.PUBLISHED["gopro"].names)) == published.PUBLISHED["gopro"].clips == 22
