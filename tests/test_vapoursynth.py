"""The filter for VapourSynth: places, formats, properties, cuts, and what it refuses."""

from __future__ import annotations

import copy
import types
from fractions import Fraction

import numpy as np
import pytest

import vfi_jax

try:
    import vapoursynth as vs
except ImportError:
    vs = None

pytestmark = pytest.mark.skipif(vs is None, reason="vapoursynth is not installed")

SIZE = (18, 10)  # odd among the multiples of the networks' padding


@pytest.fixture(scope="module")
def average():
    """`(1 - t) * left + t * right`."""
    return vfi_jax.Interpolator("average")


@pytest.fixture(scope="module")
def interpolate():
    from vfi_jax.vapoursynth import interpolate

    return interpolate


def clip(name="RGBS", frames=4, rate=(24000, 1001), **props):
    """Frame k holds k / 10 of the largest code, red, and twice that, blue."""
    form = getattr(vs, name)
    blank = vs.core.std.BlankClip(
        width=SIZE[0], height=SIZE[1], format=form, length=frames, fpsnum=rate[0], fpsden=rate[1], keep=False
    )
    top = 1 if name in ("RGBS", "RGBH") else 2**blank.format.bits_per_sample - 1

    def fill(n, f):
        frame = f.copy()
        for plane, share in enumerate((0.1, 0, 0.2)):
            np.asarray(frame[plane])[:] = round(share * n * top, 3) if top == 1 else round(share * n * top)
        for key, values in props.items():
            frame.props[key] = values[n]
        return frame

    return blank.std.ModifyFrame(blank, fill), top


def pictures(node):
    with_all = [node.get_frame(n) for n in range(node.num_frames)]
    return [np.stack([np.asarray(frame[plane]) for plane in range(3)], -1) for frame in with_all]


@pytest.mark.parametrize("name", ["RGBS", "RGBH", "RGB24", "RGB48"])
def test_formats_and_places(interpolate, average, name):
    source, top = clip(name)
    made = interpolate(source, average)
    assert (made.num_frames, made.format.name, made.fps) == (8, name, Fraction(48000, 1001))
    before, after = pictures(source), pictures(made)
    assert all(map(np.array_equal, before, after[::2]))
    assert np.array_equal(after[-1], before[-1])
    for k in range(3):
        assert after[2 * k + 1].dtype == before[0].dtype
        exact = (before[k].astype(float) + before[k + 1]) / 2
        assert np.abs(after[2 * k + 1] - exact).max() <= (1e-3 if top == 1 else 0.51)


@pytest.mark.parametrize(("factor", "frames"), [("5/2", 10), (3, 12), (1.5, 6)])
def test_factors(interpolate, average, factor, frames):
    made = interpolate(clip()[0], average, factor=factor)
    ratio = Fraction(str(factor))
    assert (made.num_frames, made.fps) == (frames, Fraction(24000, 1001) * ratio)
    reds = [picture[0, 0, 0] for picture in pictures(made)]
    assert np.allclose(reds, [min(float(k / ratio), 3) / 10 for k in range(frames)], atol=1e-5)


def test_rates(interpolate, average):
    made = interpolate(clip(rate=(25, 1))[0], average, fps=60)
    assert (made.num_frames, made.fps) == (9, 60)
    assert [picture[0, 0, 0] for picture in pictures(made)][:4] == pytest.approx([0, 1 / 24, 1 / 12, 1 / 8], abs=1e-5)


def test_durations_and_times(interpolate, average):
    """A clip of a variable rate: each gap is divided, whatever its length."""
    source, _ = clip(rate=(0, 1), _DurationNum=[1, 2, 1, 1], _DurationDen=[24] * 4, _AbsoluteTime=[0.0, 1, 3, 4])
    made = interpolate(source, average, factor=4)
    props = [made.get_frame(n).props for n in range(8)]
    assert made.fps == 0
    assert [Fraction(p["_DurationNum"], p["_DurationDen"]) for p in props] == [Fraction(1, 96)] * 4 + [
        Fraction(1, 48)
    ] * 4
    assert [p["_AbsoluteTime"] for p in props] == pytest.approx(
        [k / 96 for k in range(4)] + [1 + k / 48 for k in range(4)]
    )


@pytest.mark.parametrize("props", [{"_SceneChangeNext": [0, 1, 0, 0]}, {"_SceneChangePrev": [0, 0, 1, 0]}])
def test_cuts_are_not_blended(interpolate, average, props):
    source, _ = clip(**props)
    after = pictures(interpolate(source, average, factor=3))
    assert all(np.array_equal(after[k], after[3]) for k in (4, 5))
    assert not np.array_equal(after[1], after[0])
    assert not np.array_equal(after[7], after[6])


def test_values_beyond_white(interpolate, average):
    """New frames lie in 0..1, as those of networks do; frames of the source keep what they have."""
    source, _ = clip()
    before = pictures(bright := vs.core.std.Expr(source, "x 9 *"))
    after = pictures(interpolate(bright, average))
    assert max(picture.max() for picture in before) > 5
    assert all(map(np.array_equal, before, after[::2]))
    assert np.array_equal(after[5][0, 0], [1, 0, 1])


def test_what_is_refused(interpolate, average):
    source, _ = clip()
    yuv = vs.core.resize.Bicubic(source, format=vs.YUV420P8, matrix_s="709")
    for bad, options, match in [
        (yuv, {}, "RGBS, RGBH, RGB24, RGB48 are taken, not YUV420P8"),
        (source[:1], {}, "one frame"),
        (clip(rate=(0, 1))[0], {"fps": 60}, "no constant rate"),
        (source, {"factor": 1}, "factor 1: must lie above 1"),
        (source, {"fps": 50, "factor": 2}, "exclude each other"),
    ]:
        with pytest.raises(vs.Error, match=match) as error:
            interpolate(bad, average, **options)
        assert "\n" not in str(error.value)


def test_midpoint_models(interpolate, average, monkeypatch):
    halves = copy.copy(average)
    monkeypatch.setattr(halves, "model", types.SimpleNamespace(any_time=False, variant="cain"))
    assert interpolate(clip()[0], halves, factor=4).num_frames == 16
    with pytest.raises(vs.Error, match="power of two"):
        interpolate(clip()[0], halves, factor=3)
