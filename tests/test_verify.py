"""`verify`: an output beside its source; what was changed afterwards is found, what was announced is not."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
import rich_clips
from rich_clips import Text, make

from vfi_jax.cli import main as cli
from vfi_jax.cli import verify as command
from vfi_jax.errors import UserError
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.verification import verify as verification
from vfi_jax.video.verification.rows import ANNOUNCED, CLOSE, DIFFERS, SAME
from vfi_jax.video.verification.verify import verify

SRT = Text("subrip", {"language": "eng", "title": "English"})
RICH = {
    "texts": [SRT],
    "attachments": [("font.ttf", "font/ttf", b"abc"), ("a.jpg", "image/jpeg", rich_clips.picture_file())],
    "tags": {"title": "A film", "foo": "bar"},
    "picture_tags": {"title": "Main", "language": "jpn"},
    "chapters": [(0, "one"), (60, "two")],
}


def average(frames, times):
    for _ in times:
        yield np.uint8((np.uint16(frames[0]) + frames[1]) // 2) if frames[0].dtype == np.uint8 else frames[0]


def interpolated(source: Path, target: str, **options) -> Path:
    path = source.with_name(target)
    interpolate_video(source, path, average, Options(**options))
    return path


def verdicts(report) -> dict[str, str]:
    return {row.property: row.verdict for row in report.rows}


def altered(
    path: Path, name: str, *, keep=lambda packet: packet, streams=lambda stream: True, tags=None, shift=0
) -> Path:
    """Copies a file packet by packet; `keep` may change a packet or leave it out, `streams` chooses tracks."""
    target = path.with_name(name)
    with av.open(str(path)) as clip, av.open(str(target), "w") as out:
        kept = [s for s in clip.streams if streams(s) and s.type != "data"]
        copies = {
            s.index: out.add_stream_from_template(s, **({"opaque": True} if s.codec_context else {})) for s in kept
        }
        for stream in kept:
            copies[stream.index].metadata.update(stream.metadata)
            copies[stream.index].disposition = stream.disposition
        out.metadata.update(clip.metadata if tags is None else tags)
        out.set_chapters(clip.chapters())
        for number, packet in enumerate(clip.demux([s for s in kept if s.type != "attachment"])):
            if packet.size and keep(packet) is not None:
                if packet.stream.type == "video":  # Matroska stores no decoding times
                    packet.pts, packet.dts = packet.pts + shift, 20 * number - 100 + shift
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    return target


@pytest.mark.parametrize(
    ("name", "target", "content"),
    [
        ("in.mkv", "out.mkv", RICH),
        ("in.mkv", "out.mp4", RICH),
        ("in.mkv", "out.webm", RICH),
        ("in.mp4", "out.mp4", {"cover": True, "picture_tags": {"timecode": "01:02:03:04"}}),
        ("in.mkv", "out.mkv", {"pix_fmt": "yuv420p10le", "options": rich_clips.HDR}),
        ("in.mkv", "out.webm", {"pix_fmt": "yuv420p10le", "options": rich_clips.HDR}),
        ("in.mov", "out.mp4", {"codec": "qtrle", "pix_fmt": "argb", "alpha": True}),
        ("in.mov", "out.mkv", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    ],
)
def test_outputs_pass(tmp_path, name, target, content):
    source = make(tmp_path / name, frames=4, **content)
    report = verify(source, interpolated(source, target))
    assert report.differing == ()
    assert verdicts(report)["frames"] == verdicts(report)["timestamps"] == verdicts(report)["end"] == SAME
    assert (ANNOUNCED in verdicts(report).values()) == bool(report.losses)


@pytest.mark.parametrize("factor", [2, 3, "5/2", "1.5"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_factors_and_sound(tmp_path, factor, suffix):
    source = clips.make_clip(tmp_path / "in.mp4", frames=6, rate=Fraction(24000, 1001), sound=["aac"])
    target = interpolated(source, f"out{suffix}", factor=factor)
    report = verify(source, target, Options(factor=factor))
    assert report.differing == ()
    assert verdicts(report)["audio 1 (aac)"] == SAME
    assert "frames" in verify(source, target, Options(factor=4)).differing


@pytest.mark.parametrize(
    "options",
    [{"fps": 60}, {"slow": 2}, {"start": "2f", "stop": "5f"}, {"loop": True}, {"hold_last": True}, {"sound": "drop"}],
    ids=str,
)
def test_options_of_time(tmp_path, options):
    source = clips.make_clip(tmp_path / "in.mkv", frames=6, sound=["libopus"])
    target = interpolated(source, "out.mkv", **options)
    assert verify(source, target, Options(**options)).differing == ()
    assert verify(source, target, Options(factor=3)).differing != ()


def test_a_part_keeps_its_cover(tmp_path):
    source = make(tmp_path / "in.mp4", frames=5, cover=True)
    target = interpolated(source, "out.mp4", start="2f")
    assert verdicts(verify(source, target, Options(start="2f")))["cover 1 (mjpeg)"] == SAME


def test_originals_that_are_equal_in_every_code(tmp_path):
    """A copy of a clip of one frame is its interpolation."""
    source = make(tmp_path / "in.mkv", frames=1)
    copy = altered(source, "out.mkv")
    row = next(row for row in verify(source, copy).rows if row.property == "original frames")
    assert (row.target, row.verdict) == ("every code equal", SAME)
    lossy = next(
        row for row in verify(source, interpolated(source, "lossy.mkv")).rows if row.property == "original frames"
    )
    assert lossy.verdict == CLOSE
    assert float(lossy.target.split()[0]) > 35


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pair")
    source = make(folder / "in.mkv", frames=4, **RICH | {"attachments": [("font.ttf", "font/ttf", b"abc")]})
    return source, interpolated(source, "out.mkv")


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"streams": lambda s: s.type != "subtitle"}, "subtitle 1 (srt, eng)"),
        ({"keep": lambda p: p if p.stream.type != "subtitle" or p.pts else None}, "subtitle 1 (srt, eng)"),
        ({"streams": lambda s: s.type != "attachment"}, "attachment font.ttf"),
        ({"tags": {"title": "Another film", "foo": "bar"}}, "tags of the file"),
        ({"shift": 7}, "timestamps"),
    ],
)
def test_a_change_is_found(pair, change, differing):
    source, target = pair
    assert verify(source, target).differing == ()
    changed = altered(target, "changed.mkv", **change)
    assert differing in verify(source, changed).differing


def test_a_frame_too_few_and_another_clip(tmp_path):
    source = make(tmp_path / "in.mkv", frames=5)
    short = make(tmp_path / "short.mkv", frames=4)
    assert "frames" in verify(source, interpolated(short, "short_out.mkv")).differing
    other = clips.make_clip(tmp_path / "other.mkv", frames=5, picture=clips.patches)
    report = verify(source, interpolated(other, "other_out.mkv"))
    assert verdicts(report)["original frames"] == DIFFERS
    assert verify(source, interpolated(source, "out.mkv"), min_psnr=90).differing == ("original frames",)


def test_another_size_and_other_colors(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=2, tags={"colorspace": 1})
    small = interpolated(clips.make_clip(tmp_path / "small.mp4", frames=2, size=(32, 32)), "small_out.mp4")
    assert {"size", "matrix/primaries/transfer, range"} <= set(verify(source, small).differing)


# --------------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_a_table_and_exits_with_its_verdict(pair, tmp_path, capsys):
    source, target = pair
    assert cli.main(["verify", str(source), str(target), "--json", str(tmp_path / "report.json")]) == 0
    table = capsys.readouterr().out
    assert "| frames " in table
    assert "7 from 4" in table
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    assert {"property", "source", "target", "verdict"} == set(report["rows"][0])
    assert cli.main(["verify", str(source), str(target), "--factor", "3", "--json", "-"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["ok"] is False
    assert err.startswith("vfi-jax: ")
    assert "differs from its input in frames" in err


def test_bad_input_of_the_command(pair, tmp_path, capsys):
    source, target = pair
    for arguments, words in [
        ((source, tmp_path / "no.mkv"), "no such file"),
        ((source, tmp_path / "out.xyz"), "can be verified"),
        ((source, target, "--json", tmp_path / "no" / "a.json"), "cannot be written"),
    ]:
        assert cli.main(["verify", *map(str, arguments)]) == 1
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


def test_default_of_the_command():
    assert command.MIN_PSNR == verification.MIN_PSNR


def test_summary_of_interpolate_as_json(tmp_path, capsys):
    source = make(tmp_path / "in.mkv", tags={"foo": "bar"})
    common = ["interpolate", str(source), "--model", "average", "-o"]
    assert cli.main([*common, str(tmp_path / "out.mp4"), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert (summary["source_frames"], summary["frames"], summary["model"]) == (3, 5, "average")
    assert summary["losses"][0]["text"] == "lost: tag foo; .mkv keeps it"
    assert summary["times"]["exact_end"] == "3/25"
    assert err.startswith("lost: tag foo; .mkv keeps it\n")
    assert cli.main([*common, str(tmp_path / "strict.mp4"), "--strict"]) == 1
    assert "lost: tag foo; .mkv keeps it" in capsys.readouterr().err
    assert not (tmp_path / "strict.mp4").exists()
    with pytest.raises(UserError):
        interpolate_video(source, tmp_path / "strict.mp4", average, Options(strict=True))


# ------------------------------------------------------------------------------------------------------------- forms


def blend(frames, times):
    """In-betweens that blend the middle two frames."""
    for t in times:
        yield np.rint((1 - t) * frames[0].astype(np.float64) + t * frames[1]).astype(frames[0].dtype)


@pytest.mark.parametrize(
    "name", ["out.avi", "out.ts", "out.gif", "out.apng", "out.webp", "a/%03d.png", "b/%d.jpg", "c/%d.exr", "d"]
)
def test_other_forms(tmp_path, name):
    source = clips.make_clip(tmp_path / "in.mkv", frames=4, rate=10, sound=["aac"])
    interpolate_video(source, tmp_path / name, blend)
    report = verify(source, tmp_path / name)
    assert report.differing == (), report.table()
    assert next(row for row in report.rows if row.property == "frames").target == "7"
    wrong = verify(source, tmp_path / name, Options(factor=3))
    assert "frames" in wrong.differing


def test_pictures_and_their_videos(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=4, rate=10, codec="ffv1", pix_fmt="bgr0")
    interpolate_video(source, tmp_path / "a", blend)
    interpolate_video(tmp_path / "a", tmp_path / "b", blend)
    assert verify(tmp_path / "a", tmp_path / "b").differing == ()
    interpolate_video(tmp_path / "a", tmp_path / "out.mkv", blend, Options(input_fps=5, lossless=True))
    assert verify(tmp_path / "a", tmp_path / "out.mkv", Options(input_fps=5, lossless=True)).differing == ()
    (tmp_path / "b/000005.png").write_bytes((tmp_path / "b/000001.png").read_bytes())
    assert verify(tmp_path / "a", tmp_path / "b").differing == ("original frames",)


def test_a_pipe_cannot_be_verified(tmp_path):
    for pair in ((Path("-"), tmp_path / "out.mp4"), (tmp_path / "in.mp4", Path("-"))):
        with pytest.raises(UserError, match="verify a file"):
            verify(*pair)
