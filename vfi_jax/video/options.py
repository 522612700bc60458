"""The options of `interpolate_video` and of `vfi-jax interpolate`: one dataclass, whose fields are the command's flags.

A default, a bound or a help text stands here and nowhere else. Each field is checked, and texts are parsed, when
`Options` is created, before any file is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from vfi_jax.errors import UsageError
from vfi_jax.video import values
from vfi_jax.video.values import Number, Position, about, bounded, check_choice, flag_of, position

MAX_FACTOR = 1024
MAX_FPS = 10_000
PICTURE_RATE = 25


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `interpolate_video`.

    Numbers are fractions, whole numbers, or texts such as "5/2" and "59.94"; a float is the number that it prints as.
    Places in the clip are seconds, "hh:mm:ss.fff", or frames such as "120f", counted from 0.

    Attributes:
      factor: n frames become `floor((n - 1) * factor) + 1`; above 1, up to `MAX_FACTOR`; None: 2, or `slow`.
      fps: constant rate of the target, frames per second, instead of a factor.
      slow: all times are multiplied by it, above 1, and sound is stretched at its pitch.
      sound: "keep", or "drop" for a target without sound.
      start: the first frame at or after it becomes the first of the target, at time 0; None: the clip's first.
      stop: the last frame before it is the last of the target; None: the clip's last.
      loop: whether there are new frames between the last frame and the first as well.
      hold_last: whether the last frame is repeated until its display time ends, so that n frames become n * factor.
      cuts: what stands between the last frame of a shot and the first of the next: "repeat" the last, the "nearest" of
        the two, a "fade" from one to the other; or "off", for new frames as anywhere else.
      encoder: FFmpeg's name of the encoder, or a short one; None: the container's default, see `encoders`.
      quality: from 0, smallest, to `MAX_QUALITY`, best; None: the encoder's default.
      lossless: whether the encoder keeps every code of its pixel format.
      encoder_options: further options of the encoder by FFmpeg's names, "name=value:name=value" or a mapping. Colons in
        a value are written with a backslash before them.
      input_fps: frames per second of pictures, which have no rate of their own; None: `PICTURE_RATE`.
      latency: for pipes: every frame is passed on as soon as it can be.
      overwrite: whether an existing target is replaced.
      strict: whether it is an error if the target would lack anything of the source.

    Raises:
      UsageError: a value out of bounds, or values that exclude each other.
    """

    factor: Number | None = field(
        default=None,
        metadata=about("n frames become floor((n-1)*N)+1: 3, 2.5 or 5/2 (2; with --slow its value)", metavar="N"),
    )
    fps: Number | None = field(
        default=None,
        metadata=about("constant frames per second instead of a factor: 60, 59.94 or 60000/1001", metavar="R"),
    )
    slow: Number | None = field(
        default=None, metadata=about("slow motion: times are multiplied by N, sound is stretched", metavar="N")
    )
    sound: str = field(default="keep", metadata=about("keep or drop the sound (keep)", choices=("keep", "drop")))
    start: Number | Position | None = field(
        default=None,
        metadata=about("begin at this time or frame: 90.5, 1:30.5 or 120f", flag="--from", metavar="TIME"),
    )
    stop: Number | Position | None = field(
        default=None, metadata=about("end before this time or frame: 95, 1:35 or 240f", flag="--to", metavar="TIME")
    )
    loop: bool = field(
        default=False, metadata=about("for clips that repeat: also new frames between the last and the first")
    )
    hold_last: bool = field(
        default=False, metadata=about("repeat the last frame for its display time: n frames become n*N")
    )
    cuts: str = field(
        default="repeat",
        metadata=about(
            "at a cut: repeat the frame before, take the nearest, fade, or off: treat it as motion (repeat)",
            choices=("repeat", "nearest", "fade", "off"),
        ),
    )
    encoder: str | None = field(
        default=None,
        metadata=about(
            "libx264, libx265, libsvtav1, libvpx-vp9, prores_ks, dnxhd, ffv1, h264_nvenc, ... (by the output's name)",
            metavar="NAME",
        ),
    )
    quality: Number | None = field(
        default=None, metadata=about("from 0, smallest, to 100, best, on one scale for all encoders (70)", metavar="N")
    )
    lossless: bool = field(default=False, metadata=about("keep every code of the original frames"))
    encoder_options: str | Mapping[str, str] | None = field(
        default=None,
        metadata=about("further options of the encoder by FFmpeg's names: preset=slow:g=48", metavar="K=V:K=V"),
    )
    input_fps: Number | None = field(
        default=None, metadata=about("frames per second of pictures, which have no rate of their own (25)", metavar="R")
    )
    latency: bool = field(
        default=False, metadata=about("for pipes: pass every frame on as soon as it can be, not in batches")
    )
    overwrite: bool = field(default=False, metadata=about("replace an output that exists"))
    strict: bool = field(
        default=False, metadata=about("make it an error if the output would lack anything of the input")
    )

    def __post_init__(self) -> None:
        """Parses and checks the values, and those that exclude each other."""
        for entry in dataclasses.fields(self):
            check_choice(entry, getattr(self, entry.name))
        for first, second in (("factor", "fps"), ("loop", "hold_last"), ("quality", "lossless")):
            if getattr(self, first) not in (None, False) and getattr(self, second) not in (None, False):
                names = [flag_of(entry) for entry in dataclasses.fields(self) if entry.name in (first, second)]
                raise UsageError(f"{' and '.join(names)} exclude each other: give one of them")
        for name, most in (("factor", MAX_FACTOR), ("slow", MAX_FACTOR), ("fps", MAX_FPS), ("input_fps", MAX_FPS)):
            if getattr(self, name) is not None:
                least = 0 if name.endswith("fps") else 1
                object.__setattr__(self, name, bounded(name.replace("_", "-"), getattr(self, name), least, most))
        if self.quality is not None:
            object.__setattr__(self, "quality", values.quality(self.quality))
        if self.encoder_options is not None:
            object.__setattr__(self, "encoder_options", values.pairs(self.encoder_options))
        for name, flag in (("start", "--from"), ("stop", "--to")):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, position(flag, getattr(self, name)))
        end = self.end
        if end is not None and self.begin.is_frame == end.is_frame and self.begin >= end:
            raise UsageError("--to must lie after --from")

    @property
    def multiple(self) -> Fraction | None:
        """Frames of the target per frame of the source; None where the rate is asked for."""
        if self.fps is not None:
            return None
        return Fraction(self.factor or self.slow or 2)

    @property
    def rate(self) -> Fraction | None:
        """Frames per second of the target; None where the factor decides."""
        return None if self.fps is None else Fraction(self.fps)

    @property
    def picture_rate(self) -> Fraction:
        """Frames per second of pictures."""
        return Fraction(PICTURE_RATE if self.input_fps is None else self.input_fps)

    @property
    def stretch(self) -> Fraction:
        """Factor that all times are multiplied by."""
        return Fraction(self.slow or 1)

    @property
    def begin(self) -> Position:
        """The place of the first frame."""
        return Position(Fraction(0), is_frame=True) if self.start is None else position("--from", self.start)

    @property
    def end(self) -> Position | None:
        """The place before which the last frame lies; None: the end of the clip."""
        return None if self.stop is None else position("--to", self.stop)

    @property
    def encoder_pairs(self) -> Mapping[str, str]:
        """The further options of the encoder, by name."""
        return {} if self.encoder_options is None else values.pairs(self.encoder_options)

    @property
    def is_part(self) -> bool:
        """Whether a part of the clip is asked for."""
        return self.start is not None or self.stop is not None
