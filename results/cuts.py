"""Measures how many cuts are found, and how many that are none, on real and on generated clips with known cuts.

    python results/cuts.py DATA [--only MATERIAL] [--sheets DIR]

DATA holds `train/` (videos), `benchmarks/ucf101_interp_ours/` (triplets) and `photos/`. Windows of real clips are
joined in random order, so that the only cuts are those at the joints; clips without cuts are real windows that get
flashes, fades and camera shake, and photographs that the camera pans over and zooms into. `cuts.csv` has a row for each
kind and detector: that of `vfi-jax interpolate`, the same without its look ahead (`--latency`), and PySceneDetect's own
two. `--only` measures one kind, and the rows of the others stay. With `--sheets`, pictures of the frames around each
mistake of the first are kept. `python results/tables.py` writes the table into docs/interpolate.md.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import scenedetect

from vfi_jax import __version__
from vfi_jax.system.files import written_whole
from vfi_jax.video.coding.decode import TimedFrame
from vfi_jax.video.content.cuts import Cuts
from vfi_jax.viz.sheets import save_png, sheet

TABLE = Path(__file__).parent / "cuts.csv"
COLUMNS = (
    "material",
    "detector",
    "clips",
    "frames",
    "cuts",
    "found",
    "false",
    "ms_per_frame",
    "date",
    "versions",
    "command",
)
WIDTH, HEIGHT = SIZE = (320, 192)
LENGTH, STEP, PER_CLIP, PER_JOIN = 20, 50, 2, 12  # frames of a window, between two; windows
# Cuts that real windows hold themselves, by eye: (name of the clip, number of the window) to frames of the window.
WITHIN: dict[tuple[str, int], tuple[int, ...]] = {("284_examples_video.mp4", 0): (1,)}

Frames = list[np.ndarray]
Clip = tuple[str, Frames, set[int]]  # material, frames, numbers of the frames that begin a shot


def main() -> None:
    """Runs the detectors over all clips; writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--only", default="", metavar="MATERIAL", help="the beginning of its name")
    parser.add_argument("--sheets", type=Path, metavar="DIR")
    options = parser.parse_args()
    tallies: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * 6)
    for number, (material, frames, cuts) in enumerate(clips(options.data, options.only)):
        if not material.startswith(options.only):
            continue
        for name, detect in DETECTORS.items():
            began = time.process_time()
            found = detect(frames)
            spent = time.process_time() - began
            row = (1, len(frames), len(cuts), len(found & cuts), len(found - cuts), spent)
            tallies[material, name] = [a + b for a, b in zip(tallies[material, name], row, strict=True)]
            if name == next(iter(DETECTORS)) and found != cuts:
                print(
                    f"{material} {number}: missed {sorted(cuts - found)}, false {sorted(found - cuts)}", file=sys.stderr
                )
                if options.sheets:
                    _keep(options.sheets, f"{material} {number}", frames, found ^ cuts)
    _write(tallies)


def _write(tallies: dict[tuple[str, str], list[float]]) -> None:
    about = (
        time.strftime("%Y-%m-%d"),
        f"vfi_jax {__version__}, PySceneDetect {scenedetect.__version__}, Python {platform.python_version()}",
        "python results/cuts.py DATA",
    )
    kept = []
    if TABLE.exists():
        with TABLE.open(newline="") as file:
            kept = [row for row in list(csv.reader(file))[1:] if (row[0], row[1]) not in tallies]
    with written_whole(TABLE) as part, part.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(kept)
        for (material, name), (*counts, seconds) in tallies.items():
            writer.writerow([material, name, *map(int, counts), f"{1000 * seconds / counts[1]:.2f}", *about])


def _keep(folder: Path, name: str, frames: Frames, numbers: set[int]) -> None:
    folder.mkdir(exist_ok=True)
    for at in sorted(numbers):
        shown = [(frames[i], f"{i}") for i in range(max(0, at - 3), min(len(frames), at + 3))]
        save_png(folder / f"{name} {at}.png".replace(" ", "_"), sheet([shown]))


def ours(frames: Frames, **options: int) -> set[int]:
    """Frames that begin a shot, by the tool."""
    cuts = Cuts(**options)
    for _ in cuts.numbered(TimedFrame(Fraction(i), Fraction(1), frame) for i, frame in enumerate(frames)):
        pass
    return {cut.frame for cut in cuts.found}


def _by(detector: Callable[[], scenedetect.SceneDetector]) -> Callable[[Frames], set[int]]:
    def detect(frames: Frames) -> set[int]:
        one = detector()
        codes = [
            one.process_frame(scenedetect.FrameTimecode(i, 25.0), frame[..., ::-1]) for i, frame in enumerate(frames)
        ]
        return {code.frame_num for code in itertools.chain(*codes)}

    return detect


DETECTORS: dict[str, Callable[[Frames], set[int]]] = {
    "interpolate": ours,
    "interpolate --latency": lambda frames: ours(frames, reach=0),
    "AdaptiveDetector": _by(lambda: scenedetect.AdaptiveDetector(min_scene_len=1)),
    "ContentDetector": _by(lambda: scenedetect.ContentDetector(min_scene_len=1)),
}


def clips(data: Path, only: str = "") -> Iterator[Clip]:
    """Yields all clips, or those of the kind that is asked for, and some of others."""
    rng = np.random.default_rng(0)
    photos = _photos(data / "photos", rng)
    if not only or not only.startswith(("real", "flash", "fade", "camera shake, real")):
        yield from _of_pictures(data, photos, rng)
    if only and only.startswith(("UCF", "pan", "zoom", "camera shake of")):
        return
    by_number: dict[int, list[tuple[Frames, set[int]]]] = defaultdict(list)
    for number, frames, within in _windows(data / "train"):
        by_number[number].append((frames, within))
    for windows in by_number.values():  # neighbors are of different clips
        order = list(rng.permutation(len(windows)))
        for at in range(0, len(order), PER_JOIN):
            yield _joined("real clips, joined", [windows[i] for i in order[at : at + PER_JOIN]])
    for frames, within in by_number[1]:
        if not within:
            yield from _disturbed(frames, rng)


def _of_pictures(data: Path, photos: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[Clip]:
    triplets = [_triplet(folder) for folder in sorted((data / "benchmarks/ucf101_interp_ours").iterdir())]
    order = list(rng.permutation(len(triplets)))
    for at in range(0, len(order), PER_JOIN):
        yield _joined("UCF101 triplets, joined", [(triplets[i], set()) for i in order[at : at + PER_JOIN]])
    for at in range(0, len(photos), PER_JOIN):
        shots = [(_camera(photo, _pan(10, rng.uniform(1, 4))), set()) for photo in photos[at : at + PER_JOIN]]
        yield _joined("pans over photographs, joined", shots)
    for photo in photos[::2]:
        yield "pans of 4 to 40 pixels per frame", _camera(photo, _pan(20, float(rng.uniform(4, 40)))), set()
        places = [(float(x), float(y), 1.0) for x, y in rng.normal(0, 12, (20, 2))]
        yield "camera shake of a photograph", _camera(photo, places), set()
        yield "zooms", _camera(photo, [(0, 0, 1.04**i) for i in range(20)]), set()


def _photos(folder: Path, rng: np.random.Generator) -> list[np.ndarray]:
    files = rng.permutation(sorted(folder.glob("*.jpg")))
    return [_filled(cv2.imread(str(file))[..., ::-1], (480, 320)) for file in files]


def _joined(name: str, shots: Sequence[tuple[Frames, set[int]]]) -> Clip:
    frames: Frames = []
    cuts: set[int] = set()
    for shot, within in shots:
        cuts |= {len(frames), *(len(frames) + at for at in within)}
        frames += shot
    return name, frames, cuts - {0}


def _disturbed(frames: Frames, rng: np.random.Generator) -> Iterator[Clip]:
    yield "flashes", _flashed(frames, rng), set()
    yield "fades from and to black", _faded(frames), set()
    shake = rng.normal(0, 6, (len(frames), 2)).round()
    yield "camera shake, real", [_moved(frame, *offset) for frame, offset in zip(frames, shake, strict=True)], set()


def _windows(folder: Path) -> Iterator[tuple[int, Frames, set[int]]]:
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            continue
        windows: dict[int, Frames] = defaultdict(list)
        with av.open(str(path)) as container:
            for number, frame in enumerate(itertools.islice(container.decode(video=0), PER_CLIP * STEP)):
                if number % STEP < LENGTH:
                    windows[number // STEP].append(_filled(frame.to_ndarray(format="rgb24"), SIZE))
        for number, frames in windows.items():
            if len(frames) == LENGTH:
                yield number, frames, set(WITHIN.get((path.name, number), ()))


def _triplet(folder: Path) -> Frames:
    return [cv2.imread(str(folder / name))[..., ::-1] for name in ("frame_00.png", "frame_01_gt.png", "frame_02.png")]


def _filled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image that is scaled until it fills a size, and cropped in the middle."""
    height, width = image.shape[:2]
    scale = max(size[0] / width, size[1] / height)
    image = cv2.resize(
        image, (max(size[0], round(width * scale)), max(size[1], round(height * scale))), interpolation=cv2.INTER_AREA
    )
    top, left = (image.shape[0] - size[1]) // 2, (image.shape[1] - size[0]) // 2
    return np.ascontiguousarray(image[top : top + size[1], left : left + size[0]])


def _camera(photo: np.ndarray, places: Sequence[tuple[float, float, float]]) -> Frames:
    """Frames of a camera over a photograph; places are (x, y) from the middle, pixels, and zoom."""
    height, width = photo.shape[:2]
    frames = []
    for x, y, zoom in places:
        matrix = np.float32(
            [[zoom, 0, WIDTH / 2 - zoom * (width / 2 + x)], [0, zoom, HEIGHT / 2 - zoom * (height / 2 + y)]]
        )
        frames.append(cv2.warpAffine(photo, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))
    return frames


def _pan(count: int, speed: float) -> list[tuple[float, float, float]]:
    return [(speed * (i - count / 2), 0.0, 1.0) for i in range(count)]


def _moved(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    return cv2.warpAffine(frame, np.float32([[1, 0, x], [0, 1, y]]), SIZE, borderMode=cv2.BORDER_REFLECT_101)


def _flashed(frames: Frames, rng: np.random.Generator) -> Frames:
    """Frames with a flash of one or two frames in their middle, of which the first may be white."""
    frames, at = list(frames), len(frames) // 2
    for i in range(at, at + int(rng.integers(1, 3))):
        frames[i] = np.uint8(np.clip(frames[i] * 1.2 + rng.uniform(60, 255), 0, 255))
    return frames


def _faded(frames: Frames) -> Frames:
    gains = np.minimum(1, np.minimum(np.arange(len(frames)), np.arange(len(frames))[::-1]) / 8)
    return [np.uint8(frame * gain) for frame, gain in zip(frames, gains, strict=True)]


if __name__ == "__main__":
    main()
