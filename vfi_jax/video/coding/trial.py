"""A trial of an encoder: it is opened as it will be, and compresses one frame, before any work is done."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from vfi_jax.errors import UsageError, UserError
from vfi_jax.video.coding import messages
from vfi_jax.video.coding.encoders import CONTAINERS, ENCODERS, Encoding, holds
from vfi_jax.video.pixels.palette import Palette
from vfi_jax.video.tracks.packets import EncodedPackets

_WARNING = 24  # AV_LOG_WARNING, at which encoders report parameters that they do not know
_IGNORED = re.compile(r"(?:Error parsing option|Unknown option|Invalid value for):? *'?(.*?)'?\.?$")
_RESERVED = (  # what follows from the source
    "time_base", "color_range", "colorspace", "color_primaries", "color_trc", "chroma_sample_location", "field_order",
    "aspect",
)  # fmt: skip


def check_encoder(
    target: Path, muxer: str, encoding: Encoding, add_stream: Callable[[OutputContainer], VideoStream]
) -> None:
    """Opens an encoder in a container in memory and encodes one frame.

    Args:
      target: stands in messages.
      muxer: FFmpeg's name of the container's muxer.
      encoding: the encoder and its options.
      add_stream: adds the encoder to the container, with the size and the format of the frames.

    Raises:
      UsageError: options that the encoder does not know, or values that it refuses.
      UserError: the encoder is not part of this FFmpeg, its device does not answer, or it refuses the frames.
    """
    if reserved := [name for name in encoding.asked if name in _RESERVED]:
        raise UsageError(f"--encoder-options {reserved[0]}: follows from the source; leave it out")
    if encoding.codec not in av.codecs_available:
        raise UserError(f"{target}: this FFmpeg has no {encoding.codec}; {_others(muxer, encoding.codec)}")
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes to stderr by itself, and asks only this
    log: list[tuple[int, str, str]] = []
    try:
        unknown = encode_one(muxer, add_stream, log)
    except (av.FFmpegError, ValueError) as error:
        raise _refusal(target, muxer, encoding, _reason(log, error)) from error
    if unknown := [*unknown, *_ignored(log)]:
        names = ", ".join(unknown)
        raise UsageError(
            f"--encoder-options {names}: unknown to {encoding.codec}; leave out, or choose another --encoder"
        )


def encode_one(
    muxer: str, add_stream: Callable[[OutputContainer], VideoStream], log: list[tuple[int, str, str]]
) -> list[str]:
    """Encodes a black frame; returns the names of the options that nobody has taken.

    Args:
      muxer: FFmpeg's name.
      add_stream: adds the encoder to a container.
      log: gets what FFmpeg says meanwhile.

    Raises:
      av.FFmpegError, ValueError: the encoder cannot be opened, or refuses the frame.
    """
    with av.open(io.BytesIO(), "w", format=muxer) as out:
        stream = add_stream(out)
        with messages.passed_on(_WARNING, _WARNING) as said:
            try:
                out.start_encoding()
                unknown = list(stream.codec_context.options)
                packets, frame = EncodedPackets(stream), _black(stream)
                out.mux([*packets.encode(frame), *packets.encode(None)])
            finally:
                log += said
    return unknown


def _black(stream: VideoStream) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.zeros((stream.height, stream.width, 3), np.uint8), "rgb24")
    frame = Palette(has_alpha=False)(frame) if stream.pix_fmt == "pal8" else frame.reformat(format=stream.pix_fmt)
    frame.pts, frame.time_base, frame.duration = 0, stream.time_base or Fraction(1, 25), 1
    return frame


def _reason(log: list[tuple[int, str, str]], error: Exception) -> str:
    """Returns the first message of an error, which is the most exact one."""
    texts = [text.strip() for level, _, text in log if level < _WARNING and text.strip()]
    return (texts[0] if texts else getattr(error, "strerror", None) or str(error)).rstrip(".")


def _refusal(target: Path, muxer: str, encoding: Encoding, reason: str) -> UserError | UsageError:
    encoder = ENCODERS[encoding.codec]
    if encoding.asked and not encoder.device:
        asked = ":".join(f"{name}={value}" for name, value in encoding.options if name in encoding.asked)
        return UsageError(f"--encoder-options {asked}: {encoding.codec} refuses ({reason}); change or leave out")
    if encoder.device:
        return UserError(
            f"{target}: {encoding.codec} does not answer ({reason}); it needs {encoder.device}; "
            f"{_others(muxer, encoding.codec)}"
        )
    return UserError(f"{target}: {encoding.codec} refuses these frames ({reason}); {_others(muxer, encoding.codec)}")


def _ignored(log: list[tuple[int, str, str]]) -> list[str]:
    """Names parameters within a list such as x264-params that the encoder has left out."""
    return [found[1] for _, _, text in log if (found := _IGNORED.match(text.strip()))]


def _others(muxer: str, name: str) -> str:
    containers = [container for container in CONTAINERS.values() if container.muxer == muxer]
    names = [
        other.name
        for other in ENCODERS.values()
        if any(holds(container, other) for container in containers)
        and not other.device
        and other.name != name
        and other.name in av.codecs_available
    ]
    return f"choose --encoder {' or '.join(names)}" if names else "choose another output"
