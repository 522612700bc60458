"""Content of clips: cuts, held frames, bars, overlays and fields, in clips that are drawn with them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import clips
import cv2
import numpy as np
import pytest

from vfi_jax.errors import UsageError, UserError
from vfi_jax.video import Options, forms, interpolate_video
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.bars import area_of
from vfi_jax.video.content.cuts import Cuts, within_shot
from vfi_jax.video.content.fields import find, undone
from vfi_jax.video.content.holds import Holds, Rhythm, is_alike
from vfi_jax.video.verification.verify import verify

SIZE = (96, 64)


def scene(seed, index, size=SIZE, speed=1.5):
    """A frame of blurred noise that moves to the right."""
    width, height = size
    noise = np.random.default_rng(seed).random((height // 8 + 2, 3 * width // 8, 3))
    y, x = np.mgrid[:height, :width] / 8
    x = x + (index * speed + 4) / 8
    row, column = y.astype(int), x.astype(int)
    fy, fx = (y - row)[..., None], (x - column)[..., None]
    top = noise[row, column] * (1 - fx) + noise[row, column + 1] * fx
    bottom = noise[row + 1, column] * (1 - fx) + noise[row + 1, column + 1] * fx
    return np.uint8(255 * (top * (1 - fy) + bottom * fy))


def timed(images, rate=25):
    return [TimedFrame(Fraction(i, rate), Fraction(1, rate), image) for i, image in enumerate(images)]


def cuts_in(images, **options):
    cuts = Cuts(**options)
    frames = list(cuts.numbered(timed(images)))
    assert [frame.time for frame in frames] == [Fraction(i, 25) for i in range(len(images))]
    assert [frame.shot for frame in frames] == [sum(cut.frame <= i for cut in cuts.found) for i in range(len(images))]
    return [cut.frame for cut in cuts.found]


def shots(*lengths):
    return [scene(seed, index) for seed, length in enumerate(lengths) for index in range(length)]


@pytest.mark.parametrize("reach", [0, 2])
def test_cuts_are_found(reach):
    assert cuts_in(shots(9, 6, 1, 7), reach=reach) == [9, 15, 16]


def test_what_is_no_cut():
    steady = [scene(3, index) for index in range(16)]
    flash = [*steady[:7], np.uint8(np.minimum(steady[7] + 140.0, 255)), np.full_like(steady[8], 255), *steady[9:]]
    fade = [np.uint8(frame * gain) for frame, gain in zip(steady, np.linspace(0, 1, 16), strict=True)]
    shake = [scene(3, index, speed=index * 7 % 5 * 3) for index in range(16)]
    pan = [scene(3, index, speed=6) for index in range(16)]
    for images in (steady, flash, fade, fade[::-1], shake, pan):
        assert cuts_in(images) == []


def test_windows_stay_in_their_shot():
    frames = [
        frame._replace(shot=shot) for frame, shot in zip(timed([np.zeros(1)] * 6), (0, 1, 1, 2, 2, 3), strict=True)
    ]
    at = [frames.index(frame) for frame in within_shot(tuple(frames))]
    assert at == [1, 1, 2, 3, 4, 4]


def drawn(tmp_path, images, name="in.mkv", **options):
    return clips.make_clip(
        tmp_path / name, frames=len(images), size=images[0].shape[1::-1], picture=lambda i, _: images[i],
        codec="ffv1", pix_fmt="bgr0", **options,
    )  # fmt: skip


def white(frames, times):
    for _ in times:
        yield np.full_like(frames[0], 255)


@pytest.mark.parametrize(
    ("cuts", "expected"),
    [("repeat", ["b", "b", "b"]), ("nearest", ["b", "c", "c"]), ("fade", [0.25, 0.5, 0.75]), ("off", ["w", "w", "w"])],
)
def test_nothing_is_blended_across_a_cut(tmp_path, cuts, expected):
    images = shots(4, 4)
    source = drawn(tmp_path, images)
    summary = interpolate_video(source, tmp_path / "out.mkv", white, Options(factor=4, cuts=cuts, encoder="ffv1"))
    written = clips.pictures(tmp_path / "out.mkv")
    a, b = (images[i].astype(float) for i in (3, 4))
    for image, kind in zip(written[13:16], expected, strict=True):
        full = {"b": a, "c": b, "w": 255.0}.get(kind) if isinstance(kind, str) else (1 - kind) * a + kind * b
        assert np.abs(image - full).max() <= (0 if isinstance(kind, str) else 1)
    assert all((image == 255).all() for i, image in enumerate(written) if i % 4 and i // 4 != 3)
    assert summary.as_json()["cuts"] == ([] if cuts == "off" else [{"frame": 4, "time": 0.16, "exact_time": "4/25"}])


def test_cuts_are_one_of_four():
    with pytest.raises(UsageError, match="cuts blend: must be one of repeat, nearest, fade, off"):
        Options(cuts="blend")


# ---------------------------------------------------------------------------------------------------------------- held


def held_in(images):
    return [frame.held for frame in Holds().marked(timed(images))]


def test_held_frames_are_found():
    noise = np.random.default_rng(0).integers(-1, 2, (8, *SIZE[::-1], 3))
    a, b = np.int16(scene(1, 0)) // 2 + 60, np.int16(scene(1, 4)) // 2 + 60
    images = [np.uint8(image + change) for image, change in zip((a, a, b, b, b, a, a, a), noise, strict=True)]
    assert held_in(images) == [False, True, False, True, True, False, True, True]
    pointer = a.copy()
    pointer[20:28, 30:36] = 255  # moves on a screen that stands still
    assert held_in([np.uint8(a), np.uint8(pointer), np.uint8(pointer)]) == [False, False, True]
    deep = [np.uint16(image) * 257 for image in images]
    assert held_in(deep) == held_in(images)


def test_fades_are_not_held():
    """However slow and dark, also against noise; black before it is."""
    dark = scene(2, 0) / 255 * 24
    rng = np.random.default_rng(0)
    fade = [np.uint8(np.rint(dark * gain + rng.uniform(0, 0.5, dark.shape))) for gain in np.linspace(0.05, 1, 30)]
    assert not any(held_in(fade))
    assert held_in([np.zeros_like(fade[0])] * 3 + fade[:3]) == [False, True, True, False, False, False]
    assert is_alike(fade[3], fade[3])


def test_a_slow_pan_does_not_add_up_to_a_hold():
    held = held_in([scene(1, index, speed=0.1) for index in range(40)])
    assert sum(not one for one in held) >= 10


@pytest.mark.parametrize(
    ("steps", "delays"),
    [
        ((2,) * 8, [0] * 9),
        ((2, 3) * 5, [*[0] * 4, "0", "1/2", "0", "1/2", "0", "1/2", "0"]),
        ((1, 1, 1, 2) * 4, [*[0] * 8, "0", "1/4", "1/2", "3/4", "0", "1/4", "1/2", "3/4", "0"]),
        ((1, 2, 4, 1, 2, 4, 1, 2, 4), [0] * 10),
        ((3, 1, 2, 2, 1, 3), [0] * 7),
    ],
)
def test_rhythms(steps, delays):
    """Of film in 60 and 30 frames per second: places on a line; others stay."""
    rhythm, number, found = Rhythm(), 0, []
    for step in (*steps, 0):
        found.append(rhythm.delay(number))
        number += step
    assert found[-6:] == [Fraction(delay) for delay in delays][-6:]
    assert all(0 <= delay < 1 for delay in found)


def levels(path):
    return [int(picture[0, 0, 0]) for picture in clips.pictures(path)]


def flat(values):
    """Frames of one level, with a mark that tells them from a fade."""
    images = [np.full((32, 32, 3), value, np.uint8) for value in values]
    for image, value in zip(images, values, strict=True):
        image[16:, 16:] = 255 - value
    return images


def move(frames, times):
    """The ideal network for `flat`."""
    for t in times:
        value = round(float(frames[0][0, 0, 0]) * (1 - t) + float(frames[1][0, 0, 0]) * t)
        yield flat([value])[0]


TWOS = [40, 40, 60, 60, 80, 80, 100, 100, 120]


@pytest.mark.parametrize(
    ("held", "expected", "times"),
    [
        ("keep", [40, 40, 40, 50, 60, 60, 60, 70, 80, 80, 80, 90, 100, 100, 100, 110, 120], range(17)),
        ("fill", [40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115, 120], range(17)),
        ("drop", [40, 50, 60, 70, 80, 90, 100, 110, 120], range(0, 17, 2)),
    ],
)
def test_animation_on_twos(tmp_path, held, expected, times):
    source, calls = drawn(tmp_path, flat(TWOS)), []

    def counted(frames, at):
        calls.extend(at)
        return move(frames, at)

    options = Options(held=held, encoder="ffv1", cuts="off")
    summary = interpolate_video(source, tmp_path / "out.mkv", counted, options)
    assert levels(tmp_path / "out.mkv") == expected
    assert [time for time, _ in clips.shown(tmp_path / "out.mkv")] == [Fraction(t, 50) for t in times]
    assert len(calls) == {"keep": 4, "fill": 12, "drop": 4}[held]
    assert any(note.startswith("4 frames are like the one before") for note in summary.notes)
    assert not verify(source, tmp_path / "out.mkv", options).differing


def test_film_in_sixty_moves_evenly(tmp_path):
    """2, 3, 2, 3: once the rhythm is known, each frame of the output moves on by the same amount."""
    values = [level for i in range(12) for level in [20 + 15 * i] * (2 + i % 2)]
    source = drawn(tmp_path, flat(values), rate=60)
    interpolate_video(source, tmp_path / "out.mkv", move, Options(held="fill", encoder="ffv1", cuts="off"))
    written = levels(tmp_path / "out.mkv")
    assert len(written) == 2 * len(values) - 1
    assert set(np.diff(written[24:50])) == {3}


def test_what_stands_still_for_long_stays(tmp_path):
    source = drawn(tmp_path, flat([50] * 10 + [90, 130]))
    for held, count in (("fill", 23), ("drop", 7)):
        options = Options(held=held, encoder="ffv1", cuts="off", overwrite=True)
        interpolate_video(source, tmp_path / "out.mkv", move, options)
        written = levels(tmp_path / "out.mkv")
        assert len(written) == count
        assert written[-5:] == [50, 70, 90, 110, 130]
        assert set(written[:-4]) == {50}


# ------------------------------------------------------------------------------------------------------ bars, overlays


def test_bars_are_left_alone(tmp_path):
    images = [np.pad(scene(1, i), ((12, 8), (0, 4), (0, 0)), constant_values=3) for i in range(4)]
    summary = interpolate_video(drawn(tmp_path, images), tmp_path / "out.mkv", white, Options(encoder="ffv1"))
    new = clips.pictures(tmp_path / "out.mkv")[1]
    assert (new[:12] == 3).all()
    assert (new[-8:] == 3).all()
    assert (new[:, -4:] == 3).all()
    assert (new[12:-8, :-4] == 255).all()
    assert summary.notes == (
        "black bars are left alone: 12 pixels at the top, 8 pixels at the bottom, 4 pixels at the right",
    )
    night = np.zeros((64, 96, 3), np.uint8)
    night[30:34, 40:44] = 200
    assert not area_of(night).sizes((64, 96))
    assert not area_of(np.zeros_like(night)).sizes((64, 96))


def mask(path, size, white):
    picture = np.zeros((size[1], size[0]), np.uint8)
    picture[white] = 255
    cv2.imwrite(str(path), picture)
    return path


def test_overlays_stay(tmp_path):
    images = [scene(1, i) for i in range(3)]
    area = (slice(5, 20), slice(40, 90))
    options = Options(encoder="ffv1", mask=mask(tmp_path / "mask.png", SIZE, area))
    interpolate_video(drawn(tmp_path, images), tmp_path / "out.mkv", white, options)
    new = clips.pictures(tmp_path / "out.mkv")[1]
    assert np.array_equal(new[area], images[0][area])
    new[area] = 255
    assert (new == 255).all()


def test_masks_of_another_size(tmp_path):
    options = Options(mask=mask(tmp_path / "mask.png", (95, 64), ()))
    with pytest.raises(
        UserError, match=r"^\S+mask\.png: the mask is 95x64, and the frames 96x64; bring it to their size$"
    ):
        interpolate_video(drawn(tmp_path, shots(3)), tmp_path / "out.mkv", white, options)
    assert not (tmp_path / "out.mkv").exists()
    with pytest.raises(UserError, match=r"missing\.png"):
        interpolate_video(tmp_path / "in.mkv", tmp_path / "out.mkv", white, Options(mask=tmp_path / "missing.png"))


# -------------------------------------------------------------------------------------------------------------- fields


def woven(moment, pattern, count):
    """Frames of the moments of their upper and their lower fields."""
    frames = []
    for i in range(count):
        upper, lower = pattern(i)
        frame = moment(upper).copy()
        frame[1::2] = moment(lower)[1::2]
        frames.append(frame)
    return frames


def tall(index):
    return scene(5, index, size=(96, 96), speed=2.0)


def telecine(i):
    """A film's frames in the fields of video: AA BB BC CD DD."""
    cycle, at = divmod(i, 5)
    return [(4 * cycle + a, 4 * cycle + b) for a, b in ((0, 0), (1, 1), (1, 2), (2, 3), (3, 3))][at]


@pytest.fixture(scope="module")
def interlaced(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("interlaced"), woven(tall, lambda i: (2 * i, 2 * i + 1), 16))


@pytest.fixture(scope="module")
def telecined(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("telecined"), woven(tall, telecine, 25), "in.mp4", rate=30)


def test_fields_are_found(interlaced, telecined, tmp_path):
    found = [find(forms.source_of(path, Options())) for path in (interlaced, telecined, drawn(tmp_path, shots(12)))]
    assert found == ["interlaced", "telecined", "progressive"]


def test_interlaced_clips_become_whole(interlaced, tmp_path):
    options = Options(fields="auto", encoder="ffv1")
    summary = interpolate_video(interlaced, tmp_path / "out.mkv", white, options)
    assert summary.notes[0] == "fields: the source is interlaced; each frame becomes a whole one"
    originals = clips.pictures(tmp_path / "out.mkv")[::2]
    for i, picture in enumerate(originals[2:-2], 2):
        assert np.abs(picture[4:-4].astype(float) - tall(2 * i)[4:-4]).mean() < 3


def test_fields_become_frames(interlaced, tmp_path):
    summary = interpolate_video(interlaced, tmp_path / "out.mkv", white, Options(fields="fields", encoder="ffv1"))
    shown, pictures = clips.shown(tmp_path / "out.mkv"), clips.pictures(tmp_path / "out.mkv")
    assert (summary.source_frames, summary.frames) == (32, 63)
    assert [time for time, _ in shown] == [Fraction(i, 100) for i in range(63)]
    for i in range(4, 28):
        assert np.abs(pictures[2 * i][4:-4].astype(float) - tall(i)[4:-4]).mean() < 3


def test_telecined_clips_become_film(telecined, tmp_path):
    summary = interpolate_video(telecined, tmp_path / "out.mp4", white, Options(fields="auto", encoder="ffv1"))
    assert summary.notes[0].startswith("fields: the source is telecined; the frames of the film are restored")
    shown = clips.shown(tmp_path / "out.mp4")
    assert summary.source_frames == 20
    assert [time for time, _ in shown] == [Fraction(i, 48) for i in range(39)]
    errors = [[np.abs(picture[4:-4].astype(float) - tall(i)[4:-4]).mean() for i in range(20)]
              for picture in clips.pictures(tmp_path / "out.mp4")[8:36:2]]  # fmt: skip
    assert [int(np.argmin(row)) for row in errors] == list(range(4, 18))
    assert max(map(min, errors)) < 3


def test_auto_needs_a_file():
    class Pipe:
        path, files, notes, info = forms.PIPE, (), (), type("Info", (), {"path": forms.PIPE})

        def survey(self, begin, end): ...
        def open(self, rate): ...

    with pytest.raises(UsageError, match="--fields auto: standard input is read once"):
        undone(Pipe(), "auto")


# ------------------------------------------------------------------------------------------------------- blur, curves


def ramp(place):
    """A scene whose light, by sRGB's curve, grows evenly with the place, and a corner that tells it from a fade."""
    light = np.full((32, 32, 3), 0.1 + place / 20)
    light[16:, 16:] = 0.9 - place / 20
    return np.uint16(np.rint((1.055 * light ** (1 / 2.4) - 0.055) * 65535))


def light_of(picture):
    codes = picture.astype(float) / np.iinfo(picture.dtype).max
    return ((codes + 0.055) / 1.055) ** 2.4


def between_ramps(frames, times):
    """The ideal network for `ramp`."""
    a, b = ((light_of(frame[0, 0, 0]) - 0.1) * 20 for frame in frames)
    for t in times:
        yield ramp(a + t * (b - a))


def deep(tmp_path, count, picture=ramp, **options):
    return clips.make_clip(
        tmp_path / "in.mp4", frames=count, size=(32, 32), picture=lambda i, _: picture(i), codec="ffv1",
        pix_fmt="gbrp16le", **options,
    )  # fmt: skip


def written_light(path):
    return [light_of(picture[0, 0, 0]) for picture in clips.pictures(path, "rgb48le")]


FFV1 = {"encoder": "ffv1", "cuts": "off"}


@pytest.mark.parametrize(("shutter", "factor"), [("1/2", 2), (1, 3), ("0.25", "3/2")])
def test_exposures_are_even_and_around_their_frames(tmp_path, shutter, factor):
    """Light that grows evenly keeps its mean; at the ends the exposure is one-sided, by a quarter of its length."""
    source = deep(tmp_path, 5)
    asked = []

    def recorded(frames, times):
        place = round((light_of(frames[0][0, 0, 0]) - 0.1) * 20)
        asked.extend(place + t for t in times)
        return between_ramps(frames, times)

    options = Options(shutter=shutter, factor=factor, **FFV1)
    interpolate_video(source, tmp_path / "out.mp4", recorded, options)
    times = [time for time, _ in clips.shown(tmp_path / "out.mp4")]
    factor, shutter = Fraction(factor), Fraction(shutter)
    assert times == [k / factor / 25 for k in range(int(4 * factor) + 1)]
    assert clips.shown(tmp_path / "out.mp4")[-1][0] + clips.shown(tmp_path / "out.mp4")[-1][1] == Fraction(1, 5)
    places = [k / factor for k in range(int(4 * factor) + 1)]
    moments = {p + shutter / factor * Fraction(j, 9) for p in places for j in range(-4, 5)}
    assert sorted(asked) == pytest.approx(sorted(float(m) for m in moments if 0 < m < 4 and m % 1))
    edge = shutter / factor * Fraction(2, 9)  # mean of 0 to 4 ninths
    expected = [places[0] + edge, *places[1:-1], places[-1] - edge * (places[-1] == 4)]
    got = [(light - 0.1) * 20 for light in written_light(tmp_path / "out.mp4")]
    assert got[:-1] == pytest.approx([float(p) for p in expected[:-1]], abs=0.002)
    assert got[-1] == pytest.approx(float(expected[-1]), abs=0.002 if places[-1] == 4 else 0.1)


def test_exposures_stop_at_cuts(tmp_path):
    images = shots(4, 4)
    summary = interpolate_video(
        drawn(tmp_path, images), tmp_path / "out.mkv", lambda frames, times: (frames[0] for _ in times),
        Options(shutter=1, encoder="ffv1"),
    )  # fmt: skip
    assert [cut.frame for cut in summary.cuts] == [4]
    written = clips.pictures(tmp_path / "out.mkv")
    assert np.array_equal(written[7], images[3])  # in the gap of the cut
    for image, near in ((written[6], images[3]), (written[8], images[4])):
        assert np.abs(image.astype(float) - near).mean() < 12


def curve(tmp_path, text):
    (tmp_path / "curve.txt").write_text(text)
    return tmp_path / "curve.txt"


@pytest.mark.parametrize("asked", [{}, {"factor": 2}, {"fps": 60}])
def test_speed_curves_are_exact(tmp_path, asked):
    """Places by numerical integration of the rate over the target's time, independent of the code."""
    points = [(0.0, 1.0), (0.1, 1.0), (0.2, 0.25), (0.24, 0.25), (0.32, 2.0)]
    path = curve(tmp_path, "# a ramp\n" + "\n".join(f"{time}, {rate}" for time, rate in points))
    source = deep(tmp_path, 10, sound=["aac"])
    summary = interpolate_video(source, tmp_path / "out.mp4", between_ramps, Options(speed_curve=path, **asked, **FFV1))
    rate = asked.get("fps", 25 * asked.get("factor", 1))
    step, place, places = 1e-5, 0.0, [0.0]
    seconds = np.array([0.0, *[2 * (b[0] - a[0]) / (a[1] + b[1]) for a, b in pairwise(points)]])
    for i in range(1, 10**6):
        moment = (i - 0.5) * step
        place += step * float(np.interp(moment, seconds.cumsum(), [rate for _, rate in points]))
        if place > 9 / 25 + 1e-4:
            break
        if i % round(1 / rate / step) == 0 and rate != 60:
            places.append(place)
    shown = clips.shown(tmp_path / "out.mp4")
    assert [time for time, _ in shown] == [Fraction(k, rate) for k in range(len(shown))]
    assert {duration for _, duration in shown} == {Fraction(1, rate)}
    assert summary.end == Fraction(len(shown), rate)
    if rate != 60:
        got = [(light - 0.1) * 20 / 25 for light in written_light(tmp_path / "out.mp4")]
        assert len(got) in (len(places), len(places) - 1)
        assert got == pytest.approx(places[: len(got)], abs=2e-4)
    assert (
        str(summary.losses[0]) == "lost: sound, subtitles, chapters and tags, whose times do not follow --speed-curve"
    )


def test_curve_of_one_rate_is_slow_motion(tmp_path):
    source = deep(tmp_path, 6)
    options = Options(speed_curve=curve(tmp_path, "0 0.25"), **FFV1)
    interpolate_video(source, tmp_path / "a.mp4", between_ramps, options)
    interpolate_video(source, tmp_path / "b.mp4", between_ramps, Options(slow=4, **FFV1))
    assert written_light(tmp_path / "a.mp4") == written_light(tmp_path / "b.mp4")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("0 1\n2 -1", r"curve\.txt, line 2: the curve runs backwards \(a rate of -1\)"),
        ("0 1\n2 0.5\n1 1", r"line 3: the curve runs backwards \(time 1 after 2\)"),
        ("0 1\n2 0.5\n2 1", r"line 3: the curve runs backwards \(time 2 after 2\)"),
        ("0 1\nslow", r"line 2: 'slow' is no point; time and rate are needed"),
        ("0 1/0", "is no point"),
        ("# nothing", "holds no points"),
        ("0 1\n2 0", r"stands still from 2 s on"),
        ("0 1\n2 0\n3 0\n4 1", r"stands still from 2 s on"),
        ("0 2000", "more than 1024"),
    ],
)
def test_bad_curves(tmp_path, text, match):
    with pytest.raises(UserError, match=match) as error:
        Options(speed_curve=curve(tmp_path, text))
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"missing\.txt: cannot be read"):
        Options(speed_curve=tmp_path / "missing.txt")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"shutter": 2}, "shutter 2: must lie above 0 and be 1 at most"),
        ({"shutter": 0}, "above 0"),
        ({"held": "fill", "loop": True}, "--loop and --held exclude each other"),
    ],
)
def test_bad_blur_and_holds(options, match):
    with pytest.raises(UsageError, match=match):
        Options(**options)
