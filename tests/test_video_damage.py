"""Damaged sources: what can be read is done, the time is named, and the exit status is not 0."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction

import clips
import pytest

from vfi_jax import errors
from vfi_jax.errors import IncompleteError
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.coding.decode import Reader


def hold(frames, times):
    """In-betweens that repeat the frame before."""
    for _ in times:
        yield frames[0]


def overwritten(path, share):
    """Overwrites 300 bytes at a share of the file."""
    data = bytearray(path.read_bytes())
    place = int(len(data) * share)
    data[place : place + 300] = bytes([0xAA]) * 300
    path.write_bytes(data)
    return path


def _until_damage(reader):
    with contextlib.suppress(IncompleteError):
        yield from reader.frames()


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_matroska_with_bytes_overwritten(tmp_path, share):
    source = overwritten(clips.make_clip(tmp_path / "in.mkv", frames=60, sound=["aac"]), share)
    with Reader(source) as reader:
        is_whole = sum(1 for _ in _until_damage(reader)) == 60
    if is_whole:  # the damage lies inside a picture or in the sound
        assert interpolate_video(source, tmp_path / "out.mp4", hold).frames == 119
        return
    with pytest.raises(IncompleteError, match=r"in\.mkv: is (damaged|cut short).*\d\.\d{3} s.*out\.mp4 holds") as error:
        interpolate_video(source, tmp_path / "out.mp4", hold)
    assert errors.exit_code(error.value) == 3
    shown = clips.shown(tmp_path / "out.mp4")
    assert 20 < len(shown) < 120
    assert re.search(r", (\d+) frames$", str(error.value))[1] == str(len(shown))


def test_transport_stream_cut(tmp_path):
    source = clips.make_clip(tmp_path / "in.ts", frames=60, sound=["aac"])
    packets = int(source.stat().st_size * 0.6) // 188
    source.write_bytes(source.read_bytes()[: packets * 188 + 101])  # inside a packet
    with pytest.raises(IncompleteError, match=r"in\.ts: is cut short: the data ends after frame \d+ \(\d\.\d{3} s\)"):
        interpolate_video(source, tmp_path / "out.mp4", hold)
    assert len(clips.shown(tmp_path / "out.mp4")) > 50


def test_whole_files_are_whole(tmp_path):
    for name in ("in.mkv", "in.ts", "in.mp4", "in.avi"):
        codec = "mpeg4" if name == "in.avi" else "libx264"
        source = clips.make_clip(tmp_path / name, frames=9, size=(32, 16), codec=codec)
        assert interpolate_video(source, tmp_path / "out.mkv", hold, Options(overwrite=True)).notes == ()


def test_a_hole_is_named_with_its_time(tmp_path):
    times = [Fraction(i + 5 * (i >= 12), 25) for i in range(20)]
    source = clips.make_clip(tmp_path / "in.ts", frames=20, times=times)
    notes = interpolate_video(source, tmp_path / "out.mp4", hold).notes
    assert any(re.search(r"a hole of 0\.200 s at 0\.480 s$", note) for note in notes), notes
