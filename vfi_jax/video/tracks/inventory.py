"""Inventory of a media file: its tracks with their tags and flags, its chapters and its own tags.

Tags are compared between containers, which spell them differently; `comparable` brings them to one form.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from av.container import InputContainer
from av.stream import Discard, Disposition, Stream

from vfi_jax.video.coding.decode import video_stream

# These describe the file that holds them, or figures of its streams, and would be wrong elsewhere.
_OF_THE_FILE = frozenset(("major_brand", "minor_version", "compatible_brands", "encoder", "vendor_id", "alpha_mode"))
_STATISTICS = re.compile(r"_statistics_.*|(bps|duration|number_of_frames|number_of_bytes)(-\w+)?", re.IGNORECASE)
_DEFAULT_HANDLERS = re.compile(r"(Video|Sound|Subtitle|Data|TimeCode|Text)Handler|", re.IGNORECASE)
_WITHOUT_FLAGS = ("avi", "mpegts", "gif", "apng")
_NO_LANGUAGE = ("und", "")
_SAME_LANGUAGE = {  # ISO 639-2 has two codes for these
    "alb": "sqi", "arm": "hye", "baq": "eus", "bur": "mya", "chi": "zho", "cze": "ces", "dut": "nld", "fre": "fra",
    "geo": "kat", "ger": "deu", "gre": "ell", "ice": "isl", "mac": "mkd", "mao": "mri", "may": "msa", "per": "fas",
    "rum": "ron", "slo": "slk", "tib": "bod", "wel": "cym",
}  # fmt: skip
_LOCATION = re.compile(r"[+-]\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Chapter:
    """A chapter: its start in seconds, and its title."""

    start: Fraction
    title: str


@dataclass(frozen=True)
class Track:
    """A stream of a media file.

    Attributes:
      index: its position in the file.
      kind: picture (the one that is interpolated), video (further ones), cover, audio, subtitle, attachment, chapters
        (a track that only holds the chapters or their pictures), timecode, or data.
      codec: FFmpeg's name, or unknown.
      tags: to write to another file, with the spelling of the source.
      flags: FFmpeg's disposition.
    """

    index: int
    kind: str
    codec: str
    tags: Mapping[str, str]
    flags: Disposition

    @property
    def label(self) -> str:
        """Number, codec and language, for messages; the file's name for an attachment."""
        if "filename" in self.tags and self.kind == "attachment":
            return self.tags["filename"]
        words = [self.codec, self.tags.get("language", "")]
        return f"{self.index} ({', '.join(word for word in words if word not in _NO_LANGUAGE)})"


@dataclass(frozen=True)
class Inventory:
    """Contents of a media file besides its frames.

    Attributes:
      container: FFmpeg's name of the format.
      tags: of the file, to write to another one.
      chapters: in order.
      tracks: every stream, in the order of the file.
    """

    container: str
    tags: Mapping[str, str]
    chapters: tuple[Chapter, ...]
    tracks: tuple[Track, ...]

    @property
    def picture(self) -> Track:
        """The track that is interpolated."""
        return next(track for track in self.tracks if track.kind == "picture")

    @property
    def time_code(self) -> str | None:
        """The time code of the first frame, wherever the file holds it."""
        tags = [self.tags, *(track.tags for track in self.of("picture", "timecode"))]
        code = next((code for one in tags if (code := comparable(one).get("timecode"))), None)
        return code and re.sub(r"0+(?=\d{2}$)", "", code)  # three digits above 100 frames per second

    def of(self, *kinds: str) -> tuple[Track, ...]:
        """The tracks of some kinds, in order."""
        return tuple(track for track in self.tracks if track.kind in kinds)


def read(container: InputContainer) -> Inventory:
    """Lists what an open file holds.

    Raises:
      UserError: it has no video.
    """
    picture = video_stream(Path(container.name or "memory"), container)
    tags = _writable(container.metadata)
    tracks = tuple(_track(stream, stream.index == picture.index, tags) for stream in container.streams)
    tracks = _with_defaults(tracks) if container.format.name in _WITHOUT_FLAGS else tracks
    chapters = tuple(
        Chapter(chapter["start"] * Fraction(chapter["time_base"]), chapter["metadata"].get("title", ""))
        for chapter in container.chapters()
    )
    return Inventory(container.format.name, tags, chapters, tracks)


def comparable(tags: Mapping[str, str]) -> dict[str, str]:
    """Brings tags to the form in which those of two containers can be compared: lower case, without defaults."""
    lower = {key.lower(): value for key, value in tags.items()}
    if lower.get("language") in _NO_LANGUAGE:
        del lower["language"]
    elif "language" in lower:
        lower["language"] = _SAME_LANGUAGE.get(lower["language"], lower["language"])
    if _DEFAULT_HANDLERS.fullmatch(lower.get("handler_name", "none")):
        del lower["handler_name"]
    if "creation_time" in lower:  # QuickTime counts whole seconds
        lower["creation_time"] = re.sub(r"\.\d+", "", lower["creation_time"])
    if "location" in lower:
        lower["location"] = " ".join(f"{float(number):.3f}" for number in _LOCATION.findall(lower["location"]))
    return {key: value for key, value in lower.items() if value}


def missing_tags(source: Mapping[str, str], target: Mapping[str, str]) -> list[str]:
    """Names the tags of `source` that `target` lacks or holds with another value."""
    kept = comparable(target)
    return [key for key, value in comparable(source).items() if kept.get(key) != value]


def flag_names(flags: Disposition) -> list[str]:
    """FFmpeg's names of the flags that are set."""
    return [flag.name for flag in Disposition if flag & flags and flag.name]


def _track(stream: Stream, is_picture: bool, of_the_file: Mapping[str, str]) -> Track:
    codec = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None)
    kind = "picture" if is_picture else _kind(stream)
    repeated = {"creation_time": of_the_file.get("creation_time")}
    tags = {key: value for key, value in _writable(stream.metadata).items() if value != repeated.get(key)}
    if "name" in tags and "title" not in tags:  # as QuickTime calls it
        tags["title"] = tags.pop("name")
    return Track(stream.index, kind, codec or "unknown", tags, Disposition(stream.disposition))


def _with_defaults(tracks: tuple[Track, ...]) -> tuple[Track, ...]:
    """Marks the first track of each kind as the default, as players do where a format cannot mark any."""
    first = {track.kind: track for track in reversed(tracks)}
    return tuple(
        replace(track, flags=track.flags | Disposition.default) if first[track.kind] is track else track
        for track in tracks
    )


def _kind(stream: Stream) -> str:
    if stream.type == "video" and stream.disposition & Disposition.attached_pic:
        return "cover"
    if stream.type in ("video", "data") and stream.discard == Discard.all:
        return "chapters"
    if stream.type == "data" and "timecode" in stream.metadata:
        return "timecode"
    return stream.type if stream.type in ("video", "audio", "subtitle", "attachment") else "data"


def _writable(metadata: Mapping[str, str]) -> dict[str, str]:
    """Leaves out what describes the source's own container, and the copies that QuickTime files hold per language."""
    keys = {key.lower() for key in metadata}
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in _OF_THE_FILE
        and not _STATISTICS.fullmatch(key)
        and not (re.fullmatch(r".+-[a-z]{3}", key) and key[:-4].lower() in keys)
    }
