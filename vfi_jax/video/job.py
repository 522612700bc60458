"""A job: what is read, written and asked, once it is known to be possible."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from vfi_jax.errors import UserError
from vfi_jax.video import forms, losses
from vfi_jax.video.coding.decode import VideoInfo
from vfi_jax.video.content.fields import undone
from vfi_jax.video.content.overlay import Overlay
from vfi_jax.video.forms import Input, Source, Target
from vfi_jax.video.losses import Loss
from vfi_jax.video.options import MAX_FACTOR, Options
from vfi_jax.video.pixels.formats import target_format
from vfi_jax.video.pixels.layout import layout_of
from vfi_jax.video.survey import Survey
from vfi_jax.video.timeline import rate_of, total


@dataclass(frozen=True)
class Job:
    """An interpolation that `check` has found to be possible.

    Attributes:
      source: what is read.
      target: what is written.
      options: what is asked.
      info: properties of the source.
      survey: of the source's packets.
      losses: what the target will lack beside the source.
    """

    source: Source
    target: Target
    options: Options
    info: VideoInfo
    survey: Survey
    losses: tuple[Loss, ...] = ()

    @property
    def has_opacity(self) -> bool:
        """Whether frames have opacity as a fourth channel: the source is transparent, and the target keeps it."""
        name = target_format(self.info, self.target.path, self.options)
        return self.info.has_alpha and layout_of(name).alpha

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for all that is worth knowing of the source before the work begins."""
        return (*self.source.notes, *((f"{self.damage}; what can be read is done",) if self.damage else ()))

    @property
    def damage(self) -> str:
        """Damage in the source that is known so far, with its time; "" for a source that looks whole."""
        time = self.survey.damage
        return "" if time is None else f"{self.source.path}: is damaged near {float(time):.3f} s"

    @property
    def total(self) -> int | None:
        """Number of frames of the target, which repeated timestamps and damage make smaller; None for a pipe."""
        return total_of(self.options, self.survey)


def check(source: Input, target: Path, options: Options | None = None) -> Job:
    """Checks, before any expensive work, whether `interpolate_video` can do what is asked.

    Reads the source's packets, decodes one frame, and writes the target's header to memory.

    Raises:
      UsageError: a target whose extension is unknown.
      UserError: the source is no video, or has no frames in the part that is asked for; the target's folder is missing,
        the target is a folder or the source itself, exists and is not to be replaced, or its container cannot hold the
        frame rate or the sound; there would be more than `MAX_FACTOR` times as many frames; or anything is lost
        although `options` are strict.
    """
    options = options or Options()
    given = forms.target_of(target, source, options)
    given.check(options)
    opened, packets = surveyed(source, options)
    info = dataclasses.replace(opened.info, rate=packets.rate)
    options = options.with_rate(info.rate)
    if options.mask is not None:
        Overlay(options.mask, (info.height, info.width))
    if options.curve is not None:
        info = dataclasses.replace(info, has_tracks=False, audio=())
    given.check_content(info, options, packets.frames)
    lost = losses.find(info, given.path, rate_of(options, info.rate), options, packets)
    lost += (losses.BESIDE,) * (opened.info.has_tracks and options.curve is not None)
    if packets.damage is not None and options.strict:
        raise UserError(
            f"{opened.path}: is damaged near {float(packets.damage):.3f} s; without --strict the rest is done"
        )
    if lost and options.strict:
        raise UserError(f"{target}: would lack parts of the source: {'; '.join(str(one) for one in lost)}")
    check_total(opened.path, info.rate, options, packets)
    return Job(opened, given, options, info, packets, lost)


def surveyed(source: Input, options: Options) -> tuple[Source, Survey]:
    """Opens a source, with its fields as asked, and surveys the part that is asked for.

    Raises:
      UserError: the source is no video, or has no frames in that part.
    """
    opened = undone(forms.source_of(source, options), options.fields)
    packets = opened.survey(options.begin, options.end)
    if options.is_part and packets.frames == 0:
        raise UserError(f"{opened.path}: has no frame from --from to --to")
    return opened, packets


def check_total(path: Path, rate: Fraction, options: Options, packets: Survey) -> None:
    """Raises UserError for a rate that would make too many frames of each.

    Args:
      path: of the source, for the message.
      rate: of the source, frames per second.
      options: what is asked.
      packets: of the source.
    """
    if packets.frames is None:
        if rate_of(options, rate) * options.stretch / rate > MAX_FACTOR:
            raise UserError(f"{path}: {MAX_FACTOR} times as many frames at most are made; ask for a lower --fps")
        return
    frames = total_of(options, packets)
    if frames is not None and frames > MAX_FACTOR * max(1, packets.frames):
        raise UserError(
            f"{path}: {packets.frames} frames would become {frames}, {MAX_FACTOR} times as many at most are made; "
            "ask for a lower --fps"
        )


def total_of(options: Options, packets: Survey) -> int | None:
    """Returns the number of frames of the target; None for a pipe, or where an unknown number is dropped."""
    if packets.frames is None or options.held == "drop":
        return None
    whole = options.loop or options.hold_last
    return total(options, packets.frames, packets.seconds + whole * packets.last)
