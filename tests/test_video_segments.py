"""Runs that end early and go on: the bytes are those of a run that was not ended."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from vfi_jax.errors import UserError
from vfi_jax.system import lock
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.segments import journal, records
from vfi_jax.video.segments.records import Record, Tape

KEY = {"model": "blend"}


class EndedError(Exception):
    """Ends a run as a kill does, as far as the journal is concerned."""


class Blend:
    """In-betweens that blend; ends after a number of them.

    Attributes:
      calls: number of frames that were made.
    """

    def __init__(self, most=10**9):
        self.most, self.calls = most, 0

    def __call__(self, frames, times):
        for t in times:
            if self.calls == self.most:
                raise EndedError
            self.calls += 1
            yield np.uint8((1 - t) * frames[0] + t * frames[-1] + 0.5)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch):
    monkeypatch.setattr("vfi_jax.video.gaps.LENGTH", 8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A clip at a variable rate, whose decoding times need the reordering of more than one segment."""
    times = list(np.cumsum([0, *np.random.default_rng(0).integers(20, 60, 19)]))
    return clips.make_clip(
        tmp_path_factory.mktemp("source") / "in.mp4",
        frames=20, size=(32, 16), times=[Fraction(int(t), 1000) for t in times], tick=Fraction(1, 1000), sound=["aac"],
    )  # fmt: skip


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def ended(source, target, most, **options):
    with pytest.raises(EndedError):
        interpolate_video(source, target, Blend(most), Options(**options), key=KEY)
    assert not target.exists()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("out.mp4", {}),
        ("out.mkv", {"encoder": "libx265", "fps": 40}),
        ("out.mov", {"encoder": "prores", "hold_last": True}),
        ("out.webm", {"sound": "drop"}),
        ("out.mp4", {"slow": 2, "start": 0.2}),
    ],
    ids=str,
)
def test_bytes_are_those_of_a_whole_run(tmp_path, source, name, options):
    whole = Blend()
    interpolate_video(source, tmp_path / f"whole{Path(name).suffix}", whole, Options(**options))
    target = tmp_path / name
    ended(source, target, 10, **options)
    ended(source, target, 4, **options)
    rest = Blend()
    summary = interpolate_video(source, target, rest, Options(**options), key=KEY)
    assert target.read_bytes() == (tmp_path / f"whole{target.suffix}").read_bytes()
    assert rest.calls < whole.calls - 6
    assert summary.frames == len(clips.shown(target))
    assert hidden(tmp_path) == []


def test_decoding_times_increase(tmp_path, source):
    interpolate_video(source, tmp_path / "out.mp4", Blend(), Options(factor=3))
    with av.open(str(tmp_path / "out.mp4")) as clip:
        packets = [packet for packet in clip.demux(clip.streams.video[0]) if packet.size]
    times = [packet.dts for packet in packets]
    assert all(a < b for a, b in itertools.pairwise(times))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert sum(packet.is_keyframe for packet in packets) == 8  # 58 frames: segments of 9, and the last frame


@pytest.mark.parametrize("change", ["options", "key", "source"])
def test_another_job_begins_again(tmp_path, source, change, capsys):
    given, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    given.write_bytes(source.read_bytes())
    ended(given, target, 9)
    assert hidden(tmp_path) == [".out.mp4.journal"]
    assert "the same command goes on from there" in capsys.readouterr().err
    if change == "source":
        given.write_bytes(source.read_bytes() + bytes(8))
    again = Blend()
    options = Options(quality=50 if change == "options" else None)
    interpolate_video(given, target, again, options, key={"model": "other"} if change == "key" else KEY)
    assert again.calls == 19
    named = {"options": "quality", "key": "model", "source": "source"}[change]
    assert f"with another {named}; it begins again" in capsys.readouterr().err
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_segment_is_made_again(tmp_path, source, damage, capsys):
    whole, target = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    interpolate_video(source, whole, Blend())
    ended(source, target, 13)
    segment = tmp_path / ".out.mp4.journal" / "000001.seg"
    data = bytearray(segment.read_bytes())
    data[10] ^= 1
    segment.write_bytes({"cut": data[:-20], "flipped": data, "empty": b""}[damage])
    interpolate_video(source, target, Blend(), key=KEY)
    assert "000001.seg is damaged" in capsys.readouterr().err
    assert target.read_bytes() == whole.read_bytes()


def test_a_journal_without_a_job(tmp_path, source, capsys):
    ended(source, tmp_path / "out.mp4", 9)
    (tmp_path / ".out.mp4.journal" / "job.json").write_text(json.dumps(["no object"]))
    again = Blend()
    interpolate_video(source, tmp_path / "out.mp4", again, key=KEY)
    assert again.calls == 19


def test_one_run_at_a_time(tmp_path, source):
    ended(source, tmp_path / "out.mp4", 9)
    with lock.held(tmp_path / ".out.mp4.journal"), pytest.raises(UserError, match="in use by another process"):
        interpolate_video(source, tmp_path / "out.mp4", Blend(), key=KEY)


def test_nothing_is_kept_without_a_key_or_before_a_segment_is_finished(tmp_path, source):
    with pytest.raises(EndedError):
        interpolate_video(source, tmp_path / "out.mp4", Blend(9))
    assert hidden(tmp_path) == []
    ended(source, tmp_path / "out.mp4", 3)
    assert hidden(tmp_path) == []


def test_animations_begin_again(tmp_path, source):
    ended(source, tmp_path / "out.gif", 9)
    assert hidden(tmp_path) == []


def test_records_come_back(tmp_path):
    packet = av.Packet(b"data")
    packet.pts, packet.dts, packet.duration, packet.is_keyframe = 5, -3, 2, True
    packet.time_base = Fraction(1, 50)
    with (tmp_path / "x.seg").open("wb") as file:
        tape = Tape(file)
        for record in (Record(Fraction(1, 3), (packet, packet)), Record(Fraction(2, 3), ())):
            tape.add(record)
        tape.finish(7)
    assert records.frames_in(tmp_path / "x.seg") == 7
    first, second = records.read(tmp_path / "x.seg", Fraction(1, 50))
    assert (first.time, second) == (Fraction(1, 3), Record(Fraction(2, 3), ()))
    for each in first.packets:
        assert (bytes(each), each.pts, each.dts, each.duration, each.is_keyframe) == (b"data", 5, -3, 2, True)


def test_the_longest_names(tmp_path):
    names = {journal.folder_of(tmp_path / f"{'n' * 250}{i}.mp4").name for i in range(2)}
    assert len(names) == 2
    assert max(map(len, names)) < 255
