"""Other containers, animations, and folders of clips."""

from __future__ import annotations

import json
from fractions import Fraction
from types import SimpleNamespace

import av
import clips
import numpy as np
import pictures
import pytest
from PIL import Image

from vfi_jax.cli import main as cli_main
from vfi_jax.errors import UsageError, UserError
from vfi_jax.video import Options, forms, interpolate_video
from vfi_jax.video import clips as folders

COLORS = np.uint8([[255, 0, 0], [0, 90, 0], [0, 0, 180], [20, 20, 20], [250, 250, 250], [9, 120, 200], [77, 5, 99]])


def average(frames, times):
    """In-betweens that blend the middle two frames."""
    a, b = frames[len(frames) // 2 - 1], frames[len(frames) // 2]
    for t in times:
        yield np.rint((1 - t) * a.astype(np.float64) + t * b).astype(a.dtype)


def run(source, target, **options):
    return interpolate_video(source, target, average, Options(**{"overwrite": True, **options}))


def flat(index, size=(32, 24)):
    """A picture of few colors that moves."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    return COLORS[((x + 3 * index) // 5 + y // 7) % len(COLORS)]


def shown(path):
    """(duration in milliseconds, picture RGBA) of each frame of an animation, by Pillow."""
    with Image.open(path) as image:
        frames = []
        for number in range(image.n_frames):
            image.seek(number)
            image.load()
            frames.append((image.info["duration"], np.asarray(image.convert("RGBA"))))
    return frames


# ------------------------------------------------------------------------------------------------------- containers


@pytest.mark.parametrize("sound", [[], ["libmp3lame"]])
def test_avi(tmp_path, sound):
    source = clips.make_clip(tmp_path / "in.mkv", frames=6, rate=25, sound=sound)
    summary = run(source, tmp_path / "out.avi")
    assert summary.frames == 11
    assert [time for time, _ in clips.shown(tmp_path / "out.avi")] == [Fraction(k, 50) for k in range(11)]
    data = [[packet for _, packet in track] for track in clips.packets(source)]
    assert [[packet for _, packet in track] for track in clips.packets(tmp_path / "out.avi")] == data
    frames, originals = clips.pictures(tmp_path / "out.avi"), clips.pictures(source)
    assert max(np.abs(np.int16(a) - b).mean() for a, b in zip(frames[::2], originals, strict=True)) < 4


def test_avi_has_no_times(tmp_path):
    times = [Fraction(0), Fraction(1, 25), Fraction(1, 5), Fraction(6, 25)]
    source = clips.make_clip(tmp_path / "in.mkv", times=times, tick=Fraction(1, 1000))
    (loss,) = [loss for loss in run(source, tmp_path / "out.avi").losses if loss.kind == "times"]
    assert loss.kept_by[0] == ".mkv"
    assert "times" not in {loss.kind for loss in run(source, tmp_path / "even.avi", fps=50).losses}
    constant = clips.make_clip(tmp_path / "even.mkv", frames=6, rate=Fraction(24000, 1001))
    assert "times" not in {loss.kind for loss in run(constant, tmp_path / "out.avi").losses}


def test_transport_stream(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=6, sound=["aac"])
    summary = run(source, tmp_path / "out.ts")
    assert (summary.frames, summary.losses) == (11, ())
    times = [time for time, _ in clips.shown(tmp_path / "out.ts")]
    assert np.allclose(np.diff(np.float64(times)), 0.02, atol=2e-5)
    sound = clips.packets(tmp_path / "out.ts")[0][0][0]
    assert abs((times[0] - sound) - (clips.shown(source)[0][0] - clips.packets(source)[0][0][0])) < Fraction(1, 10000)


def test_subtitles_do_not_go_into_a_transport_stream_unsaid(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=3)
    with av.open(str(source)) as clip, av.open(str(tmp_path / "text.mkv"), "w") as out:
        picture, text = out.add_stream_from_template(clip.streams.video[0]), out.add_mux_stream("subrip")
        out.start_encoding()
        packet = av.Packet(b"hello")
        packet.stream, packet.pts, packet.dts, packet.duration = text, 0, 0, 100
        packet.time_base = Fraction(1, 1000)
        out.mux(packet)
        for packet in clip.demux(clip.streams.video[0]):
            if packet.size:
                packet.stream = picture
                out.mux(packet)
    assert "subtitle" in {loss.kind for loss in run(tmp_path / "text.mkv", tmp_path / "out.ts").losses}


# ------------------------------------------------------------------------------------------------------- animations


@pytest.mark.parametrize("suffix", [".gif", ".apng", ".webp"])
def test_animations(tmp_path, suffix):
    source = clips.make_clip(
        tmp_path / "in.mkv", frames=4, rate=10, size=(32, 24), codec="ffv1", pix_fmt="bgr0", picture=flat, sound=["aac"]
    )
    summary = run(source, tmp_path / f"out{suffix}", lossless=suffix == ".webp")
    assert summary.frames == 7
    assert {loss.kind for loss in summary.losses} - {"lossless"} == (
        {"audio", "palette"} if suffix == ".gif" else {"audio"}
    )
    frames = shown(tmp_path / f"out{suffix}")
    assert [duration for duration, _ in frames[:-1]] == [50] * 6
    for index in range(4):  # of few colors, which a palette holds
        assert np.array_equal(frames[2 * index][1][..., :3], flat(index)), index
    again = run(tmp_path / f"out{suffix}", tmp_path / "again.mkv", factor=2)
    assert (again.source_frames, again.frames) == (7, 13)
    assert [time for time, _ in clips.shown(tmp_path / "again.mkv")][:4] == [Fraction(25 * k, 1000) for k in range(4)]


@pytest.mark.parametrize("suffix", [".apng", ".webp", ".gif"])
@pytest.mark.usefixtures("nothing_held")
def test_transparency_of_animations(tmp_path, suffix):
    def ghost(index):
        alpha = np.full((24, 32, 1), 255, np.uint8)
        alpha[:, : 8 + 8 * index] = 0
        return np.concatenate([flat(index), alpha], -1)

    images = [Image.fromarray(ghost(index)) for index in range(2)]
    images[0].save(tmp_path / "in.webp", save_all=True, append_images=images[1:], duration=100, lossless=True)
    summary = run(tmp_path / "in.webp", tmp_path / f"out{suffix}")
    assert "alpha" not in {loss.kind for loss in summary.losses}
    frames = shown(tmp_path / f"out{suffix}")
    assert len(frames) == 3
    assert np.array_equal(frames[0][1][..., 3], ghost(0)[..., 3])
    middle = frames[1][1][:, 8:16, 3]  # transparent in one frame only
    assert middle.mean() > 0 if suffix == ".gif" else np.abs(np.int16(middle) - 127).max() <= 2
    lost = run(tmp_path / "in.webp", tmp_path / "out.mp4").losses
    assert "alpha" in {loss.kind for loss in lost}


def test_durations_of_webp(tmp_path):
    images = [Image.fromarray(flat(index)) for index in range(3)]
    images[0].save(tmp_path / "in.webp", save_all=True, append_images=images[1:], duration=[40, 100, 60], lossless=True)
    run(tmp_path / "in.webp", tmp_path / "out.mp4")
    times = [time for time, _ in clips.shown(tmp_path / "out.mp4")]
    assert times == [Fraction(n, 1000) for n in (0, 20, 40, 90, 140)]
    assert clips.shown(tmp_path / "out.mp4")[-1][1] == Fraction(60, 1000)
    assert run(tmp_path / "in.webp", tmp_path / "part.mp4", start="1f").source_frames == 2


def test_an_animated_png_by_another_name(tmp_path):
    images = [Image.fromarray(flat(index)) for index in range(3)]
    images[0].save(tmp_path / "in.png", save_all=True, append_images=images[1:], duration=100)
    assert run(tmp_path / "in.png", tmp_path / "out.mp4").frames == 5


@pytest.mark.parametrize("name", ["one.webp", "one.png", "one.jpg", "one.bmp", "one.tif"])
def test_one_picture_is_refused(tmp_path, name):
    Image.fromarray(flat(0)).save(tmp_path / name)
    with pytest.raises(UserError, match="is one picture: there is nothing between"):
        run(tmp_path / name, tmp_path / "out.mp4")


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WEBPVP8X", b"hello" * 99])
def test_damaged_webp(tmp_path, data):
    (tmp_path / "in.webp").write_bytes(data)
    with pytest.raises(UserError, match="is not a WebP, or is damaged") as error:
        run(tmp_path / "in.webp", tmp_path / "out.mp4")
    assert "\n" not in str(error.value)
    whole = tmp_path / "whole.webp"
    images = [Image.fromarray(clips.moving(index)) for index in range(3)]
    images[0].save(whole, save_all=True, append_images=images[1:], duration=100)
    whole.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(UserError, match="damaged"):
        run(whole, tmp_path / "out.mp4")


def test_gif_has_hundredths_of_a_second(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=2, rate=60)
    with pytest.raises(UserError, match="cannot hold 120 frames per second"):
        run(source, tmp_path / "out.gif")


# -------------------------------------------------------------------------------------------------- folders of clips


def make_folder(path, *names):
    path.mkdir()
    for name in names:
        clips.make_clip(path / name, frames=3, size=(32, 16), codec="mpeg4" if name.endswith(".wmv") else "libx264")
    return path


def test_clips_and_pictures_are_told_apart(tmp_path):
    source = make_folder(tmp_path / "in", "a.mp4", "b.mp4")
    pictures.write(source / "cover.png", flat(0))
    assert folders.are_clips(source)
    assert not folders.are_clips(pictures.folder(tmp_path / "stills", ["1.png", "2.png"], flat))
    assert not folders.are_clips(tmp_path / "absent")
    for number in range(3):
        pictures.write(source / f"{number}.png", flat(number))
    assert not folders.are_clips(source)
    assert forms.source_of(source, Options()).notes[0].startswith("3 pictures, from 0.png")


def test_names_of_outputs(tmp_path):
    source = make_folder(tmp_path / "in", "clip10.mp4", "clip9.mp4", "old.wmv")
    (source / "notes.txt").write_text("x")
    found = folders.find(source, tmp_path / "out")
    assert [(a.name, b.name) for a, b in found.pairs] == [
        ("clip9.mp4", "clip9.mp4"),
        ("clip10.mp4", "clip10.mp4"),
        ("old.wmv", "old.mkv"),
    ]
    assert found.note == f"{source}: a folder of 3 clips, from clip9.mp4 to old.wmv; 1 other file is not read"


def test_two_clips_of_one_name_are_refused(tmp_path):
    source = make_folder(tmp_path / "in", "a.mkv", "a.wmv")
    with pytest.raises(UserError, match=r"a\.mkv and a\.wmv would both become a\.mkv"):
        folders.find(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("target", "match"),
    [("in", "is the input itself"), ("out.mp4", "output is a folder too"), ("no/where/out", "no such folder")],
)
def test_bad_targets_of_folders(tmp_path, target, match):
    source = make_folder(tmp_path / "in", "a.mp4")
    with pytest.raises(UserError, match=match):
        folders.find(source, tmp_path / target)


@pytest.fixture
def shell(monkeypatch, capsys):
    """Runs the command with a stand-in for a model; returns its exit code and its lines on both streams."""

    class Stand:
        def __init__(self, model, variables, *, precision):
            self.spec, self.between = SimpleNamespace(num_frames=2), average
            self.model = SimpleNamespace(variant="m", any_time=True)

        def with_extra(self, count):
            return self

        def identity(self):
            return {}

    monkeypatch.setattr("vfi_jax.inference.Interpolator", Stand)
    monkeypatch.setattr("vfi_jax.weights.load.load", lambda *_, **__: (None, {}))
    monkeypatch.setattr("vfi_jax.weights.flow_network.require", lambda *_: None)

    def run(*arguments):
        code = cli_main.main([str(argument) for argument in ("interpolate", *arguments)])
        captured = capsys.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return run


def test_a_folder_of_clips(tmp_path, shell):
    source = make_folder(tmp_path / "in", "a.mp4", "b.mp4", "c.mp4")
    (source / "b.mp4").write_bytes((source / "a.mp4").read_bytes()[:900])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/c.mp4").write_bytes(b"done before")
    code, out, err = shell(source, "-o", tmp_path / "out", "--json", tmp_path / "log.json")
    assert code == 1
    assert out == [f"{tmp_path / 'out'}: 3 clips, 1 done, 1 skipped, 1 failed"]
    assert err[0] == f"note: {source}: a folder of 3 clips, from a.mp4 to c.mp4"
    assert err[-2].startswith("failed: ")
    assert "b.mp4" in err[-2]
    assert err[-1] == "vfi-jax: 1 of 3 clips failed: b.mp4"
    assert pictures.names(tmp_path / "out") == ["a.mp4", "c.mp4"]
    assert (tmp_path / "out/c.mp4").read_bytes() == b"done before"
    log = json.loads((tmp_path / "log.json").read_text())
    assert [entry["result"] for entry in log] == ["done", "failed", "skipped"]
    assert log[0]["frames"] == 5
    assert "b.mp4" in log[1]["error"]
    (source / "b.mp4").unlink()
    code, out, _ = shell(source, "-o", tmp_path / "out", "--overwrite")
    assert (code, out) == (0, [f"{tmp_path / 'out'}: 2 clips, 2 done, 0 skipped, 0 failed"])
    assert len(clips.shown(tmp_path / "out/c.mp4")) == 5


def test_pictures_in_the_shell(tmp_path, shell):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png"], flat)
    code, out, err = shell(source / "1.png", source / "2.png", "--factor", "4", "-o", tmp_path / "out")
    assert (code, out) == (0, [f"{tmp_path / 'out'}: 5 frames from 2, by m"])
    assert err == ["note: 2 pictures, from 1.png to 2.png, at 25 frames per second"]
    code, out, err = shell(source, "-o", tmp_path / "in")
    assert (code, out) == (1, [])
    assert len(err) == 1


def test_options_that_do_not_go_together(tmp_path, shell):
    source = make_folder(tmp_path / "in", "a.mp4")
    for arguments, code, message in (
        ((source / "a.mp4", "-o", "-", "--json", "-"), 2, "-o - and --json - exclude each other"),
        ((source / "a.mp4", "-o", tmp_path / "b.mp4", "--latency"), 2, "--latency is for an output to a pipe"),
        ((source / "a.mp4", "-o", tmp_path / "b.mp4", "--input-fps", "10"), 2, "--input-fps"),
        ((source, "-o", tmp_path / "out", "--objects", "o.json"), 2, "--objects is for one clip"),
        ((source / "a.mp4", source / "a.mp4", "-o", tmp_path / "out"), 1, "is no picture"),
    ):
        found, _, err = shell(*arguments)
        assert (found, len(err)) == (code, 1), err
        assert message in err[0]


def test_input_fps_is_checked():
    with pytest.raises(UsageError, match="input-fps -1"):
        Options(input_fps=-1)
