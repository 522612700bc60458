"""Listed folders, checked before training: numbers of frames and sizes, from the headers of files."""

from __future__ import annotations

import functools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from vfi_jax.data.fitness import Requirement, check_outline
from vfi_jax.data.images import image_size, images_in
from vfi_jax.data.parts import innermost
from vfi_jax.data.sources import Source, WindowFolders
from vfi_jax.errors import DamagedError, UserError, one_line

THREADS = 8
SAMPLED = 9  # windows of which the usual number of frames is taken


def unfit(source: Source, required: Requirement) -> list[str]:
    """Returns why windows of a set of folders are unfit, a line per window; sets of other types give none.

    A window that occurs more than once in the source gives as many lines. A file that has a header but is damaged is
    found only when it is read.

    Args:
      source: the windows.
      required: what a window must have.
    """
    inner = [innermost(source, index) for index in range(len(source))]
    if not inner or not isinstance(inner[0][0], WindowFolders):
        return []
    folders = inner[0][0]
    list_images, size_of = functools.cache(images_in), functools.cache(image_size)

    def reason(number: int) -> str:
        name = folders.names[number]
        try:
            files = folders.files(name, list_images)
            check_outline(len(files), map(size_of, files), required, str(folders.root / name))
        except DamagedError as error:
            return str(error)
        return ""

    numbers = sorted({number for _, number in inner})
    with ThreadPoolExecutor(THREADS) as pool:
        reasons = dict(zip(numbers, pool.map(reason, numbers), strict=True))
    return [reasons[number] for _, number in inner if reasons[number]]


def usual_length(source: Source, wanted: int) -> int:
    """Returns the most common number of frames among some windows, evenly spread over a source.

    Args:
      source: the windows.
      wanted: the number that is chosen among equally common ones.

    Raises:
      UserError: none of them can be read.
    """
    counts, problem = Counter[int](), "no windows"
    for index in sorted({int(at) for at in np.linspace(0, len(source) - 1, min(SAMPLED, len(source)))}):
        inner, number = innermost(source, index)
        try:
            folders = isinstance(inner, WindowFolders)
            length = len(inner.files(inner.names[number]) if folders else source[index]["frames"])
            counts[length] += bool(length)
        except (UserError, OSError, LookupError, ValueError, TypeError) as error:
            problem = one_line(error)
    if not counts.total():
        raise UserError(f"the validation set has no window that can be read: {problem}")
    return max(counts, key=lambda length: (counts[length], length == wanted))
