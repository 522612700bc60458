"""Verification of an output beside its source: frames, times, tracks, labels, and the original frames themselves.

Both files are decoded once, side by side; memory grows with the length of the clip by a checksum per packet only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vfi_jax.errors import UsageError, UserError
from vfi_jax.system.markdown import markdown
from vfi_jax.video import forms, losses
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo, open_input
from vfi_jax.video.coding.encoders import CONTAINERS, Container, container_of, encoding_of
from vfi_jax.video.content.fields import undone
from vfi_jax.video.content.stage import Content
from vfi_jax.video.forms import Frames, Input
from vfi_jax.video.gaps import Part
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import Options
from vfi_jax.video.pipes import PIPE
from vfi_jax.video.pixels import linear
from vfi_jax.video.pixels.color import is_same_siting
from vfi_jax.video.pixels.convert import Converter
from vfi_jax.video.pixels.formats import source_layout
from vfi_jax.video.pixels.layout import RGB, YUV, split
from vfi_jax.video.timeline import rate_of
from vfi_jax.video.tracks import hdr, inventory
from vfi_jax.video.verification.rows import ANNOUNCED, CLOSE, DIFFERS, SAME, Row, verdict
from vfi_jax.video.verification.tracks import Tracks, labels

MIN_PSNR = 30.0  # dB; encoders at their defaults reach 40, and a frame beside its neighbor seldom 30
_BESIDE = ("audio", "subtitle", "cover", "attachment", "data", "video", "chapters", "timecode", "tag")
_OF_FLOATS = 80.0  # dB; light that became codes of 16 bits again
# Losses that change the frames themselves.
_FORMATS = ("palette", "rgb", "chroma", "bits", "alpha", "matrix", "range", "fields")


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


def verify(source: Input, target: Path, options: Options | None = None, *, min_psnr: float = MIN_PSNR) -> Report:
    """Compares an output with its source.

    Args:
      source: what was interpolated, as `interpolate_video` takes it, but no pipe.
      target: what `interpolate_video` wrote; its extension is one that it writes.
      options: those of the interpolation; None: the defaults.
      min_psnr: dB that each original frame has at least, where encoding is lossy.

    Raises:
      UserError: a file is missing, no video, damaged or cut short, or there is a pipe.
    """
    options = options or Options()
    if PIPE in (source, target):
        raise UserError("-: what went through a pipe is gone; verify a file")
    output = forms.target_of(Path(target), source, options).path
    container = _container(output)
    if (encoding := encoding_of(container, options)).is_lossless:
        min_psnr = _OF_FLOATS if encoding.codec == "exr" else math.inf
    if options.shutter is not None or options.curve is not None:
        raise UsageError("--shutter and --speed-curve leave no original frame to compare with; verify without them")
    origin = undone(forms.source_of(source, options), options.fields)
    packets = origin.survey(options.begin, options.end)
    rate = rate_of(options, packets.rate)
    written = forms.source_of(output, Options(input_fps=rate) if container.muxer == "image2" else Options())
    announced = losses.find(origin.info, output, rate, options, packets)
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(origin.open(packets.rate))
        after = stack.enter_context(written.open(written.info.rate))
        tracks = stack.enter_context(_tracks(before.info, after.info, container, options, announced))
        rows = (
            *_formats(before.info, after.info, announced, container),
            *_frames(before, after, options, tracks.delay, min_psnr, announced),
            *_side_data(before.info, after.info, _known(announced)),
            *tracks.rows,
        )
    return Report(origin.path, target, rows, announced)


def _container(output: Path) -> Container:
    try:
        return container_of(output)
    except UsageError:
        raise UserError(f"{output}: only {', '.join(CONTAINERS)}, and pictures, can be verified") from None


def _known(announced: Iterable[Loss]) -> frozenset[tuple[str, str]]:
    """The (kind, item) of losses."""
    return frozenset((loss.kind, item) for loss in announced for item in loss.items)


class _Others(NamedTuple):
    """The tracks and labels beside the frames: their delay in seconds, and their rows."""

    delay: Fraction
    rows: tuple[Row, ...]


@contextlib.contextmanager
def _tracks(
    before: VideoInfo, after: VideoInfo, container: Container, options: Options, announced: Sequence[Loss]
) -> Iterator[_Others]:
    """Compares tracks and labels, if both are files that may have some; otherwise all that there was is announced."""
    if not (before.has_tracks and after.has_tracks):
        lost = [one for one in announced if one.kind in _BESIDE]
        yield _Others(Fraction(0), tuple(Row(str(item), "yes", "no", ANNOUNCED) for one in lost for item in one.items))
        return
    is_cut = options.is_part or options.stretch != 1
    with contextlib.ExitStack() as stack:
        old, new = (stack.enter_context(contextlib.closing(open_input(info.path))) for info in (before, after))
        tracks = Tracks(old, new, container.muxer, options, _known(announced))
        names = labels(inventory.read(old), inventory.read(new), _known(announced), is_cut)
        yield _Others(tracks.delay, (*names, *tracks.rows()))


def _formats(before: VideoInfo, after: VideoInfo, announced: Iterable[Loss], container: Container) -> Iterator[Row]:
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
    is_picture = container.is_bare and layouts[1].family == RGB and layouts[1].bits >= layouts[0].bits
    changed = CLOSE if is_picture or losses.holds(*layouts) else verdict(False, bool(kinds & set(_FORMATS)))
    yield Row("pixel format", *formats, SAME if layouts[0] == layouts[1] else changed)
    colors = [
        f"{info.color.space}/{info.color.primaries}/{info.color.transfer} {'full' if info.color.full else 'limited'}"
        for info in (before, after)
    ]
    result = verdict(colors[0] == colors[1], bool(kinds & {"rgb", "matrix", "range", "colors"}))
    if container.is_bare and result == DIFFERS:  # RGB and JPEG have a matrix and a range of their own
        result = CLOSE
    yield Row("matrix/primaries/transfer, range", *colors, result)
    sitings = before.color.turned(before.turn).siting, after.color.siting
    if layouts[0].family == layouts[1].family == YUV and any((layouts[1].across, layouts[1].down)):
        yield Row("chroma siting", *sitings, verdict(is_same_siting(*sitings), "siting" in kinds))


class _Frames:
    """Running figures of the frames of both files."""

    def __init__(self, before: VideoInfo, after: VideoInfo) -> None:
        encoder = "prores_ks" if after.codec == "prores" else ""
        self._converter = Converter(before, after.pixel_format, encoder)
        self._is_light = after.codec == "exr" and before.codec != "exr"
        self._transfer = before.color.transfer
        self.expected = self.found = self.originals = self.changed = 0
        self.late, self.latest = Fraction(0), 0
        self.error, self.worst, self.worst_at = 0.0, math.inf, 0
        self.end = Fraction(0)

    def compare(self, original: TimedFrame, again: TimedFrame) -> None:
        """Adds an original frame and what the output holds in its place."""
        if _equal(original, again, self._converter):
            self.originals += 1
            return
        psnr = _psnr(self._as_light(original.image), again.image)
        if psnr == math.inf:  # pictures of the same codes
            self.originals += 1
            return
        if psnr < self.worst:
            self.worst, self.worst_at = psnr, self.originals
        self.error += 10 ** (-psnr / 10)
        self.originals, self.changed = self.originals + 1, self.changed + 1

    def _as_light(self, image: np.ndarray) -> np.ndarray:
        """A picture as `linear` reads it from EXR."""
        if not self._is_light:
            return image
        codes = image if image.dtype == np.uint16 else image.astype(np.uint16) * 257
        return linear.to_codes(linear.to_light(codes, self._transfer))

    def time(self, wanted: Fraction, shown: Fraction) -> None:
        """Adds the time of a frame."""
        if abs(shown - wanted) > self.late:
            self.late, self.latest = abs(shown - wanted), self.found


def _frames(
    before: Frames, after: Frames, options: Options, delay: Fraction, min_psnr: float, announced: Iterable[Loss]
) -> Iterator[Row]:
    """Compares numbers, times and originals of the frames."""
    tick = after.info.time_base
    figures = _Frames(before.info, after.info)
    shown = after.frames()
    fits = (before.info.width, before.info.height) == (after.info.width, after.info.height)
    part = Part(before, options)
    for original, time in _expected(part, Content(options, before.info, tick), options):
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
    kinds = {loss.kind for loss in announced}
    slack = _slack(after.info, figures.found) * (2 if delay else 1)
    late = f"up to {float(figures.late) * 1000:.3f} ms off, at frame {figures.latest}" if figures.late else "exact"
    all_later = f", all tracks {float(delay) * 1000:.3f} ms later" if delay else ""
    yield Row("timestamps", f"ticks of {float(tick) * 1000:.4g} ms", late + all_later,
              verdict(figures.late <= slack, "times" in kinds))  # fmt: skip
    ends = part.end + delay, figures.end
    yield Row("end", *(f"{float(end):.4f} s" for end in ends),
              _end(abs(ends[0] - ends[1]) <= max(tick, slack), after.info, "times" in kinds))  # fmt: skip
    if fits:
        yield _originals(figures, min_psnr, bool(kinds & set(_FORMATS)))


def _end(is_same: bool, info: VideoInfo, is_announced: bool) -> str:
    """The verdict of the end: transport streams do not say how long the last frame is shown."""
    return CLOSE if info.container == "mpegts" and not is_same else verdict(is_same, is_announced)


def _slack(info: VideoInfo, frames: int) -> Fraction:
    """Seconds by which a time may be off: half a tick; as often as there are frames in APNG, of durations."""
    return info.time_base / 2 * (max(1, frames) if info.container == "apng" else 1)


def _originals(figures: _Frames, min_psnr: float, is_announced: bool) -> Row:
    if not figures.changed:
        return Row("original frames", str(figures.originals), "every code equal", SAME)
    mean = -10 * math.log10(figures.error / figures.changed)
    text = f"{mean:.1f} dB, {figures.worst:.1f} at original {figures.worst_at}"
    result = CLOSE if figures.worst >= min_psnr else verdict(False, is_announced)
    return Row("original frames", str(figures.originals), text, result)


def _expected(
    frames: Iterable[TimedFrame], content: Content, options: Options
) -> Iterator[tuple[TimedFrame | None, Fraction]]:
    """Yields, for each frame of the output, the source's frame if it is one, and its time."""
    timeline = content.timeline
    left: TimedFrame | None = None
    for right in content.marked(frames):
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
