"""Reading a sequence of pictures: one form for all of them, and frames at a constant rate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError

from vfi_jax.data.images import has_end
from vfi_jax.errors import UserError
from vfi_jax.video.coding.decode import TimedFrame, VideoInfo
from vfi_jax.video.pictures.sequences import Pictures
from vfi_jax.video.pixels import linear
from vfi_jax.video.pixels.color import FULL, LIMITED, UNKNOWN_SITING, Color
from vfi_jax.video.pixels.layout import Turn, layout_of
from vfi_jax.video.pixels.rgb import ToRGB
from vfi_jax.video.survey import Survey
from vfi_jax.video.values import Position

_HEAD = 32768  # bytes, in which a header usually is
_ORIENTATION = 274  # tag of EXIF
_SIDEWAYS = (5, 6, 7, 8)
_BT709, _BT601, _UNSPECIFIED = 1, 5, 2  # AVColorSpace
_LINEAR = ("gbrpf32", "gbrapf32", "gbrpf16", "gbrapf16", "grayf32", "grayf16")
_LITTLE = {"rgb48be": "rgb48le", "rgba64be": "rgba64le", "gray16be": "gray16le", "argb": "rgba"}
_ONE_BIT = ("monob", "monow")


class Head(NamedTuple):
    """Properties of a picture, from its header.

    Attributes:
      codec: FFmpeg's name of its decoder.
      pixel_format: FFmpeg's name.
      width: upright, pixels.
      height: upright, pixels.
      orientation: EXIF's, 1 for upright.
      has_alpha: whether there is opacity that may differ from 1.
    """

    codec: str
    pixel_format: str
    width: int
    height: int
    orientation: int
    has_alpha: bool


@dataclass(frozen=True)
class PictureSource:
    """A sequence of pictures, whose headers fit each other."""

    pictures: Pictures
    info: VideoInfo

    @property
    def path(self) -> Path:
        """How the sequence was named."""
        return self.pictures.path

    @property
    def notes(self) -> tuple[str, ...]:
        """The order of the files, and what is odd about them."""
        rate = self.info.rate
        return (f"{self.pictures.order}, at {float(rate):g} frames per second", *self.pictures.notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """The pictures."""
        return self.pictures.files

    def survey(self, begin: Position, end: Position | None) -> Survey:
        """Counts the pictures of a part."""
        times = [i / self.info.rate for i in range(len(self.pictures.files))]
        part = [
            time
            for number, time in enumerate(times)
            if not begin.is_behind(number, time) and (end is None or end.is_behind(number, time))
        ]
        seconds = part[-1] - part[0] if part else Fraction(0)
        return Survey(len(part), seconds, 1 / self.info.rate, self.info.rate)

    def open(self, rate: Fraction) -> PictureReader:
        """Returns the reader."""
        return PictureReader(self.pictures, replace(self.info, rate=rate))


def open_pictures(pictures: Pictures, rate: Fraction) -> PictureSource:
    """Reads the headers of all pictures.

    Raises:
      UserError: one is no picture, or their sizes differ.
    """
    heads = [head_of(file) for file in pictures.files]
    sizes = [(head.width, head.height) for head in heads]
    for file, size in zip(pictures.files, sizes, strict=True):
        if size != sizes[0]:
            first = f"{pictures.files[0].name} is {sizes[0][0]}x{sizes[0][1]}"
            raise UserError(f"{file}: is {size[0]}x{size[1]}, but {first}; bring all to one size")
    is_linear = [head.pixel_format.startswith(_LINEAR) for head in heads]
    if len(set(is_linear)) > 1:
        raise UserError(f"{pictures.path}: holds floats of light and other pictures; bring all to one form")
    return PictureSource(pictures, _describe(pictures, heads, rate))


def head_of(file: Path) -> Head:
    """Reads a picture's header.

    Raises:
      UserError: it is no picture, or is damaged.
    """
    try:
        with file.open("rb") as opened:
            start = opened.read(_HEAD)
            head = _parsed(start) or _parsed(start + opened.read())
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    if head is None:
        raise UserError(f"{file}: is no picture, or is damaged; remove it or write it again")
    orientation = _orientation(file)
    sides = (head.height, head.width) if orientation in _SIDEWAYS else (head.width, head.height)
    return head._replace(width=sides[0], height=sides[1], orientation=orientation)


def _parsed(data: bytes) -> Head | None:
    """Parses the beginning of a file; None if it is too short, or no picture."""
    try:
        with av.open(io.BytesIO(data)) as container:
            if not container.streams.video or not container.streams.video[0].codec_context:
                return None
            context = container.streams.video[0].codec_context
            if not context.pix_fmt or not context.width:
                return None
            return Head(context.name, context.pix_fmt, context.width, context.height, 1, _has_alpha(context, data))
    except (av.FFmpegError, ValueError):
        return None


def _has_alpha(context: av.VideoCodecContext, data: bytes) -> bool:
    """Whether a picture may be transparent: WebP without losses says so in a bit, and palettes in a chunk of PNG."""
    form = context.format
    if data[12:16] == b"VP8L":
        return bool(int.from_bytes(data[21:25], "little") >> 28 & 1)
    if data[12:16] == b"VP8X":
        return bool(data[20] & 0x10)
    if form.has_palette:
        return b"tRNS" in data[:_HEAD]
    return any(component.is_alpha for component in form.components)


def _orientation(file: Path) -> int:
    """EXIF's orientation; 1 where there is none. Not every version of PyAV hands on what FFmpeg knows of it."""
    try:
        with Image.open(file) as image:
            number = image.getexif().get(_ORIENTATION, 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):  # EXR, and damaged EXIF
        return 1
    return number if isinstance(number, int) and 1 <= number <= 8 else 1


def _describe(pictures: Pictures, heads: list[Head], rate: Fraction) -> VideoInfo:
    name, has_alpha = _common_format(heads), any(head.has_alpha for head in heads)
    is_linear = heads[0].pixel_format.startswith(_LINEAR)
    return VideoInfo(
        path=pictures.path,
        container="pictures",
        codec=heads[0].codec,
        width=heads[0].width,
        height=heads[0].height,
        rate=rate,
        time_base=1 / rate,
        pixel_format=name,
        bits=layout_of(name).bits,
        turn=Turn(),
        aspect=None,
        color=_color(name, is_linear),
        audio=(),
        has_alpha=has_alpha and layout_of(name).alpha,
        is_lossless=av.Codec(heads[0].codec, "r").lossless and not av.Codec(heads[0].codec, "r").lossy,
        is_interlaced=False,
        side_data={},
        has_tracks=False,
    )


def _color(name: str, is_linear: bool) -> Color:
    rest = {"primaries": _UNSPECIFIED, "transfer": _UNSPECIFIED, "siting": UNKNOWN_SITING}
    if name.startswith("yuv"):
        full = name.startswith("yuvj")
        return Color(_BT601, full, space=_BT601, range=FULL if full else LIMITED, **rest)
    if name.startswith("gray"):
        return Color(_BT601, True, space=_UNSPECIFIED, range=FULL, **rest)
    if is_linear:
        rest |= {"primaries": _BT709, "transfer": linear.PQ}
    return Color(_BT709, False, space=_BT709, range=LIMITED, **rest)


def _common_format(heads: list[Head]) -> str:
    """The pixel format that holds all pictures: their own if they share one, otherwise RGB or gray."""
    names = {head.pixel_format for head in heads}
    name, is_turned = heads[0].pixel_format, any(head.orientation != 1 for head in heads)
    if len(names) == 1 and not is_turned and name.startswith("yuv"):
        return name
    forms = [av.VideoFormat(name, 16, 16) for name in names]
    colored = any(form.has_palette or sum(not part.is_alpha for part in form.components) > 1 for form in forms)
    deep = any(part.bits > 8 for form in forms for part in form.components)
    if any(head.has_alpha for head in heads):
        return "rgba64le" if deep else "rgba"
    if colored:
        return "rgb48le" if deep else "rgb24"
    return "gray16le" if deep else "gray"


class PictureReader:
    """Decodes pictures one by one; a context manager.

    Attributes:
      info: the sequence.
      notes: a line about light that is cut off; complete once `frames` is exhausted.
    """

    def __init__(self, pictures: Pictures, info: VideoInfo) -> None:
        """Takes a sequence as `open_pictures` describes it."""
        self._pictures, self.info = pictures, info
        self._scaler, self._rgb, self._clipped = VideoReformatter(), ToRGB(), 0

    def __enter__(self) -> PictureReader:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def notes(self) -> list[str]:
        """Says how many pictures hold more light than new frames can."""
        text = f"pictures hold light below 0 or above {linear.BRIGHTEST:g}, which is cut off in new ones"
        return [f"{self._clipped} {text}"] * bool(self._clipped)

    def frames(self, begin: Position | None = None, end: Position | None = None) -> Iterator[TimedFrame]:
        """Yields the pictures of a part; each has its file, if its bytes are the frame."""
        for number, file in enumerate(self._pictures.files):
            time = number / self.info.rate
            if end is not None and not end.is_behind(number, time):
                return
            if begin is None or not begin.is_behind(number, time):
                frame, is_own = self._read(file)
                image = self._rgb(frame)
                yield TimedFrame(time, 1 / self.info.rate, image, frame, file=file if is_own else None)

    def _read(self, file: Path) -> tuple[av.VideoFrame, bool]:
        """Decodes a picture, upright and in the common format; says whether its file holds just that."""
        frame, orientation = _decoded(file), _orientation(file)
        name = frame.format.name
        if name.startswith(_LINEAR):
            return self._from_light(frame), orientation == 1
        target = self.info.pixel_format
        if name != target:
            frame.color_range = frame.color_range or FULL
            frame = self._scaled(frame, target)
        if orientation != 1:
            array = _upright(frame.to_ndarray(), orientation)
            frame = av.VideoFrame.from_ndarray(array, target)
        if (frame.width, frame.height) != (self.info.width, self.info.height):
            raise UserError(f"{file}: is {frame.width}x{frame.height}, unlike the others; bring all to one size")
        if not target.startswith("yuv"):
            frame.color_range = FULL
        return frame, orientation == 1 and _LITTLE.get(name, name) == target

    def _scaled(self, frame: av.VideoFrame, target: str) -> av.VideoFrame:
        """Returns a frame in another format; 8 bits become 16 such that white stays white."""
        shallow = {"rgb48le": "rgb24", "rgba64le": "rgba", "gray16le": "gray"}.get(target)
        if shallow is None or layout_of(frame.format.name).bits > 8:
            return self._scaler.reformat(frame, format=target)
        codes = self._scaler.reformat(frame, format=shallow).to_ndarray()
        return av.VideoFrame.from_ndarray(codes.astype(np.uint16) * 257, target)

    def _from_light(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Returns floats of light as codes, without opacity if there is none."""
        name = self.info.pixel_format
        planes = "gbrapf32le" if name.startswith("rgba") else "grayf32le" if name.startswith("gray") else "gbrpf32le"
        light = self._scaler.reformat(frame, format=planes).to_ndarray()
        colors = light[..., :3] if light.ndim == 3 else light
        self._clipped += bool((colors < 0).any() or (colors > linear.BRIGHTEST).any())
        codes = linear.to_codes(colors)
        if light.shape[-1] == 4 and light.ndim == 3:
            alpha = np.uint16(np.rint(np.clip(np.nan_to_num(light[..., 3:]), 0, 1) * 65535))
            codes = np.concatenate([codes, alpha], axis=-1)
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(codes), name)


def _decoded(file: Path) -> av.VideoFrame:
    try:
        data = file.read_bytes()
        with av.open(io.BytesIO(data)) as container:
            frame = next(container.decode(video=0), None)
    except (av.FFmpegError, OSError) as error:
        raise UserError(f"{file}: cannot be decoded ({error.strerror or error}); write it again") from None
    if frame is None or frame.is_corrupt or not (linear.is_whole_exr(data) and has_end(data)):
        raise UserError(f"{file}: is damaged or cut short; write it again")
    return frame


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors an array as EXIF's orientation, 1 to 8, asks."""
    array = array.swapaxes(0, 1) if orientation in _SIDEWAYS else array
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(array[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])
