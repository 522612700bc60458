"""Clips in video files: every second frame is removed and predicted; VMAF of the predictions."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from vfi_jax.benchmarks.protocol import Benchmark, BenchmarkSample
from vfi_jax.data.images import to_uint8, videos_in
from vfi_jax.errors import UserError
from vfi_jax.video.coding.decode import Reader

MAX_FRAMES = 41  # of each clip
MAX_HEIGHT = 540


@dataclasses.dataclass(frozen=True)
class ClipFrame:
    """A frame of a video file.

    Attributes:
      path: of the file.
      index: from 0.
    """

    path: Path
    index: int


@functools.lru_cache(maxsize=2)
def _frames(path: Path) -> tuple[UInt8[np.ndarray, "h w 3"], ...]:
    """The first frames of a clip, reduced by area interpolation to `MAX_HEIGHT` rows; sides are even."""
    with Reader(path) as reader:
        frames = itertools.islice(reader.frames(), MAX_FRAMES)
        return tuple(_reduced(to_uint8(frame.image)) for frame in frames)


def _reduced(image: UInt8[np.ndarray, "_ _ 3"]) -> UInt8[np.ndarray, "h w 3"]:
    height, width = image.shape[:2]
    rows = min(height, MAX_HEIGHT)
    columns = round(width * rows / height)
    if rows < height:
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[: rows // 2 * 2, : columns // 2 * 2])


def load(frame: ClipFrame) -> UInt8[np.ndarray, "h w 3"]:
    """Loads a frame."""
    return _frames(frame.path)[frame.index]


def samples(folder: Path) -> list[BenchmarkSample]:
    """Samples of every odd frame of each video file in `folder`, predicted from its neighbors.

    Raises:
      UserError: no video, or one of fewer than three frames.
    """
    videos = videos_in(folder)
    if not videos:
        raise UserError(f"{folder} holds no video files")
    return [sample for path in videos for sample in _clip(path)]


def _clip(path: Path) -> list[BenchmarkSample]:
    count = len(_frames(path))
    if count < 3:
        raise UserError(f"{path} has {count} frames: 3 are needed, to take one out")
    at = [ClipFrame(path, index) for index in range(count)]
    last = len(at) - 1
    return [
        BenchmarkSample(
            f"{path.stem}/{index:03d}",
            at[index - 1],
            at[index],
            at[index + 1],
            before=at[max(index - 3, 0)],
            after=at[index + 3] if index + 3 <= last else at[index + 1],
            group=path.stem,
        )
        for index in range(1, last, 2)
    ]


def benchmark(folder: Path) -> Benchmark:
    """The protocol over the clips in a folder."""
    return Benchmark(
        folder.resolve().name,
        f"clips of {folder.resolve().name}: every second of the first {MAX_FRAMES} frames predicted, "
        f"at most {MAX_HEIGHT} rows",
        lambda _: samples(folder),
        load=load,
        by_group=True,
        sequences=True,
    )


def has_vmaf() -> bool:
    """Whether VMAF can be computed: the package imageio-ffmpeg is installed."""
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError:
        return False
    return True


def vmaf(predictions: Sequence[UInt8[np.ndarray, "h w 3"]], truth: Sequence[UInt8[np.ndarray, "h w 3"]]) -> float:
    """Mean VMAF (libvmaf's default model v0.6.1, 0..100) of a clip, by the ffmpeg of the package imageio-ffmpeg.

    Raises:
      UserError: the package is missing, or its ffmpeg fails or has no libvmaf.
    """
    if not has_vmaf():
        raise UserError("VMAF needs imageio-ffmpeg: python -m pip install vfi_jax[vmaf]")
    import imageio_ffmpeg

    height, width = truth[0].shape[:2]
    form = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25"]
    to_yuv = "format=yuv420p"
    graph = f"[0:v]{to_yuv}[a];[1:v]{to_yuv}[b];[a][b]libvmaf=log_fmt=json:log_path=vmaf.json"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, clip in (("prediction", predictions), ("truth", truth)):
            (folder / file).write_bytes(np.stack(clip).tobytes())
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            "-y",
            *form,
            "-i",
            "prediction",
            *form,
            "-i",
            "truth",
        ]
        done = subprocess.run(
            [*command, "-lavfi", graph, "-f", "null", "-"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"VMAF: {(done.stderr.strip().splitlines() or ['ffmpeg failed'])[0]}")
        return float(json.loads((folder / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"])
