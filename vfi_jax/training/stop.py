"""SIGTERM as a request to stop."""

from __future__ import annotations

import signal
import threading

import jax
from jax.experimental import multihost_utils


class StopSignal:
    """Context manager: SIGTERM requests a stop after the current step.

    Attributes:
      received: whether this process has received the signal.
    """

    def __init__(self) -> None:
        self.received = False
        self._requests = 0

    def __enter__(self) -> StopSignal:
        # With several processes JAX's own handler receives the signal, and gives all of them the same step to stop at.
        self._handles = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        if self._handles:
            self._before = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handles:
            signal.signal(signal.SIGTERM, self._before)

    def _receive(self, *_: object) -> None:
        self.received = True

    def requested(self) -> bool:
        """Whether to stop now. Every process must call this before each step; all get the same answer."""
        self._requests += 1
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(self._requests)
        return self.received
