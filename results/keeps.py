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
- failed: it has crashed without a file, or taken longer than ten minutes. A file that lies there after a crash counts,
  and "error" stands beside the verdict.

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
from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from keeps_inputs import INPUTS, LOST, Input, times

from vfi_jax import __version__
from vfi_jax.system.files import written_whole
from vfi_jax.system.markdown import markdown

TABLE = Path(__file__).parent / "keeps.csv"
REFUSED, FAILED = "refused", "failed"
LIMIT = 600  # seconds per run
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
import sys
import vapoursynth as vs
clip = vs.core.bs.VideoSource(sys.argv[1])
pyramid = vs.core.mv.Super(clip)
vectors = [vs.core.mv.Analyse(pyramid, isb=isb, blksize=8, overlap=4) for isb in (True, False)]
doubled = vs.core.mv.FlowFPS(clip, pyramid, *vectors, num=2 * clip.fps.numerator, den=clip.fps.denominator)
doubled.output(sys.stdout.buffer, y4m=True)
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """The output of one tool for one clip."""

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
        encode = ["-c", "copy", *extra.get("mvtools", ["-c:v:0", "libx264", "-crf", "16"])]
        words = ["-nostdin", "-y", "-i", "pipe:0", "-i", str(source), "-map", "0:v", "-map", "1", "-map", "-1:v:0",
                 "-map_metadata", "1", "-map_chapters", "1", *encode, target["mvtools"]]  # fmt: skip
        shell = 'set -o pipefail; "$0" -c "$1" "$2" | "${@:3}"'
        yield (
            "mvtools",
            ["bash", "-c", shell, options.vapoursynth_python, FLOW_FPS, str(source), options.ffmpeg, *words],
            {},
        )


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
    previous = csv.DictReader(TABLE.read_text().splitlines()) if TABLE.exists() else ()
    measured = {row.input for row in rows}
    merged = [*map(dataclasses.asdict, rows), *(row for row in previous if row["input"] not in measured)]
    order = [clip.name for clip in INPUTS]
    merged.sort(key=lambda row: order.index(row["input"]))
    with written_whole(TABLE) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(merged)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an empty folder")
    parser.add_argument("--saibyo-python", metavar="FILE", help="a Python with saibyo and torch")
    parser.add_argument("--vapoursynth-python", metavar="FILE", help="a Python with vapoursynth, mvtools, bestsource")
    parser.add_argument("--ffmpeg", metavar="FILE", help="an ffmpeg with the filter minterpolate")
    parser.add_argument("--only", metavar="NAMES", help="inputs, separated by semicolons; rows of others stay")
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
    verdict, frames, message = FAILED, 0, _last(log) if code else ""
    if code > 0 and "Traceback" not in log:
        verdict = REFUSED
    elif code >= 0 and target.exists():
        try:
            verdict, frames = clip.verdict(source, target), len(times(target))
        except (av.FFmpegError, StopIteration, IndexError) as error:
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
