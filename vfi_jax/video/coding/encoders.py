"""Encoders and containers: the table of what compresses frames, at which quality, and of what holds the result.

Quality is one scale for all encoders, from 0 (smallest) to 100 (best), whose default is 70. It is translated into the
scale of each encoder, by one straight line below the default and another above it; intermediate codecs (ProRes, DNxHR)
have a few profiles instead, of which it chooses one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

from vfi_jax.errors import UsageError
from vfi_jax.video.options import Options
from vfi_jax.video.values import MAX_QUALITY

USUAL_QUALITY = 70
Pairs = tuple[tuple[str, str], ...]
PARAMETERS = ("x264-params", "x265-params", "svtav1-params")  # lists of further options, which add up
RATES = (  # options of FFmpeg that choose quality or size, each of which replaces `--quality`
    "b", "crf", "qp", "cq", "global_quality", "qp_i", "qp_p", "qp_b", "rc", "lossless", "profile",
)  # fmt: skip


class Profile(NamedTuple):
    """A profile of an intermediate codec.

    Attributes:
      name: FFmpeg's.
      least: quality from which it is chosen.
      formats: pixel formats that it holds.
    """

    name: str
    least: int
    formats: tuple[str, ...]


class Scale(NamedTuple):
    """An encoder's own scale of quality.

    Attributes:
      names: its options, which all get the value.
      worst: the value for quality 0.
      usual: the value for the default.
      best: the value for quality 100.
      digits: decimals that it takes.
    """

    names: tuple[str, ...]
    worst: int
    usual: int
    best: int
    digits: int = 0

    def value(self, quality: Fraction) -> str:
        """Returns the value for a quality."""
        if quality <= USUAL_QUALITY:
            exact = self.worst + (self.usual - self.worst) * quality / USUAL_QUALITY
        else:
            exact = self.usual + (self.best - self.usual) * (quality - USUAL_QUALITY) / (MAX_QUALITY - USUAL_QUALITY)
        return f"{round(float(exact), self.digits):g}"


PLACE = re.compile(r"%(0\d{1,2})?d")  # of the number in the names of pictures


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg's.

    Attributes:
      name: FFmpeg's.
      codec: FFmpeg's name of what it writes.
      about: its name in words.
      aliases: other names by which it can be asked for.
      options: (name, value) pairs that it always gets.
      scale: of its quality; None: it has none, or has profiles.
      profiles: from worst to best.
      lossless: pairs that make it keep every code; None: it cannot.
      is_lossless: whether it always does.
      device: the device that it needs.
    """

    name: str
    codec: str
    about: str
    aliases: tuple[str, ...] = ()
    options: Pairs = ()
    scale: Scale | None = None
    profiles: tuple[Profile, ...] = ()
    lossless: Pairs | None = None
    is_lossless: bool = False
    device: str = ""

    @property
    def has_quality(self) -> bool:
        """Whether there is anything to choose."""
        return self.scale is not None or bool(self.profiles)


@dataclass(frozen=True)
class Container:
    """A file format.

    Attributes:
      muxer: FFmpeg's name.
      encoder: FFmpeg's name of the encoder used in it by default.
      codecs: what it holds beside that of its own encoder.
      is_bare: whether it holds frames only: no sound, no tags.
      has_times: whether frames may lie at any times; elsewhere they follow each other at a constant rate.
    """

    muxer: str
    encoder: str
    codecs: tuple[str, ...] = ()
    is_bare: bool = False
    has_times: bool = True


@dataclass(frozen=True)
class Encoding:
    """How frames are compressed.

    Attributes:
      codec: FFmpeg's name of the encoder.
      options: (name, value) pairs for the encoder, but for those that depend on the pixel format.
      is_lossless: whether these make it keep every code.
      profiles: (name, pixel formats) of which the first that fits is used.
      asked: names of the options that were asked for one by one.
    """

    codec: str
    options: Pairs = ()
    is_lossless: bool = False
    profiles: tuple[tuple[str, tuple[str, ...]], ...] = ()
    asked: tuple[str, ...] = ()

    def options_for(self, pixel_format: str, more: Mapping[str, str]) -> dict[str, str]:
        """Returns the options for a pixel format, to which those of `more` are added."""
        options = dict(self.options)
        fitting = (name for name, formats in self.profiles if pixel_format in formats)
        if "profile" not in options and (profile := next(fitting, None)):
            options["profile"] = profile
        return joined(more, options)


_422, _422_10 = ("yuv422p",), ("yuv422p10le",)
_444_10, _PRORES_4444 = ("yuv444p10le", "gbrp10le"), ("yuv444p10le", "yuva444p10le")
_NVENC = {
    "options": (("preset", "p5"), ("forced-idr", "1"), ("rc", "vbr"), ("b", "0")),
    "scale": Scale(("cq",), 51, 22, 4, 1),
    "lossless": (("preset", "p5"), ("forced-idr", "1"), ("tune", "lossless")),
    "device": "a GPU of NVIDIA's with its driver",
}
_QSV = {
    "options": (("preset", "medium"), ("forced_idr", "1")),
    "scale": Scale(("global_quality",), 51, 22, 4),
    "device": "a GPU of Intel's with its driver",
}
_AMF = {
    "options": (("rc", "cqp"), ("quality", "quality"), ("forced_idr", "1")),
    "scale": Scale(("qp_i", "qp_p"), 51, 22, 4),
    "device": "a GPU of AMD's with its driver",
}
_VIDEOTOOLBOX = {
    "options": (("flags", "+qscale"),),
    "scale": Scale(("global_quality",), 118, 118 * 70, 118 * 100),  # in FFmpeg's unit, of which 118 are a step
    "device": "a Mac",
}

# Defaults are chosen by results/encoders.csv: originals of a real clip keep 44 dB.
ENCODERS = {
    encoder.name: encoder
    for encoder in (
        # Where x264 chooses its code by the processor, two runs may give different bytes.
        Encoder("libx264", "h264", "H.264", ("x264", "h264"),
                (("preset", "medium"), ("x264-params", "cpu-independent=1")), Scale(("crf",), 51, 19, 4, 1),
                lossless=(("preset", "medium"), ("qp", "0"))),
        Encoder("libx265", "hevc", "HEVC", ("x265", "h265", "hevc"),
                (("preset", "medium"), ("forced-idr", "1"), ("x265-params", "log-level=none")),
                Scale(("crf",), 51, 20, 4, 1),
                lossless=(("preset", "medium"), ("forced-idr", "1"), ("x265-params", "log-level=none:lossless=1"))),
        Encoder("libsvtav1", "av1", "AV1", ("svtav1", "svt-av1", "av1"), (("preset", "6"),),
                Scale(("crf",), 63, 31, 4), lossless=(("preset", "6"), ("svtav1-params", "lossless=1"))),
        Encoder("libvpx-vp9", "vp9", "VP9", ("vp9",), (("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1")),
                Scale(("crf",), 63, 34, 4),
                lossless=(("deadline", "good"), ("cpu-used", "4"), ("row-mt", "1"), ("lossless", "1"))),
        Encoder("prores_ks", "prores", "ProRes", ("prores",), (("vendor", "apl0"),), None,
                (Profile("proxy", 0, _422_10), Profile("lt", 25, _422_10), Profile("standard", 50, _422_10),
                 Profile("hq", 65, _422_10), Profile("4444", 0, _PRORES_4444), Profile("4444xq", 85, _PRORES_4444))),
        Encoder("dnxhd", "dnxhd", "DNxHR", ("dnxhr",), (), None,
                (Profile("dnxhr_lb", 0, _422), Profile("dnxhr_sq", 40, _422), Profile("dnxhr_hq", 65, _422),
                 Profile("dnxhr_hqx", 0, _422_10), Profile("dnxhr_444", 0, _444_10))),
        Encoder("ffv1", "ffv1", "FFV1", (), (("level", "3"), ("slicecrc", "1")), lossless=(), is_lossless=True),
        Encoder("h264_nvenc", "h264", "H.264 (NVENC)", **_NVENC),
        Encoder("hevc_nvenc", "hevc", "HEVC (NVENC)", **_NVENC),
        Encoder("av1_nvenc", "av1", "AV1 (NVENC)", **{**_NVENC, "lossless": None}),
        Encoder("h264_qsv", "h264", "H.264 (QSV)", **_QSV),
        Encoder("hevc_qsv", "hevc", "HEVC (QSV)", **_QSV),
        Encoder("av1_qsv", "av1", "AV1 (QSV)", **_QSV),
        Encoder("h264_amf", "h264", "H.264 (AMF)", **_AMF),
        Encoder("hevc_amf", "hevc", "HEVC (AMF)", **_AMF),
        Encoder("av1_amf", "av1", "AV1 (AMF)", **_AMF),
        Encoder("mpeg4", "mpeg4", "MPEG-4", (), (), Scale(("qmin", "qmax"), 31, 2, 1)),
        Encoder("gif", "gif", "GIF", (), (("gifflags", "0"),)),  # or frames whose palette returns lose pixels
        Encoder("apng", "apng", "APNG", lossless=(), is_lossless=True),
        Encoder("libwebp_anim", "webp", "animated WebP", (), (("compression_level", "2"),),
                Scale(("quality",), 0, 90, 100), lossless=(("lossless", "1"), ("compression_level", "2"))),
        Encoder("libwebp", "webp", "WebP", (), (), Scale(("quality",), 0, 95, 100),
                lossless=(("lossless", "1"),)),
        Encoder("png", "png", "PNG", lossless=(), is_lossless=True),
        Encoder("mjpeg", "mjpeg", "JPEG", (), (), Scale(("qmin", "qmax"), 31, 2, 1)),
        Encoder("tiff", "tiff", "TIFF", (), (("compression_algo", "deflate"),), lossless=(), is_lossless=True),
        Encoder("exr", "exr", "EXR", (), (("compression", "zip16"),), lossless=(), is_lossless=True),
        Encoder("bmp", "bmp", "BMP", lossless=(), is_lossless=True),
        Encoder("rawvideo", "rawvideo", "y4m", lossless=(), is_lossless=True),
        Encoder("h264_videotoolbox", "h264", "H.264 (VideoToolbox)", **_VIDEOTOOLBOX),
        Encoder("hevc_videotoolbox", "hevc", "HEVC (VideoToolbox)", **_VIDEOTOOLBOX),
    )
}  # fmt: skip
_MP4 = Container("mp4", "libx264", ("h264", "hevc", "av1", "vp9", "ffv1"))
CONTAINERS = {  # by the extension of a file's name
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Container("mov", "libx264", ("h264", "hevc", "prores", "dnxhd")),
    ".mkv": Container("matroska", "libx264", ("h264", "hevc", "av1", "vp9", "ffv1", "prores")),
    ".webm": Container("webm", "libvpx-vp9", ("vp9", "av1")),
    ".avi": Container("avi", "mpeg4", ("ffv1",), has_times=False),
    ".ts": Container("mpegts", "libx264", ("h264", "hevc")),
    ".gif": Container("gif", "gif", is_bare=True),
    ".apng": Container("apng", "apng", is_bare=True),
    ".webp": Container("webp", "libwebp_anim", is_bare=True),
}

PICTURES = {  # by the extension of a pattern of names, such as out/%06d.png
    suffix: Container("image2", encoder, is_bare=True, has_times=False)
    for suffix, encoder in {
        ".png": "png",
        ".jpg": "mjpeg",
        ".jpeg": "mjpeg",
        ".tif": "tiff",
        ".tiff": "tiff",
        ".webp": "libwebp",
        ".exr": "exr",
        ".bmp": "bmp",
    }.items()
}

PIPE = Container("yuv4mpegpipe", "rawvideo", is_bare=True, has_times=False)


def container_of(target: Path) -> Container:
    """Returns the container that a target's name chooses: by its extension, y4m for -, pictures for a pattern with %d.

    Raises:
      UsageError: the extension is unknown.
    """
    suffix = target.suffix.lower()
    if str(target) == "-":
        return PIPE
    if is_pattern(target.name) and suffix in PICTURES:
        return PICTURES[suffix]
    if suffix in CONTAINERS:
        return CONTAINERS[suffix]
    raise UsageError(f"{target}: the output's name must end in one of {', '.join(CONTAINERS)}")


def is_bare(muxer: str) -> bool:
    """Whether files of a muxer hold frames only."""
    return any(form.is_bare for form in (*CONTAINERS.values(), *PICTURES.values(), PIPE) if form.muxer == muxer)


def is_pattern(name: str) -> bool:
    """Whether a name stands for numbered pictures: it holds %d or %06d, as FFmpeg's."""
    return PLACE.search(name) is not None


def encoder_named(name: str) -> Encoder:
    """Returns an encoder by its name or one of its other names.

    Raises:
      UsageError: it is not in the table.
    """
    for encoder in ENCODERS.values():
        if name in (encoder.name, *encoder.aliases):
            return encoder
    raise UsageError(f"--encoder {name[:40]}: unknown; choose one of {', '.join(ENCODERS)}")


def holds(container: Container, encoder: Encoder) -> bool:
    """Whether a container holds what an encoder writes."""
    return encoder.name == container.encoder or encoder.codec in container.codecs


def encoder_of(container: Container, options: Options) -> Encoder:
    """Returns the encoder that is asked for, or the container's.

    Raises:
      UsageError: it is unknown, or its codec does not go into the container.
    """
    encoder = encoder_named(options.encoder or container.encoder)
    if not holds(container, encoder):
        files = ", ".join(suffix for suffix, other in CONTAINERS.items() if holds(other, encoder))
        held = ", ".join(other.name for other in ENCODERS.values() if holds(container, other) and not other.device)
        raise UsageError(
            f"--encoder {encoder.name}: {container.muxer} does not hold {encoder.about}; write to {files}, or choose "
            f"--encoder {held}"
        )
    return encoder


def encoding_of(container: Container, options: Options) -> Encoding:
    """Returns how frames are compressed in a container, for what is asked.

    Raises:
      UsageError: an unknown encoder, one whose codec does not go into the container, or one that has no quality or
        cannot be lossless although this is asked; or options that exclude each other.
    """
    encoder = encoder_of(container, options)
    asked = dict(options.encoder_pairs)
    _check_rates(encoder, options, asked)
    if options.lossless:
        assert encoder.lossless is not None
        chosen = dict(encoder.lossless) or dict(encoder.options)
    else:
        chosen = dict(encoder.options) | _of_quality(encoder, options, asked)
    if encoder.device and any(name in RATES for name in asked):
        chosen = {name: value for name, value in chosen.items() if name not in RATES}
    quality = Fraction(USUAL_QUALITY if options.quality is None else options.quality)
    profiles = sorted((p for p in encoder.profiles if p.least <= quality), key=lambda p: -p.least)
    return Encoding(
        encoder.name,
        tuple(joined(chosen, asked).items()),
        encoder.is_lossless or options.lossless,
        tuple((profile.name, profile.formats) for profile in profiles),
        tuple(asked),
    )


def joined(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Returns the options of both; those of the second replace the first's, and lists of parameters are joined."""
    lists = {name: f"{first[name]}:{second[name]}" for name in PARAMETERS if name in first and name in second}
    return {**first, **second, **lists}


def _check_rates(encoder: Encoder, options: Options, asked: Mapping[str, str]) -> None:
    """Checks quality, lossless and the options that replace them against the encoder, and against each other."""
    if options.lossless and encoder.lossless is None:
        able = ", ".join(other.name for other in ENCODERS.values() if other.lossless is not None and not other.device)
        raise UsageError(f"--lossless: {encoder.name} is always lossy; choose one of {able}")
    if options.quality is not None and not encoder.has_quality:
        raise UsageError(f"--quality: {encoder.name} has none to choose; leave it out, or choose another --encoder")
    rates = [name for name in asked if name in RATES and (name != "profile" or encoder.profiles)]
    if rates and (options.lossless or options.quality is not None):
        flag = "--lossless" if options.lossless else "--quality"
        raise UsageError(f"{flag} and --encoder-options {rates[0]} exclude each other: give one of them")


def _of_quality(encoder: Encoder, options: Options, asked: Mapping[str, str]) -> dict[str, str]:
    """Returns the options that set the quality, unless it is set by another one."""
    if encoder.scale is None or any(name in RATES for name in asked):
        return {}
    value = encoder.scale.value(Fraction(USUAL_QUALITY if options.quality is None else options.quality))
    return dict.fromkeys(encoder.scale.names, value)
