"""Forms of sources and targets: video files, pictures and pipes; what each of them offers, and which a name means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

from vfi_jax.errors import UsageError, UserError
from vfi_jax.system.unnamed import written_at_once
from vfi_jax.video.coding import encode, encoders
from vfi_jax.video.coding.decode import Reader, TimedFrame, VideoInfo, probe
from vfi_jax.video.options import Options
from vfi_jax.video.pictures import sequences
from vfi_jax.video.pictures.animation import open_webp
from vfi_jax.video.pictures.reader import open_pictures
from vfi_jax.video.pictures.sequences import Pictures
from vfi_jax.video.pictures.writer import PictureTarget
from vfi_jax.video.pipes import PIPE, PipeTarget, standard_input
from vfi_jax.video.segments.journal import Journal
from vfi_jax.video.survey import Survey, survey
from vfi_jax.video.tracks.streams import Cut
from vfi_jax.video.values import Position

_STILLS = (".heic", ".avif")  # files like those of videos
Input = Path | Sequence[Path]


@runtime_checkable
class Frames(Protocol):
    """A source that is open for decoding; a context manager.

    Attributes:
      info: the source.
      notes: one line for each repair; complete once `frames` is exhausted.
    """

    info: VideoInfo

    @property
    def notes(self) -> list[str]:
        """Lists repairs."""
        ...

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields the frames of a part, in the order of time."""
        ...

    def __enter__(self) -> Frames: ...
    def __exit__(self, *_: object) -> None: ...


@runtime_checkable
class Source(Protocol):
    """A source of frames: a video, pictures or a pipe.

    Attributes:
      path: its name in messages.
      info: what is known of it before it is decoded.
      notes: one line for all that is worth knowing before the work begins.
    """

    path: Path
    info: VideoInfo
    notes: tuple[str, ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read; none for what can be read only once."""
        ...

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the frames of a part."""
        ...

    def open(self, rate: Fraction) -> Frames:
        """Opens it for decoding, with frames per second for those without times."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A target that is open for writing.

    Attributes:
      finished: number of frames that are there from an earlier run.
    """

    finished: int

    def write(self, frame: TimedFrame) -> None:
        """Writes a frame; times increase."""
        ...

    def begin_segment(self, frames: int) -> None:
        """Makes the next frame the first of a segment, which depends on nothing before; `frames` come before it."""
        ...

    def finish(self, end: Fraction) -> None:
        """Completes the target; the last frame is shown until `end`, seconds."""
        ...


@runtime_checkable
class Target(Protocol):
    """Where the frames go.

    Attributes:
      path: its name in messages; by it `encoders.container_of` knows how frames are stored.
      is_stream: whether frames are gone once they are written, so that those before an error count.
    """

    path: Path
    is_stream: bool

    def check(self, options: Options) -> None:
        """Checks name and folder before any work."""
        ...

    def check_content(self, info: VideoInfo, options: Options, frames: int | None) -> None:
        """Checks that it can hold frames and sound of a source."""
        ...

    def tick(self, info: VideoInfo, options: Options) -> Fraction:
        """Returns the seconds of which all its times are multiples."""
        ...

    def open(
        self, info: VideoInfo, options: Options, cut: Cut, job: Mapping[str, str] | None
    ) -> AbstractContextManager[Sink]:
        """Opens it for writing; it appears under its name when the block succeeds.

        Where it does not, what is finished is kept for a run of the same `job`, if that is not None.
        """
        ...


@dataclass(frozen=True)
class VideoSource:
    """A file that FFmpeg decodes."""

    path: Path
    info: VideoInfo
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Reads all packets."""
        return survey(self.path, begin, end)

    def open(self, rate: Fraction) -> Frames:
        """Opens the file."""
        return Reader(self.path, rate)


@dataclass(frozen=True)
class VideoTarget:
    """A file that FFmpeg writes, and the source, which it must not be."""

    path: Path
    source: Path
    is_stream: bool = False

    def check(self, options: Options) -> None:
        """Checks the extension, the folder, and what stands under the name."""
        encode.check_target(self.source, self.path, overwrite=options.overwrite)

    def check_content(self, info: VideoInfo, options: Options, frames: int | None) -> None:
        """Writes the header to memory."""
        encode.check_streams(self.path, info, options, 2 if frames is None else frames)

    def tick(self, info: VideoInfo, options: Options) -> Fraction:
        """Returns the container's ticks."""
        return encode.target_tick(self.path, info, options)

    @contextlib.contextmanager
    def open(self, info: VideoInfo, options: Options, cut: Cut, job: Mapping[str, str] | None) -> Iterator[Sink]:
        """Opens a file without a name, which gets its own at the end."""
        is_kept = job is not None and encode.can_resume(self.path, info, options)
        with (
            Journal(self.path, job or {}) if is_kept else contextlib.nullcontext() as journal,
            written_at_once(self.path, replace=options.overwrite) as partial,
            encode.Writer(partial, self.path, info, options, cut, journal) as writer,
        ):
            yield writer


def source_of(given: Input, options: Options) -> Source:
    """Opens what a name means: - for a pipe, a folder or a pattern of pictures, two pictures, or a video file.

    Raises:
      UserError: there is no such thing, or it cannot be decoded.
      UsageError: `--input-fps` for what has a rate of its own.
    """
    found = _pictures(given)
    if found is not None:
        return open_pictures(found, options.picture_rate)
    if options.input_fps is not None:
        raise UsageError(f"--input-fps: {given} has a rate of its own; leave it out")
    path = _one(given)
    if path == PIPE:
        return standard_input()
    if path.suffix.lower() == ".webp" and path.is_file():
        return open_webp(path)
    info = probe(path)
    if info.container.endswith("_pipe") or info.container == "image2" or path.suffix.lower() in _STILLS:
        raise UserError(f"{path} is one picture: there is nothing between; a second picture, or a video is needed")
    return VideoSource(path, info)


def target_of(given: Path, source: Input, options: Options) -> Target:
    """Returns what a name means: - for a pipe, a pattern or a folder of pictures, or a video file.

    A name without an extension, or of a folder, is a folder of pictures: of the source's kind, named and numbered like
    the source's, or PNGs from 000001.png on.
    """
    path = Path(given)
    if path == PIPE:
        return PipeTarget()
    if options.latency:
        raise UsageError(f"--latency is for an output to a pipe, -o -, not for {path}; leave it out")
    if not is_folder(path) and not encoders.is_pattern(path.name):
        return VideoTarget(path, _one(source) if _pictures(source) is None else Path("-"))
    found = _pictures(source)
    files = frozenset(found.files if found else ())
    if not is_folder(path):
        return PictureTarget(path, 1 if found is None else found.first, files)
    if found is None or found.files[0].suffix.lower() not in encoders.PICTURES:
        return PictureTarget(path / "%06d.png", 1, files)
    return PictureTarget(path / found.pattern, found.first, files)


def is_folder(path: Path) -> bool:
    """Whether a target's name means a folder of pictures: it is one, or has no extension."""
    return path.suffix.lower() not in encoders.CONTAINERS and (path.is_dir() or not (path.suffix or path.exists()))


def _one(given: Input) -> Path:
    """Returns the only name.

    Raises:
      UsageError: there are several.
    """
    names = [given] if isinstance(given, str | Path) else list(given)
    if len(names) != 1:
        raise UsageError(f"{len(names)} inputs: give one, or two pictures; for more pictures give their folder")
    return Path(names[0])


def _pictures(given: Input) -> Pictures | None:
    """Returns the sequence of pictures that is meant; None if it is something else."""
    names = [given] if isinstance(given, str | Path) else list(given)
    if len(names) == 2:
        return sequences.pair(Path(names[0]), Path(names[1]))
    path = _one(given)
    if path != PIPE and (path.is_dir() or sequences.is_pattern(path)):
        return sequences.find(path)
    return None
