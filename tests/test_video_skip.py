"""A part of a clip is decoded from key frames before it, and is the same as when all of the clip is decoded."""

from fractions import Fraction

import av
import numpy as np
import pytest
from clips import make_clip

from vfi_jax.video.coding import skip
from vfi_jax.video.coding.decode import Reader
from vfi_jax.video.values import Position

FRAMES = 90
PLACES = (Fraction(1, 50), Fraction(11, 25), Fraction(61, 50), Fraction(1001, 1000), Fraction(84, 25))  # seconds
SETTINGS = {
    "B-frames": ("a.mp4", "libx264", "x264-params=keyint=12:min-keyint=12:bframes=3:b-pyramid=normal"),
    "B-frames in a stream": ("a.ts", "libx264", "x264-params=keyint=12:min-keyint=12:bframes=3"),
    "open groups": ("a.mkv", "libx264", "x264-params=keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0"),
    "refreshed bit by bit": ("a.mp4", "libx264", "x264-params=keyint=12:bframes=0:intra-refresh=1"),
    "HEVC, open groups": (
        "a.mp4",
        "libx265",
        "x265-params=keyint=12:min-keyint=12:open-gop=1:log-level=none",
    ),
    "VP9 with hidden frames": ("a.webm", "libvpx-vp9", "g=12:lag-in-frames=10:auto-alt-ref=1:cpu-used=8"),
    "MPEG-4 in AVI": ("a.avi", "mpeg4", "g=12"),
    "MPEG-2": ("a.ts", "mpeg2video", "g=12:bf=2"),
    "key frames only": ("a.mkv", "ffv1", ""),
    "one key frame": ("a.mp4", "libx264", "x264-params=keyint=1000:bframes=3:scenecut=0"),
}


def options(text):
    """The encoder's, of `key=value` pairs; those of x264 and x265 are one value."""
    name, _, value = text.partition("=")
    if name.endswith("params"):
        return {name: value, "crf": "20"}
    return dict(pair.split("=") for pair in text.split(":")) if text else {}


def read(path, begin, end=None):
    """Times, and planes as decoded, of the frames of a part; and the number of packets that were decoded."""
    with Reader(path) as reader:
        decoded, pictures = [], reader._pictures

        def count(packet):
            for frame in pictures(packet):
                decoded.append(frame.pts)
                yield frame

        reader._pictures = count
        frames = [(frame.time, frame.raw.to_ndarray()) for frame in reader.frames(begin, end)]
        assert not reader.notes
    return frames, len(decoded)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_part_is_the_same(tmp_path, name):
    file, codec, text = SETTINGS[name]
    path = make_clip(tmp_path / file, frames=FRAMES, codec=codec, options=options(text))
    whole, _ = read(path, None)
    assert len(whole) == FRAMES
    start = whole[0][0]
    for place in (
        Fraction(1, 50),
        Fraction(11, 25),
        Fraction(61, 50),
        Fraction(25, 25) + Fraction(1, 1000),
        Fraction(84, 25),
    ):
        found, decoded = read(path, Position(start + place, is_frame=False))
        wanted = [each for each in whole if each[0] >= start + place]
        assert [time for time, _ in found] == [time for time, _ in wanted]
        assert all(np.array_equal(ours, theirs) for (_, ours), (_, theirs) in zip(found, wanted, strict=True))
        if name != "one key frame":
            assert decoded <= len(wanted) + 3 * 12 + 16  # two groups, and what the decoder holds
    assert decoded < FRAMES / 2 or name == "one key frame"


def test_frames_that_are_counted_are_all_decoded(tmp_path):
    path = make_clip(tmp_path / "a.mkv", frames=30, codec="ffv1")
    frames, decoded = read(path, Position(Fraction(20), is_frame=True))
    assert (len(frames), decoded) == (10, 29)  # the first one was decoded before
    frames, decoded = read(path, Position(Fraction(20, 25), is_frame=False), Position(Fraction(25), is_frame=True))
    assert (len(frames), decoded >= 25) == (5, True)


def test_what_is_held_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(skip, "MAX_HELD", 10_000)
    path = make_clip(
        tmp_path / "a.mp4", options={"x264-params": "keyint=1000:bframes=0:scenecut=0", "crf": "1"}, frames=60
    )
    held = []
    with av.open(str(path)) as file:
        search = skip.Skip(10**9)
        for packet in file.demux(video=0):
            search.take(packet)
            held.append(search._bytes)
    assert max(held) < 10_000 + max(np.diff(held)) + held[0]
    frames, _ = read(path, Position(Fraction(2), is_frame=False))
    assert len(frames) == 10
