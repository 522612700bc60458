"""Color tags of frames: how their codes and RGB belong together, and where chroma samples lie."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import av

from vfi_jax.video.coding import messages
from vfi_jax.video.pixels.layout import GRAY, RGB, Turn, layout_of

LIMITED, FULL = 1, 2  # AVColorRange
LIMITED_ENCODERS = ("prores_ks",)  # whose codec has no other range
_RGB_SPACE, _BT709, _UNSPECIFIED, _BT601 = 0, 1, 2, 5  # AVColorSpace; swscale has the same numbers
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9, 14: 9}  # AVColorSpace to swscale's
MATRIX_NAMES = {1: "bt709", 4: "fcc", 5: "smpte170m", 7: "smpte240m", 9: "bt2020"}  # swscale's number to its name

UNKNOWN_SITING = "unspecified"
_SITINGS = {  # FFmpeg's names: place of the first chroma sample, in units of its distance to the next luma sample
    "left": (0, 1), "center": (1, 1), "topleft": (0, 0), "top": (1, 0), "bottomleft": (0, 2), "bottom": (1, 2),
}  # fmt: skip
_SITED = ("libx264", "libx265")  # encoders that write it into their streams
_SITING = re.compile(rf"\((?:[^()]*, )?({'|'.join(_SITINGS)})\)")


@dataclass(frozen=True)
class Color:
    """How YUV and RGB are converted, and the tags to write; numbers are FFmpeg's (AVCOL_*).

    Attributes:
      matrix: swscale's number of the matrix; BT.601, in both directions, if the tag is missing or unknown to swscale.
      full: whether YUV uses the full range.
      space: matrix tag.
      range: range tag.
      primaries: primaries tag.
      transfer: transfer tag.
      siting: where chroma samples lie, by FFmpeg's name.
    """

    matrix: int
    full: bool
    space: int
    range: int
    primaries: int
    transfer: int
    siting: str

    @property
    def scaled_siting(self) -> str:
        """The siting that FFmpeg's scaler assumes: the center, if it is unknown."""
        return self.siting if self.siting in _SITINGS else "center"

    def turned(self, turn: Turn) -> Color:
        """Returns the color of turned frames: where their chroma samples lie; center where no tag says it."""
        if self.siting not in _SITINGS or turn == Turn():
            return self
        x, y = _SITINGS[self.siting]
        x, y = (y, x) if turn.transpose else (x, y)
        place = (2 - x if turn.flip_columns else x, 2 - y if turn.flip_rows else y)
        return replace(self, siting=next((name for name, its in _SITINGS.items() if its == place), "center"))

    def stored_in(self, pixel_format: str, encoder: str = "") -> Color:
        """Returns the color of the same pictures in a pixel format: RGB, without matrix, and JPEG are of full range.

        ProRes is always of limited range.
        """
        if encoder in LIMITED_ENCODERS:
            return replace(self, full=False, range=LIMITED)
        if layout_of(pixel_format).family == RGB:
            return replace(self, full=True, space=_RGB_SPACE, range=FULL)
        return replace(self, full=True, range=FULL) if pixel_format.startswith("yuvj") else self


def color_of(frame: av.VideoFrame, stream: av.VideoStream, siting: str) -> Color:
    """Reads a frame's own tags, which may differ from the file's; those of RGB are for the YUV that it may become."""
    context = stream.codec_context
    matrix, full = conversion_of(frame)
    tags = {"primaries": context.color_primaries, "transfer": context.color_trc, "siting": siting}
    if layout_of(frame.format.name).family == RGB:  # RGB has no matrix to keep; write HD video's, with its tag
        return Color(matrix, full, space=_BT709, range=LIMITED, **tags)
    space = frame.colorspace or _UNSPECIFIED  # 0 means RGB, which this frame is not
    return Color(matrix, full, space, range=FULL if full else frame.color_range, **tags)


def conversion_of(frame: av.VideoFrame) -> tuple[int, bool]:
    """Returns the matrix, by swscale's number, and whether the range is full; of the YUV that RGB may become."""
    family = layout_of(frame.format.name).family
    if family == RGB:
        return _BT709, False
    is_full = frame.format.name.startswith("yuvj") or (family == GRAY and frame.color_range != LIMITED)
    return _MATRICES.get(frame.colorspace or _UNSPECIFIED, _BT601), is_full or frame.color_range == FULL


def is_same_siting(first: str, second: str) -> bool:
    """Whether two sitings are the same; what is unknown is left, as codecs have it."""
    return len({"left" if siting == UNKNOWN_SITING else siting for siting in (first, second)}) == 1


def holds_siting(siting: str, encoder: str, muxer: str) -> bool:
    """Whether a siting other than left, which is assumed without a tag, comes back from an encoder and a container."""
    if encoder in _SITED or is_same_siting(siting, "left"):
        return True
    if muxer in ("matroska", "webm"):
        return siting in ("center", "topleft", "top")
    return encoder == "libsvtav1" and siting == "topleft"


def siting_of(container: av.container.InputContainer, index: int) -> str:
    """Returns where the chroma samples of a stream lie: left, center, topleft, ..., or unspecified.

    PyAV has no attribute for it; FFmpeg's description of the file has, where it is verbose. To be called before
    decoding: a decoder's threads would wait for Python to take their messages, and Python for them.
    """
    try:
        with messages.passed_on(av.logging.INFO, av.logging.VERBOSE):
            text = container.dumps_format()
    except UnicodeDecodeError:  # metadata in another encoding
        return UNKNOWN_SITING
    line = next((line for line in text.splitlines() if re.match(rf"\s*Stream #0:{index}\D.*Video:", line)), "")
    siting = _SITING.search(line)
    return siting[1] if siting else UNKNOWN_SITING
