"""A filter for VapourSynth: a clip with more frames per second.

For example, in a script for `vspipe` or a player:

    import vapoursynth as vs
    from vfi_jax.vapoursynth import interpolate

    clip = vs.core.resize.Bicubic(clip, format=vs.RGBS, matrix_in_s="709")
    interpolate(clip, factor=2).set_output()
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import vapoursynth as vs

from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator
from vfi_jax.video.options import MAX_FACTOR, Number, Options
from vfi_jax.video.timeline import check_midpoints

FORMATS = ("RGBS", "RGBH", "RGB24", "RGB48")


def interpolate(
    clip: vs.VideoNode,
    interpolator: Interpolator | None = None,
    *,
    factor: Number | None = None,
    fps: Number | None = None,
) -> vs.VideoNode:
    """Returns a clip with more frames per second.

    Frame k lies at place k / factor among the frames of the source. Frames of the source keep every sample; behind the
    last one it is repeated, so that n frames become n * factor and sound stays as long as the picture. A frame whose
    property `_SceneChangeNext` is 1 is repeated up to the next one, which may have `_SceneChangePrev` instead. Frame
    properties are those of the source's frame before; durations are divided.

    Args:
      clip: of constant size, in RGBS, RGBH, RGB24 or RGB48.
      interpolator: the model; None: the shipped default.
      factor: of the number of frames: 2, 2.5 or "5/2"; None: 2.
      fps: frames per second instead of a factor; the clip needs a constant rate then.

    Raises:
      vapoursynth.Error: another format, a clip of one frame or without a rate, or values that the model does not take.
    """
    try:
        return _interpolated(clip, interpolator, Options(factor=factor, fps=fps))
    except UserError as error:  # scripts show VapourSynth's own errors as one line
        raise vs.Error(f"vfi_jax: {error}") from None


def _interpolated(clip: vs.VideoNode, interpolator: Interpolator | None, options: Options) -> vs.VideoNode:
    _check(clip)
    multiple = _multiple(clip, options)
    interpolator = Interpolator() if interpolator is None else interpolator
    count = interpolator.spec.num_frames
    if not interpolator.model.any_time:
        check_midpoints(Options(factor=multiple), interpolator.model.variant, count)
    rate = clip.fps * multiple
    most = 2**63 - 1
    if rate.numerator > most or rate.denominator > most or int(clip.num_frames * multiple) > 2**31 - 1:
        raise UserError(f"{clip.num_frames} frames times {multiple} are more than VapourSynth holds")
    blank = vs.core.std.BlankClip(
        clip, length=int(clip.num_frames * multiple), fpsnum=rate.numerator, fpsden=rate.denominator, keep=True
    )
    offsets = range(1 - count // 2, 1 + count // 2)
    sources = [_shifted(clip, blank, multiple, offset) for offset in offsets]
    return blank.std.ModifyFrame(clips=sources, selector=_Selector(interpolator, multiple, clip.num_frames - 1))


def _check(clip: vs.VideoNode) -> None:
    if clip.format is None or clip.format.name not in FORMATS:
        name = "formats that vary" if clip.format is None else clip.format.name
        raise UserError(f"{', '.join(FORMATS)} are taken, not {name}: convert the clip with resize.Bicubic(format=...)")
    if not clip.width or not clip.height:
        raise UserError("the size of the frames varies: bring all to one size")
    if clip.num_frames < 2:
        raise UserError("the clip has one frame: there is nothing between")


def _multiple(clip: vs.VideoNode, options: Options) -> Fraction:
    """Returns how many frames become of one."""
    if options.rate is None:
        assert options.multiple is not None
        return options.multiple
    if not clip.fps:
        raise UserError("the clip has no constant rate: give a factor instead of fps, or set it by std.AssumeFPS")
    multiple = options.rate / clip.fps
    if not 0 < multiple <= MAX_FACTOR:
        raise UserError(f"{MAX_FACTOR} times as many frames at most are made; ask for lower fps")
    return multiple


def _shifted(clip: vs.VideoNode, blank: vs.VideoNode, multiple: Fraction, offset: int) -> vs.VideoNode:
    """Returns a clip whose frame k is the source's at place k / multiple, or `offset` behind it; the ends repeat."""
    last = clip.num_frames - 1

    def at(n: int) -> vs.VideoNode:
        number = min(max(int(n / multiple) + offset, 0), last)
        return clip[number]

    return blank.std.FrameEval(at, clip_src=[clip])


class _Selector:
    """Gives frame n from the frames around its place; the model runs once at a time."""

    def __init__(self, interpolator: Interpolator, multiple: Fraction, last: int) -> None:
        self._interpolator, self._multiple, self._last = interpolator, multiple, last
        self._lock = threading.Lock()

    def __call__(self, n: int, f: Sequence[vs.VideoFrame]) -> vs.VideoFrame:
        left, right = f[len(f) // 2 - 1 : len(f) // 2 + 1]
        number, t = divmod(n / self._multiple, 1)
        frame = left.copy()
        self._set_times(frame, t)
        if t and number < self._last and not _is_cut(left, right):
            with self._lock:
                (picture,) = self._interpolator.between([_picture(each) for each in f], [float(t)])
            for plane in range(3):
                np.copyto(np.asarray(frame[plane]), picture[..., plane])
        return frame

    def _set_times(self, frame: vs.VideoFrame, t: Fraction) -> None:
        """Divides the duration of a frame, and moves its time into the gap."""
        numerator, denominator = frame.props.get("_DurationNum"), frame.props.get("_DurationDen")
        if not numerator or not denominator:
            return
        gap = Fraction(int(numerator), int(denominator))
        duration = gap / self._multiple
        frame.props["_DurationNum"], frame.props["_DurationDen"] = duration.numerator, duration.denominator
        if "_AbsoluteTime" in frame.props:
            frame.props["_AbsoluteTime"] += float(t * gap)


def _is_cut(left: vs.VideoFrame, right: vs.VideoFrame) -> bool:
    return bool(left.props.get("_SceneChangeNext") or right.props.get("_SceneChangePrev"))


def _picture(frame: vs.VideoFrame) -> np.ndarray:
    """Returns a frame as `[h, w, 3]`; floats are clipped to 0..1."""
    planes = np.stack([np.asarray(frame[plane]) for plane in range(3)], -1)
    return np.clip(planes, 0, 1) if np.issubdtype(planes.dtype, np.floating) else planes
