"""The options of `interpolate_video` and of `vfi-jax interpolate`: one dataclass, whose fields are the command's flags.

A default, a bound or a help text stands here and nowhere else. Each field is checked, and texts are parsed, when
`Options` is created, before any file is opened.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vfi_jax.errors import UsageError
from vfi_jax.video import values
from vfi_jax.video.content.curve import Curve, read
from vfi_jax.video.values import Number, Position, about, bounded, check_choice, flag_of, position

MAX_FACTOR = 1024
MAX_FPS = 10_000
PICTURE_RATE = 25
_BOUNDS = (  # fields that are numbers: above the first, up to the second
    ("factor", 1, MAX_FACTOR), ("slow", 1, MAX_FACTOR), ("shutter", 0, 1), ("fps", 0, MAX_FPS),
    ("input_fps", 0, MAX_FPS),
)  # fmt: skip
_ALONE = (  # further fields that exclude each other
    ("loop", "speed_curve"), ("hold_last", "speed_curve"), ("slow", "speed_curve"), ("loop", "held"),
)  # fmt: skip


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
      held: frames that are like the one before are kept ("keep"); or left out, and "fill" puts new ones in
        their places, where "drop" does not.
      fields: "keep" them; or make whole "frames" of interlaced ones, one of each of the "fields", or restore the "film"
        from telecined ones; "auto": what the source needs.
      mask: a picture of the frames' size, white where logos, subtitles and the like may lie, which do not move.
      shutter: exposure, as a share of the distance of two frames, up to 1; None: frames are moments.
      speed_curve: a file of rates over time, or the `Curve`; the target has a constant rate: `fps`, or `factor` (1)
        times the source's.
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
      UserError: see `content.curve.read`.
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
    held: str = field(
        default="keep",
        metadata=about(
            "frames like the one before: keep them, fill their places with new ones, or drop them (keep)",
            choices=("keep", "fill", "drop"),
        ),
    )
    fields: str = field(
        default="keep",
        metadata=about(
            "of interlaced and telecined clips: keep them, make frames of frames or of fields, restore the film, or "
            "auto: as needed (keep)",
            choices=("keep", "auto", "frames", "fields", "film"),
        ),
    )
    mask: str | Path | None = field(
        default=None,
        metadata=about("a picture, white where logos, subtitles and overlays lie, which do not move", metavar="FILE"),
    )
    shutter: Number | None = field(
        default=None, metadata=about("motion blur: exposure as a share of the distance of two frames: 0.5", metavar="A")
    )
    speed_curve: str | Path | Curve | None = field(
        default=None,
        metadata=about("rates over time: a file with lines such as 2.5 0.25", metavar="FILE"),
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
        for first, second in (("factor", "fps"), ("loop", "hold_last"), ("quality", "lossless"), *_ALONE):
            if all(getattr(self, name) not in (None, False, "keep") for name in (first, second)):
                names = [flag_of(entry) for entry in dataclasses.fields(self) if entry.name in (first, second)]
                raise UsageError(f"{' and '.join(names)} exclude each other: give one of them")
        for name, least, most in _BOUNDS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, bounded(name.replace("_", "-"), getattr(self, name), least, most))
        if self.quality is not None:
            object.__setattr__(self, "quality", values.quality(self.quality))
        if self.encoder_options is not None:
            object.__setattr__(self, "encoder_options", values.pairs(self.encoder_options))
        if self.mask is not None:
            object.__setattr__(self, "mask", Path(self.mask))
        if self.speed_curve is not None and not isinstance(self.speed_curve, Curve):
            object.__setattr__(self, "speed_curve", read(Path(self.speed_curve)))
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
        if self.curve is not None:
            return Fraction(self.factor or 1)
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
    def curve(self) -> Curve | None:
        """Rates over time."""
        return self.speed_curve if isinstance(self.speed_curve, Curve) else None

    def with_rate(self, rate: Fraction) -> Options:
        """Returns the options with a constant rate where a speed curve needs one, for that of the source."""
        if self.curve is None or self.rate is not None:
            return self
        return dataclasses.replace(self, fps=rate * (self.multiple or 1), factor=None)

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
