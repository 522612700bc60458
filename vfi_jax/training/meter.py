"""Throughput of a run: seconds waiting and computing, samples per second, compiled programs, device utilization."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import jax

from vfi_jax.system import machine

COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event, one per program


class Meter:
    """Context manager: measures the steps of a lap, and counts the programs that steps compile while it is entered.

    Attributes:
      compiles: number of programs compiled by steps.
      flops: floating-point operations of a step on all devices; 0: unknown.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
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

    def lap(self) -> dict[str, float]:
        """Ends a lap, starts the next, and returns measurements for a row of the log.

        `wait_s` and `compute_s` are seconds per step. `mfu` is the fraction of the devices' peak (`machine.PEAKS`) that
        the model's operations reach; only where both are known.
        """
        took, waited, laps = time.perf_counter() - self._begun, self._waited, max(1, self._laps)
        self.start()
        rate = self._batch_size * laps / took
        row = {
            "samples_per_s": rate,
            "samples_per_s_device": rate / jax.device_count(),
            "wait_s": waited / laps,
            "compute_s": (took - waited) / laps,
            "compiles": self.compiles,
            **machine.peak_memory(),
        }
        if self.flops and (peak := machine.peak_of(jax.devices()[0].device_kind)):
            row["mfu"] = self.flops * laps / took / (peak * jax.device_count())
        return row
