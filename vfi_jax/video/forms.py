"""Forms of sources and targets: video files, pictures and pipes; what each of them offers, and which a name means."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol, runtime_checkable

from vfi_jax.system.unnamed import written_at_once
from vfi_jax.video import encode
from vfi_jax.video.decode import Reader, TimedFrame, VideoInfo, probe
from vfi_jax.video.options import Options, Position
from vfi_jax.video.streams import Cut
from vfi_jax.video.survey import Survey, survey

PIPE = Path("-")
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
    """What is interpolated.

    Attributes:
      path: its name in messages.
      info: what is known of it before it is decoded.
      notes: one line for all that is worth knowing before the work begins.
    """

    path: Path
    info: VideoInfo
    notes: tuple[str, ...]

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the frames of a part."""
        ...

    def open(self, rate: Fraction) -> Frames:
        """Opens it for decoding, with frames per second for those without times."""
        ...


@runtime_checkable
class Sink(Protocol):
    """A target that is open for writing."""

    def write(self, frame: TimedFrame) -> None:
        """Writes a frame; times increase."""
        ...

    def finish(self, end: Fraction) -> None:
        """Completes the target; the last frame is shown until `end`, seconds."""
        ...


@runtime_checkable
class Target(Protocol):
    """Where the frames go.

    Attributes:
      path: its name in messages; by it `encoders.container_of` knows how frames are stored.
    """

    path: Path

    def check(self, options: Options) -> None:
        """Checks name and folder before any work."""
        ...

    def check_content(self, info: VideoInfo, options: Options, frames: int | None) -> None:
        """Checks that it can hold frames and sound of a source."""
        ...

    def tick(self, info: VideoInfo, options: Options) -> Fraction:
        """Returns the seconds of which all its times are multiples."""
        ...

    def open(self, info: VideoInfo, options: Options, cut: Cut) -> AbstractContextManager[Sink]:
        """Opens it for writing; it appears under its name when the block succeeds."""
        ...


@dataclass(frozen=True)
class VideoSource:
    """A file that FFmpeg decodes."""

    path: Path
    info: VideoInfo
    notes: tuple[str, ...] = ()

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
    def open(self, info: VideoInfo, options: Options, cut: Cut) -> Iterator[Sink]:
        """Opens a file without a name, which gets its own at the end."""
        with (
            written_at_once(self.path, replace=options.overwrite) as partial,
            encode.Writer(partial, self.path, info, options, cut) as writer,
        ):
            yield writer


def source_of(given: Input, options: Options) -> Source:
    """Opens what a name means: - for a pipe, a folder or a pattern of pictures, two pictures, or a video file.

    Raises:
      UserError: there is no such thing, or it cannot be decoded.
      UsageError: `--input-fps` for what has a rate of its own.
    """
    return VideoSource(Path(given), probe(Path(given)))


def target_of(given: Path, source: Input, options: Options) -> Target:
    """Returns what a name means: - for a pipe, a pattern or a folder of pictures, or a video file."""
    return VideoTarget(Path(given), Path(source))
