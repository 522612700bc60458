"""Windows of synthetic clips with known cuts, holds, fades, dissolves and flashes."""

import functools

import numpy as np
import pytest
from clips import make_clip

from vfi_jax.config import Footage
from vfi_jax.data.synthetic.scenes import random_scene
from vfi_jax.errors import UserError
from vfi_jax.prepare import footage

SIZE = WIDTH, HEIGHT = 160, 120
LENGTH = 30
CUT = Footage(frames=5, step=1)


@functools.cache
def scene(seed, count=LENGTH, speed=3.0):
    drawn = random_scene(seed, HEIGHT, WIDTH, speed=speed * count)
    return [255 * drawn.frame(time) for time in np.linspace(0, 1, count)]


def eventful(seed):
    """Returns frames, and the indices of those that an event separates from the previous frame."""
    frames, events = [], set()

    def add(more, happens=()):
        if frames:
            events.add(len(frames))  # a cut
        events.update(len(frames) + index for index in happens)
        frames.extend(np.rint(np.clip(frame, 0, 255)).astype(np.uint8) for frame in more)

    add(scene(seed))
    add(scene(seed + 100))
    held = scene(seed + 200)
    add([*held[:12], *[held[11]] * 3, *held[12:]], range(12, 15))
    gain = np.concatenate([np.ones(10), np.linspace(1, 0.1, 10), np.linspace(0.1, 1, 10)])
    add([frame * g for frame, g in zip(scene(seed + 300), gain, strict=True)], range(11, 30))
    first, second, mix = scene(seed + 400), scene(seed + 500), np.linspace(0, 1, 14)[1:-1]
    add(
        [*first[:10], *[first[10 + i] * (1 - m) + second[i] * m for i, m in enumerate(mix)], *second[12:]],
        range(10, 23),
    )
    flash = [*scene(seed + 600)]
    flash[15] = flash[15] + 70
    add(flash, (15, 16))
    return frames, events


@pytest.fixture(scope="module", params=[(0,), pytest.param((1, 2), marks=pytest.mark.slow)])
def analyzed(request, tmp_path_factory):
    """Of clips: (windows kept, windows across an event, clean windows, rejections)."""
    analyzed = []
    for seed in request.param:
        frames, events = eventful(seed)
        path = tmp_path_factory.mktemp("clips") / f"{seed}.mp4"
        make_clip(path, frames=len(frames), size=SIZE, picture=lambda i, _, frames=frames: frames[i])
        clip = footage.analyze(path, CUT)
        starts = range(len(frames) - CUT.frames + 1)
        across = {start for start in starts if any(start < event < start + CUT.frames for event in events)}
        analyzed.append((set(clip.starts), across, set(starts) - across, clip.rejected))
    return analyzed


def test_no_window_crosses_an_event(analyzed):
    for kept, across, _, _ in analyzed:
        assert not kept & across


def test_clean_windows_are_kept(analyzed):
    kept = sum(len(kept & clean) for kept, _, clean, _ in analyzed)
    assert kept >= 0.95 * sum(len(clean) for _, _, clean, _ in analyzed)


def test_every_window_is_kept_or_counted(analyzed):
    for kept, across, clean, rejected in analyzed:
        assert len(kept) + rejected.total() == len(across) + len(clean)
        assert {"cut", "fade", "duplicate"} <= rejected.keys()


def test_still_and_interlaced_clips_give_nothing(tmp_path):
    still = scene(1)[0]
    noise = np.random.default_rng(0).normal(0, 1.0, (LENGTH, *still.shape))

    def noisy(i, _):
        return np.uint8(np.clip(still + noise[i], 0, 255))

    make_clip(tmp_path / "still.mkv", frames=LENGTH, size=SIZE, picture=noisy, codec="ffv1", pix_fmt="bgr0")
    kept = footage.analyze(tmp_path / "still.mkv", CUT)
    assert not kept.starts
    assert kept.rejected.keys() <= {"static", "duplicate"}

    moving = [np.uint8(np.clip(frame, 0, 255)) for frame in scene(4, 2 * LENGTH, speed=4.0)]

    def woven(i, _):
        frame = moving[2 * i].copy()
        frame[1::2] = moving[2 * i + 1][1::2]
        return frame

    make_clip(tmp_path / "woven.mkv", frames=LENGTH, size=SIZE, picture=woven, codec="ffv1", pix_fmt="bgr0")
    clip = footage.analyze(tmp_path / "woven.mkv", CUT)
    assert clip.rejected["interlaced"] >= 0.9 * (LENGTH - CUT.frames + 1)


@pytest.mark.parametrize("length", [3, 5, 7, 9, 4])
def test_windows_are_the_frames_of_the_file(tmp_path, length):
    frames = [np.uint8(np.clip(frame, 0, 255)) for frame in scene(3)]

    def bordered(i, _):
        return np.pad(frames[i], ((20, 20), (0, 0), (0, 0)))

    make_clip(
        tmp_path / "a.mkv", frames=LENGTH, size=(WIDTH, HEIGHT + 40), picture=bordered, codec="ffv1", pix_fmt="bgr0"
    )
    config = Footage(frames=length, step=4, per_clip=3)
    clip = footage.analyze(tmp_path / "a.mkv", config)
    assert (clip.rows, clip.columns) == ((20, 20 + HEIGHT), (0, WIDTH))
    windows = dict(footage.read_windows(clip, config))
    assert tuple(windows) == clip.starts
    assert len(windows) == 3
    for start, window in windows.items():
        assert np.array_equal(window, frames[start : start + length])


def test_reduction_keeps_the_shape_of_pixels(tmp_path):
    make_clip(tmp_path / "a.mkv", frames=12, size=(162, 100), codec="ffv1", pix_fmt="bgr0")
    config = Footage(frames=3, step=3, short_side=50)
    clip = footage.analyze(tmp_path / "a.mkv", config)
    assert {window.shape for _, window in footage.read_windows(clip, config)} <= {(3, 50, 80, 3)}


def test_unreadable_clips(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(UserError, match=r"bad\.mp4"):
        footage.analyze(tmp_path / "bad.mp4", CUT)
