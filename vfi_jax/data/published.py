"""Training sets as their authors publish them: where things lie, how many there are, how large, and what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

from tqdm import tqdm

from vfi_jax.data.images import images_in, load_image
from vfi_jax.data.sources import WindowFolders
from vfi_jax.errors import DamagedError, UsageError, UserError

THREADS = 4  # that decode, to check


@dataclasses.dataclass(frozen=True)
class PublishedLayout:
    """A set's layout.

    Attributes:
      folder: below the set's own, where its clips are.
      clips: folders of images in the training part.
      size: (height, width), pixels.
      listed: a file that names the clips, relative to the set's folder; "": all folders with images.
      names: of the clips, where the authors give them in their code; (): any.
      frames: images a clip; 0: any number.
      window: frames of the windows that are cut, and `step` from one to the next.
      step: see `window`.
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

# Windows are those of the published recipes: IFRNet's of 9 frames for GoPro and Adobe240, whose frames are extracted
# into a folder a video; all 65 of a clip of X4K1000FPS.
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
    """What a look at a set found.

    Attributes:
      source: its good windows.
      expected: clips that it should have; 0: unknown.
      clips: number of clips that are there.
      missing: what is not there, a line each.
      damaged: files that cannot be read or have another size, a line each.
    """

    source: WindowFolders
    expected: int
    clips: int
    missing: Sequence[str]
    damaged: Sequence[str]

    def lines(self) -> list[str]:
        """The report: a summary, then a line for each thing."""
        count = f"{self.clips} of {self.expected} clips" if self.expected else f"{self.clips} clips"
        summary = (
            f"{count}, {len(self.source)} good windows; missing: {len(self.missing)}, damaged: {len(self.damaged)}"
        )
        return [summary, *(f"missing: {line}" for line in self.missing), *(f"damaged: {line}" for line in self.damaged)]


def survey(name: str, root: Path) -> Survey:
    """Looks at a set: decodes every image of its training part.

    Args:
      name: in `PUBLISHED`.
      root: the folder that the archive was unpacked to.

    Raises:
      UsageError: no such set.
      UserError: nothing of it is there.
    """
    if name not in PUBLISHED:
        raise UsageError(f"no training set is called {name!r}; there are: {', '.join(PUBLISHED)}")
    layout = PUBLISHED[name]
    folder = root / layout.folder
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {name} is laid out as {name}/{layout.folder}/CLIP/IMAGE")
    clips, missing = _clips(layout, root)
    files = {clip: images_in(folder / clip) for clip in clips}
    if layout.frames:
        missing += [f"{clip} has {len(own)} of {layout.frames} images" for clip, own in files.items()
                    if len(own) < layout.frames]  # fmt: skip
    wrong = _wrong([file for own in files.values() for file in own], layout.size)
    names = [window for clip, own in files.items() for window in _windows(clip, own, layout, wrong)]
    if not names:
        raise UserError(f"{folder} holds no good window of {layout.window} images: {len(clips)} clips, "
                        f"{len(missing)} things missing, {len(wrong)} files damaged")  # fmt: skip
    source = WindowFolders(folder, names, layout.window)
    return Survey(source, layout.clips, len(clips), missing, [wrong[file] for file in sorted(wrong)])


def _clips(layout: PublishedLayout, root: Path) -> tuple[list[str], list[str]]:
    """Clips that are there, and what is missing."""
    folder = root / layout.folder
    there = sorted({str(file.parent.relative_to(folder)) for file in folder.rglob("*") if file.is_file()})
    if not layout.listed:
        named = [clip for clip in layout.names if clip not in there]
        short = layout.clips - len(there)
        lines = [f"clip {clip}" for clip in named] or ([f"{short} clips"] if short > 0 else [])
        return there, lines
    file = root / layout.listed
    if not file.is_file():
        raise UserError(f"{file}: the list of the training part is missing; fetch the set again")
    wanted = file.read_text().split()
    lines = [f"clip {clip}" for clip in sorted(set(wanted) - set(there))]
    if len(wanted) < layout.clips:
        lines.insert(0, f"{layout.clips - len(wanted)} lines of {layout.listed}")
    present = set(there)
    return [clip for clip in wanted if clip in present], lines


def _wrong(files: Sequence[Path], size: tuple[int, int]) -> dict[Path, str]:
    """Why each bad file is bad."""

    def look(file: Path) -> str:
        try:
            found = load_image(file).shape[:2]
        except DamagedError as error:
            return str(error)
        return "" if found == size else f"{file} is {found[1]}x{found[0]}, not {size[1]}x{size[0]}"

    with ThreadPoolExecutor(THREADS) as pool:
        reasons = tqdm(pool.map(look, files), total=len(files), unit="image", desc="check")
        return {file: reason for file, reason in zip(files, reasons, strict=True) if reason}


def _windows(clip: str, files: Sequence[Path], layout: PublishedLayout, wrong: Mapping[Path, str]) -> Iterator[str]:
    """Names of the windows without a bad image."""
    if layout.frames and len(files) != layout.frames:
        return
    for first in range(0, len(files) - layout.window + 1, layout.step):
        if not any(file in wrong for file in files[first : first + layout.window]):
            yield clip if len(files) == layout.window else f"{clip}/{first:06d}"
