"""The demo: interpolates a synthetic clip with known middle frames, and scores and draws the result."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from vfi_jax.data.images import average
from vfi_jax.data.synthetic.scenes import DEMO_FRAMES, clip, demo_scene
from vfi_jax.inference import Interpolator
from vfi_jax.metrics import psnr
from vfi_jax.video.interpolate import Progress, interpolate_video
from vfi_jax.video.options import Options
from vfi_jax.viz.flow import flow_to_color
from vfi_jax.viz.sheets import error_map, save_png, sheet

RATE = Fraction(25, 2)
SHOWN_PAIRS = (3, 12, 21)  # in `demo.png`


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of the demo, means over its middle frames.

    Attributes:
      ours: PSNR of the interpolated frames, dB.
      average: PSNR of the average of the two neighbors, dB.
      seconds: median time per frame, without the first frame, which compiles.
    """

    ours: float
    average: float
    seconds: float


def run(interpolator: Interpolator, folder: Path, progress: Progress | None = None) -> Scores:
    """Writes `demo.mp4` (twice the frames) and `demo.png` (inputs, ours, truth, error, flow) into a folder.

    Raises:
      UserError: the folder is missing or cannot be written.
    """
    inputs, truth = clip(demo_scene(), DEMO_FRAMES)
    predictions: list[np.ndarray] = []
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "inputs.mkv"
        _write_lossless(source, inputs)
        between = _recorded(interpolator, predictions, seconds)
        interpolate_video(source, folder / "demo.mp4", between, Options(overwrite=True), progress=progress)
    baseline = [average(*pair) for pair in itertools.pairwise(inputs)]
    save_png(folder / "demo.png", _sheet(interpolator, inputs, predictions, truth))
    return Scores(
        ours=float(np.mean([psnr(*pair) for pair in zip(predictions, truth, strict=True)])),
        average=float(np.mean([psnr(*pair) for pair in zip(baseline, truth, strict=True)])),
        seconds=float(np.median(seconds[1:])),
    )


def _recorded(interpolator: Interpolator, predictions: list[np.ndarray], seconds: list[float]) -> Callable:
    """Returns the interpolator's `between`, which also appends each frame and its time to the lists."""

    def between(frames: Sequence[np.ndarray], times: Sequence[float]) -> Iterator[np.ndarray]:
        start = time.perf_counter()
        for frame in interpolator.between(frames, times):
            seconds.append(time.perf_counter() - start)
            predictions.append(frame)
            yield frame

    return between


def _write_lossless(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _sheet(
    interpolator: Interpolator, inputs: np.ndarray, predictions: Sequence[np.ndarray], truth: np.ndarray
) -> np.ndarray:
    rows = []
    for pair in SHOWN_PAIRS:
        first, second, ours, true = inputs[pair], inputs[pair + 1], predictions[pair], truth[pair]
        baseline = average(first, second)
        flow = interpolator.flow(first, second)
        rows.append(
            [
                (first, f"input {pair}"),
                (second, f"input {pair + 1}"),
                (ours, f"ours, {psnr(ours, true):.1f} dB"),
                (true, "truth"),
                (error_map(ours, true), "error x4"),
                (error_map(baseline, true), f"error x4 of averaging, {psnr(baseline, true):.1f} dB"),
                (flow_to_color(flow), f"flow to input {pair}, largest {np.linalg.norm(flow, axis=-1).max():.0f} px"),
            ]
        )
    return sheet(rows)
