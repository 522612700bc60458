"""Throughput of a run: seconds waiting and computing, samples per second, compiled programs, device utilization."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import jax

from vfi_jax.system import machine

COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event, one per program
ALARM = 100  # seconds of compiling after which a line explains XLA's alarm, which comes after 120


class Meter:
    """Context manager: measures the steps of a lap, and counts the programs that steps compile while it is entered.

    Attributes:
      compiles: number of programs compiled by steps.
      flops: floating-point operations of a step on all devices; 0: unknown.
      first: whether no step has been done, so that the next one compiles.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.first = True
        self.compiles = 0
        self.flops = 0.0
        self._stepping = False
        self.start()

    def __enter__(self) -> Meter:
        jax.monitoring.register_event_duration_secs_listener(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._count)

    def _count(self, event: str, _: float, **__: object) -> None:
        self.compiles += self._stepping and event == COMPILED

    def start(self) -> None:
        """Starts a lap."""
        self._begun, self._waited, self._laps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Context manager: its time counts as waiting for data; entered once per step."""
        begun = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begun
        self._laps += 1

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """Context manager: programs compiled in it count as compiled by a step."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    @contextlib.contextmanager
    def compiling(self, log: Callable[[str], None]) -> Iterator[None]:
        """Context manager around the first step: logs how long it takes, and starts a lap without it.

        XLA prints an alarm after two minutes, which a line before it explains.
        """
        self.first = False
        log("compiling the training step ...")
        alarm = threading.Timer(ALARM, log, [f"still compiling after {ALARM} s; XLA's alarm about that is no fault"])
        alarm.daemon = True
        alarm.start()
        begun = time.perf_counter()
        try:
            yield
        finally:
            alarm.cancel()
        log(f"compiled, and the first step done, in {time.perf_counter() - begun:.1f} s")
        self.start()

    def lap(self) -> dict[str, float]:
        """Ends a lap, starts the next, and returns measurements for a row of the log.

        A lap that held nothing but the first step, which compiled, has no rates. `wait_s` and `compute_s` are seconds
        per step. `mfu` is the fraction of the devices' peak (`machine.PEAKS`) that the model's operations reach; only
        where both are known.
        """
        took, waited, laps = time.perf_counter() - self._begun, self._waited, self._laps
        self.start()
        row = {"compiles": self.compiles, **machine.peak_memory()}
        if not laps:
            return row
        rate = self._batch_size * laps / took
        row |= {
            "samples_per_s": rate,
            "samples_per_s_device": rate / jax.device_count(),
            "wait_s": waited / laps,
            "compute_s": (took - waited) / laps,
        }
        if self.flops and (peak := machine.peak_of(jax.devices()[0].device_kind)):
            row["mfu"] = self.flops * laps / took / (peak * jax.device_count())
        return row
