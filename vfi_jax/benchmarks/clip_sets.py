"""Published test sets of clips: where they keep their frames, and the samples at one or several times in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from vfi_jax.benchmarks.folders import at_least_one, existing, one_of
from vfi_jax.benchmarks.protocol import BenchmarkSample
from vfi_jax.data.images import gaps, images_in
from vfi_jax.data.sources import LISTS
from vfi_jax.errors import UserError

SNU_NAMES = ("SNU-FILM", "SNU_FILM", "snu_film", "snufilm")
SNU_GAPS = {"easy": 2, "medium": 4, "hard": 8, "extreme": 16}  # frames from the first input to the second
XIPH_CLIPS = (
    "BoxingPractice", "Crosswalk", "DrivingPOV", "FoodMarket", "FoodMarket2", "RitualDance", "SquareAndTimelapse",
    "Tango",
)  # fmt: skip


def samples_between(
    clip: str, frames: Sequence[Any], gap: int, step: int = 1, *, starts: Iterable[int]
) -> Iterator[BenchmarkSample]:
    """Samples of every `step`-th frame between two inputs; outer frames lie `gap` beyond, where the clip has them.

    Args:
      clip: its name.
      frames: all frames of the clip.
      gap: frames from the first input to the second.
      step: frames from one sample to the next.
      starts: indices of first inputs; those whose second input is beyond the clip's end are left out.
    """
    for start in starts:
        if start + gap >= len(frames):
            return
        around = [start - gap, start, start + gap, start + 2 * gap]
        before, first, second, after = (frames[i] if 0 <= i < len(frames) else None for i in around)
        for index in range(start + step, start + gap, step):
            yield BenchmarkSample(
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
    """Every folder with pictures in or below `root`, by its name there.

    Raises:
      UserError: pictures are missing, by the numbers of a folder.
    """
    folders = sorted({file.parent for file in existing(root).rglob("*") if file.is_file()})
    for folder in folders:
        if files := images_in(folder):
            if missing := gaps(files):
                raise UserError(f"{folder} has {missing[0]}: frames that are no neighbors would be compared")
            yield str(folder.relative_to(root)), files


def vimeo_septuplet_ends(data: Path) -> list[BenchmarkSample]:
    """Vimeo90K's septuplets: im1 and im7 to im2, ..., im6, at sixths."""
    root = existing(data / "vimeo_septuplet")
    names = (root / LISTS["test"][1]).read_text().split()
    clips = ((name, images_in(existing(root / "sequences" / name))) for name in names)
    samples = (s for name, files in clips for s in samples_between(name, files, 6, starts=[0]))
    return at_least_one(samples, root, "its list is empty")


def _snu_root(data: Path) -> Path:
    return one_of(data, SNU_NAMES)


def _snu_lines(root: Path, level: str) -> list[list[Path]]:
    """The pictures of each line, wherever the list's own paths begin."""
    candidates = [root / f"test-{level}.txt", root / "eval_modes" / f"test-{level}.txt"]
    listed = next((path for path in candidates if path.is_file()), None)
    if listed is None:
        raise UserError(f"{candidates[0]} is missing: fetch the set's lists too")
    pictures = root / "test" if (root / "test").is_dir() else root

    def picture(text: str) -> Path:
        parts = Path(text).parts
        start = next((i for i, part in enumerate(parts) if part in ("GOPRO_test", "YouTube_test")), 0)
        return pictures.joinpath(*parts[start:])

    return [[picture(text) for text in line.split()] for line in listed.read_text().splitlines() if line.strip()]


def _numbered(path: Path, step: int) -> Path:
    return path.with_name(f"{int(path.stem) + step:0{len(path.stem)}d}{path.suffix}")


def snu_film(data: Path, level: str, *, complete: bool = False) -> list[BenchmarkSample]:
    """SNU-FILM: a sample per line of `test-LEVEL.txt`, with the frames as far beyond where they exist.

    Args:
      data: holds `SNU-FILM/`, with the lists in it or in `eval_modes/`, and pictures in `test/GOPRO_test`, ....
      level: "easy", "medium", "hard" or "extreme".
      complete: whether to leave out samples that lack an outer frame.
    """
    root = _snu_root(data)
    samples = (_snu_sample(root, line, SNU_GAPS[level]) for line in _snu_lines(root, level))
    return at_least_one((s for s in samples if not complete or (s.before and s.after)), root, "its list is empty")


def _snu_sample(root: Path, line: Sequence[Path], gap: int) -> BenchmarkSample:
    outer = [_numbered(line[0], -gap) if int(line[0].stem) >= gap else None, _numbered(line[2], gap)]
    before, after = (path if path and path.exists() else None for path in outer)
    return BenchmarkSample(str(line[1].relative_to(root)), line[0], line[1], line[2], before=before, after=after)


def snu_film_all(data: Path, level: str) -> list[BenchmarkSample]:
    """SNU-FILM, all frames between those of a line: 4 ("medium"), 8 ("hard") or 16 ("extreme") times as many."""
    root, gap = _snu_root(data), SNU_GAPS[level]

    def between() -> Iterator[BenchmarkSample]:
        for first, _, second in _snu_lines(root, level):
            for step in range(1, gap):
                truth = _numbered(first, step)
                name = f"{truth.relative_to(root)}@{first.stem}"
                yield BenchmarkSample(name, first, truth, second, t=step / gap)

    return at_least_one(between(), root, "its list is empty")


def xiph(data: Path) -> list[BenchmarkSample]:
    """Xiph: `xiph/CLIP-NNN.png`, eight clips of 4096x2160, frames 1 to 100; samples are the even ones, 2 to 98."""
    root = one_of(data, ("xiph", "Xiph", "netflix"))
    return [
        BenchmarkSample(
            f"{clip}-{index:03d}",
            *(root / f"{clip}-{i:03d}.png" for i in (index - 1, index, index + 1)),
            before=root / f"{clip}-{max(index - 3, 1):03d}.png",
            after=root / f"{clip}-{min(index + 3, 99):03d}.png",
            group=clip,
        )
        for clip in XIPH_CLIPS
        for index in range(2, 99, 2)
    ]


def xtest(data: Path) -> list[BenchmarkSample]:
    """X4K1000FPS, X-TEST: `test/TYPE/SCENE/NNNN.png`: frames 32 apart, every fourth between."""
    root = one_of(data, ("X4K1000FPS", "x4k1000fps", "XTest")) / "test"
    clips = _clips(root)
    samples = (s for clip, files in clips for s in samples_between(clip, files, 32, 4, starts=range(0, len(files), 32)))
    return at_least_one(samples, root, "test/TYPE/SCENE/NNNN.png, 33 per scene, are wanted")


def windows_of_eight(data: Path, names: Sequence[str], below: str) -> list[BenchmarkSample]:
    """GoPro and Adobe240: each clip in windows of 9 frames, 8 apart; samples are the 7 frames between, at eighths."""
    root = one_of(data, names) / below
    samples = (
        s for clip, files in _clips(root) for s in samples_between(clip, files, 8, starts=range(0, len(files), 8))
    )
    return at_least_one(samples, root, "folders of 9 pictures or more are wanted")


def davis(data: Path) -> list[BenchmarkSample]:
    """DAVIS: `DAVIS/JPEGImages/480p/CLIP/NNNNN.jpg`: windows of 7, 2 apart: 0, 2, 4, 6 to 3 (QVI)."""
    root = existing(data / "DAVIS" / "JPEGImages" / "480p")

    def windows() -> Iterator[BenchmarkSample]:
        for clip, files in _clips(root):
            for i in range(0, len(files) - 6, 2):
                a, b, truth, c, d = (files[i + step] for step in (0, 2, 3, 4, 6))
                yield BenchmarkSample(f"{clip}/{truth.stem}", b, truth, c, before=a, after=d, group=clip)

    return at_least_one(windows(), root, "clips of 7 pictures or more are wanted")


def frames_of(root: Path) -> list[BenchmarkSample]:
    """Any tree of folders of numbered pictures: every second picture from its neighbors."""
    samples = (
        s for clip, files in _clips(root) for s in samples_between(clip, files, 2, starts=range(0, len(files), 2))
    )
    return at_least_one(samples, root, "folders of 3 pictures or more are wanted")
