"""Measures size, fidelity and time of every encoder that runs here, at several qualities, on one clip.

    python results/encoders.py CLIP -o DIR [--frames N] [--only ENCODER,ENCODER] [--options K=V:K=V]

The first N frames of CLIP are doubled once, by the default model; then each encoder writes the same frames. Reported in
`encoders.csv`: bytes of the picture's packets over those of the source's, PSNR (dB, over all samples of Y, Cb and Cr)
of the original frames and of the worst of them, processor seconds per written frame, and growth of peak memory. Rows of
encoders that are not measured stay. `python results/tables.py` writes the table into docs/interpolate.md.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from vfi_jax import Interpolator, __version__
from vfi_jax.errors import UserError
from vfi_jax.system.files import written_whole
from vfi_jax.system.machine import processor
from vfi_jax.system.markdown import markdown
from vfi_jax.video import Options, interpolate_video
from vfi_jax.video.coding.encoders import CONTAINERS, ENCODERS, USUAL_QUALITY, Encoder, holds

TABLE = Path(__file__).parent / "encoders.csv"
QUALITIES = (30, 50, 60, 70, 80, 90)
LOSSLESS = "lossless"
VIDEO = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks", "dnxhd", "ffv1")
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one encoder at one quality."""

    encoder: str
    quality: str
    default: bool
    options: str
    suffix: str
    pixel_format: str
    size: float
    psnr: float
    worst: float
    cpu_seconds: float
    memory_mb: int
    clip: str
    date: str
    versions: str
    machine: str
    command: str


def main() -> None:
    """Measures; prints and writes the results."""
    options = _options()
    between = _stored(options.clip, options.frames)
    rows: list[Row] = []
    for encoder, quality in itertools.chain.from_iterable(map(_tries, _encoders(options.only))):
        try:
            rows.append(_measure(encoder, quality, between, options))
        except UserError as error:
            print(f"{encoder.name} {quality}: {error}", file=sys.stderr)
            continue
        print(*dataclasses.astuple(rows[-1])[:11], file=sys.stderr, flush=True)
    names = [field.name for field in dataclasses.fields(Row)]
    print(markdown([names, *([str(value) for value in dataclasses.astuple(row)] for row in rows)]))
    if not options.options:
        _write(names, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--frames", type=int, default=61, metavar="N", help="of CLIP (%(default)s)")
    parser.add_argument("--only", metavar="NAMES", help="encoders, separated by commas (all)")
    parser.add_argument("--options", metavar="K=V:K=V", help="of the encoder, for a try that is not recorded")
    return parser.parse_args()


def _encoders(only: str | None) -> list[Encoder]:
    names = only.split(",") if only else VIDEO
    return [ENCODERS[name] for name in names]


def _tries(encoder: Encoder) -> Iterator[tuple[Encoder, int | None]]:
    """Yields the qualities to measure; None is lossless."""
    if encoder.has_quality:
        yield from ((encoder, quality) for quality in QUALITIES)
    if encoder.lossless is not None:
        yield encoder, None


def _stored(clip: Path, frames: int) -> Callable[..., list[np.ndarray]]:
    """Doubles the clip; returns a `between` that gives the new frames in their order, again and again."""
    images = list(itertools.islice(_pictures(clip), frames))
    interpolator = Interpolator()
    new = [np.asarray(interpolator(a, b)) for a, b in itertools.pairwise(images)]
    rounds = itertools.cycle(new)
    return lambda frames, times: [next(rounds) for _ in times]


def _measure(
    encoder: Encoder, quality: int | None, between: Callable[..., list[np.ndarray]], options: argparse.Namespace
) -> Row:
    suffix = next(name for name in (".mp4", ".webm", ".mkv", ".mov") if _is_usual(name, encoder))
    target = options.output / f"{encoder.name}_{quality}{suffix}"
    asked = Options(
        encoder=encoder.name,
        quality=quality if quality is not None else None,
        lossless=quality is None,
        encoder_options=options.options,
        stop=f"{options.frames}f",
        sound="drop",
        overwrite=True,
    )
    before = resource.getrusage(resource.RUSAGE_SELF)
    frames = interpolate_video(options.clip, target, between, asked).frames
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    errors = [
        float(np.mean((np.float32(a) - b) ** 2))
        for a, b in zip(_codes(options.clip), itertools.islice(_codes(target), 0, None, 2), strict=False)
    ]
    with av.open(str(target)) as written:
        form = written.streams.video[0].pix_fmt or ""
    return Row(
        encoder=encoder.name,
        quality=LOSSLESS if quality is None else str(quality),
        default=quality == USUAL_QUALITY,
        options=options.options or "",
        suffix=suffix,
        pixel_format=form,
        size=round(_bytes(target, frames) / _bytes(options.clip, options.frames), 2),
        psnr=_decibel(float(np.mean(errors))),
        worst=_decibel(max(errors)),
        cpu_seconds=round(spent / frames, 3),
        memory_mb=round((after.ru_maxrss - before.ru_maxrss) / 1000),
        **_about(options),
    )


def _is_usual(suffix: str, encoder: Encoder) -> bool:
    usual = {"libvpx-vp9": ".webm", "ffv1": ".mkv"}.get(encoder.name)
    return suffix == usual if usual else holds(CONTAINERS[suffix], encoder)


def _about(options: argparse.Namespace) -> dict[str, str]:
    with av.open(str(options.clip)) as container:
        stream = container.streams.video[0]
        what = f"{options.frames} frames of {options.clip.name}, {stream.width}x{stream.height}"
    library = ".".join(map(str, av.library_versions["libavcodec"]))
    return {
        "clip": what,
        "date": time.strftime("%Y-%m-%d"),
        "versions": f"vfi_jax {__version__}, PyAV {av.__version__} (libavcodec {library})",
        "machine": f"{processor()} ({os.cpu_count()} cores), Python {platform.python_version()}",
        "command": "python results/encoders.py CLIP -o DIR",
    }


def _pictures(path: Path) -> Iterator[np.ndarray]:
    """Frames in RGB."""
    with av.open(str(path)) as container:
        yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def _codes(path: Path) -> Iterator[np.ndarray]:
    """All samples of each frame, in 8 bits of 4:2:0."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.reformat(format="yuv420p", interpolation=EXACT).to_ndarray()


def _bytes(path: Path, frames: int) -> int:
    """Size of the picture's first packets."""
    with av.open(str(path)) as container:
        sizes = (packet.size for packet in container.demux(video=0) if packet.size)
        return sum(itertools.islice(sizes, frames))


def _decibel(error: float) -> float:
    return round(10 * float(np.log10(255**2 / error)), 1) if error else float("inf")


def _write(names: Sequence[str], rows: Sequence[Row]) -> None:
    previous = csv.DictReader(TABLE.read_text().splitlines()) if TABLE.exists() else ()
    measured = {row.encoder for row in rows}
    kept = [row for row in previous if row["encoder"] not in measured]
    order = list(ENCODERS)
    merged = sorted([*map(dataclasses.asdict, rows), *kept], key=lambda row: order.index(row["encoder"]))
    with written_whole(TABLE) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(merged)


if __name__ == "__main__":
    main()
