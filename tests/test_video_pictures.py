"""Sequences of pictures: which files, in which order, in which form, and what is left of an earlier run."""

from __future__ import annotations

import re
import subprocess
import sys
from fractions import Fraction

import av
import clips
import numpy as np
import pictures
import pytest
from PIL import Image, ImageOps

from vfi_jax.errors import UsageError, UserError
from vfi_jax.video import Options, forms, interpolate_video
from vfi_jax.video.coding.decode import probe
from vfi_jax.video.pictures import sequences

NUMBERED = [f"f_{number}.png" for number in (8, 9, 10, 11)]


def average(frames, times):
    """In-betweens that blend the middle two frames."""
    a, b = frames[len(frames) // 2 - 1], frames[len(frames) // 2]
    for t in times:
        yield np.rint((1 - t) * a.astype(np.float64) + t * b).astype(a.dtype)


def run(source, target, **options):
    return interpolate_video(source, target, average, Options(**options))


def refused(source, target, match, kind=UserError, **options):
    with pytest.raises(kind, match=match) as error:
        run(source, target, **options)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------ which files


def test_natural_order_and_names(tmp_path):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    summary = run(source, tmp_path / "out")
    assert (summary.source_frames, summary.frames) == (4, 7)
    assert summary.notes == ("4 pictures, from f_8.png to f_11.png, at 25 frames per second",)
    assert pictures.names(tmp_path / "out") == [f"f_{number:02}.png" for number in range(8, 15)]
    for index, name in enumerate(NUMBERED):  # bytes and all
        assert (tmp_path / "out" / f"f_{8 + 2 * index:02}.png").read_bytes() == (source / name).read_bytes()
    between = np.float64(clips.moving(0)) / 2 + np.float64(clips.moving(1)) / 2
    assert np.abs(pictures.read(tmp_path / "out" / "f_09.png") - between).max() <= 0.5


def test_gaps_doubles_and_strangers(tmp_path):
    names = [f"a{number:04}.png" for number in (1, 2, 3, 7, 8, 9)]
    source = pictures.folder(tmp_path / "in", names, clips.moving)
    (source / "notes.txt").write_text("x")
    (source / ".DS_Store").write_text("x")
    pictures.write(source / "thumbnail.jpg", clips.moving(0))
    found = sequences.find(source)
    assert [file.name for file in found.files] == names
    gap, strangers = found.notes
    assert "no pictures 4 to 6 between a0003.png and a0007.png" in gap
    assert strangers == f"2 other files in {source} are not read (notes.txt, ...)"
    pictures.write(source / "a3.png", clips.moving(0))
    refused(source, tmp_path / "out", r"a3\.png and a0003\.png have one number|a0003\.png and a3\.png have one number")


def test_several_sequences_are_named(tmp_path):
    source = pictures.folder(tmp_path / "in", ["a1.png", "a2.png", "b1.png", "b2.png"], clips.moving)
    refused(source, tmp_path / "out", r"several sequences, a1\.png .*b1\.png.*such as .*a%d\.png")
    assert run(source / "b%d.png", tmp_path / "out").notes[0].startswith("2 pictures, from b1.png to b2.png")
    assert [file.name for file in sequences.find(source / "a*").files] == ["a1.png", "a2.png"]


def test_names_without_a_common_form_are_sorted(tmp_path):
    source = pictures.folder(tmp_path / "in", ["dawn.png", "noon.png", "dusk.png"], clips.moving)
    assert [file.name for file in sequences.find(source).files] == ["dawn.png", "dusk.png", "noon.png"]
    run(source, tmp_path / "out")
    assert pictures.names(tmp_path / "out")[-1] == "000005.png"


@pytest.mark.parametrize(
    ("number", "match"),
    [("%04d.png", "no pictures"), ("%d.gif", "no pictures"), ("*.tif", "no pictures")],
)
def test_patterns_without_files(tmp_path, number, match):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png"], clips.moving)
    refused(source / number, tmp_path / "out", match)


def test_two_pictures(tmp_path):
    a, b = (pictures.write(tmp_path / name, clips.moving(index)) for index, name in enumerate(("a.png", "b.png")))
    assert run((a, b), tmp_path / "out", factor=8).frames == 9
    assert pictures.names(tmp_path / "out") == [f"{number:06}.png" for number in range(1, 10)]
    assert (tmp_path / "out/000009.png").read_bytes() == b.read_bytes()
    refused((a, tmp_path / "c.png"), tmp_path / "more", "no such file")
    refused((a, clips.make_clip(tmp_path / "v.mp4", frames=2)), tmp_path / "more", "is no picture")
    refused((a, b, a), tmp_path / "more", "3 inputs", UsageError)
    refused(a, tmp_path / "out.mp4", "is one picture")


# --------------------------------------------------------------------------------------------------------- one form


def test_every_kind_of_png_becomes_one_form(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    image = Image.fromarray(clips.moving(0))
    for index, mode in enumerate(("1", "L", "P", "RGB")):
        image.convert(mode).save(source / f"{index}.png")
    info = forms.source_of(source, Options()).info
    assert (info.pixel_format, info.bits, info.has_alpha) == ("rgb24", 8, False)
    run(source, tmp_path / "out")
    for index, mode in enumerate(("1", "L", "P", "RGB")):
        written = pictures.read(tmp_path / "out" / f"{2 * index}.png")
        assert np.array_equal(written, np.asarray(image.convert(mode).convert("RGB"))), mode


@pytest.mark.parametrize(
    ("images", "pixel_format"),
    [
        ([np.uint8, np.uint16], "rgb48le"),
        ([np.uint16, np.uint16], "rgb48le"),
        ([np.uint8, np.uint8], "rgb24"),
    ],
)
def test_the_deepest_decides(tmp_path, images, pixel_format):
    source = tmp_path / "in"
    source.mkdir()
    for index, kind in enumerate(images):
        image = clips.moving(index)
        pictures.write(source / f"{index}.png", image if kind == np.uint8 else np.uint16(image) * 257)
    assert forms.source_of(source, Options()).info.pixel_format == pixel_format
    run(source, tmp_path / "out")
    middle = pictures.read(tmp_path / "out/1.png")
    assert middle.dtype == (np.uint8 if pixel_format == "rgb24" else np.uint16)
    expected = (np.float64(clips.moving(0)) + clips.moving(1)) / 2 * (1 if middle.dtype == np.uint8 else 257)
    assert np.abs(middle - expected).max() <= 0.5


def test_gray_stays_gray(tmp_path):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png"], lambda i, size: clips.moving(i, size)[..., 0])
    run(source, tmp_path / "out")
    middle = pictures.read(tmp_path / "out/2.png")
    assert middle.ndim == 2
    expected = (np.float64(clips.moving(0)[..., 0]) + clips.moving(1)[..., 0]) / 2
    assert np.abs(middle - expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_exif_turns(tmp_path, orientation, suffix):
    source = tmp_path / "in"
    source.mkdir()
    exif = Image.Exif()
    exif[274] = orientation
    for index in range(2):
        Image.fromarray(clips.moving(index)).save(source / f"{index}{suffix}", exif=exif)
    run(source, tmp_path / "out", factor=2)
    with Image.open(source / f"0{suffix}") as first:
        upright = np.asarray(ImageOps.exif_transpose(first).convert("RGB"))
    with Image.open(tmp_path / "out" / f"0{suffix}") as written:
        assert written.getexif().get(274, 1) == 1
        assert written.size == upright.shape[1::-1]
        assert np.abs(np.int16(written.convert("RGB")) - upright).mean() < (1 if suffix == ".png" else 4)


def test_sizes_that_differ_are_refused(tmp_path):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png"], clips.moving)
    pictures.write(source / "3.png", clips.moving(0, (32, 48)))
    refused(source, tmp_path / "out", r"3\.png: is 32x48, but 1\.png is 64x48; bring all to one size")
    assert pictures.names(tmp_path) == ["in"]


def test_damaged_pictures(tmp_path):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png", "3.png"], clips.moving)
    whole = (source / "2.png").read_bytes()
    (source / "2.png").write_bytes(b"")
    refused(source, tmp_path / "out", r"2\.png: is no picture, or is damaged")
    (source / "2.png").write_bytes(whole[:600])
    refused(source, tmp_path / "out", r"2\.png: is no picture, or is damaged")
    assert pictures.names(tmp_path) == ["in"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".exr"])
def test_pictures_that_are_cut_short(tmp_path, suffix):
    """Behind the header, which is read first."""

    def noise(index, size):
        return np.random.default_rng(index).integers(0, 255, (256, 256, 3), np.uint8)

    names = [f"{number}{suffix}" for number in (1, 2, 3)]
    if suffix == ".exr":
        (tmp_path / "in").mkdir()
        for index, name in enumerate(names):
            write_exr(tmp_path / "in" / name, np.float32(noise(index, None)))
    else:
        pictures.folder(tmp_path / "in", names, noise)
    broken = tmp_path / "in" / names[1]
    whole = broken.read_bytes()
    assert len(whole) > 60000
    broken.write_bytes(whole[: len(whole) * 2 // 3])
    refused(tmp_path / "in", tmp_path / "out", rf"2\{suffix}: (is damaged|cannot be decoded|is no picture)")
    assert pictures.names(tmp_path) == ["in"]


@pytest.mark.parametrize(("suffix", "most"), [(".png", 0), (".tif", 0), (".jpg", 3), (".webp", 4), (".bmp", 0)])
def test_kinds_of_pictures(tmp_path, suffix, most):
    """From a video to pictures and on to pictures of the same kind, whose originals are copies."""
    source = clips.make_clip(tmp_path / "in.mkv", frames=3, codec="ffv1", pix_fmt="bgr0")
    run(source, tmp_path / f"a/f_%03d{suffix}", factor=2)
    assert pictures.names(tmp_path / "a") == [f"f_{number:03}{suffix}" for number in range(1, 6)]
    for index in range(3):
        written = pictures.read(tmp_path / f"a/f_{2 * index + 1:03}{suffix}")
        assert np.abs(np.int16(written) - clips.moving(index)).mean() <= most
    run(tmp_path / "a", tmp_path / "b")
    for index in range(5):
        first, again = (tmp_path / name for name in (f"a/f_{index + 1:03}{suffix}", f"b/f_{2 * index + 1:03}{suffix}"))
        assert again.read_bytes() == first.read_bytes()


def test_light_of_exr(tmp_path):
    """Light above white survives, also in new frames; originals are copies."""
    source = tmp_path / "in"
    source.mkdir()
    values = (0.25, 4.0)
    for index, value in enumerate(values):
        write_exr(source / f"{index}.exr", np.full((16, 32, 3), value, np.float32))
    summary = run(source, tmp_path / "out")
    assert (tmp_path / "out/0.exr").read_bytes() == (source / "0.exr").read_bytes()
    middle = read_exr(tmp_path / "out/1.exr")
    assert 0.25 < middle.min() <= middle.max() < 4
    assert summary.notes[1:] == ()
    seen = []

    def hold(frames, times):
        seen.append(frames[1])
        yield frames[1]

    interpolate_video(source, tmp_path / "held", hold)
    assert np.abs(read_exr(tmp_path / "held/1.exr") / 4 - 1).max() < 1e-3
    assert seen[0].dtype == np.uint16
    assert probe_transfer(source, tmp_path / "out.mkv") == 16  # PQ
    write_exr(source / "1.exr", np.full((16, 32, 3), 500, np.float32))
    assert "1 pictures hold light below 0 or above 100" in run(source, tmp_path / "bright").notes[-1]


def probe_transfer(source, target):
    run(source, target)
    return probe(target).color.transfer


def write_exr(path, image):
    context = av.CodecContext.create("exr", "w")
    context.width, context.height, context.pix_fmt = image.shape[1], image.shape[0], "gbrpf32le"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image, "gbrpf32le")
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)]))


def read_exr(path):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format="gbrpf32le").to_ndarray()


# ------------------------------------------------------------------------------------------------- folders and rates


def test_rate_of_pictures(tmp_path):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    run(source, tmp_path / "out.mp4", input_fps="10")
    assert [time for time, _ in clips.shown(tmp_path / "out.mp4")] == [Fraction(k, 20) for k in range(7)]
    run(source, tmp_path / "fast.mp4", input_fps=10, fps=15)
    assert [time for time, _ in clips.shown(tmp_path / "fast.mp4")] == [Fraction(k, 15) for k in range(5)]
    refused(tmp_path / "out.mp4", tmp_path / "no.mp4", "--input-fps.*rate of its own", UsageError, input_fps=10)


def test_a_part_of_the_pictures(tmp_path):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    assert run(source, tmp_path / "out", start="1f", stop="3f").source_frames == 2
    assert (tmp_path / "out/f_08.png").read_bytes() == (source / "f_9.png").read_bytes()


def test_files_of_an_earlier_run(tmp_path):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    target = pictures.folder(tmp_path / "out", ["f_08.png", "f_999.png", "other.png"], clips.moving)
    refused(source, target, r"holds 2 pictures named like the output \(f_08\.png\).*--overwrite")
    assert pictures.names(target) == ["f_08.png", "f_999.png", "other.png"]
    run(source, target, overwrite=True)
    assert pictures.names(target) == [*(f"f_{number:02}.png" for number in range(8, 15)), "other.png"]
    refused(source, source, "holds the pictures of the input", overwrite=True)
    assert pictures.names(source) == sorted(NUMBERED)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_run_that_fails_leaves_the_folder_as_it_was(tmp_path, is_there):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    if is_there:
        pictures.folder(tmp_path / "out", ["f_08.png"], clips.moving)
    before = (tmp_path / "out/f_08.png").read_bytes() if is_there else None

    def fails(frames, times):
        yield frames[0]
        raise UserError("enough")

    with pytest.raises((UserError, ValueError)):
        interpolate_video(source, tmp_path / "out", fails, Options(factor=3, overwrite=True))
    assert pictures.names(tmp_path) == (["in", "out"] if is_there else ["in"])
    if is_there:
        assert pictures.names(tmp_path / "out") == ["f_08.png"]
        assert (tmp_path / "out/f_08.png").read_bytes() == before


def test_what_a_kill_left_is_removed_and_named(tmp_path, capsys):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    process = subprocess.run(
        [sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True
    ).stdout.strip()
    left = pictures.folder(tmp_path / f".out.{process}.part", ["f_08.png"], clips.moving)
    run(source, tmp_path / "out")
    assert pictures.names(tmp_path) == ["in", "out"]
    (line,) = capsys.readouterr().err.splitlines()
    assert left.name in line
    assert "half-written" in line


def test_bad_targets(tmp_path):
    source = pictures.folder(tmp_path / "in", NUMBERED, clips.moving)
    refused(source, tmp_path / "no/where/out", "no such folder")
    (tmp_path / "file").write_text("x")
    refused(source, tmp_path / "file/%d.png", "is not a folder")
    refused(source, tmp_path / "out/%d.xyz", "must end in one of", UsageError)
    assert pictures.names(tmp_path) == ["file", "in"]


def test_losses_of_pictures_are_listed(tmp_path):
    source = clips.make_clip(tmp_path / "in.mkv", frames=3, sound=["aac"], pix_fmt="yuv420p10le", rate=10,
                             times=[Fraction(0), Fraction(1, 10), Fraction(1, 3)], tick=Fraction(1, 1000))  # fmt: skip
    lost = run(source, tmp_path / "out/%d.jpg").losses
    assert {loss.kind for loss in lost} >= {"audio", "bits", "times"}
    assert all(re.match(r"lost: .*(keeps|keep) (it|them)", str(loss)) for loss in lost)
    assert "times" not in {loss.kind for loss in run(source, tmp_path / "b/%d.png", fps=10).losses}
    refused(source, tmp_path / "c/%d.png", "would lack parts of the source", strict=True)
