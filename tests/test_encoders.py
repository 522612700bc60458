"""Encoders: what each writes into which container, quality, losslessness, options, and what is refused beforehand."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import clips
import numpy as np
import pytest
import rich_clips

from vfi_jax.cli import main as cli
from vfi_jax.errors import UsageError, UserError
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.coding import trial
from vfi_jax.video.coding.decode import probe
from vfi_jax.video.coding.encoders import CONTAINERS, ENCODERS, container_of, encoding_of, holds
from vfi_jax.video.tracks import hdr
from vfi_jax.video.tracks.packets import mend
from vfi_jax.video.verification.verify import verify

SOFTWARE = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "dnxhd", "ffv1")
USUAL = {"libvpx-vp9": ".webm", "ffv1": ".mkv", "prores_ks": ".mov", "dnxhd": ".mov"}
CODECS = {"h264": "h264", "hevc": "hevc", "av1": "av1", "vp9": "vp9", "prores": "prores", "dnxhd": "dnxhd",
          "ffv1": "ffv1"}  # fmt: skip
VIDEO = (".mp4", ".mov", ".mkv", ".webm")
DEEP = ("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le")
SIZE = (256, 128)  # DNxHR takes no smaller ones
PAIRS = [(name, suffix) for name in SOFTWARE for suffix in VIDEO if holds(CONTAINERS[suffix], ENCODERS[name])]


def hold(frames, times):
    """In-betweens that repeat the frame before."""
    for _ in times:
        yield frames[0]


def clip(folder, name="in.mkv", **options):
    return clips.make_clip(folder / name, **{"frames": 4, "size": SIZE} | options)


def run(source, suffix, **options):
    target = source.with_name(f"out{suffix}")
    interpolate_video(source, target, hold, Options(overwrite=True, **options))
    return target


def described(path):
    """Codec, pixel format and bits of a file, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        form = next(container.decode(stream)).format
        return stream.codec_context.codec.canonical_name, form.name, form.components[0].bits


def cases():
    """Every encoder once in each depth, and the rest of the matrix marked slow."""
    for name, suffix in PAIRS:
        for pix_fmt in ("yuv420p", *DEEP):
            is_fast = suffix == USUAL.get(name, ".mp4") and pix_fmt in ("yuv420p", "yuv420p10le")
            yield pytest.param(name, suffix, pix_fmt, marks=() if is_fast else pytest.mark.slow)


@pytest.mark.parametrize(("name", "suffix", "pix_fmt"), list(cases()))
def test_every_encoder_in_every_container_and_depth(tmp_path, name, suffix, pix_fmt):
    codec = "libx265" if "12" in pix_fmt else "libx264"
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    source = clip(tmp_path, "in.mp4", pix_fmt=pix_fmt, codec=codec, options=options, rate=Fraction(24000, 1001))
    target = run(source, suffix, encoder=name)
    written, form, bits = described(target)
    assert written == ENCODERS[name].codec
    formats = {form.name for form in av.Codec(name, "w").video_formats}
    assert bits >= (10 if pix_fmt in DEEP and any("10le" in other for other in formats) else 8), form
    shown = clips.shown(target)
    tick = Fraction(1, 2000) if suffix in (".mkv", ".webm") else 0
    start = clips.shown(source)[0][0]
    assert len(shown) == 7
    for number, (time, _) in enumerate(shown):
        assert abs(time - start - number * Fraction(1001, 48000)) <= 2 * tick
    differing = set(verify(source, target, Options(encoder=name)).differing)
    if (name, suffix) == ("libvpx-vp9", ".mp4"):  # FFmpeg reads the last frame's duration as that of the others
        with av.open(str(target)) as container:
            stream = container.streams.video[0]
            assert stream.duration * Fraction(stream.time_base) == Fraction(4 * 1001, 24000)
        differing.discard("end")
    assert not differing


@pytest.mark.parametrize("name", SOFTWARE)
def test_what_the_table_leaves_out_is_refused_by_ffmpeg(name):
    """The table says all that goes into a container, and no more."""
    form = "yuv422p10le" if name in ("prores_ks", "dnxhd") else "yuv420p"
    for suffix in VIDEO:
        container = CONTAINERS[suffix]
        encoding = encoding_of(container, Options(encoder=name)) if holds(container, ENCODERS[name]) else None

        def add(out, encoding=encoding):
            options = encoding.options_for(form, {}) if encoding else {}
            stream = out.add_stream(name, rate=25, width=SIZE[0], height=SIZE[1], options=options)
            stream.pix_fmt = form
            return stream

        if encoding is None:
            with pytest.raises((ValueError, av.FFmpegError)):
                trial.encode_one(container.muxer, add, [])
        else:
            assert trial.encode_one(container.muxer, add, []) == []


def test_names_and_aliases_are_unique():
    names = [name for encoder in ENCODERS.values() for name in (encoder.name, *encoder.aliases)]
    assert len(names) == len(set(names))
    assert all(container.encoder in ENCODERS for container in CONTAINERS.values())


@pytest.mark.parametrize("frames", [1, 2])
def test_libx265_with_fewer_frames_than_it_reorders(tmp_path, frames):
    packet = av.Packet(b"x")
    packet.pts, packet.dts, packet.time_base = 5, 10**17, Fraction(1, 25)
    mend(packet)
    assert packet.dts == 5
    source = clip(tmp_path, frames=1)
    assert len(clips.shown(run(source, ".mp4", encoder="libx265", hold_last=frames == 2))) == frames


def test_hevc_in_mp4_has_the_tag_that_plays_everywhere(tmp_path):
    target = run(clip(tmp_path, frames=2), ".mp4", encoder="x265")
    with av.open(str(target)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


# ------------------------------------------------------------------------------------------- quality and losslessness


@pytest.mark.parametrize("name", [name for name in SOFTWARE if ENCODERS[name].has_quality])
def test_more_quality_is_more_bytes_and_less_error(tmp_path, name):
    def noisy(index, size):
        rng = np.random.default_rng(index)
        return np.uint8(clips.moving(index, size) * 0.8 + rng.integers(0, 40, (size[1], size[0], 3)))

    source = clip(tmp_path, frames=3, picture=noisy, options={"crf": "2"})
    truth = np.float64(clips.pictures(source))
    sizes, errors = [], []
    for quality in (0, 50, 100):
        target = run(source, USUAL.get(name, ".mp4"), encoder=name, quality=quality)
        sizes.append(target.stat().st_size)
        errors.append(np.mean((np.float64(clips.pictures(target)[::2]) - truth) ** 2))
    assert all(a <= b for a, b in pairwise(sizes))  # profiles of DNxHR are the same for small frames
    assert all(a >= b for a, b in pairwise(errors))
    assert sizes[0] < 0.6 * sizes[-1]
    assert errors[0] > 1.4 * errors[-1]


@pytest.mark.parametrize("name", [name for name, encoder in ENCODERS.items() if encoder.scale])
def test_the_scale_is_monotonous_and_has_its_ends(name):
    scale = ENCODERS[name].scale
    values = [float(scale.value(Fraction(quality))) for quality in range(101)]
    assert (values[0], values[70], values[100]) == (scale.worst, scale.usual, scale.best)
    assert values in (sorted(values), sorted(values, reverse=True))


@pytest.mark.parametrize("name", [name for name in SOFTWARE if ENCODERS[name].lossless is not None])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_lossless_keeps_every_code(tmp_path, name, pix_fmt):
    if pix_fmt not in {form.name for form in av.Codec(name, "w").video_formats}:
        pytest.skip(f"{name} has no {pix_fmt}")
    source = clip(tmp_path, frames=3, picture=clips.patches, pix_fmt=pix_fmt)
    target = run(source, USUAL.get(name, ".mp4"), encoder=name, lossless=True)
    assert described(target)[1] == pix_fmt
    before, after = codes(source), codes(target)[::2]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def codes(path):
    """Every code of every frame, plane by plane."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def test_verify_demands_equal_codes_of_what_is_lossless(tmp_path):
    source = clip(tmp_path)
    target = run(source, ".mp4")
    assert not verify(source, target).differing
    assert verify(source, target, Options(lossless=True)).differing == ("original frames",)


# ------------------------------------------------------------------------------------------------- options of encoders


@pytest.mark.parametrize("rate", ["b=300k", "qp=30", "crf=30"])
def test_options_for_the_rate_replace_the_quality(tmp_path, rate):
    mp4 = container_of(tmp_path / "out.mp4")
    options = dict(encoding_of(mp4, Options(encoder_options=rate)).options)
    assert options.items() >= {("preset", dict(ENCODERS["libx264"].options)["preset"]), tuple(rate.split("="))}
    assert set(options) == {"preset", "x264-params", rate.split("=")[0]}


def test_a_bitrate_is_kept(tmp_path):
    def noise(index, size):
        return np.random.default_rng(index).integers(0, 255, (size[1], size[0], 3), np.uint8)

    source = clip(tmp_path, frames=50, picture=noise)
    target = run(source, ".mp4", encoder_options="b=1M:maxrate=1M:bufsize=500k")
    with av.open(str(target)) as container:
        assert 0.6e6 < container.streams.video[0].bit_rate < 1.4e6


@pytest.mark.parametrize("text", ["g=3:bf=0", {"g": "3", "bf": "0"}, "x264-params=keyint=3\\:bframes=0"])
def test_options_reach_the_encoder(tmp_path, text):
    target = run(clip(tmp_path, frames=8), ".mp4", encoder_options=text)
    with av.open(str(target)) as container:
        keys = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert [index for index, is_key in enumerate(keys) if is_key][:4] == [0, 3, 6, 9]


def test_parameters_of_both_sides_add_up(tmp_path):
    options = encoding_of(
        container_of(tmp_path / "a.mkv"), Options(encoder="x265", encoder_options="x265-params=aq-mode=1")
    )
    assert dict(options.options)["x265-params"] == "log-level=none:aq-mode=1"
    both = options.options_for("yuv420p", {"x265-params": "max-cll=1,2"})
    assert sorted(both["x265-params"].split(":")) == ["aq-mode=1", "log-level=none", "max-cll=1,2"]


@pytest.mark.parametrize(("name", "suffix"), [("libx264", ".mp4"), ("libx265", ".mp4"), ("libsvtav1", ".mkv")])
def test_hdr10_is_kept_by(tmp_path, name, suffix):
    source = rich_clips.make(tmp_path / "in.mkv", pix_fmt="yuv420p10le", options=rich_clips.HDR)
    target = run(source, suffix, encoder=name)
    a, b = probe(source).side_data, probe(target).side_data
    assert np.array_equal(np.frombuffer(a[hdr.LIGHT], np.uint32)[:2], np.frombuffer(b[hdr.LIGHT], np.uint32)[:2])
    x, y = (np.frombuffer(side[hdr.MASTERING], np.int32)[:20].reshape(10, 2) for side in (a, b))
    assert np.allclose(x[:, 0] / x[:, 1], y[:, 0] / y[:, 1], rtol=1e-3, atol=2e-5)


# ------------------------------------------------------------------------------------------ refused before any work


@pytest.mark.parametrize(
    ("suffix", "options", "kind", "words"),
    [
        (".mp4", {"encoder": "nonsense"}, UsageError, "choose one of libx264"),
        (".webm", {"encoder": "libx264"}, UsageError, "webm does not hold H.264; write to .mp4"),
        (".mp4", {"encoder": "prores"}, UsageError, "mp4 does not hold ProRes; write to .mov"),
        (".mp4", {"encoder_options": "nonsense=1"}, UsageError, "nonsense: unknown to libx264"),
        (".mp4", {"encoder_options": "x264-params=nonsense=1"}, UsageError, "nonsense"),
        (".mp4", {"encoder_options": "crf=many"}, UsageError, "crf=many: libx264 refuses"),
        (".mp4", {"encoder_options": "time_base=1/7"}, UsageError, "follows from the source"),
        (".mp4", {"encoder_options": "crf=3", "quality": 50}, UsageError, "exclude each other"),
        (".mp4", {"encoder_options": "crf=3", "lossless": True}, UsageError, "exclude each other"),
        (".mov", {"encoder": "prores_ks", "lossless": True}, UsageError, "always lossy; choose one of libx264"),
        (".mkv", {"encoder": "ffv1", "quality": 50}, UsageError, "has none to choose"),
        (".mp4", {"encoder": "libx265", "encoder_options": "x265-params=nonsense=1"}, UsageError, "nonsense"),
        (".mkv", {"encoder": "libsvtav1", "encoder_options": "svtav1-params=nonsense=1"}, UsageError, "nonsense"),
    ],
)  # fmt: skip
def test_refused_before_any_work(tmp_path, suffix, options, kind, words):
    source, target = clip(tmp_path, frames=2, size=(64, 48)), tmp_path / f"out{suffix}"
    with pytest.raises(kind, match=words) as error:
        interpolate_video(source, target, hold, Options(**options))
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"quality": 101}, "0 to 100"),
        ({"quality": -1}, "0 to 100"),
        ({"quality": "nan"}, "0 to 100"),
        ({"quality": "1e1"}, "0 to 100"),
        ({"quality": 5, "lossless": True}, "exclude each other"),
        ({"encoder_options": ""}, "name=value"),
        ({"encoder_options": "crf"}, "name=value"),
        ({"encoder_options": "crf=1:"}, "name=value"),
        ({"encoder_options": "=1"}, "name=value"),
        ({"encoder_options": "g=1:g=2"}, "twice"),
    ],
)
def test_options_out_of_bounds(options, words):
    with pytest.raises(UsageError, match=words):
        Options(**options)


def test_too_small_a_frame_names_the_reason(tmp_path):
    source = clip(tmp_path, frames=2, size=(64, 48))
    with pytest.raises(UserError, match=r"out\.mov: dnxhd refuses these frames \(.*; choose --encoder libx264"):
        interpolate_video(source, tmp_path / "out.mov", hold, Options(encoder="dnxhr"))


def test_an_encoder_that_is_not_in_this_build(tmp_path, monkeypatch):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx265"})
    with pytest.raises(UserError, match=r"this FFmpeg has no libx265; choose --encoder libx264 or libsvtav1"):
        run(clip(tmp_path, frames=2, size=(64, 48)), ".mkv", encoder="libx265")


@pytest.mark.parametrize("name", [name for name, encoder in ENCODERS.items() if encoder.device])
def test_a_device_that_does_not_answer(tmp_path, name):
    """A device may be there: the trial then succeeds, and so does the run."""
    source = clip(tmp_path, frames=3)
    try:
        target = run(source, ".mp4", encoder=name)
    except UserError as error:
        refusal = str(error)
    else:
        assert len(clips.shown(target)) == 5
        return
    assert f"this FFmpeg has no {name}" in refusal or f"{name} does not answer (" in refusal
    assert "choose --encoder libx264 or" in refusal


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--encoder", "nonsense"], 2),
        (["--quality", "101"], 2),
        (["--quality", "3", "--lossless"], 2),
        (["--encoder-options", "nonsense=1"], 2),
        (["--encoder", "h264_videotoolbox"], 1),
    ],
)
def test_exit_codes(tmp_path, capsys, monkeypatch, arguments, code):
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"h264_videotoolbox"})
    source = clip(tmp_path, frames=2, size=(64, 48))
    assert cli.main(["interpolate", str(source), "-o", str(tmp_path / "out.mp4"), *arguments]) == code
    assert len([line for line in capsys.readouterr().err.splitlines() if line.strip()]) == 1
    assert not (tmp_path / "out.mp4").exists()
