"""The journal of a target: its finished segments, in a hidden folder beside it, until the target is complete.

A segment is a run of frames that is encoded by an encoder of its own, so that none depends on how often a run was
ended. What the bytes of the target depend on stands in `job.json`; a journal of another job is removed. Each segment is
a file that appears under its name when it is complete and on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, cast

from vfi_jax.system import strict_json
from vfi_jax.system.files import print_to_stderr, remove_partials, written_whole
from vfi_jax.video.segments import records
from vfi_jax.video.segments.records import Record, Tape

LENGTH = 120  # frames of the target in a segment, at least: one ends where a frame of the source begins
_JOB = "job.json"
_LONGEST_NAME = 240  # bytes of a target's name that the folder's holds
_SPOOL = 1 << 26  # bytes of an unfinished segment that are held in memory
Job = Mapping[str, str]


def folder_of(target: Path) -> Path:
    """Returns the folder of a target's journal."""
    target = Path(os.path.realpath(target))
    name = target.name
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.journal")


class Journal:
    """The finished segments of a target; a context manager.

    Attributes:
      frames: number of frames of the target in the segments that earlier runs have finished.
    """

    def __init__(self, target: Path, job: Job, *, log: Callable[[str], None] = print_to_stderr) -> None:
        """Takes up what an earlier run of the same job has left; what another job has left is removed.

        Args:
          target: the file that is written.
          job: all that its bytes depend on, by name.
          log: prints a line.

        Raises:
          UserError: another process works on the same target.
        """
        self._target, self._folder, self._job, self._log = target, folder_of(target), dict(job), log
        self._stack = contextlib.ExitStack()
        self._segments: list[Path] = []
        self._tape: tuple[BinaryIO, Tape] | None = None
        self.frames = self._kept = 0
        self._is_owned = False
        if self._folder.is_dir():
            self._own()
            self._take_up()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._tape is not None:
            self._tape[0].close()
        self._stack.close()
        if kind is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        elif self._kept:
            self._log(
                f"note: {self._kept} finished frames of {self._target} are kept in {self._folder}; the same command "
                "goes on from there"
            )

    def records(self, tick: Fraction) -> Iterator[Record]:
        """Yields what the finished segments hold; `tick` is the time base of the packets, seconds."""
        for path in tuple(self._segments):
            yield from records.read(path, tick)

    def add(self, record: Record) -> None:
        """Adds to the unfinished segment."""
        if self._tape is None:
            spool = tempfile.SpooledTemporaryFile(_SPOOL, dir=self._folder.parent)  # noqa: SIM115
            self._tape = cast(BinaryIO, spool), Tape(cast(BinaryIO, spool))
        self._tape[1].add(record)

    def commit(self, frames: int) -> None:
        """Finishes a segment, after which the target has a number of frames.

        Raises:
          UserError: the disk is full, or the folder cannot be written.
        """
        assert self._tape is not None
        spool, tape = self._tape
        tape.finish(frames)
        self._make()
        path = self._folder / f"{len(self._segments):06d}.seg"
        with written_whole(path) as partial, partial.open("wb") as file:
            spool.seek(0)
            shutil.copyfileobj(spool, file)
        spool.close()
        self._tape, self._kept = None, frames
        self._segments.append(path)

    def _make(self) -> None:
        if not self._segments:
            self._folder.mkdir(exist_ok=True)
            self._own()
            with written_whole(self._folder / _JOB) as partial:
                partial.write_text(strict_json.dumps(self._job, indent=1))

    def _own(self) -> None:
        from vfi_jax.system import lock  # JAX, which takes long to import

        if self._is_owned:
            return
        self._is_owned = True
        self._stack.enter_context(lock.held(self._folder, self._log))

    def _take_up(self) -> None:
        """Finds the segments of the same job."""
        remove_partials(self._folder, "*", log=lambda line: None)
        if reason := self._difference():
            self._log(f"note: an earlier run left a part of {self._target} {reason}; it begins again")
            self._clear()
            return
        while (path := self._folder / f"{len(self._segments):06d}.seg").exists():
            frames = records.frames_in(path)
            if frames is None:
                self._log(f"warning: {path} is damaged; the work goes on before it")
                break
            self._segments.append(path)
            self.frames = self._kept = frames
        if self.frames:
            self._log(f"note: {self.frames} frames of {self._target} are there from an earlier run, which goes on")

    def _difference(self) -> str:
        """Says why what is there is of no use; "" where it is."""
        try:
            before = strict_json.read_object(self._folder / _JOB)
        except (OSError, ValueError):
            return "that says nothing of its options"
        names = [name for name in {**before, **self._job} if before.get(name) != self._job.get(name)]
        return f"with another {', '.join(names[:3])}" if names else ""

    def _clear(self) -> None:
        for path in self._folder.iterdir():
            if path.suffix == ".seg" or path.name == _JOB:
                path.unlink()
