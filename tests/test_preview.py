"""The preview: which frames it shows, where it goes, and what it refuses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import clips
import numpy as np
import pictures
import pytest

import vfi_jax
from vfi_jax.cli import main as cli
from vfi_jax.errors import UsageError, UserError
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.preview import WIDEST, Preview, Thinned, path_of
from vfi_jax.viz.sheets import GAP, LABEL_HEIGHT, sheet


@pytest.mark.parametrize("added", [1, 5, 6, 7, 12, 13, 40, 1000])
def test_thinned(added):
    """As many as asked for, evenly over all, from the first on; the last is at most a step away from the end."""
    thinned = Thinned(6)
    for number in range(added):
        thinned.add(number)
    chosen = thinned.chosen()
    assert len(chosen) == min(6, added)
    assert chosen[0] == 0
    steps = np.diff(chosen)
    assert added - 1 - chosen[-1] <= max(1, added // 6)
    assert len(chosen) < 2 or steps.max() <= 2 * steps.min() <= 2 * added / 5


def frame(gray, time, *, new=False, shot=0, size=(24, 16), dtype=np.uint8):
    image = np.full((size[1], size[0], 3), gray * (257 if dtype == np.uint16 else 1), dtype)
    return TimedFrame(Fraction(time), Fraction(1), image, neighbors=(None,) * 2 * new, shot=shot)


def cells(page, size=(24, 16)):
    """The gray in the middle of each cell, row by row."""
    down, across = LABEL_HEIGHT + size[1] + GAP, size[0] + GAP
    return page[LABEL_HEIGHT + size[1] // 2 :: down, size[0] // 2 :: across, 0].tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_gap_that_moves_most(dtype):
    """Gaps go up by 10, 60, 90 over a cut, and 20: the second one is shown, with what the source shows then."""
    preview = Preview()
    grays = [(10, 0), (20, 0), (80, 0), (170, 1), (190, 1)]
    for number, (gray, shot) in enumerate(grays):
        preview.add(frame(gray, number, shot=shot, dtype=dtype))
        if number < 4:
            middle = (gray + grays[number + 1][0]) // 2
            preview.add(frame(middle, number + Fraction(1, 2), new=True, shot=shot, dtype=dtype))
    paper = 24
    assert cells(preview.image()) == [
        [15, 50, 125, 180],
        [20, 20, 80, paper],
        [20, 50, 80, paper],
    ]


def test_long_gaps_and_large_frames():
    preview = Preview()
    for k in range(65):
        preview.add(frame(2 * k, Fraction(k, 64), new=0 < k < 64, size=(1280, 720)))
    page = preview.image()
    rows = cells(page, (WIDEST, 180))
    assert page.shape == sheet([[(np.zeros((180, WIDEST, 3), np.uint8), "")] * 6] * 4).shape
    assert rows[2] == [0, 0, 0, 0, 0, 128]
    assert rows[3][0] == 0
    assert rows[3][-1] == 128
    assert (np.diff(rows[3]) > 10).all()


def test_one_frame():
    preview = Preview()
    preview.add(frame(7, 0))
    assert cells(preview.image()) == [[7]]


def test_places(tmp_path):
    for target, name in [
        ("out.mp4", "out"),
        ("film.part2.mkv", "film.part2"),
        ("pictures", "pictures"),
        ("p/%04d.png", "p"),
    ]:
        assert path_of(tmp_path / target, overwrite=False) == tmp_path / f"{name}.preview.png"
    with pytest.raises(UsageError, match="a pipe has no place"):
        path_of(Path("-"), overwrite=False)
    (tmp_path / "out.preview.png").write_bytes(b"old")
    with pytest.raises(UserError, match="exists; move it, or replace it with --overwrite"):
        path_of(tmp_path / "out.mp4", overwrite=False)
    assert path_of(tmp_path / "out.mp4", overwrite=True)


def test_the_flag(tmp_path, capsys, monkeypatch):
    """Of a gray clip with the average as model: the last row holds the halves."""
    source = clips.make_clip(
        tmp_path / "in.mkv", frames=2, codec="ffv1", pix_fmt="bgr0",
        picture=lambda k, size: np.full((size[1], size[0], 3), 40 + 60 * k, np.uint8),
    )  # fmt: skip
    model = vfi_jax.Interpolator("average")
    monkeypatch.setattr("vfi_jax.cli.interpolate._load", lambda *_: model)
    command = ["interpolate", str(source), "-o", str(tmp_path / "out.mkv"), "--preview"]
    assert cli.main(command) == 0
    assert "out.preview.png shows the outcome" in capsys.readouterr().err
    page = pictures.read(tmp_path / "out.preview.png")
    assert cells(page, clips.SIZE)[1:] == [[40, 40, 100], [40, 70, 100]]
    (tmp_path / "out.mkv").unlink()
    assert cli.main(command) == 1
    assert "out.preview.png: exists" in capsys.readouterr().err
    assert not (tmp_path / "out.mkv").exists()
