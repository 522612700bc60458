"""The page that shows two videos: one HTML file with everything in it, which needs no server and no network."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from vfi_jax.errors import UserError
from vfi_jax.system import strict_json
from vfi_jax.system.files import written_whole
from vfi_jax.video.comparison.pair import Pair, Video
from vfi_jax.video.interpolate import Progress
from vfi_jax.video.pixels.rgb import SCALING

MOST = 300_000_000  # bytes of video, above which browsers do not open a page
EQUAL = 100.0  # dB of equal pictures
_BT709 = 1  # AVColorSpace, AVColorPrimaries and AVColorTransferCharacteristic
_OPTIONS = {"crf": "12", "preset": "veryfast", "bf": "0"}
_TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison.

    Attributes:
      page: the file.
      rate: of the page's clock, frames per second.
      psnr: of the second video to the first at each step of the clock, dB; `EQUAL` at most.
    """

    page: Path
    rate: Fraction
    psnr: tuple[float, ...]

    @property
    def worst(self) -> int:
        """The step at which the two differ most."""
        return int(np.argmin(self.psnr))

    def as_json(self) -> dict[str, Any]:
        """The outcome as JSON's types."""
        return {"page": str(self.page), "rate": str(self.rate), "frames": len(self.psnr), "psnr": list(self.psnr)}


def write(pair: Pair, page: Path, progress: Progress | None = None) -> Comparison:
    """Writes the page.

    Args:
      pair: as `open_pair` returns it.
      page: the file; what it held is replaced when the new one is complete.
      progress: called after each step with their number and the total, an estimate.

    Raises:
      UserError: a video is damaged, the file cannot be written, or the videos are too long for a page.
    """
    steps = [int((video.survey.seconds + video.survey.last) * pair.rate) for video in (pair.first, pair.second)]
    psnr: list[float] = []
    with written_whole(page) as partial, tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "both.mp4"
        for figure in _encoded(pair, film):
            psnr.append(figure)
            if progress is not None:
                progress(len(psnr), max(len(psnr), min(steps)))
        partial.write_text(_filled(pair, psnr, film.read_bytes()))
    return Comparison(page, pair.rate, tuple(psnr))


def _encoded(pair: Pair, film: Path) -> Iterator[float]:
    """Writes one video with both pictures, one above the other, so that they cannot run apart; yields PSNRs."""
    width, height = pair.size
    rate = pair.rate.limit_denominator(10**6)
    with av.open(str(film), "w", container_options={"movflags": "faststart"}) as out:
        options = {**_OPTIONS, "g": str(max(1, round(rate)))}  # a key frame per second, for quick jumps
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, 2 * height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = ColorRange.MPEG
        for first, second in pair.pictures():
            frame = av.VideoFrame.from_ndarray(np.concatenate([first, second]), "rgb24")
            out.mux(stream.encode(frame.reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG,
                interpolation=SCALING,
            )))  # fmt: skip
            if film.exists() and film.stat().st_size > MOST:
                raise UserError(f"{pair.first.source.path}: is too long for a page; choose a part by --from and --to")
            yield min(EQUAL, round(cv2.PSNR(first, second), 2))
        out.mux(stream.encode(None))


def _filled(pair: Pair, psnr: list[float], film: bytes) -> str:
    """Returns the page's text."""
    about = {
        "rate": float(pair.rate),
        "width": pair.size[0],
        "height": pair.size[1],
        "psnr": psnr,
        "equal": EQUAL,
        "videos": [_about(video) for video in (pair.first, pair.second)],
    }
    text = strict_json.dumps(about).replace("<", "\\u003c")  # a name may hold what ends a script
    before, after = _TEMPLATE.read_text().split("{{about}}")
    middle, end = after.split("{{film}}")
    return "".join([before, text, middle, base64.b64encode(film).decode(), end])


def _about(video: Video) -> dict[str, str]:
    info, survey = video.info, video.survey
    return {
        "name": info.path.name,
        "size": f"{info.width}x{info.height}",
        "rate": f"{float(survey.rate):.6g}" + ("" if survey.is_constant else " on average"),
        "frames": str(survey.frames),
        "seconds": f"{float(survey.seconds + survey.last):.3f}",
        "codec": f"{info.codec}, {info.pixel_format}",
    }
