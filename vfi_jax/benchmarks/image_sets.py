"""Published test sets of triplets and septuplets: where they keep their frames."""

from __future__ import annotations

from pathlib import Path

from vfi_jax.benchmarks.folders import existing
from vfi_jax.benchmarks.protocol import BenchmarkSample
from vfi_jax.data.images import images_in
from vfi_jax.data.sources import LISTS
from vfi_jax.errors import UserError

SHORT = 38  # the step of VFIT's short list
QVI = ("frame0", "frame1", "frame2", "frame3", "framet")


def in_vimeo_layout(folder: Path) -> list[BenchmarkSample]:
    """Samples of a test list; without a list, every folder of three pictures, or of seven.

    Raises:
      UserError: no such folder, or no samples in it.
    """
    root = folder / "sequences" if (folder / "sequences").is_dir() else folder
    lists = [path for path in (folder / name for name in LISTS["test"]) if path.is_file()]
    if lists:
        names = lists[0].read_text().split()
    else:
        names = sorted({str(file.parent.relative_to(root)) for file in existing(root).rglob("im1.*")})
    if not names:
        raise UserError(f"{folder} holds no samples: no list of a test set, and no folders with im1, im2, im3")
    return [_vimeo_sample(root, name) for name in names]


def _vimeo_sample(root: Path, name: str) -> BenchmarkSample:
    """A triplet; or a septuplet, whose frame 4 is the truth and whose frames 1, 3, 5 and 7 are at -1, 0, 1 and 2."""
    files = images_in(existing(root / name))
    if len(files) == 3:
        return BenchmarkSample(name, *files)
    if len(files) == 7:
        return BenchmarkSample(name, *files[2:5], before=files[0], after=files[6])
    raise UserError(f"{root / name} has {len(files)} pictures: 3 or 7 are needed")


def vimeo_triplet(data: Path) -> list[BenchmarkSample]:
    """Vimeo90K: `vimeo_triplet/`."""
    return in_vimeo_layout(existing(data / "vimeo_triplet"))


def vimeo_septuplet(data: Path) -> list[BenchmarkSample]:
    """Vimeo90K: `vimeo_septuplet/`, the middle frame."""
    return in_vimeo_layout(existing(data / "vimeo_septuplet"))


def vimeo_septuplet_short(data: Path) -> list[BenchmarkSample]:
    """Every 38th sample of `vimeo_septuplet`, from the first: 206 of 7824."""
    return vimeo_septuplet(data)[::SHORT]


def ucf101_qvi(data: Path) -> list[BenchmarkSample]:
    """UCF101 as QVI selected it: `ucf101_qvi/N/frame0 ... frame3` at -1 to 2, and `framet` between, in order of N."""
    root = existing(data / "ucf101_qvi")
    folders = sorted((path for path in root.iterdir() if path.is_dir()), key=lambda path: (len(path.name), path.name))
    if not folders:
        raise UserError(f"{root} is empty: fetch the set again")
    samples = []
    for folder in folders:
        files = {path.stem: path for path in images_in(folder)}
        if lacking := [name for name in QVI if name not in files]:
            raise UserError(f"{folder} lacks {', '.join(lacking)}: {', '.join(QVI)} are needed")
        before, first, second, after, truth = (files[name] for name in QVI)
        samples.append(BenchmarkSample(folder.name, first, truth, second, before=before, after=after))
    return samples


def ucf101(data: Path) -> list[BenchmarkSample]:
    """UCF101: `ucf101_interp_ours/N/frame_00.png, frame_01_gt.png, frame_02.png`, in order of N."""
    folder = existing(data / "ucf101_interp_ours")
    folders = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: (len(path.name), path.name))
    if not folders:
        raise UserError(f"{folder} is empty: fetch the set again")
    return [BenchmarkSample(p.name, p / "frame_00.png", p / "frame_01_gt.png", p / "frame_02.png") for p in folders]


def middlebury(data: Path) -> list[BenchmarkSample]:
    """Middlebury: `other-data/SCENE/frame10.png, frame11.png` and `other-gt-interp/SCENE/frame10i11.png`."""
    root = data / "middlebury" if (data / "middlebury").is_dir() else data
    truths = sorted(existing(root / "other-gt-interp").glob("*/frame10i11.png"))
    inputs = existing(root / "other-data")
    if not truths:
        raise UserError(f"{root / 'other-gt-interp'} holds no scene with frame10i11.png: fetch the set again")
    scenes = [(path, inputs / path.parent.name) for path in truths]
    return [BenchmarkSample(scene.name, scene / "frame10.png", truth, scene / "frame11.png") for truth, scene in scenes]


def atd12k(data: Path) -> list[BenchmarkSample]:
    """ATD-12K: `test_2k_540p/NAME/frame1.png, frame2.png, frame3.png` (or .jpg), also in `atd-12k/` or `datasets/`."""
    roots = [data / name / "test_2k_540p" for name in ("", "atd-12k", "atd_12k", "ATD12K", "datasets")]
    root = existing(next((root for root in roots if root.is_dir()), roots[0]))
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if not folders:
        raise UserError(f"{root} is empty: fetch the set again")
    ending = "png" if (folders[0] / "frame1.png").exists() else "jpg"
    return [BenchmarkSample(path.name, *(path / f"frame{i}.{ending}" for i in (1, 2, 3))) for path in folders]
