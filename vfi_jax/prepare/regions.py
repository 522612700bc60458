"""Writing region maps beside the pictures of a set or of a clip: superpixels, or labels that the user brings.

Each folder of pictures is a clip: its regions are numbered frame by frame, by `region_matching` and OpenCV's DIS flow
at half the size. `data.region_maps` says where maps stand and reads them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Integer, UInt8

from vfi_jax.data.images import images_in, is_image, load_image, to_uint8
from vfi_jax.data.region_maps import (
    ABOUT,
    FORMAT,
    MAP_SUFFIX,
    MOST,
    SCALE,
    VERSION,
    Map,
    encoded,
    half,
    map_of,
    read_about,
    reduced,
)
from vfi_jax.errors import DamagedError, UsageError, UserError
from vfi_jax.inference.flow import dis_flow
from vfi_jax.prepare.region_matching import Labels, Numbering, compacted
from vfi_jax.system import lock, progress, strict_json
from vfi_jax.system.files import remove_partials, written_whole

METHODS = ("felzenszwalb", "slic")
EXTRA = "pip install 'vfi_jax[regions]'"
SETTINGS = {
    "felzenszwalb": {"scale": 100, "sigma": 0.8, "min_size": 64},
    "slic": {"n_segments": 200, "compactness": 10, "start_label": 1},
}

# A picture and its frame, uint8 RGB -> labels at half its size; 0: none.
Segment = Callable[[Path, UInt8[np.ndarray, "h w 3"]], Labels]


@dataclasses.dataclass(frozen=True)
class Brought:
    """Labels of another program, in a tree of folders like that of the pictures.

    Beside each other stand, for a picture `a/im1.png`, `a/im1.png` in `folder`: gray, 8 or 16 bits, each region a
    number; or `a/im1.npy`: masks `[n, h, w]`, 0 or 1, or labels `[h, w]`. They have the picture's size or half of it.

    Attributes:
      folder: of the labels.
      source: name, version and settings of what made them.
      licence: of its weights.
      matched: whether a number means the same object in all pictures of a folder already.
    """

    folder: Path
    source: str = "not stated"
    licence: str = "not stated"
    matched: bool = False


def write_regions(path: Path, method: str = METHODS[0], *, brought: Brought | None = None) -> dict[str, Any]:
    """Writes the maps of all folders of pictures below one; after an interruption the same call continues.

    Args:
      path: a folder of pictures, or of folders of them.
      method: "felzenszwalb" or "slic", of scikit-image, without `brought`.
      brought: labels instead of a method.

    Returns:
      The content of `regions.json`, and the numbers of "pictures" and "folders".

    Raises:
      UsageError: an unknown method, scikit-image is not installed, or `path` has maps made otherwise.
      UserError: no pictures, pictures or labels that cannot be read, or a folder that cannot be written.
    """
    segment = functools.partial(_brought, root=path, labels=brought.folder) if brought else _segmenter(method)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "scale": SCALE,
        "matched": True,
        "source": brought.source if brought else _described(method),
        "licence": brought.licence if brought else "no weights",
    }
    if not path.is_dir():
        raise UserError(f"{path}: no such folder of pictures")
    folders = sorted({file.parent for file in path.rglob("*") if is_image(file)})
    if not folders:
        raise UserError(f"{path}: no pictures (PNG or JPEG) in it")
    matched = brought is not None and brought.matched
    count = 0
    try:
        with lock.held(path):
            _begin(path, about)
            for folder in progress.bar(folders, unit="folder", desc="regions", disable=len(folders) == 1):
                remove_partials(folder, f"*{MAP_SUFFIX}")
                count += _write_folder(images_in(folder), segment, matched=matched)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; what is written stays") from None
    return {**about, "pictures": count, "folders": len(folders)}


def _described(method: str) -> str:
    import skimage

    return f"skimage {skimage.__version__} {method} {strict_json.dumps(SETTINGS[method])}"


def superpixels(method: str) -> Callable[[UInt8[np.ndarray, "h w 3"]], Labels]:
    """Returns a method of scikit-image as a function of pictures, whose labels begin with 1.

    Raises:
      UsageError: an unknown method, or scikit-image is not installed.
    """
    if method not in METHODS:
        raise UsageError(f"no method is called {method!r}: {' or '.join(METHODS)}, or labels of your own")
    try:
        from skimage import segmentation
    except ImportError:
        raise UsageError(f"{method} needs scikit-image: {EXTRA}, or bring labels of your own") from None

    def segment(picture: UInt8[np.ndarray, "h w 3"]) -> Labels:
        labels = getattr(segmentation, method)(picture.astype(np.float64) / 255, **SETTINGS[method])
        return labels + (method == "felzenszwalb")

    return segment


def _segmenter(method: str) -> Segment:
    segment = superpixels(method)
    return lambda picture, frame: segment(_halved(frame))


def _begin(path: Path, about: dict[str, Any]) -> None:
    """Writes the description of the maps, or checks it against that which is there."""
    begun = read_about(path)
    if begun is not None and begun != about:
        differing = next(name for name in about if begun.get(name) != about[name])
        raise UsageError(
            f"{path} has region maps made otherwise ({differing}: {begun.get(differing)}, now {about[differing]}): "
            f"delete them and their {ABOUT} first"
        )
    if begun is None:
        remove_partials(path, ABOUT)
        with written_whole(path / ABOUT) as partial:
            partial.write_text(strict_json.dumps(about, indent=1) + "\n")


def _write_folder(pictures: Sequence[Path], segment: Segment, *, matched: bool) -> int:
    """Writes the maps of a clip, from its first picture on unless all are there; returns the number of pictures."""
    if not all(map_of(picture).is_file() for picture in pictures):
        for picture, labels in _numbered(pictures, segment, matched=matched):
            write_map(map_of(picture), labels)
    return len(pictures)


def write_map(path: Path, labels: Map) -> None:
    """Writes a map; it appears under its name when it is complete."""
    with written_whole(path) as partial:
        partial.write_bytes(encoded(labels))


def _numbered(
    pictures: Sequence[Path], segment: Segment, *, matched: bool
) -> Iterator[tuple[Path, UInt8[np.ndarray, "h2 w2"]]]:
    numbering, before = Numbering(), None
    for picture in pictures:
        frame = to_uint8(load_image(picture))
        labels, small = segment(picture, frame), _halved(frame)
        if matched:
            if labels.max() > MOST:
                raise DamagedError(f"labels of {picture} reach {labels.max()}: matched ones go up to {MOST}")
            yield picture, labels.astype(np.uint8)
            continue
        if before is not None and before.shape != small.shape:
            raise DamagedError(f"{picture} has another size than the pictures before it in its folder")
        flow = None if before is None else dis_flow(before, small)
        yield picture, numbering.number(compacted(labels), flow)
        before = small


def _halved(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    height, width = half(*frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)


def _brought(picture: Path, frame: UInt8[np.ndarray, "_ _ 3"], *, root: Path, labels: Path) -> Labels:
    """Reads the labels that belong to a picture, see `Brought`."""
    place = labels / picture.relative_to(root)
    found = next((file for file in (place.with_suffix(end) for end in (".png", ".npy")) if file.is_file()), None)
    if found is None:
        raise UserError(f"{place.with_suffix('.png')}: no labels for {picture}, nor {place.stem}.npy")
    array = _labels_of(found)
    if array.shape == frame.shape[:2]:
        array = reduced(array)
    if array.shape != half(*frame.shape[:2]):
        sizes = f"{array.shape[1]}x{array.shape[0]}, its picture {frame.shape[1]}x{frame.shape[0]}"
        raise DamagedError(f"{found} is {sizes}: that size, or half of it, is needed")
    return array.astype(int)


def _labels_of(file: Path) -> Integer[np.ndarray, "h w"]:
    if file.suffix == ".png":
        array = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        array = np.zeros(0) if array is None else array
    else:
        try:
            array = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DamagedError(f"cannot read {file}: {str(error).splitlines()[0]}") from None
        array = painted(array) if array.ndim == 3 else array
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.integer) and array.min(initial=0) >= 0):
        raise DamagedError(f"{file} holds no labels: gray of 8 or 16 bits, or masks [n, h, w], are needed")
    return array


def painted(masks: np.ndarray) -> Integer[np.ndarray, "h w"]:
    """Paints masks `[n, h, w]` over each other, large ones first, so that small ones lie on top; mask i gets i + 1."""
    labels = np.zeros(masks.shape[1:], int)
    for index in np.argsort(-(masks > 0).sum((1, 2)), kind="stable"):
        labels[masks[index] > 0] = index + 1
    return labels
