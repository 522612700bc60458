"""BENCHMARKS: every protocol by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

from vfi_jax.benchmarks import clip_sets, clips, folders, generated, image_sets, yuv
from vfi_jax.benchmarks.protocol import Benchmark, load_uint8
from vfi_jax.errors import UsageError
from vfi_jax.metrics import USUAL
from vfi_jax.ops.pad import Padding
from vfi_jax.system.plugins import unknown

TRIPLETS, CLIPS, FRAMES = "triplets", "clips", "frames"
KINDS = f"{TRIPLETS}=FOLDER, {CLIPS}=FOLDER, {FRAMES}=FOLDER"
MIDDLEBURY_SIZE = (480, 640)
XIPH_FIGURES = (*USUAL, "ssim_uniform")
LUMA = (*USUAL, "psnr_luma")

# Predictions are rounded unless the name says "float": pictures have 8 bits, and RIFE's tables round. IFRNet, AMT and
# EMA-VFI score the unrounded prediction, a difference of some 0.01 dB.
PLAIN = (
    Benchmark("vimeo90k", "test list, 448x256", image_sets.vimeo_triplet),
    Benchmark(
        "vimeo_septuplet",
        "test list, 448x256: im3 and im5 to im4, with im1 and im7 for models of four frames",
        image_sets.vimeo_septuplet,
    ),
    Benchmark(
        "vimeo_septuplet_6x",
        "test list, 448x256: im1 and im7 to im2 ... im6, at sixths",
        clip_sets.vimeo_septuplet_ends,
    ),
    Benchmark("ucf101", "the DVF test set, 256x256", image_sets.ucf101),
    # RIFE's and IFRNet's tables have the zeros; at its own size a recent model is up to 1 dB better.
    Benchmark("middlebury", '"other", on a canvas of 640x480 zeros', image_sets.middlebury, canvas=MIDDLEBURY_SIZE),
    Benchmark("middlebury_native", '"other", at its own sizes', image_sets.middlebury),
    Benchmark(
        "atd12k", "test_2k_540p, edges repeated to 544 rows", image_sets.atd12k, padding=Padding(32, "edge", "center")
    ),
    # Papers on four-frame models use QVI's crop.
    Benchmark(
        "davis",
        "480p, windows of 7 every 2: 0, 2, 4, 6 to 3, middle 840x480",
        clip_sets.davis,
        load=partial(folders.load_cropped, height=480, width=840),
    ),
    Benchmark(
        "vimeo90k_amt_tta",
        "test list, 448x256; mean with the prediction of the frames upside down, unrounded, as AMT has it",
        image_sets.vimeo_triplet,
        tta=True,
        tta_columns=False,
        rounded=False,
    ),
    Benchmark("davis_full", "480p, windows of 7 every 2: 0, 2, 4, 6 to 3, whole frames", clip_sets.davis),
)


def variant(benchmark: Benchmark, name: str, protocol: str, **settings: object) -> Benchmark:
    """The same set under another protocol."""
    return dataclasses.replace(benchmark, name=name, protocol=protocol, **settings)


def _float(benchmark: Benchmark) -> Benchmark:
    about = f"{benchmark.protocol}; predictions unrounded, as IFRNet, AMT and EMA-VFI have it"
    return variant(benchmark, f"{benchmark.name}_float", about, rounded=False)


def _snu() -> Iterator[Benchmark]:
    """SNU-FILM as in CAIN, whose authors made the set: whole frames, the model's own padding, rounded."""
    for level, gap in clip_sets.SNU_GAPS.items():
        plain = Benchmark(
            f"snu_film_{level}",
            f"test-{level}.txt, whole frames, {gap} apart",
            partial(clip_sets.snu_film, level=level),
        )
        yield plain
        about = f"{plain.protocol}; scale 0.8, sides to multiples of 20, unrounded, as IFRNet and AMT have it"
        padding = Padding(20, "edge", "center")
        yield variant(plain, f"{plain.name}_ifrnet", about, scale=0.8, padding=padding, rounded=False)
        about = f"{plain.protocol}; scale 0.5, sides to multiples of 32, unrounded, as EMA-VFI has it"
        padding = Padding(32, "edge", "center")
        yield variant(plain, f"{plain.name}_ema", about, scale=0.5, padding=padding, rounded=False)
        about = f"{plain.protocol}; without samples that lack an outer frame, unrounded, as DBVI has it"
        four = partial(clip_sets.snu_film, level=level, complete=True)
        yield variant(plain, f"{plain.name}_dbvi", about, find=four, rounded=False)
    for level in ("medium", "hard", "extreme"):
        gap = clip_sets.SNU_GAPS[level]
        find = partial(clip_sets.snu_film_all, level=level)
        plain = Benchmark(f"snu_film_{gap}x", f"test-{level}.txt, the {gap - 1} frames between, whole", find)
        yield plain
        about = f"{plain.protocol}; unrounded, sides to multiples of 32: SNU-FILM-arb as GIMM-VFI has it"
        padding = Padding(32, "edge", "center")
        yield variant(plain, f"snu_film_arb_{level}", about, padding=padding, rounded=False)


def _large() -> Iterator[Benchmark]:
    """Xiph and X-TEST. Most tables call the center of the frames 4K; whole frames differ by more than a decibel."""
    for name, about, load in (
        ("2k", "reduced (area) to 2048x1080", partial(folders.load_resized, height=1080, width=2048)),
        ("4k", "the middle 2048x1080", partial(folders.load_cropped, height=1080, width=2048)),
        ("4k_uncropped", "whole frames of 4096x2160", load_uint8),
    ):
        about = f"eight clips, even frames of the first 99, {about}"
        plain = Benchmark(f"xiph_{name}", about, clip_sets.xiph, load=load, figures=XIPH_FIGURES)
        yield plain
        if name != "4k_uncropped":
            about, padding = f"{plain.protocol}; scale 0.5, sides to multiples of", Padding(16, "edge", "center")
            yield variant(plain, f"{plain.name}_ema", f"{about} 16, as EMA-VFI has it", scale=0.5, padding=padding)
            about, padding = f"{about} 32, unrounded, as AMT has it", Padding(32, "edge", "center")
            yield variant(plain, f"{plain.name}_amt", about, scale=0.5, padding=padding, rounded=False)
    reduced = partial(folders.load_resized_float, height=1080, width=2048)
    for name, about, load, scale in (
        ("4k", "4096x2160", load_uint8, 0.25),
        ("2k", "reduced (area, in float) to 2048x1080", reduced, 0.5),
    ):
        about = f"X-TEST, 8 times, frames 32 apart, {about}"
        plain = Benchmark(f"xtest_{name}", about, clip_sets.xtest, load=load, sequences=True)
        yield plain
        about, padding = f"{about}; scale {scale:g}, sides to multiples of 32", Padding(32, "edge", "center")
        yield variant(plain, f"{plain.name}_ema", f"{about}, as EMA-VFI has it", scale=scale, padding=padding)


def _hd() -> Iterator[Benchmark]:
    """RIFE's HD set: PSNR of Y, the mean of the files' means; bicubic chroma as in Pillow 7 and later."""
    padding = Padding(64, "edge", "center")
    hd = Benchmark(
        "hd",
        "RIFE's HD set of 11 clips, every second frame, PSNR of Y",
        yuv.hd,
        load=yuv.load_yuv,
        padding=padding,
        figures=LUMA,
        headline="psnr_luma",
        by_group=True,
    )
    yield hd
    nearest = partial(yuv.load_yuv, chroma_filter=yuv.NEAREST)
    yield variant(hd, "hd_nearest", f"{hd.protocol}; color planes enlarged as Pillow before 7 did", load=nearest)
    for size in yuv.SIZES:
        about = f"RIFE's HD set, clips of {size}, 4 times, PSNR of Y"
        yield variant(hd, f"hd_4x_{size}", about, find=partial(yuv.hd, sizes=(size,), gap=4))


def _four() -> Iterator[Benchmark]:
    """Sets of four frames as VFIT's test script has them: unrounded, QVI's frames, crops of its own."""
    short = Benchmark(
        "vimeo_septuplet_short",
        "every 38th of the test list, 206 clips of 448x256, as VFIT's loader takes them unless told otherwise",
        image_sets.vimeo_septuplet_short,
    )
    yield short
    yield _float(short)
    ucf = Benchmark(
        "ucf101_qvi",
        "QVI's selection of UCF101: four frames and the one between, the middle 224x224",
        image_sets.ucf101_qvi,
        load=partial(folders.load_cropped, height=224, width=224),
    )
    yield ucf
    yield _float(ucf)
    about = "480p, windows of 7 every 2: 0, 2, 4, 6 to 3, middle 848x480, unrounded, as VFIT has it"
    middle = partial(folders.load_cropped, height=480, width=848)
    yield Benchmark("davis_vfit", about, clip_sets.davis, load=middle, rounded=False)


def _fast() -> Iterator[Benchmark]:
    """GoPro and Adobe240; IFRNet's and AMT's tables have the center 512x512."""
    for name, shown, names, below in (
        ("gopro", "GoPro's test part", ("GOPRO", "GoPro", "GOPRO_Large_all", "gopro"), "test"),
        ("adobe240", "Adobe240's test_frames", ("Adobe240", "adobe240"), "test_frames"),
    ):
        find = partial(clip_sets.windows_of_eight, names=names, below=below)
        about = f"{shown}, windows of 9 frames, 8 times"
        middle = partial(folders.load_cropped, height=512, width=512)
        plain = Benchmark(f"{name}_8x", f"{about}, the middle 512x512", find, load=middle, sequences=True)
        yield plain
        yield _float(plain)
        yield variant(plain, f"{name}_8x_full", f"{about}, whole frames", load=load_uint8)


ALL = (*PLAIN, *map(_float, PLAIN[:4]), *_snu(), *_large(), *_hd(), *_fast(), *_four(), *generated.GENERATED)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({benchmark.name: benchmark for benchmark in ALL})


def named(name: str) -> Benchmark:
    """A benchmark by name: a row of `BENCHMARKS`, or one over any folder.

    Args:
      name: in BENCHMARKS; `triplets=FOLDER` (Vimeo90K's layout); `clips=FOLDER` (video files);
        `frames=FOLDER` (folders of numbered pictures).

    Raises:
      UsageError: no such benchmark.
    """
    kind, _, folder = name.partition("=")
    root = Path(folder)
    if kind == CLIPS and folder:
        return clips.benchmark(root)
    shown = root.resolve().name
    if kind == FRAMES and folder:
        return Benchmark(shown, f"every second picture of {shown}", lambda _: clip_sets.frames_of(root), sequences=True)
    if kind == TRIPLETS and folder:
        return Benchmark(shown, f"triplets of {shown}", lambda _: image_sets.in_vimeo_layout(root))
    if name not in BENCHMARKS:
        raise UsageError(unknown("benchmark", name, [*BENCHMARKS, *KINDS.split(", ")]))
    return BENCHMARKS[name]
