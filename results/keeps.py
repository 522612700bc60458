"""Doubles twelve small clips with several tools and looks at what each keeps of them.

    python results/keeps.py -o DIR [--saibyo-python FILE] [--ffmpeg FILE] [--vapoursynth-python FILE] [--only INPUTS]

Each clip has one property that tools lose: variable rate, sound with an offset, subtitles, chapters, a cover, rotation,
oblong pixels, 10 bits, HDR10, opacity, odd sides with full chroma, full range. Every tool writes the form of file that
it is given, with the options that its manual names for keeping all that it can. The verdicts come from the files, read
with PyAV alone:

- kept: the property is in the output.
- lost: it is not; "announced" where the tool has said so before its first frame.
- wrong: the output holds something else in its place, such as other times or colors.
- refused: the tool has ended with a message and without a file.
- failed: it has crashed, or taken longer than two minutes.

Tools: ours; saibyo (RIFE); ffmpeg's filter minterpolate; VapourSynth with mvtools (FlowFPS), read with bestsource and
encoded by ffmpeg. Those that are not given are left out. `python results/tables.py` writes the table into the docs.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from vfi_jax import __version__
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # whose clips these are
import clips  # noqa: E402
import rich_clips  # noqa: E402

TABLE = Path(__file__).parent / "keeps.csv"
KEPT, LOST, WRONG, REFUSED, FAILED = "kept", "lost", "wrong", "refused", "failed"
LIMIT = 120  # seconds per run
SAME_PICTURE = 25  # dB; another frame or another orientation has 10 to 15
MILLISECOND = Fraction(1, 1000)
SAIBYO = """
import os, subprocess, sys
run = subprocess.run
def found(command, **options):  # it calls /usr/bin/ffmpeg, which may lie elsewhere
    return run([os.environ["FFMPEG"] if word == "/usr/bin/ffmpeg" else word for word in command], **options)
subprocess.run = found
from saibyo.conf.conf import SaibyoConf
from saibyo.core.interpolation.rife import RifeInterpolator
RifeInterpolator(SaibyoConf()).run(*sys.argv[1:])
"""
SAIBYO_SETTINGS = {"SAIBYO_INTERPOLATOR_LIGHTWEIGHT": "false", "SAIBYO_INTERPOLATOR_EXPONENTIAL": "1"}
FLOW_FPS = """
import vapoursynth as vs
clip = vs.core.bs.VideoSource({source!r})
super_ = vs.core.mv.Super(clip)
vectors = [vs.core.mv.Analyse(super_, isb=isb, blksize=8, overlap=4) for isb in (True, False)]
rate = clip.fps or Fraction(25)
vs.core.mv.FlowFPS(clip, super_, *vectors, num=2 * clip.fps_num, den=clip.fps_den).set_output()
"""


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


@dataclasses.dataclass(frozen=True)
class Row:
    """What one tool has made of one clip."""

    input: str
    tool: str
    verdict: str
    announced: bool
    source_frames: int
    frames: int
    message: str
    date: str
    versions: str
    machine: str
    command: str


# ------------------------------------------------------------------------------------------------------------ verdicts


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


# -------------------------------------------------------------------------------------------------------------- inputs

UNEVEN = [Fraction(n, 1000) for n in (0, 40, 50, 130, 140, 300, 333, 380)]
TEXTS = [rich_clips.Text("subrip", {"language": code}) for code in ("eng", "fre")]
INPUTS = (
    Input("variable rate", ".mp4", lambda path: clips.make_clip(path, times=UNEVEN, tick=MILLISECOND), keeps_times),
    Input("sound with an offset", ".mp4", lambda path: clips.make_clip(
        path, times=[Fraction(1, 30) + Fraction(i, 24) for i in range(8)], tick=Fraction(1, 1920), rate=24,
        sound=["aac"]), keeps_sound),
    Input("two subtitle tracks", ".mkv", lambda path: rich_clips.make(path, frames=8, texts=TEXTS), keeps_subtitles),
    Input("chapters", ".mp4", lambda path: rich_clips.make(path, frames=8, chapters=[(0, "one"), (120, "two")]),
          keeps_chapters),
    Input("cover", ".mp4", lambda path: rich_clips.make(path, frames=8, cover=True), keeps_cover),
    Input("rotation", ".mp4", lambda path: clips.make_clip(path, frames=8, rotation=(90, False)), keeps_rotation),
    Input("oblong pixels", ".mp4", lambda path: clips.make_clip(path, frames=8, aspect=Fraction(4, 3)), keeps_shape),
    Input("10 bits", ".mkv", lambda path: clips.make_clip(path, frames=8, pix_fmt="yuv420p10le"), keeps_depth),
    Input("HDR10", ".mkv", lambda path: clips.make_clip(
        path, frames=8, pix_fmt="yuv420p10le", options=rich_clips.HDR, tags=rich_clips.HDR_TAGS), keeps_hdr),
    Input("opacity", ".mov", lambda path: rich_clips.make(
        path, frames=8, codec="prores_ks", pix_fmt="yuva444p10le", alpha=True), keeps_opacity,
        {"ours": ["--encoder", "prores"], "minterpolate": ["-c:v", "prores_ks", "-profile:v", "4444"],
         "mvtools": ["-c:v", "prores_ks", "-profile:v", "4444"]}),
    Input("odd sides", ".mkv", lambda path: clips.make_clip(path, frames=8, size=(65, 47), pix_fmt="yuv444p"),
          keeps_size),
    Input("4:4:4, full range", ".mp4", lambda path: clips.make_clip(
        path, frames=8, pix_fmt="yuv444p", picture=clips.patches, tags={"color_range": 2, "colorspace": 1}),
        keeps_range),
)  # fmt: skip


# --------------------------------------------------------------------------------------------------------------- tools


def commands(options: argparse.Namespace, source: Path, clip: Input) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Yields name, command and environment of each tool that is there."""
    target = {
        tool: str(options.output / f"{source.stem}.{tool}{source.suffix}")
        for tool in ("ours", "minterpolate", "mvtools")
    }
    extra = clip.options
    yield "ours", [sys.executable, "-m", "vfi_jax.cli.main", "interpolate", str(source), "-o", target["ours"],
                   "--overwrite", *extra.get("ours", [])], {}  # fmt: skip
    if options.saibyo_python:
        folder = options.output / f"{source.stem}.saibyo"
        settings = {**SAIBYO_SETTINGS, "LOGS_FOLDER": str(folder / "logs"), "FFMPEG": options.ffmpeg or ""}
        yield "saibyo", [options.saibyo_python, "-c", SAIBYO, str(source), str(folder)], settings
    if options.ffmpeg:
        with av.open(str(source)) as container:
            rate = 2 * (container.streams.video[0].guessed_rate or 25)
        encode = ["-c", "copy", *extra.get("minterpolate", ["-c:v:0", "libx264", "-crf", "16"])]
        yield "minterpolate", [options.ffmpeg, "-nostdin", "-y", "-i", str(source), "-map", "0", "-filter:v:0",
                               f"minterpolate=fps={rate}:mi_mode=mci", *encode, target["minterpolate"]], {}  # fmt: skip
    if options.ffmpeg and options.vapoursynth_python:
        script = options.output / f"{source.stem}.vpy"
        script.write_text(FLOW_FPS.format(source=str(source)))
        encode = ["-c", "copy", *extra.get("mvtools", ["-c:v:0", "libx264", "-crf", "16"])]
        pipe = [options.vapoursynth_python, "-m", "vapoursynth", "vspipe"]
        pipe = [str(Path(options.vapoursynth_python).with_name("vspipe"))]
        words = ["-nostdin", "-y", "-i", "pipe:0", "-i", str(source), "-map", "0:v", "-map", "1", "-map", "-1:v:0",
                 "-map_metadata", "1", "-map_chapters", "1", *encode, target["mvtools"]]  # fmt: skip
        shell = f'set -o pipefail; "$0" -c y4m "$1" - | "$2" {" ".join(map(repr, words))}'
        yield "mvtools", ["bash", "-c", shell, *pipe, str(script), options.ffmpeg], {}


def main() -> None:
    """Makes the clips, runs the tools, prints and writes the table."""
    options = _options()
    options.output.mkdir(exist_ok=True)
    rows: list[Row] = []
    about = _about(options)
    for clip in INPUTS:
        name = "".join(letter if letter.isalnum() else "_" for letter in clip.name)
        if options.only and clip.name not in options.only.split(";"):
            continue
        source = clip.make((options.output / f"{name}{clip.suffix}").resolve())
        for tool, command, settings in commands(options, source, clip):
            rows.append(_row(clip, tool, source, command, settings, options, about))
            print(*dataclasses.astuple(rows[-1])[:7], sep="; ", file=sys.stderr, flush=True)
    names = [field.name for field in dataclasses.fields(Row)]
    print(markdown([names, *([str(value) for value in dataclasses.astuple(row)] for row in rows)]))
    if not options.only:
        with written_whole(TABLE) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(map(dataclasses.asdict, rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an empty folder")
    parser.add_argument("--saibyo-python", metavar="FILE", help="a Python with saibyo and torch")
    parser.add_argument("--vapoursynth-python", metavar="FILE", help="a Python with vapoursynth, mvtools, bestsource")
    parser.add_argument("--ffmpeg", metavar="FILE", help="an ffmpeg with the filter minterpolate")
    parser.add_argument("--only", metavar="NAMES", help="inputs, separated by semicolons; nothing is recorded")
    return parser.parse_args()


def _row(
    clip: Input, tool: str, source: Path, command: Sequence[str], settings: dict[str, str],
    options: argparse.Namespace, about: dict[str, str],
) -> Row:  # fmt: skip
    target = options.output / f"{source.stem}.{tool}{source.suffix}"
    target.unlink(missing_ok=True)
    code, log = _run(command, settings)
    if tool == "saibyo":  # which chooses the name
        files = [
            path
            for path in (options.output / f"{source.stem}.saibyo").glob("*.*")
            if path.suffix in (".mp4", ".mkv", ".mov")
        ]
        target = max(files, key=lambda path: path.stat().st_mtime) if files else target
    verdict, frames, message = FAILED, 0, ""
    if code and ("Traceback" in log or code < 0 or not log.strip()):
        message = _last(log) or f"exit code {code}"
    elif code:
        verdict, message = REFUSED, _last(log)
    else:
        try:
            verdict, frames = clip.verdict(source, target), len(times(target))
        except (av.FFmpegError, StopIteration, IndexError, OSError) as error:
            message = f"unreadable: {error}"
    announced = verdict == LOST and tool == "ours" and "lost:" in log
    return Row(
        clip.name,
        tool,
        verdict,
        announced,
        len(times(source)),
        frames,
        message.replace(str(options.output.resolve()), "DIR"),
        **about,
    )


def _run(command: Sequence[str], settings: dict[str, str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            command, env={**os.environ, **settings}, capture_output=True, text=True, errors="replace", timeout=LIMIT,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return -1, f"took longer than {LIMIT} s"
    return done.returncode, done.stdout + done.stderr


def _last(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def _about(options: argparse.Namespace) -> dict[str, str]:
    versions = [f"vfi_jax {__version__}"]
    for python, name in (
        (options.saibyo_python, "saibyo"),
        (options.vapoursynth_python, "vapoursynth"),
        (options.vapoursynth_python, "vapoursynth-mvtools"),
    ):
        if python:
            question = f"import importlib.metadata as m; print(m.version({name!r}))"
            versions.append(f"{name} {_run([python, '-c', question], {})[1].strip()}")
    if options.ffmpeg:
        versions.append(" ".join(_run([options.ffmpeg, "-version"], {})[1].split()[:3]))
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": ", ".join(versions),
        "machine": f"Python {platform.python_version()}, PyAV {av.__version__}",
        "command": "python results/keeps.py -o DIR --saibyo-python FILE --ffmpeg FILE --vapoursynth-python FILE",
    }


if __name__ == "__main__":
    main()
