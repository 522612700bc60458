"""A trace of some training steps."""

from __future__ import annotations

from collections.abc import Callable

import jax

from vfi_jax.system.files import AnyPath

PROFILE = "profile"  # in the run's folder
WARM_UP = 2  # steps before the trace: they compile and fill the queues


class Profiler:
    """Context manager: traces some steps into the run's folder, after the first ones have compiled the program."""

    def __init__(self, folder: AnyPath, steps: int, log: Callable[[str], None]) -> None:
        """Takes the number of steps to trace, 0 for none."""
        self._folder, self._steps, self._log = folder / PROFILE, steps, log
        self._begun, self._tracing = 0, False

    def __enter__(self) -> Profiler:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def before_step(self) -> None:
        """Starts or stops the trace where it is time to."""
        if self._steps and self._begun == WARM_UP:
            jax.profiler.start_trace(str(self._folder))
            self._tracing = True
        elif self._begun == WARM_UP + self._steps:
            self._stop()
        self._begun += 1

    def _stop(self) -> None:
        if self._tracing:
            jax.profiler.stop_trace()
            self._tracing = False
            self._log(f"trace of {self._steps} steps: {self._folder}, for xprof or perfetto")
