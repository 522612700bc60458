"""The saved steps of a run: Orbax checkpoints with a checksum per leaf, and recovery from damage and full disks."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, EveryNSteps, LatestN, PreservationPolicy

from vfi_jax.errors import UserError
from vfi_jax.runs import checksums
from vfi_jax.runs.selection import best_of, select
from vfi_jax.runs.validations import Validations
from vfi_jax.system import distributed
from vfi_jax.system.files import AnyPath, is_remote
from vfi_jax.system.lock import Lock

CHECKPOINTS, DAMAGED = "checkpoints", "damaged"
POSITION, CHECKSUMS, SEAL, STEP = "position", "checksums", "seal", "step"
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of Orbax's temporary folders
KEPT = 2  # newest steps
MAX_FAILURES = 2  # of saves in a row; the last one ends the run
SHOWN = 3  # damaged leaves that a message names


class SaveError(UserError):
    """A step cannot be written."""


class Checkpoints:
    """The saved steps of a run: the two newest ones, the one with the best validation score, and every so many steps.

    A step holds `params`, `ema` if there is one, `optimizer`, and `position`: step, place in the data, counters, a
    checksum for every leaf of the other items, and a checksum of itself.

    Attributes:
      validations: the outcomes of the steps' validations.
    """

    def __init__(
        self, folder: AnyPath, owner: Lock | None = None, *, read_only: bool = False, keep_every: int = 0
    ) -> None:
        """Opens the saved steps of a run's folder.

        Args:
          folder: of the run.
          owner: lock on the folder, without which nothing is saved; None: not checked.
          read_only: change nothing in the folder, which need not be writable.
          keep_every: multiples of this number of steps stay as well; 0: none do.
        """
        self._folder, self._owner, self._read_only = folder / CHECKPOINTS, owner, read_only
        self._keep_every = keep_every
        self.validations = Validations(folder)
        self._failures = 0
        self._pending: int | None = None
        if not read_only:
            _drop_empty_steps(self._folder)
        self._open()

    def _open(self) -> None:
        every = [EveryNSteps(self._keep_every)] if self._keep_every else []
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(KEPT), _Best(self.score), *every]),
            cleanup_tmp_directories=False,
            create=not self._read_only,
        )
        self._manager = ocp.CheckpointManager(_absolute(self._folder), options=options)

    def steps(self) -> list[int]:
        """Returns the numbers of the saved steps, rising; an empty folder, which a crash may leave, is no step."""
        return sorted(step for step in self._manager.all_steps() if not _is_empty(self._folder / str(step)))

    def chosen(self, step: int | str | None) -> int:
        """Returns the number of a saved step.

        Args:
          step: a number, "newest", or "best" by validation, which None stands for; the newest where none was validated.

        Raises:
          UserError: there is no such step, or nothing is saved.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self._folder.parent} has no checkpoint yet")
        try:
            return select(steps, step, self.score)
        except UserError as error:
            raise UserError(f"{self._folder.parent} {error}") from None

    def save(
        self,
        step: int,
        items: Mapping[str, Any],
        position: Mapping[str, Any],
        log: Callable[[str], None],
        *,
        last: bool = False,
    ) -> bool:
        """Saves a step in the background; returns whether that began.

        A failure is logged, and the run may go on. Whether the step before was written is known only now or at `close`.

        Args:
          step: its number.
          items: trees of arrays by name.
          position: other values, ready for JSON.
          log: prints a line.
          last: whether this is the last step of the run.

        Raises:
          UserError: the second failure in a row, or one at the last step.
        """
        self._attempt(self._finish, log, last=last)
        return self._attempt(functools.partial(self._begin, step, items, position), log, last=last)

    def _attempt(self, action: Callable[[], None], log: Callable[[str], None], *, last: bool = False) -> bool:
        problem = ""
        try:
            action()
        except SaveError as error:
            problem = str(error)
        if distributed.all_agree(not problem):
            return True
        problem = problem or f"{self._folder} cannot be written by another process"
        self._failures += 1
        self._start_over()
        if last or self._failures >= MAX_FAILURES:
            advice = f"free some space and run the same command again ({self._kept()})"
            raise SaveError(f"{problem}; {advice}")
        log(f"warning: {problem}; the run goes on and tries again at the next save ({self._kept()})")
        return False

    def finish(self, log: Callable[[str], None]) -> None:
        """Waits until the step that is being saved is on the disk; a failure is treated as in `save`."""
        self._attempt(self._finish, log)

    def settle(self) -> None:
        """Waits until the step that is being saved is on the disk.

        Raises:
          UserError: it cannot be written.
        """
        self._attempt(self._finish, _ignore, last=True)

    def _kept(self) -> str:
        steps = self.steps()
        return f"step {steps[-1]} is kept" if steps else "nothing is saved so far"

    def _begin(self, step: int, items: Mapping[str, Any], position: Mapping[str, Any]) -> None:
        if self._owner:
            self._owner.check()
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items))
        free = math.inf if is_remote(self._folder) else shutil.disk_usage(self._folder.parent).free
        # Orbax would fail later, in the background.
        if not distributed.all_agree(free >= needed):
            raise SaveError(
                f"{self._folder} cannot be written: the disk is full ({free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB "
                "needed)"
            )
        sealed = {**position, CHECKSUMS: checksums.checksums(dict(items))}
        sealed[SEAL] = checksums.seal(sealed)
        parts = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        args = ocp.args.Composite(**parts, position=ocp.args.JsonSave(sealed))
        self._pending = step
        with self._one_line():
            self.validations.forget(step)
            saved = self._manager.save(step, args=args, force=True)
        if not saved:
            raise UserError(f"{self._folder} does not take step {step}: is another run writing there?")

    def _finish(self) -> None:
        """Waits until the step that is being saved is on the disk."""
        if self._pending is None:
            return
        with self._one_line():
            self._manager.wait_until_finished()
        self._pending, self._failures = None, 0

    def _start_over(self) -> None:
        """Removes a half-written step, and opens a manager that knows of no failure."""
        with contextlib.suppress(Exception):  # reported already
            self._manager.close()
        if self._pending is not None and distributed.is_main():
            for part in self._folder.glob(f"{self._pending}{UNFINISHED}*"):
                _remove(part)
        self._pending = None
        self._open()

    def restore(self, step: int, items: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Reads a step and verifies its checksums.

        Args:
          step: its number.
          items: what to read, by name: trees of arrays, or of `ShapeDtypeStruct`s. Arrays of JAX, and structs with a
            sharding, are read to their devices; everything else becomes NumPy arrays, whichever devices saved it.

        Returns:
          The items, and the position.

        Raises:
          UserError: the step is damaged (the message names the item, the leaf or the file) or of another model.
        """
        _silence_orbax()
        place = self._folder / str(step)
        for name in (*items, POSITION):
            if not (place / name).is_dir():
                raise UserError(f"{place} cannot be restored: it has no {name}")
        like = {name: ocp.args.StandardRestore(jax.tree.map(_abstract, item)) for name, item in items.items()}
        try:
            saved = self._manager.restore(step, args=ocp.args.Composite(**like, position=ocp.args.JsonRestore()))
        except Exception as error:  # damaged data is a plain Exception to Orbax
            raise UserError(f"{place} cannot be restored: {_cause(error, place)}") from None
        restored = {name: saved[name] for name in items}
        _check_shapes(place, items, restored)
        return restored, self._verified(place, restored, saved[POSITION])

    def _verified(self, place: AnyPath, items: Mapping[str, Any], sealed: dict[str, Any]) -> dict[str, Any]:
        """Checks all checksums; returns the position without them."""
        position = {name: value for name, value in sealed.items() if name != SEAL} if isinstance(sealed, dict) else {}
        if CHECKSUMS not in position or sealed.get(SEAL) != checksums.seal(position):
            raise UserError(f"{place} cannot be restored: {POSITION} has changed since it was saved")
        if position.get(STEP, int(place.name)) != int(place.name):
            raise UserError(f"{place} cannot be restored: it holds step {position[STEP]}")
        recorded = position.pop(CHECKSUMS)
        names = checksums.differing(dict(items), {k: v for k, v in recorded.items() if k.split("/")[0] in items})
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(
                f"{place} cannot be restored: {', '.join(names[:SHOWN])}{more} changed since it was saved (checksum)"
            )
        return position

    def newest_good(
        self, items: Mapping[str, Any], log: Callable[[str], None]
    ) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """Returns number, items and position of the newest undamaged step; None where nothing is saved.

        Damaged steps are logged and moved to the run's folder `damaged`, so that their numbers can be saved again.

        Args:
          items: see `restore`.
          log: prints a line.

        Raises:
          UserError: all steps are damaged.
        """
        self._attempt(self._finish, log)
        failed: list[int] = []
        for step in reversed(self.steps()):
            try:
                restored, problem = self.restore(step, items), ""
            except UserError as error:
                restored, problem = ({}, {}), str(error)
            if distributed.all_agree(not problem):
                self._set_aside(failed, log)
                return step, *restored
            log(f"warning: {problem or f'step {step} cannot be restored by another process'}")
            failed.append(step)
        if failed:
            raise UserError(f"none of the steps in {self._folder} can be restored; they stay as they are")
        return None

    def _set_aside(self, steps: Sequence[int], log: Callable[[str], None]) -> None:
        for step in steps:
            if distributed.is_main():
                aside = self._folder.parent / DAMAGED / str(step)
                names = itertools.chain([aside], (aside.with_name(f"{step}.{count}") for count in itertools.count(1)))
                aside = next(name for name in names if not name.exists())
                aside.parent.mkdir(exist_ok=True)
                (self._folder / str(step)).rename(aside)
                log(f"warning: step {step} is now {aside}")
        if steps:
            distributed.barrier("damaged steps are set aside")
            self._manager.reload()

    def close(self) -> None:
        """Waits until the step that is being saved is on the disk, and releases the folder.

        Raises:
          UserError: it cannot be written.
        """
        with self._one_line():
            self._manager.close()

    def score(self, step: int) -> float | None:
        """Returns the validation score of a step; None where it was not validated, or its validation failed."""
        return self.validations.score(step)

    @contextlib.contextmanager
    def _one_line(self) -> Iterator[None]:
        """Re-raises Orbax errors as a one-line SaveError; they may concern this step or the one before."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            why = "the disk is full" if "No space left" in str(error) else _brief(error)
            raise SaveError(f"{self._folder} cannot be written: {why}") from None


def _ignore(_: str) -> None:
    pass


class _Best(PreservationPolicy):
    """Orbax policy: keeps the step with the best score."""

    def __init__(self, score: Callable[[int], float | None]) -> None:
        self._score = score

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns for each checkpoint whether it stays."""
        del context
        best = best_of([info.step for info in checkpoints], self._score)
        return [info.step == best for info in checkpoints]


@functools.cache
def _silence_orbax() -> None:
    """Drops what Orbax's threads print late about an error that is reported here: closed event loops, lost reads."""
    logging.getLogger("asyncio").addFilter(_is_relevant)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def _is_relevant(record: logging.LogRecord) -> bool:
    """Whether a record is anything but the failed read of a checkpoint that nothing awaited."""
    message = record.getMessage()
    return not ("exception was never retrieved" in message and "ocdbt" in message)  # Orbax's array store


def _cause(error: Exception, place: AnyPath) -> str:
    """Returns Orbax's message, and the file of the step where it names one."""
    files = re.findall(rf"{re.escape(str(_absolute(place)))}/([^\"\\\\]+)", str(error))
    return f"{str(error).split(':')[0]} in {max(files, key=len)}" if files else _brief(error)


def _brief(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _absolute(path: AnyPath) -> AnyPath:
    return path if is_remote(path) else path.resolve()


def _remove(folder: AnyPath) -> None:
    """Removes a folder and its content as far as possible."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        folder.rmtree()


def remove_unfinished(folder: AnyPath, log: Callable[[str], None]) -> None:
    """Removes the steps that a killed run left half-written, and logs each; the caller owns the run's folder."""
    for path in sorted((folder / CHECKPOINTS).glob(f"*{UNFINISHED}*")):
        _remove(path)
        log(f"warning: step {path.name.split('.')[0]} was half-written when the run was killed; {path} is removed")


def _drop_empty_steps(folder: AnyPath) -> None:
    """Removes empty steps that a crash may leave: Orbax would take one for the newest and save no earlier step."""
    if is_remote(folder):  # a store has no empty folders
        return
    for step in folder.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # not empty
            step.rmdir()


def _is_empty(folder: AnyPath) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _check_shapes(place: AnyPath, wanted: Any, restored: Any) -> None:
    """Raises UserError where a leaf has another shape: Orbax does not compare those of NumPy arrays."""
    pairs = zip(jax.tree.leaves_with_path(wanted), jax.tree.leaves(restored), strict=True)
    for (keys, leaf), value in pairs:
        if hasattr(leaf, "shape") and tuple(leaf.shape) != tuple(value.shape):
            name = jax.tree_util.keystr(keys, simple=True, separator="/")
            shapes = f"{tuple(value.shape)} instead of {tuple(leaf.shape)}"
            raise UserError(f"{place} cannot be restored: {name} has the shape {shapes}; is it of another model?")


def _abstract(leaf: Any) -> Any:
    """Orbax's description of a leaf; without a place it would ask for the devices that saved it."""
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    if isinstance(leaf, jax.ShapeDtypeStruct) and leaf.sharding is None:
        return np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
    return leaf
