"""The processes of a run, one a host or one a device: who they are, and what they have to agree on.

A process that is alone agrees with itself at no cost. Where there are several, each has to call these functions, in
the same order.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float

from vfi_jax.errors import UsageError, UserError

SHUTDOWN = 60  # seconds that a process waits for the others at its end; JAX's own are 300
GRACE = 2  # seconds


def initialize(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Joins the processes of a run; to be called before a device is touched.

    Without arguments the environment says who they are, as JAX reads it: a TPU pod, SLURM, Open MPI, Kubernetes. Where
    it says nothing, or `processes` is 1, this process is alone.

    Args:
      coordinator: address of the first process, `HOST:PORT`.
      processes: their number.
      process: which of them this is, from 0.

    Raises:
      UsageError: some arguments without the others, or a number out of range.
      UserError: the others do not come.
    """
    given = (coordinator, processes, process)
    if processes == 1 or jax.distributed.is_initialized():
        return
    if any(value is not None for value in given) and None in given:
        raise UsageError("--coordinator HOST:PORT, --processes N and --process I go together")
    if processes is not None and not 0 <= process < processes:
        raise UsageError(f"--process {process}: it must lie between 0 and {processes - 1}")
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=SHUTDOWN)
    except (ValueError, RuntimeError) as error:
        # JAX has no question for whether there is a cluster: it says so, or that devices are in use already.
        alone = "coordinator_address" in str(error) or "must be called before" in str(error)
        if coordinator is not None or not alone:
            raise UserError(f"the processes do not come together: {str(error).splitlines()[0]}") from None


def exit(code: int) -> NoReturn:
    """Ends this process after a failure; the others are lost with it, and those that wait for it notice."""
    if not jax.distributed.is_initialized():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_main():  # it keeps the others alive: where all fail alike they may say so themselves
        time.sleep(GRACE)
    os._exit(code)  # Python's own way out waits for processes that wait for this one


def is_main() -> bool:
    """Whether this process is the one that writes what all share."""
    return jax.process_index() == 0


def by_main(say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` in the first process, silence in the others."""
    return say if is_main() else _unheard


def barrier(place: str) -> None:
    """Until every process has come to `place`."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def all_agree(fine: bool) -> bool:
    """Whether all processes say so."""
    return bool(allgather(np.array([fine], np.float64)).all())


def allgather(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, "processes k"]:
    """What each process has, in float64."""
    values = np.ascontiguousarray(values, np.float64)
    if jax.process_count() == 1:
        return values[None]
    # As pairs of words: JAX would round to 32 bits.
    return np.asarray(multihost_utils.process_allgather(values.view(np.uint32))).view(np.float64)


def local(tree: Any) -> Any:
    """Arrays that are the same on every device, as they are on this process's first."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def _unheard(_: str) -> None:
    pass
