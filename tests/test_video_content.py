"""Content of clips: cuts, held frames, bars, overlays and fields, in clips that are drawn with them."""

from __future__ import annotations

from fractions import Fraction

import clips
import numpy as np
import pytest

from vfi_jax.errors import UsageError
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.cuts import Cuts, within_shot

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


def drawn(tmp_path, images, **options):
    return clips.make_clip(
        tmp_path / "in.mkv", frames=len(images), size=images[0].shape[1::-1], picture=lambda i, _: images[i],
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
