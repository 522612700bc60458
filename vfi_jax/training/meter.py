"""How fast a run is: seconds waited and computed, samples a second, programs compiled, use of the devices."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import jax

from vfi_jax.system import machine

COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event, one a program


class Meter:
    """Measures the steps since the last lap; counts the programs that steps compile as long as it is entered."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.compiles = 0
        self.flops = 0.0  # of a step on all devices; 0: not known
        self._stepping = False
        self.start()

    def __enter__(self) -> Meter:
        jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._heard)

    def _heard(self, event: str, _: float, **__: object) -> None:
        self.compiles += self._stepping and event == COMPILED

    def start(self) -> None:
        """Begins a lap."""
        self._begun, self._waited, self._laps = time.perf_counter(), 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context whose time counts as waiting for data, once a step."""
        begun = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begun
        self._laps += 1

    @contextlib.contextmanager
    def stepping(self) -> Iterator[None]:
        """A context in which what is compiled is the training step."""
        self._stepping = True
        try:
            yield
        finally:
            self._stepping = False

    def lap(self) -> dict[str, float]:
        """Ends a lap and begins the next: what goes into a row of the log.

        `wait_s` and `compute_s` are of a step. `mfu` is the share of the devices' peak (`machine.PEAKS`) that the
        model's own operations take; only where both are known.
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
