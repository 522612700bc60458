"""Verification of an output beside its source: frames, times, tracks, labels, and the original frames themselves.

Both files are decoded once, side by side; memory grows with the length of the clip by a checksum per packet only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from vfi_jax.errors import UserError
from vfi_jax.system.markdown import markdown
from vfi_jax.video import hdr, inventory, losses
from vfi_jax.video.color import is_same_siting
from vfi_jax.video.convert import Converter
from vfi_jax.video.decode import Reader, TimedFrame, VideoInfo, open_input
from vfi_jax.video.encoders import CONTAINERS, encoding_of
from vfi_jax.video.interpolate import Part
from vfi_jax.video.layout import YUV, split
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import Options
from vfi_jax.video.pixels import source_layout
from vfi_jax.video.rows import CLOSE, DIFFERS, SAME, Row, verdict
from vfi_jax.video.survey import survey
from vfi_jax.video.timeline import Timeline, rate_of
from vfi_jax.video.verify_tracks import Tracks, labels

MIN_PSNR = 30.0  # dB; encoders at their defaults reach 40, and a frame beside its neighbor seldom 30
_FORMATS = ("rgb", "chroma", "bits", "alpha", "matrix", "range", "fields")  # losses that change the frames themselves


@dataclass(frozen=True)
class Report:
    """The outcome of a verification.

    Attributes:
      source: the video.
      target: the output.
      rows: a row per property.
      losses: what was announced.
    """

    source: Path
    target: Path
    rows: tuple[Row, ...]
    losses: tuple[Loss, ...]

    @property
    def differing(self) -> tuple[str, ...]:
        """The properties that differ without announcement."""
        return tuple(row.property for row in self.rows if row.verdict == DIFFERS)

    def table(self) -> str:
        """The rows as a Markdown table."""
        return markdown(
            [("property", "source", "output", "")]
            + [(row.property, row.source, row.target, row.verdict) for row in self.rows]
        )

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON's types."""
        return {
            "source": str(self.source),
            "target": str(self.target),
            "ok": not self.differing,
            "rows": [dict(vars(row)) for row in self.rows],
            "losses": [loss.as_json() for loss in self.losses],
        }


def verify(source: Path, target: Path, options: Options | None = None, *, min_psnr: float = MIN_PSNR) -> Report:
    """Compares an output with its source.

    Args:
      source: the video that was interpolated.
      target: what `interpolate_video` wrote; its extension is one that it writes.
      options: those of the interpolation; None: the defaults.
      min_psnr: dB that each original frame has at least, where encoding is lossy.

    Raises:
      UserError: a file is missing, no video, damaged or cut short.
    """
    source, target, options = Path(source), Path(target), options or Options()
    if target.suffix.lower() not in CONTAINERS:
        raise UserError(f"{target}: only {', '.join(CONTAINERS)} can be verified")
    container, rate = CONTAINERS[target.suffix.lower()], survey(source, options.begin, options.end).rate
    min_psnr = math.inf if encoding_of(container, options).is_lossless else min_psnr
    with contextlib.ExitStack() as stack:
        before, after = (stack.enter_context(reader) for reader in (Reader(source, rate), Reader(target)))
        old, new = (stack.enter_context(contextlib.closing(open_input(path))) for path in (source, target))
        announced = losses.find(before.info, target, rate_of(options, rate), options)
        known = frozenset((loss.kind, item) for loss in announced for item in loss.items)
        tracks = Tracks(old, new, container.muxer, options, known)
        is_announced = any(loss.kind in _FORMATS for loss in announced)
        is_cut = options.is_part or options.stretch != 1
        rows = (
            *_formats(before.info, after.info, announced),
            *_frames(before, after, options, tracks.delay, min_psnr, is_announced),
            *_side_data(before.info, after.info, known),
            *labels(inventory.read(old), inventory.read(new), known, is_cut),
            *tracks.rows(),
        )
    return Report(source, target, rows, announced)


def _formats(before: VideoInfo, after: VideoInfo, announced: Iterable[Loss]) -> Iterator[Row]:
    """Compares size, shape, pixel format and color tags."""
    kinds = {loss.kind for loss in announced}
    sizes = [f"{info.width}x{info.height}" for info in (before, after)]
    yield Row("size", *sizes, verdict(sizes[0] == sizes[1]))
    shapes = [info.aspect or Fraction(1) for info in (before, after)]
    is_near = abs(shapes[0] - shapes[1]) * before.width <= Fraction(1, 2)  # Matroska has whole pixels only
    near = CLOSE if is_near else verdict(False, "aspect" in kinds)
    yield Row("pixel shape", *map(str, shapes), SAME if shapes[0] == shapes[1] else near)
    formats = before.pixel_format, after.pixel_format
    layouts = source_layout(before), source_layout(after)
    changed = CLOSE if losses.holds(*layouts) else verdict(False, bool(kinds & set(_FORMATS)))
    yield Row("pixel format", *formats, SAME if layouts[0] == layouts[1] else changed)
    colors = [
        f"{info.color.space}/{info.color.primaries}/{info.color.transfer} {'full' if info.color.full else 'limited'}"
        for info in (before, after)
    ]
    yield Row(
        "matrix/primaries/transfer, range",
        *colors,
        verdict(colors[0] == colors[1], bool(kinds & {"rgb", "matrix", "range"})),
    )
    sitings = before.color.turned(before.turn).siting, after.color.siting
    if layouts[0].family == layouts[1].family == YUV and any((layouts[1].across, layouts[1].down)):
        yield Row("chroma siting", *sitings, verdict(is_same_siting(*sitings), "siting" in kinds))


class _Frames:
    """Running figures of the frames of both files."""

    def __init__(self, converter: Converter) -> None:
        self._converter = converter
        self.expected = self.found = self.originals = self.changed = 0
        self.late, self.latest = Fraction(0), 0
        self.error, self.worst, self.worst_at = 0.0, math.inf, 0
        self.end = Fraction(0)

    def compare(self, original: TimedFrame, again: TimedFrame) -> None:
        """Adds an original frame and what the output holds in its place."""
        if _equal(original, again, self._converter):
            self.originals += 1
            return
        psnr = _psnr(original.image, again.image)
        if psnr < self.worst:
            self.worst, self.worst_at = psnr, self.originals
        self.error += 10 ** (-psnr / 10)
        self.originals, self.changed = self.originals + 1, self.changed + 1

    def time(self, wanted: Fraction, shown: Fraction) -> None:
        """Adds the time of a frame."""
        if abs(shown - wanted) > self.late:
            self.late, self.latest = abs(shown - wanted), self.found


def _frames(
    before: Reader, after: Reader, options: Options, delay: Fraction, min_psnr: float, is_announced: bool
) -> Iterator[Row]:
    """Compares numbers, times and originals of the frames."""
    tick = after.info.time_base
    encoder = "prores_ks" if after.info.codec == "prores" else ""
    figures = _Frames(Converter(before.info, after.info.pixel_format, encoder))
    shown = after.frames()
    fits = (before.info.width, before.info.height) == (after.info.width, after.info.height)
    part = Part(before, options)
    for original, time in _expected(part, options, tick):
        figures.expected += 1
        frame = next(shown, None)
        if frame is None:
            continue
        figures.time(time + delay, frame.time)
        figures.end = frame.time + frame.duration
        if original is not None and fits:
            figures.compare(original, frame)
        figures.found += 1
    for frame in shown:
        figures.found, figures.end = figures.found + 1, frame.time + frame.duration
    yield Row("frames", f"{figures.expected} from {part.count}", str(figures.found),
              verdict(figures.expected == figures.found))  # fmt: skip
    slack = tick if delay else tick / 2
    late = f"up to {float(figures.late) * 1000:.3f} ms off, at frame {figures.latest}" if figures.late else "exact"
    all_later = f", all tracks {float(delay) * 1000:.3f} ms later" if delay else ""
    yield Row("timestamps", f"ticks of {float(tick) * 1000:.4g} ms", late + all_later, verdict(figures.late <= slack))
    ends = part.end + delay, figures.end
    yield Row("end", *(f"{float(end):.4f} s" for end in ends), verdict(abs(ends[0] - ends[1]) <= tick))
    if fits:
        yield _originals(figures, min_psnr, is_announced)


def _originals(figures: _Frames, min_psnr: float, is_announced: bool) -> Row:
    if not figures.changed:
        return Row("original frames", str(figures.originals), "every code equal", SAME)
    mean = -10 * math.log10(figures.error / figures.changed)
    text = f"{mean:.1f} dB, {figures.worst:.1f} at original {figures.worst_at}"
    result = CLOSE if figures.worst >= min_psnr else verdict(False, is_announced)
    return Row("original frames", str(figures.originals), text, result)


def _expected(
    frames: Iterable[TimedFrame], options: Options, tick: Fraction
) -> Iterator[tuple[TimedFrame | None, Fraction]]:
    """Yields, for each frame of the output, the source's frame if it is one, and its time."""
    timeline = Timeline(options, tick)
    left: TimedFrame | None = None
    for right in frames:
        if left is not None:
            for t, time in timeline.between(left.time, right.time):
                yield (None if t else left), time
        left = right
    if left is None:
        return
    if options.loop:
        gap = timeline.between(left.time, left.time + left.duration)
        yield from ((None if t else left, time) for t, time in gap)
    else:
        yield from ((left, time) for time in timeline.last(left.time, left.duration))


def _equal(original: TimedFrame, again: TimedFrame, converter: Converter) -> bool:
    """Whether the output holds the codes that an original frame has in its pixel format."""
    if original.raw is None or again.raw is None:
        return np.array_equal(original.image, again.image)
    return all(map(np.array_equal, split(converter(original)), split(again.raw)))


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of two pictures `[h, w, 3]`, uint8 or uint16, of which one may have the other's type."""
    x, y = (image.astype(np.float32) / np.iinfo(image.dtype).max for image in (a, b))
    error = float(np.mean((x - y) ** 2))
    return -10 * math.log10(error) if error else math.inf


def _side_data(before: VideoInfo, after: VideoInfo, known: frozenset[tuple[str, str]]) -> Iterator[Row]:
    for name, data in before.side_data.items():
        if (words := losses.SIDE_DATA.get(name)) is not None:
            is_same = hdr.is_same(name, data, after.side_data.get(name))
            yield Row(words, "yes", "same" if is_same else "other" if name in after.side_data else "no",
                      verdict(is_same, ("side data", words) in known))  # fmt: skip
