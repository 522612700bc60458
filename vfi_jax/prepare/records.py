"""Record sets of footage, folders of images, synthetic scenes or published sets; `record_writer` writes the files."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vfi_jax.config import Footage
from vfi_jax.data import sources
from vfi_jax.data.published import survey
from vfi_jax.data.records import ABOUT
from vfi_jax.data.regions import with_regions
from vfi_jax.data.sources import Source
from vfi_jax.errors import UsageError, UserError
from vfi_jax.prepare import footage
from vfi_jax.prepare.record_writer import RecordSetWriter, WindowGroup, Windows
from vfi_jax.system import lock
from vfi_jax.system.files import remove_partials, written_whole

ENCODINGS = ("png", "raw")
REPORT = "report.txt"


def write_records(
    source: str, output: Path, config: Footage, *, encoding: str = "png", smallest: int = 0, regions: bool = False
) -> dict[str, Any]:
    """Writes windows into ArrayRecord files with TFDS's description; after an interruption the same call continues.

    Each record has `name` and `frames`: PNG (`[h, w, 3]` each), or raw (one array `[n, h, w, 3]`, one size for all).

    Args:
      source: a folder of video files, or what `data.sources.open_source` takes.
      output: folder of the set, created if it is missing.
      config: how windows are cut out of videos; for folders of images its `frames` and `step` count, for synthetic
        scenes its `frames`.
      encoding: "png" or "raw".
      smallest: minimum side of a window, pixels; smaller windows are left out.
      regions: whether records get the region maps beside the images, or the exact ones of synthetic scenes: `regions`,
        PNG (`[ceil(h / 2), ceil(w / 2), 1]` each).

    Returns:
      The numbers of "windows" and "clips", and "rejected" windows by reason.

    Raises:
      UsageError: the encoding is unknown, `output` holds a set with other settings, or videos are to have region maps.
      UserError: a clip, an image or a region map cannot be read (what is written stays), no window is usable, sizes
        differ in a raw set, or the folder cannot be written.
    """
    settings = {"source": source, "encoding": encoding, "smallest": smallest, "footage": dataclasses.asdict(config)}
    if regions:
        settings["regions"] = True

    def groups() -> list[WindowGroup]:
        if sources.is_footage(source):
            if regions:
                raise UsageError(f"{source} holds videos, which have no region maps: write pictures of them first")
            return _groups_of_videos(Path(source), config)
        opened = sources.open_source(source, config.frames, step=config.step)
        return _group_of_source(with_regions(opened, source) if regions else opened)

    return _write(output, settings, groups)


def write_published(name: str, root: Path, output: Path, *, encoding: str = "png") -> dict[str, Any]:
    """Writes the training part of a published set as records, without what is damaged, and lists that in `report.txt`.

    Args:
      name: in `data.published.PUBLISHED`.
      root: the set's folder, laid out as its authors publish it.
      output: folder of the records, created if it is missing.
      encoding: "png" or "raw".

    Returns:
      The numbers of "windows", of "clips", of "expected" clips, and of "rejected" items ("missing" and "damaged").

    Raises:
      UsageError: the set or the encoding is unknown, or `output` holds a set with other settings.
      UserError: the set is not there, or the folder cannot be written.
    """
    report = survey(name, root)
    settings = {"source": f"{name}: {root}", "encoding": encoding, "smallest": 0, "footage": None}
    text = "\n".join(report.lines()) + "\n"
    counts = _write(output, settings, lambda: _group_of_source(report.source), report=text)
    rejected = {"missing": len(report.missing), "damaged": len(report.damaged)}
    return {"windows": counts["windows"], "clips": report.clips, "expected": report.expected, "rejected": rejected}


def _write(
    output: Path, settings: dict[str, Any], groups: Callable[[], list[WindowGroup]], *, report: str = ""
) -> dict[str, Any]:
    """Owns the folder, writes what the set lacks and returns its counts; asks for `groups` only if it lacks something.

    A report is written beside the set.
    """
    if settings["encoding"] not in ENCODINGS:
        raise UsageError(f"encoding is {settings['encoding']!r}: one of {', '.join(ENCODINGS)}")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with lock.held(output):
            remove_partials(output, ABOUT, REPORT)
            writer = RecordSetWriter(output, settings)
            counts = writer.counts() if writer.finished else writer.write(groups())
            if report:
                with written_whole(output / REPORT) as partial:
                    partial.write_text(report)
            return counts
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}; what is written stays") from None


def _groups_of_videos(folder: Path, config: Footage) -> list[WindowGroup]:
    """One group per video file."""

    def open_clip(path: Path) -> Windows:
        clip = footage.analyze(path, config)

        def read_from(start: int) -> Iterator[dict[str, Any]]:
            remaining = dataclasses.replace(clip, starts=clip.starts[start:])
            for first, frames in footage.read_windows(remaining, config):
                yield {"name": f"{path.relative_to(folder)}/{first:06d}", "frames": frames}

        return Windows(len(clip.starts), clip.rejected, read_from)

    paths = footage.find_videos(folder)
    return [WindowGroup(str(path.relative_to(folder)), functools.partial(open_clip, path)) for path in paths]


def _group_of_source(source: Source) -> list[WindowGroup]:
    """One group with all windows of a source."""

    def read_from(start: int) -> Iterator[dict[str, Any]]:
        return (source[index] for index in range(start, len(source)))

    return [WindowGroup("", lambda: Windows(len(source), Counter(), read_from))]
