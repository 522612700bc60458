"""Pixels of videos: original frames keep every code, new ones agree with them, and formats stay what they are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.coding.decode import Reader, TimedFrame, probe
from vfi_jax.video.interpolate import check
from vfi_jax.video.pixels.convert import Converter
from vfi_jax.video.pixels.formats import pixel_format
from vfi_jax.video.pixels.layout import layout_of
from vfi_jax.video.pixels.rgb import with_opacity
from vfi_jax.video.verification.rows import DIFFERS, SAME
from vfi_jax.video.verification.verify import verify

SIZE = (48, 32)
BYTES = {  # per pixel of packed formats
    "bgr0": 4, "bgra": 4, "rgba": 4, "argb": 4, "rgb24": 3, "rgb48le": 6, "rgba64le": 8, "ya8": 2, "rgb48be": 6,
}  # fmt: skip
KEPT = (
    "yuv420p", "yuv420p10le", "yuv420p12le", "yuv420p16le", "yuv422p", "yuv422p10le", "yuv444p", "yuv444p12le",
    "yuv411p", "yuv440p", "yuv410p", "bgr0", "gbrp10le", "gbrp12le", "gbrp16le", "gray", "gray10le", "gray12le",
    "gray16le", "ya8", "yuva420p", "yuva444p10le", "yuva422p16le", "bgra", "gbrap10le", "gbrap16le",
)  # fmt: skip


def hold(frames, times):
    for _ in times:
        yield frames[0]


def mean(frames, times):
    for _ in times:
        yield ((frames[0].astype(np.float64) + frames[1]) / 2 + 0.5).astype(frames[0].dtype)


def noise(index, plane, shape, peak):
    """Codes without any order: the hardest edges there are, far outside the gamut."""
    return np.random.default_rng(100 * index + plane).integers(0, peak + 1, shape)


def still(index, plane, shape, peak):
    return noise(0, plane, shape, peak)


def smooth(index, plane, shape, peak):
    """Waves within the gamut, of which four columns are 1/8 at least."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    wave = np.sin(x * (0.2, 0.35, 0.3)[plane % 3]) + np.sin(y * (0.15, 0.3, 0.35)[plane % 3] + plane)
    return np.rint((0.5 + wave * 0.05) * peak)


def write(path: Path, pix_fmt: str, codes=noise, *, frames=2, size=SIZE, codec="ffv1", siting="", tags=None, **extra):
    """Writes a clip of given codes, without conversion: each plane is filled by `codes(index, plane, shape, peak)`."""
    with av.open(str(path), "w") as out:
        options = {"chroma_sample_location": siting} if siting else {}
        stream = out.add_stream(codec, rate=25, options=options | extra.get("options", {}))
        stream.width, stream.height, stream.pix_fmt = *size, pix_fmt
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if "rotation" in extra:
            stream.set_display_rotation(*extra["rotation"])
        for index in range(frames):
            frame = av.VideoFrame(*size, pix_fmt)
            for number, plane in enumerate(frame.planes):
                rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
                fill(rows, codes, index, number, frame)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def fill(rows, codes, index, number, frame):
    bits = max(component.bits for component in frame.format.components)
    columns = BYTES.get(frame.format.name, 0) * frame.width or frame.planes[number].width * (2 if bits > 8 else 1)
    deep = bits > 8
    view = rows[:, :columns].view("<u2") if deep else rows[:, :columns]
    view[:] = codes(index, number, view.shape, 2**bits - 1)


def stored(path: Path) -> list[list[np.ndarray]]:
    """Reads the codes of every plane of every frame, as they lie in memory."""
    with av.open(str(path)) as clip:
        return [[codes(plane, frame) for plane in frame.planes] for frame in clip.decode(video=0)]


def codes(plane, frame) -> np.ndarray:
    bits = max(component.bits for component in frame.format.components)
    columns = BYTES.get(frame.format.name, 0) * frame.width or plane.width * (2 if bits > 8 else 1)
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, :columns]
    return rows.view("<u2" if bits > 8 else np.uint8).copy()


def worst(first: list[np.ndarray], second: list[np.ndarray]) -> int:
    return max(int(np.abs(a.astype(np.int64) - b).max()) for a, b in zip(first, second, strict=True))


def changed(first: list[list[np.ndarray]], second: list[list[np.ndarray]]) -> int:
    """The largest difference of two clips."""
    return max(worst(a, b) for a, b in zip(first, second, strict=True))


def run(source: Path, name: str, between=hold, **options) -> Path:
    target = source.with_name(name)
    interpolate_video(source, target, between, Options(overwrite=True, **options))
    return target


# ------------------------------------------------------------------------------------------------------ original frames


@pytest.mark.parametrize("size", [SIZE, (47, 31)])
@pytest.mark.parametrize("pix_fmt", KEPT)
def test_originals_and_stills_keep_every_code(tmp_path, pix_fmt, size):
    moving, standing = (write(tmp_path / f"{c.__name__}.mkv", pix_fmt, c, size=size) for c in (noise, still))
    target = run(moving, "out.mkv", encoder="ffv1")
    assert probe(target).pixel_format == pix_fmt
    assert changed(stored(target)[::2], stored(moving)) == 0
    for between in (hold, mean):
        first, new, last = stored(run(standing, "again.mkv", between, encoder="ffv1"))
        assert worst(first, new) == worst(new, last) == 0


@pytest.mark.parametrize(
    ("encoder", "pix_fmt", "suffix"),
    [
        ("libx264", "yuv420p", ".mp4"),
        ("libx264", "yuv422p10le", ".mkv"),
        ("libx264", "yuv444p", ".mov"),
        ("libx265", "yuv420p12le", ".mp4"),
        ("libx265", "gbrp10le", ".mkv"),
        ("libx265", "gray", ".mkv"),
        ("libvpx-vp9", "yuv420p", ".webm"),
    ],
)
def test_lossless_encoders_keep_every_code(tmp_path, encoder, pix_fmt, suffix):
    source = write(tmp_path / "in.mkv", pix_fmt, still, size=(64, 48), options={})
    target = run(source, f"out{suffix}", mean, encoder=encoder, lossless=True)
    assert probe(target).pixel_format == pix_fmt
    assert max(worst(frame, stored(source)[0]) for frame in stored(target)) == 0
    report = verify(source, target, Options(encoder=encoder, lossless=True))
    assert next(row.verdict for row in report.rows if row.property == "original frames") == SAME


@pytest.mark.parametrize("rotation", [(90, False), (180, False), (-90, True)])
@pytest.mark.parametrize(("pix_fmt", "turned"), [("yuv420p", "yuv420p"), ("yuv422p", "yuv440p"), ("yuv444p10le",) * 2])
def test_turned_frames_keep_every_code(tmp_path, pix_fmt, turned, rotation):
    source = write(tmp_path / "in.mov", pix_fmt, codec="libx264", options={"qp": "0"}, rotation=rotation, siting="left")
    target = run(source, "out.mkv", encoder="ffv1")
    upright = turned if rotation[0] % 180 else pix_fmt
    assert probe(target).pixel_format == upright
    for before, after in zip(stored(source), stored(target)[::2], strict=True):
        planes = [np.rot90(plane, rotation[0] // 90) for plane in before]  # FFmpeg applies the turn, then the mirror
        assert worst([plane[:, ::-1] if rotation[1] else plane for plane in planes], after) == 0
    report = verify(source, target, Options(encoder="ffv1"))
    assert report.differing == ()
    assert {loss.kind for loss in report.losses} <= {"siting"}


def test_verify_finds_one_code_that_differs(tmp_path):
    source = write(tmp_path / "in.mkv", "yuv422p10le")
    target = run(source, "out.mkv", encoder="ffv1")

    def nearly(index, plane, shape, peak):
        return np.clip(noise(index, plane, shape, peak) - (plane == 1) * (np.indices(shape).sum(0) == 0), 0, peak)

    other = write(tmp_path / "other.mkv", "yuv422p10le", nearly)
    rows = {row.property: row.verdict for row in verify(other, target, Options(encoder="ffv1")).rows}
    assert rows["original frames"] == DIFFERS
    assert rows["pixel format"] == SAME


# ----------------------------------------------------------------------------------------------------------- new frames


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
def test_a_still_picture_does_not_flicker(tmp_path, pix_fmt, full, siting):
    """A network is never exact: its frames differ by up to 2 levels of 255 from both neighbors."""
    tags = {"color_range": 2 if full else 1, "colorspace": 1}
    source = write(tmp_path / "in.mkv", pix_fmt, still, tags=tags, siting=siting)

    def nearly(frames, times):
        depth = 257 if frames[0].dtype == np.uint16 else 1
        errors = np.random.default_rng(0).integers(-2, 3, frames[0].shape) * depth
        yield np.clip(frames[0] + errors, 0, 255 * depth).astype(frames[0].dtype)

    with Reader(source) as reader:
        converter = Converter(reader.info, pix_fmt)
        first, second = reader.frames()
        known = [converter(frame) for frame in (first, second)]
        image = next(nearly([first.image], [0.5]))
        same = converter(TimedFrame(Fraction(1, 50), Fraction(1, 50), first.image, neighbors=(first, second)))
        new = converter(TimedFrame(Fraction(1, 50), Fraction(1, 50), image, neighbors=(first, second)))
        alone = converter(TimedFrame(Fraction(1, 50), Fraction(1, 50), image))
    depth = 4 if "10" in pix_fmt else 1
    original, written, without = ([codes(p, frame) for p in frame.planes] for frame in (known[0], new, alone))
    assert worst(original, [codes(p, same) for p in same.planes]) == 0
    assert worst(original, written) <= 5 * depth
    if pix_fmt != "yuv444p" or not full:
        assert worst(original, without) > 20 * depth


@pytest.mark.parametrize("siting", ["left", "center", "topleft", "unspecified"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p10le"])
def test_chroma_of_new_frames_lies_where_that_of_originals_does(tmp_path, pix_fmt, siting):
    source = write(tmp_path / "in.mkv", pix_fmt, smooth, siting=siting, size=(96, 64))
    with Reader(source) as reader:
        assert reader.info.color.siting == siting
        frame = next(reader.frames())
        converted = Converter(reader.info, pix_fmt)(frame._replace(raw=None))
        assert frame.raw is not None
        before, after = ([codes(p, f) for p in f.planes] for f in (frame.raw, converted))
    inside = [(a[2:-2, 2:-2], b[2:-2, 2:-2]) for a, b in zip(before, after, strict=True)]
    assert worst(*map(list, zip(*inside, strict=True))) <= (4 if "10" in pix_fmt else 1)  # half a sample off is 4 codes


def test_new_frames_of_moving_pictures_have_no_ghosts(tmp_path):
    """Where a new frame repeats neither neighbor, it is what FFmpeg makes of its picture alone."""
    source = write(tmp_path / "in.mkv", "yuv420p", noise, siting="center")
    with Reader(source) as reader:
        pair = tuple(reader.frames())
        converter = Converter(reader.info, "yuv420p")
        image = 255 - pair[0].image
        new = converter(TimedFrame(Fraction(1, 50), Fraction(1, 50), image, neighbors=pair))
        plain = converter(TimedFrame(Fraction(1, 50), Fraction(1, 50), image))
    for a, b, before in zip(*([codes(p, f) for p in f.planes] for f in (new, plain, pair[0].raw)), strict=True):
        far = np.abs(b.astype(int) - before) > 80  # noise comes close to both neighbors here and there
        assert far.any()
        assert np.array_equal(a[far], b[far])


@pytest.mark.parametrize(("matrix", "red", "blue"), [(1, 0.2126, 0.0722), (5, 0.299, 0.114), (9, 0.2627, 0.0593)])
@pytest.mark.parametrize("full", [False, True])
def test_pictures_follow_the_standards(tmp_path, matrix, red, blue, full):
    source = write(tmp_path / "in.mkv", "yuv444p", smooth, tags={"colorspace": matrix, "color_range": 2 if full else 1})
    y, u, v = (plane.astype(np.float64) for plane in stored(source)[0])
    y, scale = (y / 255, 255) if full else ((y - 16) / 219, 224)
    u, v = (u - 128) / scale, (v - 128) / scale
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    with Reader(source) as reader:
        image = next(reader.frames()).image
    assert np.abs(image - np.clip(np.stack([r, g, b], -1) * 255, 0, 255)).max() < 1.1


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    ("source", "codec", "is_lossless", "expected"),
    [
        ("yuv420p", "libx264", False, "yuv420p"),
        ("yuv420p12le", "libx264", False, "yuv420p10le"),
        ("yuv420p12le", "libx265", False, "yuv420p12le"),
        ("yuv422p12le", "libsvtav1", False, "yuv420p10le"),
        ("yuv411p", "libx264", False, "yuv422p"),
        ("yuv444p16le", "ffv1", True, "yuv444p16le"),
        ("yuv420p", "prores_ks", False, "yuv422p10le"),
        ("yuva444p10le", "prores_ks", False, "yuva444p10le"),
        ("yuva444p10le", "libvpx-vp9", False, "yuva420p"),
        ("bgra", "libvpx-vp9", False, "yuva420p"),
        ("bgr0", "libx264", False, "yuv420p"),
        ("bgr0", "libx264", True, "yuv444p"),
        ("bgr0", "libx265", True, "gbrp"),
        ("bgr0", "ffv1", True, "bgr0"),
        ("gbrp10le", "dnxhd", False, "gbrp10le"),
        ("gbrp12le", "prores_ks", False, "yuv444p10le"),
        ("gbrap12le", "ffv1", True, "gbrap12le"),
        ("gray", "libx264", False, "yuv420p"),
        ("gray12le", "libx265", True, "gray12le"),
        ("gray10le", "ffv1", True, "gray10le"),
    ],
)
def test_the_format_that_loses_least(tmp_path, source, codec, is_lossless, expected):
    info = probe(write(tmp_path / "in.mkv", source, frames=1))
    assert pixel_format(info, codec, is_lossless=is_lossless) == expected


@pytest.mark.parametrize(
    ("codec", "expected"),
    [("libx264", "yuv444p"), ("libx265", "yuv444p"), ("ffv1", "yuv420p"), ("libvpx-vp9", "yuv420p")],
)
def test_odd_sides_are_halved_where_the_encoder_can(tmp_path, codec, expected):
    info = probe(write(tmp_path / "in.mkv", "yuv420p", frames=1, size=(47, 31)))
    assert pixel_format(info, codec, is_lossless=False) == expected


def test_more_depth_keeps_the_codes(tmp_path):
    source = write(tmp_path / "in.mkv", "yuv422p", smooth, tags={"color_range": 1})
    target = source.with_name("out.mov")
    interpolate_video(source, target, hold, Options(encoder="prores"))
    with Reader(source) as reader:
        frame = next(reader.frames())
        deep = Converter(reader.info, "yuv422p10le")(frame)
    assert worst([plane * np.uint16(4) for plane in stored(source)[0]], [codes(p, deep) for p in deep.planes]) == 0
    assert probe(target).bits == 10


def test_gray_stays_gray_in_yuv(tmp_path):
    source = write(tmp_path / "in.mkv", "gray", smooth, size=(64, 48))
    target = run(source, "out.mp4", mean, encoder_options={"qp": "0"})
    luma, *chroma = stored(target)[0]
    assert np.array_equal(luma, stored(source)[0][0])
    assert {int(code) for plane in chroma for code in plane.flat} == {128}
    assert probe(target).color.full


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize(
    ("encoder", "suffix"),
    [("libx264", ".mp4"), ("libx264", ".mkv"), ("libx265", ".mp4"), ("ffv1", ".mkv"), (None, ".webm")],
)
def test_tags_are_kept(tmp_path, encoder, suffix, siting):
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 16}
    source = write(tmp_path / "in.mkv", "yuv420p", smooth, tags=tags, siting=siting, size=(64, 48))
    target = run(source, f"out{suffix}", encoder=encoder)
    assert probe(target).color == probe(source).color
    assert probe(target).color.siting == siting


@pytest.mark.parametrize(
    ("encoder", "suffix", "siting", "kept_by"),
    [
        ("prores", ".mov", "topleft", ".mkv"),
        ("libvpx-vp9", ".mp4", "topleft", ".mkv"),
        ("libsvtav1", ".mp4", "center", ".mkv"),
        ("prores", ".mov", "left", None),
    ],
)
def test_siting_that_has_no_place_is_announced(tmp_path, encoder, suffix, siting, kept_by):
    source = write(tmp_path / "in.mkv", "yuv422p", smooth, siting=siting, size=(64, 64), codec="libx264")
    losses = {loss.kind: loss for loss in check(source, tmp_path / f"out{suffix}", Options(encoder=encoder)).losses}
    assert losses["siting"].kept_by[0] == kept_by if kept_by else "siting" not in losses


# -------------------------------------------------------------------------------------------------------------- opacity


def disk(index: int, size=(64, 48)) -> np.ndarray:
    """A white disk on transparent black, which moves."""
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    opacity = np.clip((14 - np.hypot(x - 24 - 8 * index, y - 24)) / 3 + 0.5, 0, 1)
    white = np.repeat((opacity > 0)[..., None], 3, -1) * 255
    return np.uint8(np.concatenate([white, np.rint(opacity * 255)[..., None]], -1))


def make_disk(path: Path, codec: str, pix_fmt: str) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"lossless": "1"} if codec == "libvpx-vp9" else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        for index in range(2):
            frame = av.VideoFrame.from_ndarray(disk(index), "rgba").reformat(format=pix_fmt)
            frame.pts, frame.time_base = index, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "target", "tolerance"),
    [
        ("in.mkv", "ffv1", "bgra", "out.mkv", 0.01),
        ("in.mkv", "ffv1", "yuva420p", "out.mkv", 0.01),
        ("in.mov", "qtrle", "argb", "out.mkv", 0.01),
        ("in.mov", "prores_ks", "yuva444p10le", "out.mov", 0.02),
        ("in.webm", "libvpx-vp9", "yuva420p", "out.webm", 0.08),
    ],
)
@pytest.mark.usefixtures("nothing_held")
def test_opacity_without_dark_fringe(tmp_path, name, codec, pix_fmt, target, tolerance):
    source = make_disk(tmp_path / name, codec, pix_fmt)
    encoder = {".mkv": "ffv1", ".mov": "prores", ".webm": None}[Path(target).suffix]
    shapes = set()

    def between(frames, times):
        shapes.update((frame.shape, frame.dtype) for frame in frames)
        return mean(frames, times)

    path = run(source, target, between, encoder=encoder)
    assert shapes == {((48, 64, 4), np.dtype(np.uint16))}
    with Reader(path) as reader:
        frames = [with_opacity(frame.image, frame.raw, reader.info.turn) / 65535 for frame in reader.frames()]
    for frame in frames:
        over_white = frame[..., :3] + 1 - frame[..., 3:]
        assert np.abs(over_white - 1).max() <= tolerance  # the opposite order of steps gives 0.5
    expected = (disk(0)[..., 3] / 510) + disk(1)[..., 3] / 510
    assert np.abs(frames[1][..., 3] - expected).max() <= tolerance
    if encoder == "ffv1" and pix_fmt != "argb":
        assert changed(stored(path)[::2], stored(source)) == 0


@pytest.mark.usefixtures("nothing_held")
def test_opacity_that_the_target_cannot_keep_is_not_interpolated(tmp_path):
    source = make_disk(tmp_path / "in.mov", "qtrle", "argb")
    assert not check(source, tmp_path / "out.mp4").has_opacity
    shapes = set()

    def between(frames, times):
        shapes.update(frame.shape for frame in frames)
        return mean(frames, times)

    interpolate_video(source, tmp_path / "out.mp4", between)
    assert shapes == {(48, 64, 3)}
    opaque = write(tmp_path / "in.mkv", "yuv420p")
    assert not check(opaque, tmp_path / "out.mkv", Options(encoder="ffv1")).has_opacity


@pytest.mark.parametrize("name", ["cuda", "vaapi"])
def test_formats_without_channels(name):
    with pytest.raises(ValueError, match="no channels"):
        layout_of(name)


@pytest.mark.parametrize("name", [*KEPT, *BYTES, "nv12", "p010le", "yuyv422", "gray16be", "pal8", "monob", "gbrpf32le"])
def test_every_layout_has_a_planar_format(name):
    planar = layout_of(name).planar
    assert layout_of(av.VideoFormat(planar, 16, 16).name) == layout_of(name)
