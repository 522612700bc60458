"""Runs `vfi-jax verify` over generated clips in many codecs, containers, formats and shapes, each with several outputs.

    python results/verify.py -o DIR

New frames are means of their neighbors, since `verify` looks at the original ones. A cell of `verify.csv` is the
weakest verdict of the report: same (every code, time, track and tag), close (lossy compression), announced (a loss that
was listed before the first frame, with the dB of the originals), DIFFERS (something else), or refused in one line.
`python results/tables.py` writes the table into docs/interpolate.md.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vfi_jax import __version__
from vfi_jax.errors import UserError
from vfi_jax.system.files import written_whole
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.verification.rows import ANNOUNCED, CLOSE, DIFFERS, SAME
from vfi_jax.video.verification.verify import Report, verify

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # whose clips these are
import clips  # noqa: E402
import rich_clips  # noqa: E402

TABLE = Path(__file__).parent / "verify.csv"
REFUSED = "refused"
QUIET = {"x265-params": "log-level=none"}
TARGETS: tuple[tuple[str, str, dict[str, Any]], ...] = (  # column, extension, options
    (".mp4", ".mp4", {}),
    (".mov", ".mov", {}),
    (".mkv", ".mkv", {}),
    (".webm", ".webm", {}),
    (".mp4, HEVC", ".mp4", {"encoder": "libx265"}),
    (".mkv, AV1", ".mkv", {"encoder": "libsvtav1"}),
    (".mov, ProRes", ".mov", {"encoder": "prores"}),
    (".mp4, lossless", ".mp4", {"lossless": True}),
    (".mkv, FFV1", ".mkv", {"encoder": "ffv1"}),
)


def plain(name: str, **options: Any) -> tuple[str, Callable[[Path], Path]]:
    """Returns a file's name and what writes a clip."""
    return name, lambda path: clips.make_clip(path, **{"frames": 6} | options)


def rich(name: str, **options: Any) -> tuple[str, Callable[[Path], Path]]:
    """Returns a file's name and what writes a clip with further tracks."""
    return name, lambda path: rich_clips.make(path, frames=6, **options)


TEXTS = [rich_clips.Text("subrip", {"language": code}) for code in ("eng", "fre")]
UNEVEN = [Fraction(n, 1000) for n in (0, 40, 50, 130, 140, 300)]
DELAYED = [Fraction(1, 30) + Fraction(i, 24) for i in range(6)]
ATTACHED = [("font.ttf", "font/ttf", b"abc"), ("a.jpg", "image/jpeg", rich_clips.picture_file())]
INPUTS = {
    "H.264, B-frames, sound": plain("a.mp4", frames=12, sound=["aac"], options={"bf": "3"}),
    "HEVC": plain("a.mkv", codec="libx265", options=QUIET),
    "VP9": plain("a.webm", codec="libvpx-vp9"),
    "AV1": plain("a.mkv", codec="libsvtav1"),
    "MPEG-4 in AVI": plain("a.avi", codec="mpeg4"),
    "MPEG-TS": plain("a.ts", sound=["aac"]),
    "ProRes": plain("a.mov", codec="prores_ks", pix_fmt="yuv422p10le"),
    "DNxHR": plain("a.mov", codec="dnxhd", pix_fmt="yuv422p", size=(256, 128), options={"profile": "dnxhr_hq"}),
    "MJPEG, full range": plain("a.mov", codec="mjpeg", pix_fmt="yuvj420p", tags={"color_range": 2}),
    "4:2:2": plain("a.mp4", pix_fmt="yuv422p"),
    "4:4:4": plain("a.mp4", pix_fmt="yuv444p"),
    "10 bits": plain("a.mp4", pix_fmt="yuv420p10le"),
    "4:2:2, 10 bits": plain("a.mp4", pix_fmt="yuv422p10le"),
    "4:4:4, 12 bits": plain("a.mp4", codec="libx265", pix_fmt="yuv444p12le", options=QUIET),
    "gray": plain("a.mkv", codec="ffv1", pix_fmt="gray"),
    "RGB": plain("a.mkv", codec="ffv1", pix_fmt="bgr0"),
    "RGB, 16 bits": plain("a.mkv", codec="ffv1", pix_fmt="gbrp16le"),
    "opacity": rich("a.mov", codec="prores_ks", pix_fmt="yuva444p10le", alpha=True),
    "BT.2020, PQ, HDR10": plain("a.mkv", pix_fmt="yuv420p10le", options=rich_clips.HDR, tags=rich_clips.HDR_TAGS),
    "full range, BT.709": plain("a.mp4", tags={"color_range": 2, "colorspace": 1}),
    "variable rate": plain("a.mp4", times=UNEVEN, tick=Fraction(1, 1000)),
    "picture later than sound": plain("a.mp4", times=DELAYED, tick=Fraction(1, 1920), rate=24, sound=["aac"]),
    "rate 24000/1001": plain("a.mp4", rate=Fraction(24000, 1001)),
    "one frame": plain("a.mp4", frames=1),
    "two frames": plain("a.mp4", frames=2),
    "odd sides": plain("a.mkv", size=(65, 47), pix_fmt="yuv444p"),
    "turned by 90 degrees": plain("a.mp4", rotation=(90, False)),
    "mirrored": plain("a.mp4", rotation=(0, True)),
    "oblong pixels": plain("a.mp4", aspect=Fraction(4, 3)),
    "two sound tracks": plain("a.mp4", sound=["aac", "aac"]),
    "subtitles, attachments, chapters": rich(
        "a.mkv", texts=TEXTS, attachments=ATTACHED, chapters=[(0, "1"), (80, "2")]
    ),
    "cover, tags": rich("a.mp4", cover=True, tags={"title": "A film"}, picture_tags={"language": "jpn"}),
    "time code": rich("a.mov", picture_tags={"timecode": "01:02:03:04"}),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One output of one input."""

    input: str
    output: str
    verdict: str
    psnr: str
    announced: str
    differing: str
    message: str
    date: str
    versions: str
    command: str


def main() -> None:
    """Makes all clips and outputs; writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    folder = parser.parse_args().output
    folder.mkdir(exist_ok=True)
    rows = list(_rows(folder))
    with written_whole(TABLE) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)])
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, rows))


def _rows(folder: Path) -> Iterator[Row]:
    for number, (name, (file, make)) in enumerate(INPUTS.items()):
        source = make(folder / f"{number}{Path(file).suffix}")
        for output, suffix, options in TARGETS:
            row = _row(name, output, source, folder / f"{number}_out{suffix}", Options(overwrite=True, **options))
            print(*dataclasses.astuple(row)[:7], sep="; ", file=sys.stderr, flush=True)
            yield row


def _row(name: str, output: str, source: Path, target: Path, options: Options) -> Row:
    about = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": f"vfi_jax {__version__}, PyAV {av.__version__}, Python {platform.python_version()}",
        "command": "python results/verify.py -o DIR",
    }
    try:
        interpolate_video(source, target, _mean, options)
        report = verify(source, target, options)
    except UserError as error:
        message = str(error).replace(f"{target.parent}/", "")
        return Row(name, output, REFUSED, "", "", "", message, **about)
    found = {row.verdict for row in report.rows}
    verdict = next(verdict for verdict in (DIFFERS, ANNOUNCED, CLOSE, SAME) if verdict in found)
    announced = "; ".join(dict.fromkeys(loss.kind for loss in report.losses))
    return Row(name, output, verdict, _psnr(report), announced, "; ".join(report.differing), "", **about)


def _psnr(report: Report) -> str:
    """Returns the PSNR of the original frames in a report, or "equal"."""
    text = next((row.target for row in report.rows if row.property == "original frames"), "")
    return "equal" if "equal" in text else text.partition(",")[0]


def _mean(frames: tuple[np.ndarray, ...], times: Sequence[float]) -> Iterator[np.ndarray]:
    for _ in times:
        yield ((np.uint32(frames[0]) + frames[1]) // 2).astype(frames[0].dtype)


if __name__ == "__main__":
    main()
