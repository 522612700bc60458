"""The time that JAX spends on tracing and compiling programs, or on loading kept ones."""

from __future__ import annotations

import time

import jax

EVENTS = "/jax/core/compile/"  # with which the names of JAX's events begin: tracing, lowering, compiling


class Stopwatch:
    """Context manager: counts the seconds of compiling while it is entered, those of nested programs once."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []  # begin and end, in the order of time, apart from each other

    def __enter__(self) -> Stopwatch:
        jax.monitoring.register_event_duration_secs_listener(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        jax.monitoring.unregister_event_duration_listener(self._count)

    @property
    def seconds(self) -> float:
        """Seconds of compiling so far."""
        return sum(end - begin for begin, end in self._spans)

    def _count(self, event: str, seconds: float, **_: object) -> None:
        if event.startswith(EVENTS):
            self.add(time.perf_counter(), seconds)

    def add(self, end: float, seconds: float) -> None:
        """Adds a span that ends now; what it has in common with those before counts once."""
        begin = end - seconds
        while self._spans and self._spans[-1][1] >= begin:
            begin = min(begin, self._spans.pop()[0])
        self._spans.append((begin, end))
