"""Where published test sets keep clips, from which tests of one or of several times are cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image

from vfi_jax.benchmarks.layouts import existing, one_of
from vfi_jax.benchmarks.protocol import Sample, load_uint8
from vfi_jax.data.images import images_in
from vfi_jax.data.sources import LISTS
from vfi_jax.errors import UserError

SNU_NAMES = ("SNU-FILM", "SNU_FILM", "snu_film", "snufilm")
SNU_GAPS = {"easy": 2, "medium": 4, "hard": 8, "extreme": 16}  # frames from the first to the second
XIPH = ("BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket", "FoodMarket2", "RitualDance",
        "SquareAndTimelapse", "Tango")  # fmt: skip
HD = {"544p": (544, 1280), "720p": (720, 1280), "1080p": (1080, 1920)}
NEAREST = Image.Resampling.NEAREST
HD_FRAMES = 100  # of a file, that are looked at


def _between(clip: str, frames: Sequence[Any], gap: int, step: int, *, starts: Iterable[int]) -> Iterator[Sample]:
    """Tests of every `step`-th frame between two that are `gap` apart, and with those as far beyond where they are."""
    for start in starts:
        if start + gap >= len(frames):
            return
        around = [start - gap, start, start + gap, start + 2 * gap]
        before, first, second, after = (frames[i] if 0 <= i < len(frames) else None for i in around)
        for index in range(start + step, start + gap, step):
            yield Sample(
                f"{clip}/{index:05d}",
                first,
                frames[index],
                second,
                before=before,
                after=after,
                t=(index - start) / gap,
                group=clip,
            )


def _clips(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Every folder with pictures in or below `root`, by its name there."""
    folders = sorted({file.parent for file in existing(root).rglob("*") if file.is_file()})
    for folder in folders:
        if files := images_in(folder):
            yield str(folder.relative_to(root)), files


def _some(samples: Iterable[Sample], root: Path, what: str) -> list[Sample]:
    found = list(samples)
    if not found:
        raise UserError(f"{root} holds no samples: {what}")
    return found


def vimeo_septuplet_ends(data: Path) -> list[Sample]:
    """Vimeo90K's septuplets: im1 and im7 to im2, ..., im6, at sixths."""
    root = existing(data / "vimeo_septuplet")
    names = (root / LISTS["test"][1]).read_text().split()
    clips = ((name, images_in(existing(root / "sequences" / name))) for name in names)
    return _some((s for name, files in clips for s in _between(name, files, 6, 1, starts=[0])), root, "empty list")


def _snu_root(data: Path) -> Path:
    return one_of(data, SNU_NAMES)


def _snu_lines(root: Path, level: str) -> list[list[Path]]:
    """The pictures of each line, wherever the list's own paths begin."""
    places = [root / f"test-{level}.txt", root / "eval_modes" / f"test-{level}.txt"]
    listed = next((place for place in places if place.is_file()), None)
    if listed is None:
        raise UserError(f"{places[0]} is missing: fetch the set's lists too")
    pictures = root / "test" if (root / "test").is_dir() else root

    def place(text: str) -> Path:
        parts = Path(text).parts
        start = next((i for i, part in enumerate(parts) if part in ("GOPRO_test", "YouTube_test")), 0)
        return pictures.joinpath(*parts[start:])

    return [[place(text) for text in line.split()] for line in listed.read_text().splitlines() if line.strip()]


def _numbered(path: Path, step: int) -> Path:
    return path.with_name(f"{int(path.stem) + step:0{len(path.stem)}d}{path.suffix}")


def snu_film(data: Path, level: str, *, complete: bool = False) -> list[Sample]:
    """SNU-FILM: a line of `test-LEVEL.txt` a test; the frames as far beyond where they exist.

    Args:
      data: holds `SNU-FILM/`, with the lists in it or in `eval_modes/`, and pictures in `test/GOPRO_test`, ....
      level: "easy", "medium", "hard" or "extreme".
      complete: leaves out the tests that lack a frame beyond.
    """
    root = _snu_root(data)
    found = (_snu_sample(root, line, SNU_GAPS[level]) for line in _snu_lines(root, level))
    return _some((s for s in found if not complete or (s.before and s.after)), root, "empty list")


def _snu_sample(root: Path, line: Sequence[Path], gap: int) -> Sample:
    outer = [_numbered(line[0], -gap) if int(line[0].stem) >= gap else None, _numbered(line[2], gap)]
    before, after = (path if path and path.exists() else None for path in outer)
    return Sample(str(line[1].relative_to(root)), line[0], line[1], line[2], before=before, after=after)


def snu_film_all(data: Path, level: str) -> list[Sample]:
    """SNU-FILM, all frames between those of a line: 4 ("medium"), 8 ("hard") or 16 ("extreme") times as many."""
    root, gap = _snu_root(data), SNU_GAPS[level]

    def between() -> Iterator[Sample]:
        for first, _, second in _snu_lines(root, level):
            for step in range(1, gap):
                truth = _numbered(first, step)
                yield Sample(str(truth.relative_to(root)) + f"@{first.stem}", first, truth, second, t=step / gap)

    return _some(between(), root, "empty list")


def xiph(data: Path) -> list[Sample]:
    """`xiph/CLIP-NNN.png`, eight clips of 4096x2160, frames 1 to 100: every even one from its neighbors, 2 to 98."""
    root = one_of(data, ("xiph", "Xiph", "netflix"))
    return [
        Sample(
            f"{clip}-{index:03d}",
            *(root / f"{clip}-{i:03d}.png" for i in (index - 1, index, index + 1)),
            before=root / f"{clip}-{max(index - 3, 1):03d}.png",
            after=root / f"{clip}-{min(index + 3, 99):03d}.png",
            group=clip,
        )
        for clip in XIPH
        for index in range(2, 99, 2)
    ]


def xtest(data: Path) -> list[Sample]:
    """X4K1000FPS, X-TEST: `test/TYPE/SCENE/NNNN.png`: frames 32 apart, every fourth between."""
    root = one_of(data, ("X4K1000FPS", "x4k1000fps", "XTest")) / "test"
    clips = _clips(root)
    found = (s for clip, files in clips for s in _between(clip, files, 32, 4, starts=range(0, len(files), 32)))
    return _some(found, root, "test/TYPE/SCENE/NNNN.png, 33 a scene, is wanted")


@dataclasses.dataclass(frozen=True)
class YuvFrame:
    """A frame of a raw file of planes Y, U, V, the latter two of half the sides.

    Attributes:
      path: of the file.
      height: pixels, of Y.
      width: pixels, of Y.
      index: from 0.
    """

    path: Path
    height: int
    width: int
    index: int


def hd(data: Path, sizes: Sequence[str] = tuple(HD), gap: int = 2) -> list[Sample]:
    """RIFE's HD set, `HD_dataset/HD{544,720,1080}p_GT/*.yuv`: every frame between two that are `gap` apart."""
    root = one_of(data, ("HD_dataset", "HD"))
    found: list[Sample] = []
    for size in sizes:
        height, width = HD[size]
        for path in sorted(existing(root / f"HD{size}_GT").glob("*.yuv")):
            count = path.stat().st_size // (height * width * 3 // 2)
            frames = [YuvFrame(path, height, width, index) for index in range(min(count, HD_FRAMES + 1))]
            found += _between(path.stem, frames, gap, 1, starts=range(0, HD_FRAMES, gap))
    return _some(found, root, "HD720p_GT/*.yuv and so on are wanted")


def load_yuv(frame: YuvFrame, filter_: int = Image.Resampling.BICUBIC) -> UInt8[np.ndarray, "h w 3"]:
    """RGB as RIFE's script makes it: color planes enlarged by Pillow, full range, truncated.

    Raises:
      UserError: the file ends before that frame.
    """
    luma, chroma = frame.height * frame.width, frame.height * frame.width // 4
    size = luma + 2 * chroma
    with frame.path.open("rb") as file:
        file.seek(frame.index * size)
        data = np.frombuffer(file.read(size), np.uint8)
    if len(data) < size:
        raise UserError(f"{frame.path} ends before frame {frame.index} of {frame.width}x{frame.height}")
    half = (frame.height // 2, frame.width // 2)
    planes = [data[:luma].reshape(frame.height, frame.width)] + [
        np.asarray(Image.fromarray(plane.reshape(half)).resize((frame.width, frame.height), filter_))
        for plane in (data[luma : luma + chroma], data[luma + chroma :])
    ]
    return yuv_to_rgb(np.stack(planes, -1))


# Rows: Y, U, V of R, G, B; analogue YUV by the weights of Rec. 601.
YUV = np.array([[0.299, 0.587, 0.114], [-0.14714119, -0.28886916, 0.43601035], [0.61497538, -0.51496512, -0.10001026]])


def yuv_to_rgb(planes: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Full-range Y, U + 0.5, V + 0.5, truncated to 8 bits."""
    values = planes / 255 - [0, 0.5, 0.5]
    return (255 * np.clip(values @ np.linalg.inv(YUV).T, 0, 1)).astype(np.uint8)


def windows_of_eight(data: Path, names: Sequence[str], below: str) -> list[Sample]:
    """GoPro's and Adobe240's: each clip in windows of 9 frames, 8 apart; the 7 between are wanted, at eighths."""
    root = one_of(data, names) / below
    found = (s for clip, files in _clips(root) for s in _between(clip, files, 8, 1, starts=range(0, len(files), 8)))
    return _some(found, root, "a folder a clip, of 9 pictures or more")


def davis(data: Path) -> list[Sample]:
    """`DAVIS/JPEGImages/480p/CLIP/NNNNN.jpg`: windows of 7, 2 apart: 0, 2, 4, 6 to 3 (QVI)."""
    root = existing(data / "DAVIS" / "JPEGImages" / "480p")

    def windows() -> Iterator[Sample]:
        for clip, files in _clips(root):
            for i in range(0, len(files) - 6, 2):
                a, b, truth, c, d = (files[i + step] for step in (0, 2, 3, 4, 6))
                yield Sample(f"{clip}/{truth.stem}", b, truth, c, before=a, after=d, group=clip)

    return _some(windows(), root, "clips of 7 pictures or more")


def frames_of(root: Path) -> list[Sample]:
    """Any tree of folders of numbered pictures: every second picture from its neighbors."""
    found = (s for clip, files in _clips(root) for s in _between(clip, files, 2, 1, starts=range(0, len(files), 2)))
    return _some(found, root, "folders of 3 pictures or more")


def cropped(path: Path, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """The middle of a picture, where it is larger."""
    image = load_uint8(path)
    top, left = (max(have - want, 0) // 2 for have, want in zip(image.shape, (height, width), strict=False))
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def resized(path: Path, height: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Reduced by area, 8 bits."""
    return cv2.resize(load_uint8(path), (width, height), interpolation=cv2.INTER_AREA)


def resized_float(path: Path, height: int, width: int) -> Float32[np.ndarray, "h w 3"]:
    """Reduced by area, float32 in 0..1."""
    image: Shaped[np.ndarray, "h w 3"] = load_uint8(path).astype(np.float32) / np.float32(255)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
