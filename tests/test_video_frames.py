"""Frames one by one: the same as in the file that `interpolate_video` writes."""

from __future__ import annotations

from fractions import Fraction

import clips
import numpy as np
import pictures
import pytest

from vfi_jax import video
from vfi_jax.errors import UserError
from vfi_jax.video import Options


def mean(frames, times):
    """In-betweens that are blends; of the middle two of four, too."""
    left, right = (frame.astype(np.float64) for frame in frames[len(frames) // 2 - 1 :][:2])
    for t in times:
        yield np.rint((1 - t) * left + t * right).astype(frames[0].dtype)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"factor": "5/2"},
        {"fps": 60},
        {"slow": 2},
        {"loop": True},
        {"start": "2f", "stop": "5f"},
        {"hold_last": True},
    ],
    ids=str,
)
def test_the_frames_of_the_file(tmp_path, asked):
    times = [Fraction(k, 10) for k in (0, 1, 2, 4, 5, 7)]  # a variable rate
    source = clips.make_clip(tmp_path / "in.mkv", times=times, frames=6, codec="ffv1", tick=Fraction(1, 1000), rate=10)
    video.interpolate_video(source, tmp_path / "out.mp4", mean, Options(lossless=True, sound="drop", **asked))
    frames = list(video.interpolated_frames(source, mean, Options(**asked)))
    written = clips.shown(tmp_path / "out.mp4")
    assert [frame.time for frame in frames] == [time for time, _ in written]
    assert [frame.duration for frame in frames] == [duration for _, duration in written]
    for frame, image in zip(frames, clips.pictures(tmp_path / "out.mp4"), strict=True):
        assert np.abs(frame.image.astype(int) - image).mean() < 3  # 4:2:0


def test_originals_and_new_ones(tmp_path):
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png", "3.png"], clips.moving)
    frames = list(video.interpolated_frames(source, mean, num_frames=4))
    assert [frame.is_new for frame in frames] == [False, True, False, True, False]
    assert all(np.array_equal(frame.image, clips.moving(k)) for k, frame in enumerate(frames[::2]))
    exact = (clips.moving(0).astype(float) + clips.moving(1)) / 2
    assert np.abs(frames[1].image - exact).max() <= 0.5


def test_deep_and_transparent_sources(tmp_path):
    rgba = np.concatenate([clips.moving(0), np.full((48, 64, 1), 128, np.uint8)], -1)
    source = pictures.folder(tmp_path / "in", ["1.png", "2.png"], lambda *_: rgba)
    first = next(video.interpolated_frames(source, mean))
    assert (first.image.shape, first.image.dtype) == ((48, 64, 4), np.uint16)
    assert (first.image[..., 3] == 128 * 257).all()
    assert np.abs(first.image[..., :3] - rgba[..., :3] * 257.0 * 128 / 255).max() <= 1


def test_a_few_frames_are_held(tmp_path):
    """The source is read as far as frames are asked for."""
    source = clips.make_clip(tmp_path / "in.mkv", frames=30)
    asked = []

    def between(frames, times):
        asked.append(times)
        return mean(frames, times)

    frames = video.interpolated_frames(source, between)
    assert not asked
    for _ in range(5):
        next(frames)
    assert len(asked) == 3
    frames.close()


def test_errors_come_at_once(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        video.interpolated_frames(tmp_path / "none.mp4", mean)
    source = clips.make_clip(tmp_path / "in.mkv", frames=3)
    with pytest.raises(UserError, match="no frame from --from to --to"):
        video.interpolated_frames(source, mean, Options(start=9))
    with pytest.raises(UserError, match="times as many at most"):
        video.interpolated_frames(clips.make_clip(tmp_path / "slow.mkv", frames=3, rate=1), mean, Options(fps=9000))
