"""Losses: everything that a target will lack beside its source, known before the first frame, each with a way out.

The list follows from what the writer does: routes of tracks, the encoder's pixel format, and labels that come back from
the container. The way out is found by the same means: a container whose own list lacks the entry.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from vfi_jax.errors import UsageError
from vfi_jax.video.coding.decode import VideoInfo, open_input
from vfi_jax.video.coding.encode import has_aspect
from vfi_jax.video.coding.encoders import CONTAINERS, Container, Encoding, container_of, encoding_of, is_bare
from vfi_jax.video.options import Options
from vfi_jax.video.pixels.color import LIMITED_ENCODERS, holds_siting
from vfi_jax.video.pixels.formats import pixel_format, source_layout
from vfi_jax.video.pixels.layout import GRAY, RGB, YUV, Layout, layout_of
from vfi_jax.video.survey import Survey
from vfi_jax.video.tracks import hdr, inventory, labels, streams
from vfi_jax.video.tracks.inventory import Inventory, Track
from vfi_jax.video.tracks.packets import DNXHD_MATRICES
from vfi_jax.video.tracks.streams import Route

_PREFERRED = (".mkv", ".mp4", ".mov", ".webm")
_ENCODERS = ((".mkv", "libx265"), (".mkv", "ffv1"), (".mov", "prores_ks"), (".webm", "libvpx-vp9"))
_OF_FORMATS = ("rgb", "chroma", "bits", "lossless")  # kinds whose items name the target's format
_OF_ENCODERS = (*_OF_FORMATS, "alpha", "siting", "side data")  # kinds that another encoder may keep
_STYLED = ("ass", "ssa", "webvtt")  # forms of text with positions and styles that the others lack
TIME_CODE = "timecode"
_TIMES = "the times of the frames (a constant rate, --fps, has none to lose)"
_NO_TAGS = (2, 2, 2)  # AVColorSpace, AVColorPrimaries, AVColorTransferCharacteristic: unspecified
_NEARLY = Fraction(1, 1000)  # QuickTime's chapters start at whole milliseconds
_NOUNS = {  # kind: how one item and several are named
    "subtitle": ("subtitle track {}", "subtitle tracks {}"),
    "style": ("positions and styles of subtitle track {}", "positions and styles of subtitle tracks {}"),
    "cover": ("cover {}", "covers {}"),
    "attachment": ("attachment {}", "attachments {}"),
    "data": ("data track {}", "data tracks {}"),
    "video": ("further picture track {}", "further picture tracks {}"),
    "sync": ("the early start of audio track {}", "the early starts of audio tracks {}"),
    "audio": ("audio track {}", "audio tracks {}"),
    "chapters": ("{}", "{}"),
    "timecode": ("time code {}", "time codes {}"),
    "tag": ("tag {}", "tags {}"),
    "flag": ("flag {}", "flags {}"),
    "side data": ("{}", "{}"),
}
SIDE_DATA = {  # what FFmpeg's structures are for; others describe the coding of the frame
    hdr.MASTERING: "HDR mastering display",
    hdr.LIGHT: "HDR content light level",
    "DYNAMIC_HDR_PLUS": "HDR10+ metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "AMBIENT_VIEWING_ENVIRONMENT": "ambient viewing environment",
    "A53_CC": "closed captions",
    "SPHERICAL": "spherical projection",
    "STEREO3D": "stereo 3D layout",
    "ICC_PROFILE": "ICC profile",
    "FILM_GRAIN_PARAMS": "film grain parameters",
    "S12M_TIMECODE": "time codes of frames",
    "GOP_TIMECODE": "time codes of frames",
    "AFD": "active format description",
    "PANSCAN": "pan and scan",
}


@dataclass(frozen=True)
class Loss:
    """A loss of one kind.

    Attributes:
      kind: subtitle, style, cover, attachment, data, video, chapters, timecode, tag, flag, side data, alpha, rgb,
        palette, chroma, bits, siting, lossless, matrix, range, times, colors, sync, aspect, rotation, fields, or
        curve (all that is beside the picture).
      items: what is lost, as in messages.
      kept_by: outputs that keep it: extensions, with the encoder where another one is needed.
    """

    kind: str
    items: tuple[str, ...]
    kept_by: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry as JSON's types."""
        return {"kind": self.kind, "items": list(self.items), "kept_by": list(self.kept_by), "text": str(self)}

    def __str__(self) -> str:
        """One line: what is lost, and the way out."""
        several = len(self.items) > 1
        text = _NOUNS.get(self.kind, ("{}", "{}"))[several].format(", ".join(self.items))
        if self.kind == "curve":
            return f"lost: {text}"
        if self.kind == "fields":
            return f"lost: {text}; --fields auto undoes them"
        way_out = f"{self.kept_by[0]} keeps" if self.kept_by else "no output format keeps"
        return f"lost: {text}; {way_out} {'them' if several else 'it'}"


BESIDE = Loss("curve", ("sound, subtitles, chapters and tags, whose times do not follow --speed-curve",), ())


def find(
    info: VideoInfo, target: Path, rate: Fraction, options: Options | None = None, packets: Survey | None = None
) -> tuple[Loss, ...]:
    """Lists what `target` will lack.

    Args:
      info: the source.
      target: its name chooses container and encoder.
      rate: frames per second of the target.
      options: what is asked; sound that is to be dropped is not lost. None: the defaults.
      packets: of the source, which say whether its rate is constant; None: it is.

    Raises:
      UserError: the source cannot be opened.
    """
    options = options or Options()
    is_variable = packets is not None and not packets.is_constant and options.rate is None
    with contextlib.closing(open_input(info.path)) if info.has_tracks else contextlib.nullcontext() as container:
        lost_in = functools.partial(_lost, container, info, rate, options, is_variable)
        if not (lost := lost_in(container_of(target))):
            return ()
        others = dict(_of_others(lost_in))
    fits = {suffix: entries for suffix, entries in others.items() if not any(kind == "audio" for kind, _ in entries)}
    groups: dict[tuple[str, tuple[str, ...]], list[tuple[str, tuple[str, ...]]]] = {}
    encoded = dict(_of_encoders(info, options, fits)) if any(kind in _OF_ENCODERS for kind, _ in lost) else {}
    encoded = dict(sorted(encoded.items(), key=lambda output: len(output[1])))  # what loses least comes first
    for kind, item in lost:
        outputs = (*fits.items(), *(encoded.items() if kind in _OF_ENCODERS else ()))
        kept_by = tuple(output for output, entries in outputs if not _is_among(kind, item, entries))
        groups.setdefault((kind, kept_by[:1]), []).append((item, kept_by))
    return tuple(_loss(kind, entries) for (kind, _), entries in groups.items())


def _of_others(
    lost_in: Callable[[Container], list[tuple[str, str]]],
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yields what each of the preferred outputs lacks, but for those that the encoder does not go into."""
    for suffix in _PREFERRED:
        with contextlib.suppress(UsageError):
            yield suffix, lost_in(CONTAINERS[suffix])


def _of_encoders(
    info: VideoInfo, options: Options, suffixes: Mapping[str, object]
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yields what other encoders take from the frames, in containers that are among `suffixes`."""
    for suffix, encoder in _ENCODERS:
        asked = dataclasses.replace(options, encoder=encoder, quality=None, encoder_options=None)
        if suffix in suffixes:
            with contextlib.suppress(UsageError):
                encoding = encoding_of(CONTAINERS[suffix], asked)
                yield f"{suffix} with --encoder {encoder}", list(_of_frames(info, CONTAINERS[suffix].muxer, encoding))


def _loss(kind: str, entries: Sequence[tuple[str, tuple[str, ...]]]) -> Loss:
    """Joins items of a kind; outputs that keep them keep all of them."""
    kept_by = [suffix for suffix in entries[0][1] if all(suffix in others for _, others in entries)]
    return Loss(kind, tuple(item for item, _ in entries), tuple(kept_by))


def _is_among(kind: str, item: str, entries: list[tuple[str, str]]) -> bool:
    """Whether an entry, or the whole of what it belongs to, is lost too."""
    if kind == "style":  # a track whose styles are lost here may be lost altogether there
        return (kind, item) in entries or ("subtitle", item) in entries
    if kind in _OF_FORMATS:
        return any(other == kind for other, _ in entries)
    return (kind, item) in entries


def _lost(
    container: InputContainer | None,
    info: VideoInfo,
    rate: Fraction,
    options: Options,
    is_variable: bool,
    form: Container,
) -> list[tuple[str, str]]:
    """Lists (kind, item) of all that an output in a container lacks."""
    others = [] if container is None else _beside_frames(container, form, rate, options)
    times = [("times", _TIMES)] * (is_variable and not form.has_times)
    return list(dict.fromkeys((*others, *_of_frames(info, form.muxer, encoding_of(form, options)), *times)))


def _beside_frames(
    container: InputContainer, form: Container, rate: Fraction, options: Options
) -> Iterator[tuple[str, str]]:
    """Lists what is lost of tracks, chapters, tags and flags."""
    source = inventory.read(container)
    routes = streams.routes(container, form.muxer)
    if not form.is_bare:
        routes = tuple(_with_sound(route, options) for route in routes)
    routes = tuple(route for route in routes if route.track.kind != "audio" or options.sound == "keep")
    yield from _of_tracks(routes)
    if form.muxer == "avi":
        yield from _of_starts(container, routes)
    yield from _of_labels(container, source, routes, form.muxer, rate)


def _with_sound(route: Route, options: Options) -> Route:
    """Returns the route of a track; sound that is stretched is encoded, in a codec that the container holds."""
    is_stretched = route.track.kind == "audio" and options.stretch != 1
    return Route(route.track, "copy") if is_stretched else route


def _of_tracks(routes: tuple[Route, ...]) -> Iterator[tuple[str, str]]:
    for route in routes:
        if route.way == "none":
            yield route.track.kind, route.track.label
        elif route.way == "convert" and route.track.codec in _STYLED:
            yield "style", route.track.label


def _of_starts(container: InputContainer, routes: tuple[Route, ...]) -> Iterator[tuple[str, str]]:
    """Lists sound that begins before zero, as that of MP4 often does; AVI has no such times."""
    for route in routes:
        if route.track.kind == "audio" and _begins_early(Path(container.name), route.track.index):
            yield "sync", route.track.label


def _begins_early(path: Path, index: int) -> bool:
    with contextlib.closing(open_input(path)) as container:
        first = next((packet for packet in container.demux(container.streams[index]) if packet.size), None)
        return first is not None and first.pts is not None and first.pts < 0


def _of_labels(
    container: InputContainer, source: Inventory, routes: tuple[Route, ...], muxer: str, rate: Fraction
) -> Iterator[tuple[str, str]]:
    """Lists chapters, tags and flags that do not come back from the container."""
    tracks = [route.track for route in routes if route.way in ("encode", "copy", "convert")]
    tracks = [track for track in tracks if track.kind in ("picture", "video", "audio", "subtitle")]
    tracks.sort(key=lambda track: track.kind != "picture")
    kept = labels.surviving(muxer, source, tracks, container.chapters(), rate)
    if not has_same_chapters(source, kept):
        yield "chapters", f"{len(source.chapters)} chapters"
    if source.time_code != kept.time_code:
        yield "timecode", str(source.time_code)
    for tag in inventory.missing_tags(source.tags, kept.tags):
        if tag != TIME_CODE:
            yield "tag", tag
    written = [track for track in kept.tracks if track.kind in ("picture", "video", "audio", "subtitle")]
    for before, after in zip(tracks, written, strict=False):
        yield from labels_lost(before, after)


def has_same_chapters(source: Inventory, target: Inventory) -> bool:
    """Whether the chapters of two files have the same titles and start within a millisecond of each other."""
    return len(source.chapters) == len(target.chapters) and all(
        a.title == b.title and abs(a.start - b.start) <= _NEARLY
        for a, b in zip(source.chapters, target.chapters, strict=True)
    )


def labels_lost(before: Track, after: Track) -> Iterator[tuple[str, str]]:
    """Lists (kind, item) of the tags and flags that a track has lost."""
    whose = "the picture" if before.kind == "picture" else f"{before.kind} track {before.index}"
    for tag in inventory.missing_tags(before.tags, after.tags):
        if tag != TIME_CODE:
            yield "tag", f"{tag} of {whose}"
    for flag in inventory.flag_names(before.flags & ~after.flags):
        yield "flag", f"{flag} of {whose}"


def _of_frames(info: VideoInfo, muxer: str, encoding: Encoding) -> Iterator[tuple[str, str]]:
    """Lists what encoding takes from the frames and from what accompanies them."""
    name = pixel_format(info, encoding.codec, is_lossless=encoding.is_lossless)
    source, target = source_layout(info), layout_of(name)
    if source.alpha and not target.alpha:
        yield "alpha", f"the alpha channel ({info.pixel_format})"
    has_palette = av.VideoFormat(name, 16, 16).has_palette
    if has_palette and info.pixel_format != name and info.codec != "gif":
        yield "palette", "colors (256 of a palette for each frame)"
    elif source.family == RGB and target.family != RGB:
        yield "rgb", f"RGB ({info.pixel_format} becomes {name})"
    elif source.family == YUV and not _holds_chroma(source, target):
        yield "chroma", f"chroma resolution ({info.pixel_format} becomes {name})"
    if source.bits > target.bits and not has_palette:
        yield "bits", f"depth ({source.bits} bits become {target.bits})"
    if info.is_lossless and not encoding.is_lossless:
        yield "lossless", f"lossless compression ({info.codec} becomes {encoding.codec})"
    yield from _of_colors(info, muxer, encoding, target)
    if not has_aspect(info, muxer, encoding.codec):
        yield "aspect", f"the pixels' shape ({info.aspect})"
    if info.is_interlaced:
        yield "fields", "the fields of interlaced frames"
    if degrees := _odd_rotation(info.side_data.get("DISPLAYMATRIX", b"")):
        yield "rotation", f"rotation by {degrees:g} degrees"
    carried = hdr.carried(info.side_data, encoding.codec)
    for structure in info.side_data:
        if structure in SIDE_DATA and structure not in carried:
            yield "side data", SIDE_DATA[structure]


def _of_colors(info: VideoInfo, muxer: str, encoding: Encoding, target: Layout) -> Iterator[tuple[str, str]]:
    """Lists the color tags that have no place."""
    tags = (info.color.space, info.color.primaries, info.color.transfer)
    if is_bare(muxer) and tags != _NO_TAGS and target.family != RGB:
        yield "colors", "color tags (matrix, primaries, transfer)"
    if encoding.codec == "dnxhd" and info.color.space not in DNXHD_MATRICES:
        yield "matrix", "the color matrix (DNxHR holds BT.709 and BT.2020)"
    if info.color.full and layout_of(info.pixel_format).family != RGB and encoding.codec in LIMITED_ENCODERS:
        yield "range", f"the full range ({encoding.codec} has the limited one)"
    siting = info.color.turned(info.turn).siting
    has_chroma = target.family == YUV and (target.across or target.down)
    if has_chroma and not is_bare(muxer) and not holds_siting(siting, encoding.codec, muxer):
        yield "siting", f"chroma siting ({siting})"


def holds(source: Layout, target: Layout) -> bool:
    """Whether a layout holds all that another one does."""
    is_of_family = source.family in (target.family, GRAY)
    deep = target.bits >= source.bits and target.alpha >= source.alpha
    return is_of_family and deep and (source.family == GRAY or _holds_chroma(source, target))


def _holds_chroma(source: Layout, target: Layout) -> bool:
    return target.family != GRAY and target.across <= source.across and target.down <= source.down


def _odd_rotation(matrix: bytes) -> float:
    """Degrees by which a display matrix turns beyond quarter turns."""
    if len(matrix) < 20:
        return 0.0
    a, b = np.frombuffer(matrix, np.int32)[:2].tolist()
    degrees = float(np.degrees(np.arctan2(b, a)))
    return degrees if abs(degrees / 90 - round(degrees / 90)) > 0.01 else 0.0
