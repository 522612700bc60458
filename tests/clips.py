"""Writes small clips for tests with PyAV and reads them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (64, 48)
PURE = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255))
SATURATED = (*PURE, (30, 60, 120), (9, 9, 9))
MATRIX_OF_TAG = {1: 1, 5: 5, 6: 5, 9: 9}  # AVCOL_SPC_* to swscale's number


def moving(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draws a smooth image, `[h, w, 3]` uint8, that differs from frame to frame."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    channels = [np.sin(x / 9 + index / 2), np.sin(y / 7 - index / 3), np.sin((x + y) / 11 + index)]
    return np.uint8(np.stack(channels, -1) * 90 + 128)


def patches(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Draws saturated colors in columns of equal width."""
    width, height = size
    return np.repeat(np.repeat(np.uint8([SATURATED]), width // len(SATURATED), 1), height, 0)


def make_clip(
    path: Path,
    *,
    frames: int = 10,
    size: tuple[int, int] = SIZE,
    rate: Fraction | int = 25,
    times: Sequence[Fraction] | None = None,
    tick: Fraction | None = None,
    last: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    tags: dict[str, int] | None = None,
    picture: Callable[[int, tuple[int, int]], np.ndarray] = moving,
    sound: Sequence[str] = (),
    rotation: tuple[int, bool] | None = None,
    aspect: Fraction | None = None,
    copies: Sequence[tuple[str, bytes]] = (),
) -> Path:
    """Writes a clip; its frames are shown at `times` (seconds; by default at `rate`), the last one for `last` seconds.

    `tags` are of the stream (color_range, colorspace, color_primaries, color_trc), and pixels follow them; `rotation`
    is (degrees counter-clockwise, mirrored); `copies` are attachments (name, data).
    """
    rate = Fraction(rate)
    times = [i / rate for i in range(frames)] if times is None else times
    tags = tags or {}
    with av.open(str(path), "w", container_options=container_options or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or ({"crf": "8"} if codec == "libx264" else {}))
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        context = stream.codec_context
        tick = tick or 1 / rate
        stream.time_base = context.time_base = tick
        context.flags |= av.codec.context.Flags.frame_duration
        for name, value in tags.items():
            setattr(context, name, value)
        if aspect:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation[0], hflip=rotation[1])
        tracks = [out.add_stream(name, rate=48000) for name in sound]
        for name, data in copies:
            out.add_attachment(name, "application/octet-stream", data)
        for track in tracks:
            _write_sound(out, track, float(times[-1] + 1 / rate))
        for index, time in enumerate(times):
            frame = _frame(picture(index, size), pix_fmt, tags)
            frame.time_base = tick
            frame.pts = round(time / tick)
            until = times[index + 1] if index + 1 < len(times) else time + (last or 1 / rate)
            frame.duration = round(until / tick) - frame.pts
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def _frame(rgb: np.ndarray, pix_fmt: str, tags: dict[str, int]) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(rgb, "rgb48le" if rgb.dtype == np.uint16 else "rgb24")
    full = tags.get("color_range") == 2 or pix_fmt.startswith("yuvj")
    flags = av.video.reformatter.Interpolation
    return frame.reformat(
        format=pix_fmt,
        dst_colorspace=MATRIX_OF_TAG.get(tags.get("colorspace", 2), 5),
        dst_color_range=2 if full else 1,
        interpolation=flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT,
    )


def _write_sound(out: av.container.OutputContainer, track: av.AudioStream, seconds: float) -> None:
    size = track.codec_context.frame_size or 1024
    resample = av.AudioResampler(track.format, track.layout, track.rate, frame_size=size)
    wave = np.sin(np.arange(int(48000 * seconds)) * 0.05).astype(np.float32)[None].repeat(2, 0)
    source = av.AudioFrame.from_ndarray(wave, "fltp", "stereo")
    source.rate, source.pts, source.time_base = 48000, 0, Fraction(1, 48000)
    for frame in [*resample.resample(source), *resample.resample(None)]:
        out.mux(track.encode(frame))
    out.mux(track.encode(None))


def shown(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Reads the (time, duration) of every frame, in seconds."""
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        tick = Fraction(stream.time_base)
        return [(f.pts * tick, f.duration * tick) for f in clip.decode(stream)]


def pictures(path: Path, pix_fmt: str = "rgb24") -> list[np.ndarray]:
    """Decodes every frame as `[h, w, 3]` RGB, by its own tags."""
    flags = av.video.reformatter.Interpolation
    exact = flags.BICUBIC | flags.ACCURATE_RND | flags.FULL_CHR_H_INT
    with av.open(str(path)) as clip:
        frames = clip.decode(clip.streams.video[0])
        matrix = [(f, MATRIX_OF_TAG.get(f.colorspace, 5)) for f in frames]
        return [f.reformat(format=pix_fmt, src_colorspace=m, interpolation=exact).to_ndarray() for f, m in matrix]


def packets(path: Path, kind: str = "audio") -> list[list[tuple[Fraction, bytes]]]:
    """Reads (time, data) of every packet of each stream of a kind."""
    with av.open(str(path)) as clip:
        streams = [s for s in clip.streams if s.type == kind]
        by_stream: dict[int, list[tuple[Fraction, bytes]]] = {s.index: [] for s in streams}
        for packet in clip.demux(streams) if streams else ():
            if packet.size:
                by_stream[packet.stream_index].append((packet.pts * Fraction(packet.time_base), bytes(packet)))
        return list(by_stream.values())


def remux(source: Path, target: Path, stamps: Sequence[int]) -> None:
    """Copies the video packets of a file with other timestamps, in ticks of the source."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        stream = out.add_stream_from_template(clip.streams.video[0])
        for stamp, packet in zip(stamps, clip.demux(clip.streams.video[0]), strict=False):
            packet.pts = packet.dts = stamp
            packet.stream = stream
            out.mux(packet)
