"""The saved steps of a run: Orbax behind it, a checksum for every leaf, and what is done about failures."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import logging
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, LatestN, PreservationPolicy

from vfi_jax.errors import UserError
from vfi_jax.runs import checksums
from vfi_jax.system import distributed
from vfi_jax.system.files import AnyPath, is_remote

CHECKPOINTS, DAMAGED = "checkpoints", "damaged"
POSITION, CHECKSUMS, SEAL, SCORE = "position", "checksums", "seal", "psnr"
KEPT = 2  # newest steps
PATIENCE = 2  # failures in a row to save, of which the last ends the run
SHOWN = 3  # damaged leaves that are named


class SaveError(UserError):
    """A step could not be written."""


class Checkpoints:
    """The saved steps of a run: the two newest, and the one with the best validation score, whichever that is.

    A step holds `params`, `ema` where it is kept, `optimizer`, and `position`: step, place in the data, score,
    counters, a checksum for every leaf of the others, and one of itself.
    """

    def __init__(self, folder: AnyPath) -> None:
        self._folder = folder / CHECKPOINTS
        self._scores: dict[int, float] = {}
        self._failures = 0
        self._pending: int | None = None
        _drop_empty_steps(self._folder)
        self._open()

    def _open(self) -> None:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(KEPT), _Best(self.score)]),
            cleanup_tmp_directories=False,
        )
        self._manager = ocp.CheckpointManager(_absolute(self._folder), options=options)

    def steps(self) -> list[int]:
        """Saved steps, rising."""
        return sorted(self._manager.all_steps())

    def chosen(self, step: int | str | None) -> int:
        """The number of a step: itself, that of the "best" by validation, or the newest for None.

        Raises:
          UserError: there is none.
        """
        steps = self.steps()
        if not steps:
            raise UserError(f"{self._folder.parent} has no checkpoint yet")
        best = _best_of(steps, self.score)
        found = {None: steps[-1], "best": steps[-1] if best is None else best}.get(step, step)
        if found not in steps:
            raise UserError(f"{self._folder.parent} has no step {found}; it has: {', '.join(map(str, steps))}")
        return int(found)

    def save(
        self,
        step: int,
        items: Mapping[str, Any],
        position: Mapping[str, Any],
        psnr: float | None,
        say: Callable[[str], None],
        *,
        last: bool = False,
    ) -> bool:
        """Saves in the background, and returns whether that began; `psnr` is the validation score, where there is one.

        A failure is told and the run may go on; whether the step before was written is known only now, or at `close`.

        Raises:
          UserError: the second failure in a row, or one at the last step.
        """
        self._attempt(self._finish, say, last=last)
        return self._attempt(functools.partial(self._begin, step, items, position, psnr), say, last=last)

    def _attempt(self, act: Callable[[], None], say: Callable[[str], None], *, last: bool = False) -> bool:
        problem = ""
        try:
            act()
        except SaveError as error:
            problem = str(error)
        if distributed.all_agree(not problem):
            return True
        problem = problem or f"{self._folder} cannot be written by another process"
        self._failures += 1
        self._start_over()
        if last or self._failures >= PATIENCE:
            advice = f"free some space and run the same command again ({self._kept()})"
            raise SaveError(f"{problem}; {advice}")
        say(f"warning: {problem}; the run goes on and tries again at the next save ({self._kept()})")
        return False

    def settle(self) -> None:
        """Waits until what is being saved is on the disk.

        Raises:
          UserError: it could not be written.
        """
        self._attempt(self._finish, _unheard, last=True)

    def _kept(self) -> str:
        steps = self.steps()
        return f"step {steps[-1]} is kept" if steps else "nothing is saved so far"

    def _begin(self, step: int, items: Mapping[str, Any], position: Mapping[str, Any], psnr: float | None) -> None:
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(items))
        free = math.inf if is_remote(self._folder) else shutil.disk_usage(self._folder.parent).free
        # Orbax fails in the background, after a while: better not to begin.
        if not distributed.all_agree(free >= needed):
            raise SaveError(
                f"{self._folder} cannot be written: the disk is full ({free / 1e6:.0f} MB free, {needed / 1e6:.0f} MB "
                "needed)"
            )
        whole = {**position, SCORE: psnr, CHECKSUMS: checksums.checksums(dict(items))}
        whole[SEAL] = checksums.seal(whole)
        parts = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        args = ocp.args.Composite(**parts, position=ocp.args.JsonSave(whole))
        self._pending = step
        self._scores.pop(step, None)
        if psnr is not None:
            self._scores[step] = psnr
        with self._told():
            saved = self._manager.save(step, args=args, force=True)
        if not saved:
            raise UserError(f"{self._folder} took no step {step}: is another run writing there?")

    def _finish(self) -> None:
        """Waits until what is being saved is on the disk."""
        if self._pending is None:
            return
        with self._told():
            self._manager.wait_until_finished()
        self._pending, self._failures = None, 0

    def _start_over(self) -> None:
        """Makes room of what was half written, and a manager that knows of no failure."""
        with contextlib.suppress(Exception):  # told already
            self._manager.close()
        if self._pending is not None and distributed.is_main():
            for part in self._folder.glob(f"{self._pending}.orbax-checkpoint-tmp*"):
                _remove(part)
        self._scores.pop(self._pending, None)
        self._pending = None
        self._open()

    def restore(self, step: int, items: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Items as they are in `items` (arrays or `ShapeDtypeStruct`s with shardings), and the position.

        Raises:
          UserError: the step is damaged (named: the item, the leaf or what Orbax found) or of another model.
        """
        _hush()
        place = self._folder / str(step)
        for name in (*items, POSITION):
            if not (place / name).is_dir():
                raise UserError(f"{place} cannot be restored: it has no {name}")
        like = {name: ocp.args.StandardRestore(jax.tree.map(_abstract, item)) for name, item in items.items()}
        try:
            found = self._manager.restore(step, args=ocp.args.Composite(**like, position=ocp.args.JsonRestore()))
        except Exception as error:  # damaged data is a plain Exception to Orbax
            raise UserError(f"{place} cannot be restored: {_found(error, place)}") from None
        restored = {name: found[name] for name in items}
        return restored, self._verified(place, restored, found[POSITION])

    def _verified(self, place: AnyPath, items: Mapping[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
        """The position alone, after a look at all checksums; steps of old, which have none, pass."""
        position = {name: value for name, value in whole.items() if name != SEAL}
        if SEAL not in whole and CHECKSUMS not in whole:
            return position
        if whole.get(SEAL) != checksums.seal(position):
            raise UserError(f"{place} cannot be restored: {POSITION} has changed since it was saved")
        recorded = position.pop(CHECKSUMS)
        names = checksums.differing(dict(items), {k: v for k, v in recorded.items() if k.split("/")[0] in items})
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise UserError(
                f"{place} cannot be restored: {', '.join(names[:SHOWN])}{more} changed since it was saved (checksum)"
            )
        return position

    def newest_good(
        self, items: Mapping[str, Any], say: Callable[[str], None]
    ) -> tuple[int, dict[str, Any], dict[str, Any]] | None:
        """Step, items and position of the newest step that is whole; None where nothing was saved.

        Damaged ones are told and set aside, into the run's folder `damaged`, so that their numbers are free again.

        Raises:
          UserError: none is whole.
        """
        self._attempt(self._finish, say)
        failed: list[int] = []
        for step in reversed(self.steps()):
            try:
                found = self.restore(step, items)
                problem = ""
            except UserError as error:
                found, problem = ({}, {}), str(error)
            if distributed.all_agree(not problem):
                self._set_aside(failed, say)
                return step, *found
            say(f"warning: {problem or f'step {step} cannot be restored by another process'}")
            failed.append(step)
        if failed:
            raise UserError(f"none of the steps in {self._folder} can be restored; they stay as they are")
        return None

    def _set_aside(self, steps: Sequence[int], say: Callable[[str], None]) -> None:
        for step in steps:
            self._scores.pop(step, None)
            if distributed.is_main():
                aside = self._folder.parent / DAMAGED / str(step)
                names = itertools.chain([aside], (aside.with_name(f"{step}.{count}") for count in itertools.count(1)))
                aside = next(name for name in names if not name.exists())
                aside.parent.mkdir(exist_ok=True)
                (self._folder / str(step)).rename(aside)
                say(f"warning: step {step} is now {aside}")
        if steps:
            distributed.barrier("damaged steps are set aside")
            self._manager.reload()

    def close(self) -> None:
        """Waits until what is being saved is on the disk, and lets go of the folder.

        Raises:
          UserError: it could not be written.
        """
        with self._told():
            self._manager.close()

    def score(self, step: int) -> float | None:
        """The validation score of a step; None where there is none, or it cannot be read."""
        if step not in self._scores:
            place = self._folder / str(step)
            # Steps of old have it where Orbax keeps metrics.
            whole = _read_json(place / POSITION / "metadata")
            old = {} if SEAL in whole else _read_json(place / "metrics" / "metrics")
            value = whole.get(SCORE, old.get(SCORE))
            if not isinstance(value, int | float):
                return None
            self._scores[step] = float(value)
        return self._scores[step]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What Orbax says in many words, of this step or of the one before, in one line."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            why = "the disk is full" if "No space left" in str(error) else _brief(error)
            raise SaveError(f"{self._folder} cannot be written: {why}") from None


def _unheard(_: str) -> None:
    pass


class _Best(PreservationPolicy):
    """Keeps the step with the best score."""

    def __init__(self, score: Callable[[int], float | None]) -> None:
        self._score = score

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Orbax's question: which of the steps stay."""
        del context
        best = _best_of([info.step for info in checkpoints], self._score)
        return [info.step == best for info in checkpoints]


def _best_of(steps: Sequence[int], score: Callable[[int], float | None]) -> int | None:
    """The newest of those with the highest score."""
    scored = [(value, step) for step in steps if (value := score(step)) is not None]
    return max(scored)[1] if scored else None


@functools.cache
def _hush() -> None:
    """Drops what Orbax's threads print late of an error that is told here: closed event loops, reads not awaited."""
    logging.getLogger("asyncio").addFilter(_is_news)
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    sys.unraisablehook = hook


def _is_news(record: logging.LogRecord) -> bool:
    """False of a failed read of a checkpoint that nothing awaited."""
    told = record.getMessage()
    return not ("exception was never retrieved" in told and "ocdbt" in told)  # the store that Orbax keeps arrays in


def _found(error: Exception, place: AnyPath) -> str:
    """What Orbax found, and in which file of the step, where it says so."""
    files = re.findall(rf"{re.escape(str(_absolute(place)))}/([^\"\\\\]+)", str(error))
    return f"{str(error).split(':')[0]} in {max(files, key=len)}" if files else _brief(error)


def _brief(error: Exception) -> str:
    """What can be told in a line."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _read_json(path: AnyPath) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _absolute(path: AnyPath) -> AnyPath:
    return path if is_remote(path) else path.resolve()


def _remove(folder: AnyPath) -> None:
    """With all that is in it, as far as that goes."""
    if not is_remote(folder):
        shutil.rmtree(folder, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        folder.rmtree()


def _drop_empty_steps(folder: AnyPath) -> None:
    """Takes away what a crash may leave: Orbax would count it as the newest step and save nothing before it."""
    if is_remote(folder):  # a store has no empty folders
        return
    for step in folder.glob("[0-9]*"):
        with contextlib.suppress(OSError):  # not empty
            step.rmdir()


def _abstract(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    return leaf
