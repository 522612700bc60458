"""The loop of a run: steps, log, validation, checkpoints; what it does about bad steps and about SIGTERM."""

from __future__ import annotations

import collections
import dataclasses
import math
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from vfi_jax import config
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator, Model
from vfi_jax.metrics import interpolation_error, psnr
from vfi_jax.runs import folder as run_folder
from vfi_jax.runs.checkpoints import Checkpoints
from vfi_jax.system import distributed, machine, sharding
from vfi_jax.system.files import AnyPath, written_whole
from vfi_jax.training import optimizer as optimizer_
from vfi_jax.training import state as state_
from vfi_jax.training.data import RunData, summed
from vfi_jax.training.meter import Meter
from vfi_jax.types import Batch
from vfi_jax.viz.curves import save_curves
from vfi_jax.viz.strips import sample_strips

STRIPS = 4  # validation samples shown
STUCK = 10  # steps skipped in a row, at least, by which a run is told to be stuck
PROFILE = "profile"  # in the run's folder
PROFILED_AFTER = 2  # steps, which compile and fill the queues
BAD_SAMPLES = "bad_samples{}.txt"


@dataclasses.dataclass
class Loop:
    """What the loop holds on to.

    `begin` makes the state before the first step, `flops` counts the operations of a step, `profile` steps are traced.
    """

    config: config.Train
    folder: AnyPath
    steps: int
    model: Model
    sets: RunData
    step: Callable
    begin: Callable[[], state_.State]
    rate: Callable
    checkpoints: Checkpoints
    say: Callable[[str], None]
    flops: Callable[[state_.State, Batch], float]
    profile: int = 0

    def __post_init__(self) -> None:
        every = max(self.config.log_every, self.config.checkpoint_every)
        # Steps, and what their batches were made of: the latest ones, and those that led to a rollback.
        self._recent: collections.deque = collections.deque(maxlen=self.config.guard.bad_steps + every)
        self._offending: list[tuple[int, Any]] = []
        self._rollbacks, self._saved = 0, 0
        self._tracing: int | None = None  # the step before which the trace begins
        self._traced = False

    def run(self) -> None:
        """From the newest good checkpoint to the last step, or to the one at which the run is told to stop."""
        state, done = self._newest() or (self.begin(), 0)
        if done:
            self.say(f"continuing from step {done}")
        self._open_log(done)
        self._meter = Meter(self.config.batch_size)
        try:
            with _Stop() as stop, self._meter:
                while done < self.steps and not stop.asked() and (batch := self._batch(done, stop)):
                    self._trace(done)
                    state, metrics = self._stepped(state, batch, done + 1)
                    state, done = self._looked_after(state, done + 1, metrics)
            self._trace(None)
            if done < self.steps:
                self._stopped(state, done)
        finally:
            self._close_log()

    def _stepped(self, state: state_.State, batch: Batch, done: int) -> tuple[state_.State, Any]:
        """A step; told where it compiles, which only the first should."""
        before, batch = self._meter.compiles, sharding.shard_batch(batch, sharding.data_mesh())
        if not before and machine.peak_of(jax.devices()[0].device_kind):
            self._meter.flops = self.flops(state, batch)
        with self._meter.stepping():
            made = self.step(state, batch)
        if before and self._meter.compiles > before:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in batch.items())
            self.say(f"warning: step {done} compiled the program anew, which costs time; its batch: {shapes}")
        return made

    def _trace(self, done: int | None) -> None:
        """Begins and ends the trace that `profile` asks for; None ends it early."""
        if self._tracing is None and self.profile and done is not None:
            self._tracing = done + PROFILED_AFTER
        if self._tracing is None or not self.profile:
            return
        if done == self._tracing:
            jax.profiler.start_trace(str(self.folder / PROFILE))
            self._traced = True
        elif self._traced and (done is None or done == self._tracing + self.profile):
            jax.profiler.stop_trace()
            self._traced = False
            self.say(f"trace of {self.profile} steps: {self.folder / PROFILE}, for xprof or perfetto")

    def _newest(self, *, data_too: bool = True) -> tuple[state_.State, int] | None:
        """State and number of the newest good checkpoint, the data at its place; None where nothing is saved."""
        state = self.begin()
        found = self.checkpoints.newest_good(_items(state), self.say)
        if found is None:
            return None
        step, items, position = found
        skipped = position.get("skipped", {"in_row": 0, "total": 0})
        self._saved = step
        if data_too:
            self.sets.batches.set_state(position["data"])
            self._rollbacks = position.get("rollbacks", 0)
        skips = state_.Skips(*(jnp.int32(skipped[name]) for name in ("in_row", "total")))
        return sharding.replicate(state.replace(step=jnp.int32(step), skips=skips, **items)), step

    def _batch(self, done: int, stop: _Stop) -> dict[str, Any]:
        """The next batch; none where the signal to stop has ended the workers that make it."""
        place = self.sets.batches.get_state()
        try:
            with self._meter.waiting():
                batch = next(self.sets.batches)
        except Exception:
            if stop.wished:
                return {}
            raise
        self._recent.append((done + 1, batch.pop("name", place)))
        return batch

    def _looked_after(
        self, state: state_.State, done: int, metrics: Mapping[str, jax.Array]
    ) -> tuple[state_.State, int]:
        """What is due after a step; state and number to go on from."""
        logged, saved = self._due(done, self.config.log_every), self._due(done, self.config.checkpoint_every)
        if not logged and not saved:
            return state, done
        skips = jax.device_get(state.skips)
        if skips.in_row >= self.config.guard.bad_steps:
            return self._rolled_back(done, int(skips.in_row), int(skips.total))
        if logged:
            self._report(done, {**_numbers(metrics), "skipped": int(skips.total), "rate": self._rate(done, state)})
        if saved:
            self._check_steps(state)
            state = self._save(done, state)
            self._meter.start()
        return state, done

    def _due(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self.steps

    def _rolled_back(self, done: int, in_row: int, total: int) -> tuple[state_.State, int]:
        """State and number of the last good checkpoint, or of the start; the data stay where they are.

        Raises:
          UserError: it was done as often as the config says.
        """
        why = f"loss or gradient was not finite in the last {in_row} steps"
        self._offending += [known for known in self._recent if known[0] > done - in_row]
        self._recent.clear()
        if self._rollbacks >= self.config.guard.rollbacks:
            path = self._write_names()
            raise UserError(
                f"{why}, after {self._rollbacks} rollbacks: lower optimizer.rate or set optimizer.clip_norm, and look "
                f"at the samples listed in {path}; "
                + (f"step {self._saved} is kept" if self._saved else "nothing is saved")
            )
        state, step = self._newest(data_too=False) or (self.begin(), 0)
        self._rollbacks += 1
        self._close_log()
        self._open_log(step)
        self._write({"step": step, "rollback": self._rollbacks, "from_step": done})
        self.say(f"warning: {why} up to {done}: back to step {step}, and on with the data that follow")
        self._meter.start()
        return sharding.replicate(state.replace(skips=state_.Skips(jnp.int32(0), jnp.int32(total)))), step

    def _write_names(self) -> AnyPath:
        """Lists the samples of this process in the bad steps before each rollback, `STEP NAME` a line."""
        process = f".{jax.process_index()}" if jax.process_count() > 1 else ""
        path = self.folder / BAD_SAMPLES.format(process)
        batches = self.sets.batches
        with written_whole(path) as partial, partial.open("w") as file:
            for step, known in self._offending:
                names = batches.names(known) if isinstance(known, Mapping) else known
                file.writelines(f"{step} {name}\n" for name in names)
        return path

    def _stopped(self, state: state_.State, done: int) -> None:
        """Saves what is not saved yet, and waits for it."""
        if self._saved != done:
            self._store(done, state, None, last=True)
        self.checkpoints.settle()
        self.say(f"stopped at step {done}; the same command continues")

    def _check_steps(self, state: state_.State) -> None:
        """Stops a run that does not learn any more: with parameters that stay, the loss stays too high for good."""
        skipped = optimizer_.skipped_in_row(state.optimizer)
        if skipped >= max(STUCK, self.config.checkpoint_every):
            raise UserError(
                f"the last {skipped} steps were skipped, their loss being above {self.config.optimizer.skip_above:g} "
                "times the first: lower optimizer.rate or set optimizer.warmup; the last checkpoint is kept"
            )

    def _rate(self, done: int, state: state_.State) -> float:
        """That of the step just made."""
        return float(self.rate(done - 1)) * optimizer_.plateau_factor(state.optimizer)

    def _report(self, done: int, values: Mapping[str, float]) -> None:
        row = {"step": done, **values, **self._meter.lap()}
        self._write(row)
        left = (self.steps - done) * (row["wait_s"] + row["compute_s"])
        loss = f"{row['loss']:.5f}" if "loss" in row else "not finite, skipped"
        self.say(
            f"step {done}/{self.steps}  loss {loss}  {row['samples_per_s']:.1f} samples/s  "
            f"(waits {row['wait_s']:.3f} s, computes {row['compute_s']:.3f} s a step)  {_duration(left)} left"
        )

    def _save(self, done: int, state: state_.State) -> state_.State:
        """Validates where it is due, saves, and draws the curves; the state that was saved."""
        score = None
        if self._due(done, self.config.validate_every):
            score, loss = self._validate(done, state)
            fed = optimizer_.observe(state.optimizer, loss, self.config.optimizer.plateau)
            state = state.replace(optimizer=fed)
        self._store(done, state, score, last=done == self.steps)
        self._try(lambda: save_curves(self.folder / run_folder.CURVES, run_folder.read_log(self.folder)))
        return state

    def _store(self, done: int, state: state_.State, score: float | None, *, last: bool) -> None:
        position = {
            "step": done,
            "data": summed(self.sets.batches.get_state()),
            "model": {"channel_order": self.model.channel_order, "any_time": self.model.any_time},
            "skipped": {"in_row": int(state.skips.in_row), "total": int(state.skips.total)},
            "rollbacks": self._rollbacks,
        }
        self._try(self._flush_log)  # before the step is: a run that continues from it has its history
        if self.checkpoints.save(done, _items(state), position, score, self.say, last=last):
            self._saved = done

    def _open_log(self, step: int) -> None:
        if distributed.is_main():
            self._log = run_folder.Log(self.folder, step, tensorboard=self.config.tensorboard)

    def _flush_log(self) -> None:
        self._log.flush()

    def _close_log(self) -> None:
        if distributed.is_main():
            self._log.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        self._try(lambda: self._log.write(row))

    def _try(self, act: Callable[[], None]) -> None:
        """Lets the first process do what a run can go on without, such as a picture, and tells where it fails."""
        if not distributed.is_main():
            return
        try:
            act()
        except (UserError, OSError) as error:
            self.say(f"warning: {error}")

    def _validate(self, done: int, state: state_.State) -> tuple[float, float]:
        """Mean PSNR (the rule of `eval.py`) and absolute error (0..1) of rounded frames; a strip of the first."""
        interpolate = Interpolator(self.model, distributed.local(state.best), precision=self.config.precision)
        scores, errors, strips = [], [], []
        for batch in self.sets.validation():
            frames = np.moveaxis(batch["frames"], 1, 0)
            inputs = {name: batch[name].astype(np.float32) for name in interpolate.spec.inputs if name in batch}
            made = interpolate(*frames, t=batch["t"], **inputs)
            scores += list(psnr(made, batch["target"]))
            errors += list(interpolation_error(made, batch["target"]) / 255)
            shown = zip(*frames, made, batch["target"], strict=True)
            strips += list(shown)[: STRIPS - len(strips)]
        count, total, missed = distributed.allgather(np.array([len(scores), np.sum(scores), np.sum(errors)])).sum(0)
        if not count:
            raise UserError("no validation samples: raise data.holdout, or name a set with data.validation")
        mean, error = float(total / count), float(missed / count)
        self._write({"step": done, "validation_psnr": mean, "validation_l1": error, "validation_samples": int(count)})
        self._try(lambda: self._log.picture(done, sample_strips(strips)))
        self.say(f"step {done}: validation PSNR {mean:.3f} dB over {count:.0f} frames")
        return mean, error


def _items(state: state_.State) -> dict[str, Any]:
    items = {"params": state.params, "optimizer": state.optimizer}
    return items if state.ema is None else {**items, "ema": state.ema}


def _numbers(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """The finite ones of a step on the host; waits for it."""
    values = {name: float(value) for name, value in jax.device_get(metrics).items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


class _Stop:
    """A context in which SIGTERM is a wish to stop at the end of the step."""

    def __init__(self) -> None:
        self.wished, self._asked = False, 0

    def __enter__(self) -> _Stop:
        # With several processes JAX's own notifier has the signal, and tells all of them the same step.
        self._own = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        if self._own:
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._own:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, *_: object) -> None:
        self.wished = True

    def asked(self) -> bool:
        """Whether to stop now; every process has to ask before each step, and all get the same answer."""
        self._asked += 1
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(self._asked)
        return self.wished


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
