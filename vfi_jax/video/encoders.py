"""Encoders and containers: the table of what compresses frames, with which options, and what holds the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vfi_jax.errors import UsageError
from vfi_jax.video.options import Options


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed.

    Attributes:
      codec: FFmpeg's name of the encoder.
      options: (name, value) pairs for the encoder.
      is_lossless: whether these make it keep every code.
    """

    codec: str
    options: tuple[tuple[str, str], ...] = ()
    is_lossless: bool = False


@dataclass(frozen=True)
class Container:
    """A file format.

    Attributes:
      muxer: FFmpeg's name.
      encoder: FFmpeg's name of the encoder used in it by default.
    """

    muxer: str
    encoder: str


# Visually lossless: the frames are the product, and a smaller file is one re-encoding away.
ENCODERS = {
    encoding.codec: encoding
    for encoding in (
        Encoding("libx264", (("crf", "16"), ("preset", "veryfast"))),
        Encoding("libvpx-vp9", (("crf", "20"), ("deadline", "good"), ("cpu-used", "5"), ("row-mt", "1"))),
    )
}

CONTAINERS = {  # by the extension of a file's name
    ".mp4": Container("mp4", "libx264"),
    ".m4v": Container("mp4", "libx264"),
    ".mov": Container("mov", "libx264"),
    ".mkv": Container("matroska", "libx264"),
    ".webm": Container("webm", "libvpx-vp9"),
}


def container_of(target: Path) -> Container:
    """Returns the container that a target's extension chooses.

    Raises:
      UsageError: the extension is unknown.
    """
    try:
        return CONTAINERS[target.suffix.lower()]
    except KeyError:
        raise UsageError(f"{target}: the output's name must end in one of {', '.join(CONTAINERS)}") from None


def encoding_of(container: Container, options: Options) -> Encoding:
    """Returns how frames are compressed in a container, for what is asked."""
    del options
    return ENCODERS[container.encoder]
