"""Files of labels beside a set: begun or continued in a locked folder, and written file by file by all processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save

from vfi_jax.data.labels import ABOUT, file_of, read_about
from vfi_jax.data.sources import SYNTHETIC, Source, is_plugin
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import distributed, lock, progress, strict_json
from vfi_jax.system.files import remove_partials, written_whole

# Windows to their names and labels, in order.
Labeling = Callable[[Iterable[dict[str, Any]]], Iterator[tuple[str, np.ndarray]]]


def check_set(path: str, frames: int, step: int) -> None:
    """Raises UsageError for a set that has no folder, and for windows that cannot be cut."""
    if path.startswith(SYNTHETIC) or is_plugin(path):
        raise UsageError(f"{path} has no folder for labels: make records of it first (`vfi-jax prepare records`)")
    if frames < 0 or step < 1:
        raise UsageError(f"frames {frames} and step {step}: 0 or more, and 1 or more, are needed")


@contextlib.contextmanager
def opened(folder: Path, about: dict[str, Any]) -> Iterator[None]:
    """Holds a folder of labels, and writes its description or checks it against the one that is there.

    Raises:
      UsageError: the folder holds labels with other settings.
      UserError: it cannot be created.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {error.strerror}") from None
    with lock.held(folder):
        if distributed.is_main():
            remove_partials(folder, ABOUT, "*.safetensors")
        _begin(folder, about)
        yield
        distributed.barrier("labels are written")


def _begin(folder: Path, about: dict[str, Any]) -> None:
    existing = read_about(folder, about.keys()) if any(folder.glob("*.safetensors")) else None
    if existing is not None and existing != about:
        differing = next(name for name in about if existing[name] != about[name])
        raise UsageError(
            f"{folder} holds labels with other settings ({differing}: {existing[differing]}, now {about[differing]}): "
            "delete it first"
        )
    if distributed.is_main():
        with written_whole(folder / ABOUT) as partial:
            partial.write_text(strict_json.dumps(about))


def write_files(
    source: Source, folder: Path, label: Labeling, *, metadata: dict[str, str], length: int, per_file: int, unit: str
) -> None:
    """Writes this process's share of the files, except those that exist.

    Args:
      source: the windows.
      folder: of the labels.
      label: gives the labels of windows.
      metadata: of every file.
      length: frames of each window.
      per_file: number of windows in a file.
      unit: what the progress bar is called.

    Raises:
      UserError: a window has another number of frames, or cannot be read.
    """
    share = range(0, len(source), per_file)[jax.process_index() :: jax.process_count()]
    missing = [start for start in share if not file_of(folder, start, per_file).exists()]
    spans = [range(start, min(start + per_file, len(source))) for start in missing]
    with progress.bar(total=sum(map(len, spans)), unit="window", desc=unit) as bar:
        for span in spans:
            labels = {}
            for name, array in label(_read(source, index, length) for index in span):
                labels[name] = array
                bar.update(1)
            with written_whole(file_of(folder, span.start, per_file)) as partial:
                partial.write_bytes(save(labels, metadata))


def _read(source: Source, index: int, length: int) -> dict[str, Any]:
    window = source[index]
    count = len(window["frames"])
    if count != length:
        raise UserError(f"{window['name']} has {count} frames, the first window {length}: --frames cuts longer ones")
    return window
