"""Hashes of files' contents, remembered between processes for files that have not changed.

A file counts as unchanged if its size, inode and both of its times (of the content and of the entry) are the same. A
copy over it changes the latter, even one of the same size that keeps the time of the content. Files that changed within
`SETTLED` of being read are not remembered, because a second change within the clock's resolution would go unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from vfi_jax.errors import UserError
from vfi_jax.system import folders, strict_json
from vfi_jax.system.files import sha256_of, written_whole

MISSING = "missing"
SETTLED = 2.0  # seconds
THREADS = 8


def hashes(files: Collection[Path]) -> dict[Path, str]:
    """Returns the SHA-256 of each file; `MISSING` where there is none.

    Raises:
      OSError: a file cannot be read.
    """
    if not files:
        return {}
    names = {file: os.path.abspath(file) for file in files}
    memory = _memory(names.values())
    known = _recall(memory)
    states = {file: _state(file) for file in files}
    result = {
        file: MISSING if state is None else known.get(names[file], {}).get(state) for file, state in states.items()
    }
    unknown = [file for file, digest in result.items() if digest is None]
    with ThreadPoolExecutor(THREADS) as pool:
        result |= zip(unknown, pool.map(sha256_of, unknown), strict=True)
    now = time.time()
    settled = {file: states[file] for file in unknown if _state(file) == states[file] and _age(file, now) > SETTLED}
    if settled and memory is not None:
        _remember(memory, known | {names[file]: {state: result[file]} for file, state in settled.items()})
    return result


def _state(file: Path) -> str | None:
    """Size, inode and times, which change with a file's content; None where there is no file."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return None
    return f"{stat.st_size} {stat.st_ino} {stat.st_mtime_ns} {stat.st_ctime_ns}"


def _age(file: Path, now: float) -> float:
    stat = file.stat()
    return now - max(stat.st_mtime, stat.st_ctime)


def _memory(names: Collection[str]) -> Path | None:
    """The file that remembers the hashes of files of one set; None where this user has no folder for it."""
    cache = folders.cache()
    common = os.path.commonpath([os.path.dirname(name) for name in names])
    return cache and cache / "contents" / f"{hashlib.sha256(common.encode()).hexdigest()[:32]}.json"


def _recall(memory: Path | None) -> dict[str, dict[str, str]]:
    if memory is None:
        return {}
    try:
        content = strict_json.read_object(memory)
    except (OSError, ValueError):
        return {}
    return {name: states for name, states in content.items() if isinstance(states, dict)}


def _remember(memory: Path, known: Mapping[str, Mapping[str, str]]) -> None:
    with contextlib.suppress(OSError, UserError):  # a full disk or a folder without permission: it is read again
        memory.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(memory) as partial:
            partial.write_text(strict_json.dumps(known))
