"""Pictures in a folder as one sequence: which files belong to it, in which order, and what is odd about them."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vfi_jax.data.images import NUMBER, gaps
from vfi_jax.errors import UserError
from vfi_jax.video.coding import encoders
from vfi_jax.video.coding.encoders import PICTURES, PLACE

_NAMED = 3  # gaps that are named one by one


@dataclass(frozen=True)
class Pictures:
    """A sequence of pictures.

    Attributes:
      path: how it was named: a folder, a pattern, or the first of two pictures.
      files: in the order of time.
      notes: what is odd about them, one line each.
      is_pair: whether they are two pictures that were named one by one.
    """

    path: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    is_pair: bool = False

    @property
    def order(self) -> str:
        """The order in one line."""
        return f"{len(self.files)} pictures, from {self.files[0].name} to {self.files[-1].name}"

    @property
    def first(self) -> int:
        """The number of the first picture; 1 without one."""
        parts = NUMBER.fullmatch(self.files[0].stem)
        return int(parts[2]) if parts and not self.is_pair else 1

    @property
    def pattern(self) -> str:
        """A pattern of names for pictures like these, with numbers of the same width; %06d without numbers."""
        first, last = (NUMBER.fullmatch(self.files[index].stem) for index in (0, -1))
        suffix = self.files[0].suffix
        if first is None or last is None or (first[1], first[3]) != (last[1], last[3]) or self.is_pair:
            return f"%06d{suffix}"
        before, after = (text.replace("%", "_") for text in (first[1], first[3]))
        return f"{before}%0{len(first[2])}d{after}{suffix}"


def is_picture(path: Path) -> bool:
    """Whether a name ends as those of pictures do that can be read."""
    return path.suffix.lower() in PICTURES


def is_pattern(path: Path) -> bool:
    """Whether a name stands for several files: it holds %d, %04d, or *, and no file has it."""
    return (encoders.is_pattern(path.name) or "*" in path.name) and not path.exists()


def files_in(folder: Path) -> list[Path]:
    """Lists the files of a folder, without hidden ones, in natural order.

    Raises:
      UserError: it cannot be read.
    """
    try:
        return sorted((file for file in folder.iterdir() if file.is_file() and file.name[0] != "."), key=natural)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror or error})") from None


def natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """The key of natural order, in which 9 comes before 10."""
    words = re.split(r"([0-9]+)", path.name)
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word.casefold()) for word in words if word], path.name


def pair(first: Path, second: Path) -> Pictures:
    """Returns two pictures as a sequence.

    Raises:
      UserError: one is missing, or no picture.
    """
    for path in (first, second):
        if not path.exists():
            raise UserError(f"{path}: no such file")
        if not path.is_file() or not is_picture(path):
            raise UserError(f"{path}: is no picture; two inputs must be pictures ({', '.join(PICTURES)})")
    return Pictures(first, (first, second), is_pair=True)


def find(path: Path) -> Pictures:
    """Returns the pictures of a folder, or those that a pattern such as in/f_%04d.png or in/*.png stands for.

    In a folder with pictures of several kinds of names, those of the kind that more than half of them have are taken.

    Raises:
      UserError: there are none, two have one number, or no kind of name prevails.
    """
    pattern = _matcher(path.name) if is_pattern(path) else None
    folder = path.parent if pattern else path
    if not folder.exists():
        raise UserError(f"{folder}: no such folder")
    files = files_in(folder)
    pictures = [file for file in files if is_picture(file) and (pattern is None or pattern.fullmatch(file.name))]
    if not pictures:
        raise UserError(f"{path}: no pictures ({', '.join(PICTURES)})")
    chosen = pictures if pattern else _prevailing(folder, pictures)
    _check_numbers(chosen)
    strangers = [] if pattern else sorted(set(files) - set(chosen))
    return Pictures(path, tuple(chosen), tuple([*_gap_notes(chosen), *_stranger_notes(folder, strangers)]))


def _matcher(pattern: str) -> re.Pattern[str]:
    """Compiles %04d (a number of at least four digits) and the shell's * to an expression."""
    parts = PLACE.split(pattern)  # text, width, text, ...
    texts = [fnmatch.translate(text).removesuffix(r"\Z").removesuffix(r"\z") for text in parts[::2]]
    numbers = [rf"[0-9]{{{int(width or 1)},}}" for width in parts[1::2]]
    return re.compile("".join(text + number for text, number in zip(texts, [*numbers, ""], strict=True)))


def _kind(file: Path) -> tuple[str, str, str] | None:
    """Returns the text before and after the number of a name, and its suffix; None without a number."""
    parts = NUMBER.fullmatch(file.stem)
    return parts and (parts[1], parts[3], file.suffix.lower())


def _prevailing(folder: Path, pictures: Sequence[Path]) -> list[Path]:
    kinds: dict[tuple[str, str, str] | None, list[Path]] = defaultdict(list)
    for picture in pictures:
        kinds[_kind(picture)].append(picture)
    first, *others = sorted(kinds.values(), key=len, reverse=True)
    if 2 * len(first) > len(pictures):
        return first
    if len(first) == 1:  # names without a common form, such as those of times or titles
        return list(pictures)
    shown = ", ".join(f"{group[0].name} ... ({len(group)})" for group in (first, *others[:2]))
    raise UserError(f"{folder}: holds several sequences, {shown}; name one, such as {folder}/{_example(first[0])}")


def _example(file: Path) -> str:
    """A pattern that stands for a picture and its like."""
    parts = NUMBER.fullmatch(file.stem)
    return f"{parts[1]}%d{parts[3]}{file.suffix}" if parts else f"*{file.suffix}"


def _check_numbers(files: Iterable[Path]) -> None:
    seen: dict[tuple[object, int], Path] = {}
    for file in files:
        if parts := NUMBER.fullmatch(file.stem):
            other = seen.setdefault(((parts[1], parts[3]), int(parts[2])), file)
            if other is not file:
                raise UserError(f"{file.parent}: {other.name} and {file.name} have one number; remove one of them")


def _gap_notes(files: Sequence[Path]) -> list[str]:
    missing = gaps(files)
    lines = [f"{gap}; those around follow each other" for gap in missing[:_NAMED]]
    return lines + [f"{len(missing) - _NAMED} more gaps"] * (len(missing) > _NAMED)


def _stranger_notes(folder: Path, strangers: Sequence[Path]) -> list[str]:
    if not strangers:
        return []
    plural = len(strangers) > 1
    return [
        f"{len(strangers)} other file{'s' * plural} in {folder} {'are' if plural else 'is'} not read"
        f" ({strangers[0].name}{', ...' * plural})"
    ]
