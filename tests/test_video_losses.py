"""Losses of an output beside its source: listed before the first frame, each with a way out that works."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest
import rich_clips
from av.stream import Disposition
from rich_clips import Text, make

from vfi_jax.errors import UserError
from vfi_jax.video import Options, interpolate_video, losses
from vfi_jax.video.coding.decode import probe
from vfi_jax.video.tracks import hdr, inventory, streams

ASS = [b"0,0,Default,,0,0,0,,{\\i1}first", b"1,0,Default,,0,0,0,,second"]
SRT = Text("subrip", {"language": "eng", "title": "English"})
PGS = Text("hdmv_pgs_subtitle", {"language": "ger"})
FONT = ("font.ttf", "font/ttf", b"abc")


def average(frames, times):
    for _ in times:
        yield np.uint8((np.uint16(frames[0]) + frames[1]) // 2) if frames[0].dtype == np.uint8 else frames[0]


def run(source: Path, target: str, **options):
    """Interpolates to a file beside the source."""
    return interpolate_video(source, source.with_name(target), average, Options(**options))


def listed(source: Path, suffix: str) -> tuple[losses.Loss, ...]:
    info = probe(source)
    return losses.find(info, source.with_name(f"out{suffix}"), info.rate * 2)


def held(path: Path) -> inventory.Inventory:
    with av.open(str(path)) as clip:
        return inventory.read(clip)


def texts(path: Path) -> list[list[tuple[Fraction, bytes]]]:
    """(time, line) of every subtitle of each track, without marks."""
    result = []
    with av.open(str(path)) as clip:
        for stream in clip.streams.subtitles:
            clip.seek(0)
            shown = [(packet, packet.decode()) for packet in clip.demux(stream) if packet.size]
            result.append([(p.pts * Fraction(p.time_base), line.dialogue) for p, lines in shown for line in lines])
    return result


def tmp_source(folder: Path, name: str, **content) -> Path:
    return make(folder / name, **content)


# ------------------------------------------------------------------------------- one case per kind that has a way out


def subtitle_kept(source, target):
    assert clips.packets(target, "subtitle") == clips.packets(source, "subtitle")


def style_kept(source, target):
    subtitle_kept(source, target)
    assert held(target).of("subtitle")[0].codec == "ssa"


def cover_kept(source, target):
    index, again = held(source).of("cover")[0].index, held(target).of("cover")[0].index
    assert streams.cover(target, again) == streams.cover(source, index) == rich_clips.picture_file()


def attachment_kept(source, target):
    with av.open(str(target)) as clip:
        assert [(s.metadata["filename"], s.data) for s in clip.streams.attachments] == [(FONT[0], FONT[2])]


def video_kept(source, target):
    assert clips.packets(target, "video")[1] == clips.packets(source, "video")[1]


def timecode_kept(source, target):
    assert held(target).time_code == "01:00:00;02"


def tag_kept(source, target):
    assert inventory.comparable(held(target).tags) == {"foo": "bar", "title": "t"}
    assert inventory.comparable(held(target).picture.tags) == {"mood": "sad", "language": "en-US"}


def flag_kept(source, target):
    assert held(target).of("subtitle")[0].flags == Disposition.forced | Disposition.hearing_impaired
    assert held(target).picture.flags == Disposition.default | Disposition.original


def depth_kept(source, target):
    assert probe(target).bits == 10


def side_data_kept(source, target):
    before, after = probe(source).side_data, probe(target).side_data
    for kind in (hdr.MASTERING, hdr.LIGHT):
        assert after[kind] == before[kind]
    assert np.frombuffer(after[hdr.LIGHT], np.uint32).tolist() == [1000, 400]


def aspect_kept(source, target):
    assert probe(target).aspect == Fraction(3, 2)


KEPT_ELSEWHERE = [
    ("subtitle", ".mp4", "1 (pgssub, ger)", subtitle_kept, "in.mkv", {"texts": [PGS]}),
    ("style", ".mp4", "styles of subtitle track 1", style_kept, "in.mkv", {"texts": [Text("ass", lines=ASS)]}),
    ("cover", ".mov", "cover 1 (mjpeg)", cover_kept, "in.mp4", {"cover": True}),
    ("cover", ".webm", "cover 1 (mjpeg)", cover_kept, "in.mp4", {"cover": True}),
    ("attachment", ".mp4", "font.ttf", attachment_kept, "in.mkv", {"attachments": [FONT]}),
    ("video", ".webm", "picture track 1 (h264)", video_kept, "in.mkv", {"second": True}),
    ("timecode", ".mp4", "01:00:00;02", timecode_kept, "in.mkv", {"picture_tags": {"timecode": "01:00:00;02"}}),
    (
        "tag",
        ".mp4",
        "foo, language of the picture, mood of the picture",
        tag_kept,
        "in.mkv",
        {"tags": {"foo": "bar", "title": "t"}, "picture_tags": {"mood": "sad", "language": "en-US"}},
    ),
    (
        "flag",
        ".webm",
        "original of the picture, hearing_impaired of subtitle track 1",
        flag_kept,
        "in.mkv",
        {
            "texts": [Text("subrip", flags=Disposition.forced | Disposition.hearing_impaired)],
            "picture_flags": Disposition.default | Disposition.original,
        },
    ),
    ("bits", ".webm", "10 bits become 8", depth_kept, "in.mkv", {"pix_fmt": "yuv420p10le"}),
    ("side data", ".webm", "HDR mastering display, HDR content", side_data_kept, "in.mkv", {"options": rich_clips.HDR}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "suffix", "words", "is_kept", "name", "content"), KEPT_ELSEWHERE)
def test_a_loss_is_listed_with_a_way_out_that_works(tmp_path, kind, suffix, words, is_kept, name, content):
    source = make(tmp_path / name, **content)
    loss = next(loss for loss in listed(source, suffix) if loss.kind == kind)
    assert words in str(loss)
    assert str(loss).endswith(("; .mkv keeps it", "; .mkv keeps them"))
    assert kind not in [loss.kind for loss in listed(source, ".mkv")]
    summary = run(source, "out.mkv")
    assert kind not in [loss.kind for loss in summary.losses]
    is_kept(source, tmp_path / "out.mkv")


def test_the_shape_of_pixels(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=2, aspect=Fraction(3, 2))
    assert [str(loss) for loss in listed(source, ".webm")] == ["lost: the pixels' shape (3/2); .mkv keeps it"]
    assert run(source, "out.mkv").losses == ()
    aspect_kept(source, tmp_path / "out.mkv")


# ------------------------------------------------------------------------------------- kinds that other encoders keep


@pytest.mark.parametrize(
    ("kind", "words", "kept_by", "name", "content"),
    [
        ("alpha", "alpha channel (argb)", ".webm", "in.mov", {"codec": "qtrle", "pix_fmt": "argb", "alpha": True}),
        ("alpha", "alpha channel (yuva420p)", ".webm", "in.mkv", {"codec": "ffv1", "pix_fmt": "yuva420p"}),
        ("alpha", "alpha channel", ".webm", "in.mov", {"codec": "prores_ks", "pix_fmt": "yuva444p10le", "alpha": True}),
        ("alpha", "alpha channel", ".webm", "in.webm", {"codec": "libvpx-vp9", "pix_fmt": "yuva420p", "alpha": True}),
        ("rgb", "RGB (argb becomes yuv420p)", "ffv1", "in.mov", {"codec": "qtrle", "pix_fmt": "argb"}),
        ("bits", "12 bits become 10", "libx265", "in.mkv", {"codec": "libx265", "pix_fmt": "yuv420p12le"}),
        ("bits", "16 bits become 10", "ffv1", "in.mkv", {"codec": "ffv1", "pix_fmt": "yuv422p16le"}),
        ("lossless", "ffv1 becomes libx264", "ffv1", "in.mkv", {"codec": "ffv1"}),
    ],
)
def test_another_output_or_encoder_is_the_way_out(tmp_path, kind, words, kept_by, name, content):
    source = make(tmp_path / name, frames=2, **content)
    loss = next(loss for loss in run(source, "out.mp4").losses if loss.kind == kind)
    assert words in str(loss)
    output = loss.kept_by[0]
    assert output == (kept_by if kept_by[0] == "." else f".mkv with --encoder {kept_by}")
    assert str(loss).endswith(f"; {output} keeps it")
    options = {} if kept_by[0] == "." else {"encoder": kept_by}
    assert kind not in [other.kind for other in run(source, f"way{output.split()[0]}", **options).losses]


def gif(path: Path, is_transparent: bool) -> Path:
    from PIL import Image

    images = [Image.fromarray(clips.moving(i)).quantize(16) for i in range(3)]
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=40, **({"transparency": 0} if is_transparent else {})
    )
    return path  # fmt: skip


def test_gifs_have_alpha_only_where_they_are_transparent(tmp_path):
    opaque, clear = gif(tmp_path / "a.gif", False), gif(tmp_path / "b.gif", True)
    assert [loss.kind for loss in listed(opaque, ".mp4")] == ["rgb", "lossless"]
    assert [loss.kind for loss in listed(clear, ".mp4")] == ["alpha", "rgb", "lossless"]


def test_fields_and_odd_rotations(tmp_path):
    source = make(tmp_path / "in.mkv", options={"x264-params": "tff=1"})
    assert [str(loss) for loss in listed(source, ".mkv")] == [
        "lost: the fields of interlaced frames; --fields auto undoes them"
    ]
    turned = clips.make_clip(tmp_path / "in.mp4", frames=2, rotation=(45, False))
    assert [str(loss) for loss in listed(turned, ".mkv")] == [
        "lost: rotation by -45 degrees; no output format keeps it"
    ]


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p"])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_chroma_that_is_kept_is_not_listed(tmp_path, pix_fmt, suffix):
    source = make(tmp_path / "in.mkv", frames=2, pix_fmt=pix_fmt)
    assert run(source, f"out{suffix}").losses == ()
    assert probe(tmp_path / f"out{suffix}").pixel_format == pix_fmt


# ---------------------------------------------------------------------------------------------------- what is carried


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mov_text"), (".mov", "mov_text"), (".webm", "webvtt")])
def test_text_subtitles_take_the_form_of_the_container(tmp_path, suffix, codec):
    source = make(tmp_path / "in.mkv", texts=[SRT, Text("subrip", {"language": "fre"})])
    assert run(source, f"out{suffix}").losses == ()
    assert texts(tmp_path / f"out{suffix}") == texts(source)
    assert [line for _, line in texts(source)[0]] == [b"first", b"second"]
    kept = held(tmp_path / f"out{suffix}").of("subtitle")
    assert [track.codec for track in kept] == [codec, codec]
    assert [inventory.comparable(track.tags) for track in kept] == [
        {"language": "eng", "title": "English"},
        {"language": "fra"},
    ]


def test_text_subtitles_come_back_from_mp4(tmp_path):
    source = make(
        tmp_path / "in.mp4", texts=[Text("mov_text", {"language": "eng"}, lines=[b"\0\5first", b"\0\6second"])]
    )
    assert run(source, "out.mkv").losses == ()
    assert held(tmp_path / "out.mkv").of("subtitle")[0].codec == "srt"
    assert texts(tmp_path / "out.mkv") == texts(source)
    assert len(texts(source)[0]) == 2


@pytest.mark.parametrize(
    ("name", "suffix"), [("in.mp4", ".mp4"), ("in.mp4", ".mkv"), ("in.mkv", ".mp4"), ("in.mkv", ".mkv")]
)
def test_covers_are_carried(tmp_path, name, suffix):
    content = (
        {"cover": True} if name == "in.mp4" else {"attachments": [("a.jpg", "image/jpeg", rich_clips.picture_file())]}
    )
    source = make(tmp_path / name, **content)
    assert run(source, f"out{suffix}").losses == ()
    cover_kept(source, tmp_path / f"out{suffix}")


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.mov"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_labels_are_carried(tmp_path, name, suffix):
    """Title, language and time code of the picture, tags of the file, and chapters."""
    source = make(
        tmp_path / name,
        picture_tags={"title": "Main", "language": "jpn", "timecode": "01:02:03:04"},
        tags={"title": "A film", "artist": "me", "comment": "short"},
        chapters=[(0, "one"), (60, "two")],
    )
    assert run(source, f"out{suffix}").losses == ()
    before, after = held(source), held(tmp_path / f"out{suffix}")
    assert inventory.missing_tags(before.tags | {"comment": "short"}, after.tags | {"timecode": "01:02:03:04"}) == []
    assert inventory.comparable(after.picture.tags)["title"] == "Main"
    assert inventory.comparable(after.picture.tags)["language"] == "jpn"
    assert (after.time_code, before.time_code) == ("01:02:03:04", "01:02:03:04")
    assert [chapter.title for chapter in after.chapters] == ["one", "two"]
    assert losses.has_same_chapters(before, after)


def test_figures_of_the_source_are_not_carried(tmp_path):
    source = make(
        tmp_path / "in.mkv", picture_tags={"BPS": "1", "NUMBER_OF_FRAMES-eng": "3", "_STATISTICS_TAGS": "BPS"}
    )
    assert run(source, "out.mkv").losses == ()
    with av.open(str(tmp_path / "out.mkv")) as clip:
        assert [
            key for key in clip.streams.video[0].metadata if "BPS" in key or "NUMBER" in key or "_STAT" in key
        ] == []


def test_sound_that_is_dropped_or_stretched_is_not_lost(tmp_path):
    source = clips.make_clip(tmp_path / "in.mp4", frames=4, sound=["aac"])
    info = probe(source)
    for options, kinds in [(None, ["audio"]), (Options(sound="drop"), []), (Options(slow=2), [])]:
        lost = losses.find(info, tmp_path / "out.webm", Fraction(50), options)
        assert [loss.kind for loss in lost] == kinds
    assert run(source, "out.webm", sound="drop").losses == ()


# -------------------------------------------------------------------------------------------------------------- strict


def test_strict_refuses_before_the_first_frame(tmp_path):
    source = make(tmp_path / "in.mkv", attachments=[FONT], tags={"foo": "bar"})

    def between(frames, times):
        raise AssertionError("a frame was asked for")

    with pytest.raises(
        UserError, match=r"would lack .*attachment font\.ttf; \.mkv keeps it; lost: tag foo; \.mkv"
    ) as error:
        interpolate_video(source, tmp_path / "out.mp4", between, Options(strict=True))
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]
    assert run(source, "out.mkv", strict=True).frames == 5
