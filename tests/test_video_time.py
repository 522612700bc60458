"""Clips in time: fractional factors, constant rates, slow motion, parts, loops, and headers that are wrong."""

from __future__ import annotations

import argparse
import dataclasses
import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UserError
from vfi_jax.video import Options, interpolate, interpolate_video
from vfi_jax.video.survey import survey
from vfi_jax.video.values import Position, flag_of

ROOT = Path(__file__).parent.parent
SMALL = (32, 16)
MILLISECOND = Fraction(1, 1000)
WHOLE = (Position(Fraction(0), is_frame=True), None)


def average(frames, times):
    """Stands in for a network."""
    left, right = frames[len(frames) // 2 - 1 :][:2]
    for t in times:
        yield np.uint8(np.rint((1 - t) * left + t * right))


def make(path, **options):
    return clips.make_clip(path, size=SMALL, **options)


def run(source, target, *, num_frames=2, **options):
    return interpolate_video(source, target, average, Options(**options), num_frames=num_frames)


def times_of(path):
    return [shown for shown, _ in clips.shown(path)]


def end_of(path):
    return sum(clips.shown(path)[-1])


def test_fractional_factor(tmp_path):
    source = make(tmp_path / "in.mp4", frames=8, sound=["aac"])
    assert run(source, tmp_path / "out.mp4", factor="5/2").frames == 18
    assert times_of(tmp_path / "out.mp4") == [Fraction(2 * k, 125) for k in range(18)]
    assert end_of(tmp_path / "out.mp4") == end_of(source)
    assert clips.packets(tmp_path / "out.mp4") == clips.packets(source)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_constant_rate_from_a_variable_one(tmp_path, suffix):
    shown = [Fraction(n, 1000) for n in (20, 60, 70, 150, 160, 320, 353)]
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = make(tmp_path / f"in{suffix}", times=shown, tick=Fraction(1, 1000), codec=codec)
    run(source, tmp_path / f"out{suffix}", fps="60000/1001")
    written = times_of(tmp_path / f"out{suffix}")
    expected = [shown[0] + k * Fraction(1001, 60000) for k in range(20)]
    tolerance = Fraction(1, 2000) if suffix in (".mkv", ".webm") else 0
    assert max(abs(a - b) for a, b in zip(written, expected, strict=True)) <= tolerance
    assert abs(end_of(tmp_path / f"out{suffix}") - end_of(source)) <= tolerance


def test_pairs_a_tick_apart(tmp_path):
    shown = [Fraction(n, 1000) for n in (0, 1, 17, 33)]
    source = make(tmp_path / "in.mkv", times=shown, tick=Fraction(1, 1000))
    (note,) = run(source, tmp_path / "out.mkv").notes
    assert note.startswith("1 pairs of frames stay undivided")
    assert times_of(tmp_path / "out.mkv") == [Fraction(n, 1000) for n in (0, 1, 9, 17, 25, 33)]
    assert run(source, tmp_path / "out.mp4").notes == ()
    assert times_of(tmp_path / "out.mp4")[:3] == [0, Fraction(1, 2000), Fraction(1, 1000)]


def test_a_nominal_rate_decides_nothing(tmp_path):
    """Clips of browsers count in milliseconds and have no rate."""
    shown = [Fraction(n, 1000) for n in np.cumsum([0, *([33, 34, 17, 50, 33, 1] * 6)]).tolist()]
    source = make(tmp_path / "in.webm", times=shown, tick=MILLISECOND, rate=1000, codec="libvpx-vp9", sound=["libopus"])
    with av.open(str(source)) as clip:
        assert clip.streams.video[0].guessed_rate == 1000
    assert 25 < survey(source, *WHOLE).rate < 45
    job = interpolate.check(source, tmp_path / "out.webm")
    assert job.total == 2 * len(shown) - 1
    summary = interpolate.interpolate(job, average)
    assert summary.frames == 2 * len(shown) - 1 - 6
    assert summary.notes[0].startswith("6 pairs")


def test_totals_do_not_count_the_sound(tmp_path):
    source = make(tmp_path / "in.mkv", frames=6, last=Fraction(4), sound=["flac"])
    with av.open(str(source)) as clip:
        assert clip.duration
    assert survey(source, *WHOLE).frames == 6


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.264"])
@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"start": "3f", "stop": "7f"}, range(3, 7)),
        ({"start": "0.12", "stop": "0.28"}, range(3, 7)),
        ({"start": "0.1", "stop": "7f"}, range(3, 7)),
        ({"stop": "4f"}, range(4)),
        ({"start": "0:00.32"}, range(8, 10)),
    ],
)
def test_parts(tmp_path, name, part, kept):
    source = make(tmp_path / name, frames=10)
    job = interpolate.check(source, tmp_path / "out.mp4", Options(**part))
    if name != "in.264":  # whose packets have no times
        assert job.total == 2 * len(kept) - 1
    assert interpolate.interpolate(job, average).source_frames == len(kept)
    assert times_of(tmp_path / "out.mp4") == [Fraction(k, 50) for k in range(2 * len(kept) - 1)]
    known, written = np.int16(clips.pictures(tmp_path / name)), np.int16(clips.pictures(tmp_path / "out.mp4"))[::2]
    assert [int(np.abs(known - frame).mean((1, 2, 3)).argmin()) for frame in written] == list(kept)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_variable_clips_with_reordered_frames_and_an_offset(tmp_path, suffix):
    """Stored out of order where the codec has B-frames, and the sound begins earlier."""
    shown = [Fraction(n, 1000) for n in (80, 120, 130, 200, 233, 300, 301, 400)]
    codec, options = ("libvpx-vp9", {}) if suffix == ".webm" else ("libx264", {"bf": "3", "crf": "8"})
    sound = ["libopus"] if suffix == ".webm" else ["aac"]  # MP4 holds both
    clip = {"times": shown, "tick": MILLISECOND, "codec": codec, "options": options, "sound": sound}
    source = make(tmp_path / f"in{suffix}", **clip)
    before = times_of(source)
    for factor, start in ((2, "0f"), (3, "3f")):
        run(source, tmp_path / "out.mp4", factor=factor, start=None if start == "0f" else start, overwrite=True)
        kept = before[int(start[:-1]) :]
        shift = Fraction(0) if start == "0f" else kept[0]
        expected = [a - shift + (b - a) * k / factor for a, b in pairwise(kept) for k in range(factor)]
        assert times_of(tmp_path / "out.mp4") == [*expected, kept[-1] - shift]


def test_sound_of_a_part_is_cut_along(tmp_path):
    source = make(tmp_path / "in.mkv", frames=50, sound=["flac"])
    run(source, tmp_path / "out.mkv", start="0.52", stop="1.24")
    (before,), (after,) = clips.packets(source), clips.packets(tmp_path / "out.mkv")
    kept = [(time - Fraction(52, 100), data) for time, data in before if Fraction(52, 100) <= time < Fraction(124, 100)]
    assert [data for _, data in after] == [data for _, data in kept]
    assert all(abs(a - b) <= MILLISECOND for (a, _), (b, _) in zip(after, kept, strict=True))


def test_rates_that_ask_for_too_many_frames(tmp_path):
    source = make(tmp_path / "in.mkv", times=[Fraction(0), Fraction(200)], tick=MILLISECOND)
    with pytest.raises(UserError, match="2 frames would become 12001"):
        run(source, tmp_path / "out.mp4", fps=60)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_chapters_of_a_part(tmp_path, suffix):
    source, chapters = make(tmp_path / "plain.mkv", frames=75), [("A", 0, 1), ("B", 1, 2), ("C", 2, 3)]
    with av.open(str(source)) as clip, av.open(str(tmp_path / "in.mkv"), "w") as out:
        stream = out.add_stream_from_template(clip.streams.video[0])
        titled = [
            {"id": a + 1, "start": a, "end": b, "time_base": Fraction(1), "metadata": {"title": t}}
            for t, a, b in chapters
        ]
        out.set_chapters(titled)
        for packet in clip.demux():
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    run(tmp_path / "in.mkv", tmp_path / f"out{suffix}", start="0.6", stop="1.8", slow=2)
    with av.open(str(tmp_path / f"out{suffix}")) as clip:
        kept = [
            (c["metadata"]["title"], c["start"] * c["time_base"], c["end"] * c["time_base"]) for c in clip.chapters()
        ]
        assert kept == [("A", 0, Fraction(4, 5)), ("B", Fraction(4, 5), Fraction(12, 5))]


def test_a_part_without_frames(tmp_path):
    with pytest.raises(UserError, match="no frame from --from to --to"):
        run(make(tmp_path / "in.mp4"), tmp_path / "out.mp4", start=9)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("options", "count"), [({"loop": True}, 12), ({"hold_last": True}, 12), ({"fps": 50}, 7)])
@pytest.mark.parametrize("num_frames", [2, 4])
def test_ends(tmp_path, options, count, num_frames):
    source = make(tmp_path / "in.mp4", frames=4)
    options = options if "fps" in options else {"factor": 3, **options}
    assert run(source, tmp_path / "out.mp4", num_frames=num_frames, **options).frames == count
    assert end_of(tmp_path / "out.mp4") == end_of(source)
    known, written = np.float32(clips.pictures(source)), np.float32(clips.pictures(tmp_path / "out.mp4"))
    if "loop" in options:
        assert np.abs(written[-1] - (known[3] / 3 + known[0] * 2 / 3)).mean() < 6
    if "hold_last" in options:
        assert np.abs(written[-1] - known[3]).mean() < 6


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("options", [{"loop": True}, {"hold_last": True}, {"fps": 60}, {"slow": 3}, {"factor": 2.5}])
def test_short_clips(tmp_path, frames, options):
    source = make(tmp_path / "in.mp4", frames=frames)
    job = interpolate.check(source, tmp_path / "out.mp4", Options(**options))
    assert (
        interpolate.interpolate(job, average, num_frames=4).frames == job.total == len(times_of(tmp_path / "out.mp4"))
    )
    assert end_of(tmp_path / "out.mp4") == end_of(source) * (3 if "slow" in options else 1)


def test_windows_go_on_behind_the_end_of_a_loop(tmp_path):
    source, seen = make(tmp_path / "in.mp4", frames=4), []
    known = np.int16(clips.pictures(source))

    def between(frames, times):
        seen.append([int(np.abs(known - frame).mean(axis=(1, 2, 3)).argmin()) for frame in frames])
        yield from average(frames, times)

    interpolate_video(source, tmp_path / "out.mp4", between, Options(loop=True), num_frames=4)
    assert seen == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1]]


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [(".mp4", "libx264", "aac"), (".mkv", "libx264", "flac"), (".webm", "libvpx-vp9", "libopus")],
)
def test_slow_motion_stretches_the_sound(tmp_path, monkeypatch, suffix, codec, sound):
    monkeypatch.setattr(clips, "_write_sound", write_bursts)
    source = make(tmp_path / f"in{suffix}", frames=30, codec=codec, sound=[sound])
    run(source, tmp_path / f"out{suffix}", slow=3)
    assert [a - b for b, a in pairwise(times_of(tmp_path / f"out{suffix}"))] == [Fraction(1, 25)] * 87
    assert np.allclose(bursts(tmp_path / f"out{suffix}"), 3 * np.float64(bursts(source)), atol=0.03)
    with av.open(str(tmp_path / f"out{suffix}")) as clip:
        assert clip.streams.audio[0].codec_context.name == sound.removeprefix("lib")


@pytest.mark.parametrize(
    ("name", "codec", "sound", "target", "expected"),
    [
        ("in.avi", "mpeg4", "pcm_s16le", "out.mov", "aac"),  # whose channels have no layout
        ("in.mkv", "libx264", "libopus", "out.mov", "aac"),
        ("in.mkv", "libx264", "ac3", "out.webm", "opus"),
    ],
)
def test_stretched_sound_gets_a_codec_of_the_container(tmp_path, name, codec, sound, target, expected):
    run(make(tmp_path / name, codec=codec, sound=[sound]), tmp_path / target, slow=2)
    with av.open(str(tmp_path / target)) as clip:
        assert [stream.codec_context.name for stream in clip.streams.audio] == [expected]
        assert abs(clip.duration / av.time_base - 0.8) < 0.1


def test_sound_is_dropped_if_asked(tmp_path):
    source = make(tmp_path / "in.mp4", sound=["aac"])
    assert run(source, tmp_path / "out.mp4", slow=2, sound="drop").notes == ()
    assert clips.packets(tmp_path / "out.mp4") == []


def write_bursts(out, track, seconds):
    """A hundredth of a second of tone at 0.2, 0.6 and 0.9 s."""
    wave = np.zeros((2, int(48000 * seconds)), np.float32)
    for start in (0.2, 0.6, 0.9):
        wave[:, int(48000 * start) :][:, :480] = np.sin(np.arange(480) * 0.3)
    frame = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
    frame.rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    resample = av.AudioResampler(
        track.format, track.layout, track.rate, frame_size=track.codec_context.frame_size or 1024
    )
    for part in [*resample.resample(frame), *resample.resample(None)]:
        out.mux(track.encode(part))
    out.mux(track.encode(None))


def bursts(path):
    """Centers of the energy of each burst, seconds."""
    to_float = av.AudioResampler("fltp", "mono", 48000)
    with av.open(str(path)) as clip:
        frames = [part for frame in clip.decode(audio=0) for part in to_float.resample(frame)]
    start = float(frames[0].pts * frames[0].time_base)
    energy = np.concatenate([frame.to_ndarray()[0] for frame in frames]) ** 2
    loud = np.flatnonzero(energy > energy.max() / 30)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 7000) + 1)
    return [start + float((energy[group] * group).sum() / energy[group].sum()) / 48000 for group in groups]


# ----------------------------------------------------------------------------------------------------- the two faces


def test_each_field_is_a_flag_with_its_default():
    arguments = cli_main.parser().parse_args(["interpolate", "in.mp4", "-o", "out.mp4"])
    reference = (ROOT / "docs" / "reference.md").read_text()
    page = (ROOT / "docs" / "interpolate.md").read_text()
    for entry in dataclasses.fields(Options):
        assert getattr(arguments, entry.name) == entry.default == getattr(Options(), entry.name)
        assert f"| `{flag_of(entry)}` |" in reference
        assert re.search(rf"`{flag_of(entry)}\b", page), f"{flag_of(entry)} is not described"


def test_each_flag_is_a_field_or_of_the_model():
    command = next(
        action.choices["interpolate"]
        for action in cli_main.parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    fields = {entry.name for entry in dataclasses.fields(Options)}
    others = {action.dest for action in command._actions} - fields
    model = {"model", "weights", "step", "frozen", "precision", "objects", "regions"}  # what makes the frames between
    assert others == {"help", "input", "output", "json", "preview", *model}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--factor", "2.5", "--fps", "60"), "--factor and --fps exclude each other"),
        (("--loop", "--hold-last"), "exclude each other"),
        (("--from", "5f", "--to", "5f"), "--to must lie after --from"),
        (("--fps", "1e9"), "fps 1e9"),
        (("--model", "cain", "--factor", "3"), "power of two"),
        (("--model", "cain", "--fps", "60"), "other times"),
    ],
)
def test_options_are_checked_before_weights(tmp_path, capsys, arguments, message):
    code = cli_main.main(["interpolate", str(tmp_path / "absent.mp4"), "-o", str(tmp_path / "out.mp4"), *arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert code == 2
    assert message in line
