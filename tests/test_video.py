"""Interpolation of video files: counts, timestamps, sound, color, shapes, bad input, memory."""

from __future__ import annotations

import contextlib
import os
import resource
import time
import weakref
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from vfi_jax.errors import IncompleteError, UsageError, UserError
from vfi_jax.video import Options, Summary, forms, interpolate_video
from vfi_jax.video.coding.decode import Reader, probe

FILM = Fraction(24000, 1001)


def hold(frames, times):
    """In-betweens that repeat the frame before."""
    for _ in times:
        yield frames[len(frames) // 2 - 1]


def run(source, target, factor=2, between=hold, quality=None, **options):
    return interpolate_video(
        source, target, between, Options(factor=factor, overwrite=True, quality=quality), **options
    )


def times_of(path):
    return [shown for shown, _ in clips.shown(path)]


# ----------------------------------------------------------------------------------------------- counts and timestamps


@pytest.mark.parametrize(("rate", "factor"), [(FILM, 2), (25, 3), (Fraction(30000, 1001), 4), (10, 5)])
def test_constant_rate_is_exact(tmp_path, rate, factor):
    source = clips.make_clip(tmp_path / "in.mp4", rate=rate, frames=8)
    summary = run(source, tmp_path / "out.mp4", factor)
    written = times_of(tmp_path / "out.mp4")
    assert (summary.source_frames, summary.frames, len(written)) == (8, 7 * factor + 1, 7 * factor + 1)
    assert written == [i / Fraction(rate * factor) for i in range(7 * factor + 1)]
    assert written[::factor] == times_of(source)
    assert summary.notes == ()


def test_rate_is_announced_exactly(tmp_path):
    run(clips.make_clip(tmp_path / "in.mp4", rate=FILM, frames=30), tmp_path / "out.mp4", 2)
    with av.open(str(tmp_path / "out.mp4")) as clip:
        assert clip.streams.video[0].guessed_rate == 2 * FILM


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_variable_rate_is_kept(tmp_path, suffix):
    shown = [Fraction(n, 1000) for n in (0, 40, 50, 130, 131 + 9, 300, 333)]
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    source = clips.make_clip(tmp_path / f"in{suffix}", times=shown, tick=Fraction(1, 1000), codec=codec)
    run(source, tmp_path / f"out{suffix}", 2)
    expected = [t for a, b in pairwise(shown) for t in (a, (a + b) / 2)] + [shown[-1]]
    written = times_of(tmp_path / f"out{suffix}")
    tolerance = Fraction(1, 2000) if suffix in (".mkv", ".webm") else 0  # Matroska counts in milliseconds
    assert max(abs(a - b) for a, b in zip(written, expected, strict=True)) <= tolerance


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_last_frame_keeps_its_display_time(tmp_path, suffix):
    source = clips.make_clip(tmp_path / f"in{suffix}", frames=12, last=Fraction(2, 25), options={"bf": "0"})
    assert clips.shown(source)[-1][1] == Fraction(2, 25)
    run(source, tmp_path / f"out{suffix}", 3)
    assert clips.shown(tmp_path / f"out{suffix}")[-1] == clips.shown(source)[-1]
    with av.open(str(source)) as before, av.open(str(tmp_path / f"out{suffix}")) as after:
        assert after.duration == before.duration


def test_start_offset_to_the_sound_is_kept(tmp_path):
    shown = [Fraction(1, 30) + Fraction(i, 24) for i in range(6)]
    source = clips.make_clip(tmp_path / "in.mp4", times=shown, tick=Fraction(1, 1920), sound=["aac"])
    run(source, tmp_path / "out.mp4", 2)
    assert times_of(tmp_path / "out.mp4")[::2] == times_of(source)
    assert clips.packets(tmp_path / "out.mp4") == clips.packets(source)


def test_arbitrary_clock_of_a_transport_stream_starts_at_zero(tmp_path):
    source = clips.make_clip(tmp_path / "in.ts", sound=["aac"], container_options={"output_ts_offset": "1000"})
    run(source, tmp_path / "out.mp4", 2)
    before, after = times_of(source), times_of(tmp_path / "out.mp4")
    assert before[0] >= 1000
    assert after[0] < Fraction(1, 10)
    sound_before, sound_after = clips.packets(source)[0][0][0], clips.packets(tmp_path / "out.mp4")[0][0][0]
    assert abs((after[0] - sound_after) - (before[0] - sound_before)) < Fraction(1, 10000)
    assert np.allclose(np.diff(np.float64(after[::2])), np.diff(np.float64(before)))


@pytest.mark.parametrize(
    ("name", "codec"), [("in.264", "libx264"), ("in.avi", "mpeg4"), ("in.gif", "gif"), ("in.mov", "mjpeg")]
)
def test_other_containers(tmp_path, name, codec):
    pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    options = {"bf": "2"} if codec == "mpeg4" else {}
    source = clips.make_clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt, options=options)
    assert run(source, tmp_path / "out.mp4", 2).frames == 19
    start = 0 if codec == "libx264" else times_of(source)[0]  # raw H.264 has no clock
    assert times_of(tmp_path / "out.mp4") == [start + Fraction(i, 50) for i in range(19)]


def test_one_frame(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=1)
    assert run(source, tmp_path / "out.mp4", 4) == Summary(1, 1, notes=(), end=Fraction(1, 25))
    assert clips.shown(tmp_path / "out.mp4") == clips.shown(source)


def test_repeated_timestamps_are_dropped_and_noted(tmp_path):
    source = clips.make_clip(tmp_path / "plain.mkv", frames=5, codec="mjpeg", pix_fmt="yuvj420p")
    clips.remux(source, tmp_path / "in.mkv", [0, 40, 40, 80, 120])
    source = tmp_path / "in.mkv"
    summary = run(source, tmp_path / "out.mp4", 2)
    assert summary.frames == 7
    assert len(summary.notes) == 1
    assert "1 frames repeat" in summary.notes[0]


def test_between_is_asked_for_even_times_and_its_frames_are_written(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=4)
    asked = []

    def blend(frames, times):
        asked.append(list(times))
        for t in times:
            yield np.uint8(np.rint((1 - t) * frames[0] + t * frames[1]))

    run(source, tmp_path / "out.mp4", 4, blend)
    assert asked == [[0.25, 0.5, 0.75]] * 3
    before, after = clips.pictures(source), clips.pictures(tmp_path / "out.mp4")
    expected = [(1 - j / 4) * a + j / 4 * b for a, b in pairwise(np.float32(before)) for j in range(4)] + [before[-1]]
    assert max(np.abs(np.float32(a) - b).mean() for a, b in zip(after, expected, strict=True)) < 6


@pytest.mark.parametrize("images", [[np.zeros((24, 32, 3), np.uint8)], [np.zeros((48, 64, 3), np.uint16)], []])
def test_frames_that_do_not_fit_are_refused(tmp_path, images):
    source = clips.make_clip(tmp_path / "in.mp4", frames=3)
    with pytest.raises(ValueError, match=r"`between` gave|shorter"):
        run(source, tmp_path / "out.mp4", 2, lambda frames, times: iter(images))
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_windows_of_four_repeat_the_ends(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=4)
    seen = []

    known = np.int16(clips.pictures(source))

    def between(frames, times):
        seen.append([int(np.abs(known - frame).mean(axis=(1, 2, 3)).argmin()) for frame in frames])
        yield frames[1]

    run(source, tmp_path / "out.mp4", 2, between, num_frames=4)
    assert seen == [[0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 3]]


def test_progress(tmp_path):
    calls = []
    run(clips.make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", 2, progress=lambda *args: calls.append(args))
    assert calls == [(i, 19) for i in range(1, 20)]


# --------------------------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize(
    ("name", "target", "codec", "sound"),
    [
        ("in.mp4", "out.mp4", "libx264", ["aac"]),
        ("in.mp4", "out.mov", "libx264", ["aac", "aac"]),
        ("in.mkv", "out.mkv", "libx264", ["libopus", "flac", "aac"]),
        ("in.webm", "out.webm", "libvpx-vp9", ["libopus"]),
    ],
)
def test_sound_is_copied_bit_for_bit(tmp_path, name, target, codec, sound):
    source = clips.make_clip(tmp_path / name, frames=20, codec=codec, sound=sound)
    run(source, tmp_path / target, 2)
    copied, original = clips.packets(tmp_path / target), clips.packets(source)
    assert len(copied) == len(sound)
    assert all(len(track) > 5 for track in copied)
    assert copied == original


def test_sound_that_the_container_cannot_hold(tmp_path):
    refused(clips.make_clip(tmp_path / "in.mp4", sound=["aac"]), tmp_path / "out.webm", r"sound \(aac\).*\.mkv")


def test_attachments_are_copied_or_listed(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", copies=[("font.ttf", b"abc")])
    assert run(source, tmp_path / "out.mkv", 2).losses == ()
    with av.open(str(tmp_path / "out.mkv")) as clip:
        assert [s.data for s in clip.streams.attachments] == [b"abc"]
    assert [loss.kind for loss in run(source, tmp_path / "out.mp4", 2).losses] == ["attachment"]


# -------------------------------------------------------------------------------------------------------------- color


@pytest.mark.parametrize(
    ("pix_fmt", "tags"),
    [
        ("yuv420p", {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}),
        ("yuv420p", {"colorspace": 6, "color_primaries": 6, "color_trc": 6, "color_range": 1}),
        ("yuv420p", {"colorspace": 5}),
        ("yuv420p", {}),
        ("yuv420p", {"colorspace": 1, "color_range": 2}),
        ("yuvj420p", {"color_range": 2}),
        ("yuv422p", {"colorspace": 1}),
        ("yuv444p", {"colorspace": 1}),
        ("yuv420p10le", {"colorspace": 9, "color_primaries": 9, "color_trc": 16, "color_range": 1}),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.usefixtures("nothing_held")
def test_colors_come_back(tmp_path, pix_fmt, tags, suffix):
    source = tmp_path / "in.mp4"
    clips.make_clip(source, frames=3, size=(128, 48), pix_fmt=pix_fmt, tags=tags, picture=clips.patches)
    seen = []

    def between(frames, times):
        seen.append(frames[0])
        yield frames[0]

    target = tmp_path / f"out{suffix}"
    run(source, target, 2, between)
    centers = slice(7, None, 16)  # away from the edges, where chroma is blurred
    depth = 257 if seen[0].dtype == np.uint16 else 1
    assert np.abs(seen[0][20, centers] / depth - np.float32(clips.SATURATED)).max() < 4
    for frame in clips.pictures(target):
        assert np.abs(np.int16(frame[20, centers]) - np.int16(clips.SATURATED)).max() <= 5
    with av.open(str(source)) as before, av.open(str(target)) as after:
        a, b = before.streams.video[0].codec_context, after.streams.video[0].codec_context
        for name in ("colorspace", "color_primaries", "color_trc", "color_range", "pix_fmt"):
            assert getattr(a, name) == getattr(b, name), name


def test_rounding_does_not_darken(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", size=(128, 96), frames=3, tags={"colorspace": 1})
    run(source, tmp_path / "out.mp4", 2)
    difference = np.float32(clips.pictures(tmp_path / "out.mp4", "yuv444p")[::2]) - clips.pictures(source, "yuv444p")
    assert abs(difference.reshape(3, 3, -1)[:, 0].mean()) < 0.3


@pytest.mark.usefixtures("nothing_held")
def test_ten_bits(tmp_path):
    def ramp(index, size):
        return np.broadcast_to(np.uint16(np.linspace(9000, 56000, size[0]))[None, :, None], (size[1], size[0], 3))

    size = (256, 48)
    source = clips.make_clip(tmp_path / "in.mp4", pix_fmt="yuv420p10le", picture=ramp, size=size, options={"crf": "1"})
    assert probe(source).bits == 10
    dtypes = set()

    def between(frames, times):
        dtypes.update(frame.dtype for frame in frames)
        yield frames[0]

    run(source, tmp_path / "out.mkv", 2, between, quality=90)
    assert dtypes == {np.dtype(np.uint16)}
    frame = clips.pictures(tmp_path / "out.mkv", "rgb48le")[1]
    assert probe(tmp_path / "out.mkv").pixel_format == "yuv420p10le"
    assert np.abs(np.int32(frame) - ramp(0, size)).mean() < 65535 / 1023
    assert len(np.unique(frame[20, :, 1])) > 220  # 8 bits have 160 steps in this range


# --------------------------------------------------------------------------------------------------------------- shape


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (255, 447), (16, 2)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_odd_sizes(tmp_path, size, suffix):
    source = clips.make_clip(tmp_path / "in.webm", codec="libvpx-vp9", size=size, frames=2)
    run(source, tmp_path / f"out{suffix}", 2, quality=90)
    written = clips.pictures(tmp_path / f"out{suffix}")
    assert [frame.shape for frame in written] == [(size[1], size[0], 3)] * 3
    assert np.abs(np.int16(written[0]) - clips.pictures(source)[0]).mean() < 3


@pytest.mark.parametrize("rotation", [(90, False), (180, False), (-90, False), (0, True), (90, True)])
def test_rotated_clips_come_out_upright(tmp_path, rotation):
    source = clips.make_clip(tmp_path / "in.mp4", rotation=rotation, frames=2, aspect=Fraction(3, 2))
    run(source, tmp_path / "out.mp4", 2)
    stored, written = np.int16(clips.pictures(source)[0]), np.int16(clips.pictures(tmp_path / "out.mp4")[0])
    turned = np.rot90(stored, rotation[0] // 90)  # FFmpeg applies the turn, then the mirror
    expected = turned[:, ::-1] if rotation[1] else turned
    assert np.abs(written - expected).mean() < 5
    info = probe(tmp_path / "out.mp4")
    assert not info.turned
    assert info.aspect == (Fraction(2, 3) if rotation[0] % 180 else Fraction(3, 2))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sample_aspect_ratio_is_kept(tmp_path, suffix):
    source = clips.make_clip(tmp_path / "in.mp4", aspect=Fraction(64, 45), frames=2)
    run(source, tmp_path / f"out{suffix}", 2)
    assert probe(tmp_path / f"out{suffix}").aspect == Fraction(64, 45)


# ----------------------------------------------------------------------------------------------------------- bad input


def assert_one_line(error, name=""):
    assert "\n" not in str(error.value)
    assert name in str(error.value)


def refused(source, target, match, kind=UserError, factor=2):
    """The call raises one line that matches and leaves no file behind."""
    before = sorted(source.parent.iterdir()) if source.parent.is_dir() else []
    with pytest.raises(kind, match=match) as error:
        run(source, target, factor)
    assert_one_line(error)
    assert not isinstance(error.value, av.FFmpegError)
    assert sorted(source.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "data", "match"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.txt", b"hello, world\n" * 90, "not a video"),
        ("numbers.bin", bytes(range(256)) * 90, "not a video"),
        ("table.json", b'[{"name": "a.mp4", "frames": 3},\n{"name": "b.mp4"}]\n' * 9, "not a video"),
        ("renamed.mp4", b"%PDF-1.4 " * 90, "not a video"),
    ],
)
def test_files_that_are_no_video(tmp_path, name, data, match):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, tmp_path / "out.mp4", f"{name}.*{match}")


def test_missing_source_and_folder_as_source(tmp_path):
    refused(tmp_path / "no.mp4", tmp_path / "out.mp4", "no such file")
    refused(tmp_path, tmp_path / "out.mp4", "no pictures")


def test_sound_only(tmp_path):
    path = tmp_path / "sound.mp3"
    with av.open(str(path), "w") as out:
        clips._write_sound(out, out.add_stream("libmp3lame", rate=48000), 1.0)
    refused(path, tmp_path / "out.mp4", "not a video")


def test_cover_art_only(tmp_path):
    path = tmp_path / "cover.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=48000)
        cover = out.add_stream("mjpeg", rate=1, pix_fmt="yuvj420p", width=16, height=16)
        cover.disposition = av.stream.Disposition.attached_pic
        clips._write_sound(out, sound, 1.0)
        out.mux(cover.encode(av.VideoFrame(16, 16, "yuvj420p")))
        out.mux(cover.encode(None))
    refused(path, tmp_path / "out.mp4", "cover")


def test_no_frames(tmp_path):
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as out:
        out.add_stream("libx264", rate=25, width=64, height=48)
        out.start_encoding()
    refused(path, tmp_path / "out.mp4", "no frames|not a video")


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["in.mp4", "late.mp4", "in.mkv", "in.avi"])
def test_cut_short(tmp_path, name, kept):
    """`late.mp4` has its index at the end, so that a piece of it cannot even be opened."""
    options = {"movflags": "+faststart"} if name == "in.mp4" else {}
    sound = [] if name == "in.avi" else ["aac"]
    codec = "ffv1" if name == "in.avi" else "libx264"
    source = clips.make_clip(tmp_path / name, frames=60, codec=codec, sound=sound, container_options=options)
    source.write_bytes(source.read_bytes()[: int(source.stat().st_size * kept)])
    if name == "late.mp4":
        refused(source, tmp_path / "out.mp4", "cut short")
    else:
        incomplete(source, tmp_path / "out.mkv", "cut short")


def test_damage_is_reported_with_its_time(tmp_path):
    source = clips.make_clip(tmp_path / "in.avi", frames=40, codec="png", pix_fmt="rgb24")
    data = bytearray(source.read_bytes())
    middle = data.index(b"\x89PNG", len(data) // 2)
    data[middle : middle + 8] = bytes(8)
    source.write_bytes(data)
    incomplete(source, tmp_path / "out.mp4", r"damaged after frame \d+ \(\d\.\d{3} s\)")


def incomplete(source, target, match):
    """Frames that can be read are written, and the error says that this is not all; with `strict`, nothing is."""
    with pytest.raises(IncompleteError, match=match) as error:
        run(source, target)
    assert_one_line(error)
    assert len(clips.shown(target)) == int(str(error.value).split(", ")[-1].split()[0]) > 1
    target.unlink()
    with pytest.raises(UserError):
        interpolate_video(source, target, hold, Options(strict=True))
    assert not target.exists()


def test_size_that_changes(tmp_path):
    parts = [clips.make_clip(tmp_path / f"{w}.264", size=(w, 48), frames=5).read_bytes() for w in (64, 80)]
    source = tmp_path / "two.264"
    source.write_bytes(b"".join(parts))
    refused(source, tmp_path / "out.mp4", r"64x48 to 80x48 at frame 6 \(0\.200 s")


def test_bad_targets(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4")
    refused(source, tmp_path / "no" / "out.mp4", "no such folder")
    refused(source, source / "out.mp4", "is not a folder")
    refused(source, tmp_path / "out.xyz", r"must end in one of \.mp4", UsageError)
    refused(source, source, "is the input itself")
    (tmp_path / "folder.mp4").mkdir()
    refused(source, tmp_path / "folder.mp4", "is a folder")
    (tmp_path / "soft.mp4").symlink_to(source)
    refused(source, tmp_path / "soft.mp4", "is the input itself")
    os.link(source, tmp_path / "hard.mp4")
    refused(source, tmp_path / "hard.mp4", "is the input itself")


@pytest.mark.parametrize("factor", [1, 0, -2, True, "1/2", "abc", "5/0", "1e9", 10**9, "1025", float("nan"), ""])
def test_bad_factors(factor):
    with pytest.raises(UsageError, match="factor") as error:
        Options(factor=factor)
    assert_one_line(error)


def test_more_frames_than_milliseconds(tmp_path):
    refused(clips.make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", r"1025 frames per second.*\.mp4", factor=41)


# ------------------------------------------------------------------------------------------------- failures on the way


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_nothing_and_keeps_the_old_file(tmp_path, failure):
    source = clips.make_clip(tmp_path / "in.mp4", frames=40)
    target = tmp_path / "out.mp4"
    target.write_bytes(b"old")

    def between(frames, times):
        if (tmp_path / "in.mp4").exists() and next(calls) == 30:
            raise failure("stop")
        yield frames[0]

    calls = iter(range(100))
    with pytest.raises(failure):
        run(source, target, 2, between)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert target.read_bytes() == b"old"


def test_a_limit_on_file_size(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=60)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # Python ignores the signal, so that writing fails
    try:
        refused(source, tmp_path / "out.mp4", "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk(tmp_path, monkeypatch):
    def sink(target, *, replace):
        return contextlib.nullcontext(Path("/dev/full"))

    monkeypatch.setattr(forms, "written_at_once", sink)
    refused(clips.make_clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", "disk is full")


# -------------------------------------------------------------------------------------------------------------- memory


def resident():
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_memory_does_not_grow_with_the_clip(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=280, size=(320, 180), options={"preset": "ultrafast"})
    alive, most, memory = weakref.WeakValueDictionary(), [], {}

    def between(frames, times):
        for frame in frames:
            alive[id(frame)] = frame
        most.append(len(alive))
        for _ in times:
            new = frames[0].copy()
            alive[id(new)] = new
            yield new

    run(source, tmp_path / "out.mp4", 2, between, progress=lambda done, _: memory.setdefault(done, resident()))
    assert max(most) <= 5
    assert memory[559] - memory[300] < 15e6  # 260 frames of 173 kB are 45 MB; two encoders are there from 120 on


@pytest.mark.slow
@pytest.mark.skipif("VFI_JAX_DATA" not in os.environ, reason="VFI_JAX_DATA names no folder with footage")
def test_footage(tmp_path):
    source = Path(os.environ["VFI_JAX_DATA"]) / "devset" / "clips" / "bee.mp4"
    start = time.perf_counter()
    summary = run(source, tmp_path / "out.mp4", 2)
    print(f"{summary.frames / (time.perf_counter() - start):.1f} frames/s written")
    assert summary.frames == 241
    assert times_of(tmp_path / "out.mp4")[::2] == times_of(source)
    assert clips.packets(tmp_path / "out.mp4") == clips.packets(source)


def test_reader_gives_durations(tmp_path):
    with Reader(clips.make_clip(tmp_path / "in.mp4", frames=3)) as reader:
        assert [frame.duration for frame in reader.frames()] == [Fraction(1, 25)] * 3


def test_metadata_in_another_encoding(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=3)
    source.write_bytes(source.read_bytes().replace(b"Lavf", b"L\xe9\xe9f"))
    assert run(source, tmp_path / "out.mp4", 2).frames == 5
