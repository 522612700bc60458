"""Training sets in their authors' layouts, and a survey of what is missing or damaged in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from vfi_jax.data.images import gaps, images_in, load_image
from vfi_jax.data.sources import WindowFolders
from vfi_jax.errors import DamagedError, UsageError, UserError
from vfi_jax.system import progress

THREADS = 4  # for decoding


@dataclasses.dataclass(frozen=True)
class PublishedLayout:
    """The layout of a set.

    Attributes:
      folder: of the clips, relative to the set's folder.
      clips: number of folders of images in the training part; 0: unknown.
      size: (height, width) of all images, pixels.
      listed: file with the names of the clips, relative to the set's folder; "": all folders with images.
      names: of the clips, if the authors' code lists them; (): any.
      frames: images per clip; 0: any number.
      window: frames per window.
      step: frames from the start of a window to that of the next.
    """

    folder: str
    clips: int
    size: tuple[int, int]
    listed: str = ""
    names: tuple[str, ...] = ()
    frames: int = 0
    window: int = 3
    step: int = 1


GOPRO = (
    "0372_07_00 0374_11_01 0378_13_00 0384_11_01 0384_11_04 0477_11_00 0868_11_02 0884_11_00 0372_07_01 0374_11_02 "
    "0379_11_00 0384_11_02 0385_11_00 0857_11_00 0871_11_01 0374_11_00 0374_11_03 0380_11_00 0384_11_03 0386_11_00 "
    "0868_11_01 0881_11_00"
)

# Windows follow the published recipes: 9 frames (IFRNet) for GoPro and Adobe240, whose frames are extracted into one
# folder per video, and all 65 frames of a clip for X4K1000FPS.
PUBLISHED: Mapping[str, PublishedLayout] = MappingProxyType(
    {
        "vimeo_triplet": PublishedLayout("sequences", 51_313, (256, 448), "tri_trainlist.txt", frames=3, window=3),
        "vimeo_septuplet": PublishedLayout("sequences", 64_612, (256, 448), "sep_trainlist.txt", frames=7, window=7),
        "gopro": PublishedLayout(
            "train", 22, (720, 1280), names=tuple(f"GOPR{name}" for name in GOPRO.split()), window=9, step=8
        ),
        "x4k1000fps": PublishedLayout("train", 4408, (768, 768), frames=65, window=65),
        "adobe240": PublishedLayout("train", 0, (720, 1280), window=9, step=8),
    }
)


@dataclasses.dataclass(frozen=True)
class Survey:
    """The result of `survey`.

    Attributes:
      source: the windows without a missing or damaged image.
      expected: number of clips that the set should have; 0: unknown.
      clips: number of clips that are there.
      missing: one line per missing clip, image or list entry.
      damaged: one line per file that cannot be read or has another size.
    """

    source: WindowFolders
    expected: int
    clips: int
    missing: Sequence[str]
    damaged: Sequence[str]

    def lines(self) -> list[str]:
        """Formats the report: a summary, then one line per finding."""
        count = f"{self.clips} of {self.expected} clips" if self.expected else f"{self.clips} clips"
        summary = (
            f"{count}, {len(self.source)} good windows; missing: {len(self.missing)}, damaged: {len(self.damaged)}"
        )
        return [summary, *(f"missing: {line}" for line in self.missing), *(f"damaged: {line}" for line in self.damaged)]


def survey(name: str, root: Path) -> Survey:
    """Checks a set by decoding every image of its training part.

    Args:
      name: in `PUBLISHED`.
      root: folder to which the archive was unpacked.

    Raises:
      UsageError: the set is unknown.
      UserError: the set is not there, or no window of it is intact.
    """
    if name not in PUBLISHED:
        raise UsageError(f"no training set is called {name!r}; there are: {', '.join(PUBLISHED)}")
    layout = PUBLISHED[name]
    folder = root / layout.folder
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {name} is laid out as {name}/{layout.folder}/CLIP/IMAGE")
    clips, missing = _clips(layout, root)
    files = {clip: images_in(folder / clip) for clip in clips}
    missing += [
        f"{clip} has {len(images)} of {layout.frames} images"
        for clip, images in files.items()
        if len(images) < layout.frames
    ]
    damaged = _damaged([file for images in files.values() for file in images], layout.size)
    names = [window for clip, images in files.items() for window in _intact_windows(clip, images, layout, damaged)]
    if not names:
        raise UserError(f"{folder} holds no good window of {layout.window} images: {len(clips)} clips, "
                        f"{len(missing)} things missing, {len(damaged)} files damaged")  # fmt: skip
    source = WindowFolders(folder, names, layout.window)
    return Survey(source, layout.clips, len(clips), missing, [damaged[file] for file in sorted(damaged)])


def _clips(layout: PublishedLayout, root: Path) -> tuple[list[str], list[str]]:
    """Returns the clips that are there, and one line per missing one."""
    folder = root / layout.folder
    present = sorted({str(file.parent.relative_to(folder)) for file in folder.rglob("*") if file.is_file()})
    if not layout.listed:
        named = [clip for clip in layout.names if clip not in present]
        short = layout.clips - len(present)
        lines = [f"clip {clip}" for clip in named] or ([f"{short} clips"] if short > 0 else [])
        return present, lines
    file = root / layout.listed
    if not file.is_file():
        raise UserError(f"{file}: the list of the training part is missing; fetch the set again")
    listed = file.read_text().split()
    lines = [f"clip {clip}" for clip in sorted(set(listed) - set(present))]
    if len(listed) < layout.clips:
        lines.insert(0, f"{layout.clips - len(listed)} lines of {layout.listed}")
    known = set(present)
    return [clip for clip in listed if clip in known], lines


def _damaged(files: Sequence[Path], size: tuple[int, int]) -> dict[Path, str]:
    """Returns the damaged files, each with one line that says why."""

    def check(file: Path) -> str:
        try:
            height, width = load_image(file).shape[:2]
        except DamagedError as error:
            return str(error)
        return "" if (height, width) == size else f"{file} is {width}x{height}, not {size[1]}x{size[0]}"

    with ThreadPoolExecutor(THREADS) as pool:
        reasons = progress.bar(pool.map(check, files), total=len(files), unit="image", desc="check")
        return {file: reason for file, reason in zip(files, reasons, strict=True) if reason}


def _intact_windows(
    clip: str, files: Sequence[Path], layout: PublishedLayout, damaged: Mapping[Path, str]
) -> Iterator[str]:
    """Yields the names of the windows without a damaged image and without a gap in the numbers of the images."""
    if layout.frames and len(files) != layout.frames:
        return
    after_gaps = {gap.after for gap in gaps(files)}
    for first in range(0, len(files) - layout.window + 1, layout.step):
        window = files[first : first + layout.window]
        if not (damaged.keys() & window or after_gaps & set(window[1:])):
            yield clip if len(files) == layout.window else f"{clip}/{first:06d}"
