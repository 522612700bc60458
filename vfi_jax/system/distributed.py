"""The processes of a run, one per host or one per device: starting, synchronization and gathering of values.

With a single process these functions return at once. With several, each process has to call them in the same order.
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
from vfi_jax.system import roll_call

SHUTDOWN_TIMEOUT = 60  # seconds that a process waits for the others at its end; JAX's default is 300
WAIT = 300  # seconds that a process waits for the others at its start, as in JAX
GRACE = 2  # seconds in which other processes may report their own failure


def initialize(
    coordinator: str | None = None, processes: int | None = None, process: int | None = None, *, wait: float = WAIT
) -> None:
    """Connects the processes of a run; to be called before any device is used.

    Without arguments JAX detects the processes from the environment (TPU pod, SLURM, Open MPI, Kubernetes). If it
    detects none, or `processes` is 1, this process is the only one.

    Args:
      coordinator: address of the first process, `HOST:PORT`.
      processes: number of processes.
      process: index of this process, from 0.
      wait: seconds within which all processes have to be there.

    Raises:
      UsageError: only some of the arguments are given, or a number is out of range.
      UserError: processes are missing, which the message names, or the first cannot be reached.
    """
    given = (coordinator, processes, process)
    if processes == 1 or jax.distributed.is_initialized():
        return
    if any(value is not None for value in given) and None in given:
        raise UsageError("--coordinator HOST:PORT, --processes N and --process I go together")
    if processes is not None and not 0 <= process < processes:
        raise UsageError(f"--process {process}: it must lie between 0 and {processes - 1}")
    given = given if coordinator is not None else _detected(wait)
    if None not in given:
        roll_call.check(*given, wait)
    try:
        jax.distributed.initialize(*given, shutdown_timeout_seconds=SHUTDOWN_TIMEOUT)
    except (ValueError, RuntimeError) as error:
        # JAX has no query for a cluster; it raises if there is none, or if devices are already in use.
        alone = "coordinator_address" in str(error) or "must be called before" in str(error)
        if coordinator is not None or not alone:
            raise UserError(f"the processes cannot connect: {str(error).splitlines()[0]}") from None


def _detected(wait: float) -> tuple[str | None, int | None, int | None]:
    """Coordinator, processes and process of the cluster that JAX detects; None each where it detects none.

    JAX has no public call for that. Where the one that it uses itself is gone or fails, all is left to
    `jax.distributed.initialize`, and nobody calls the roll.
    """
    try:
        from jax._src.clusters import ClusterEnv

        found = ClusterEnv.auto_detect_unset_distributed_params(None, None, None, None, None, int(wait))
    except Exception:  # whatever a cluster's variables lead to
        return None, None, None
    return found[:3] if found[1] != 1 else (None, None, None)


def exit(code: int) -> NoReturn:
    """Ends this process after a failure; processes that wait for it fail as well."""
    if not jax.distributed.is_initialized():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    if is_main():  # the others end with it; give those that fail alike time to report
        time.sleep(GRACE)
    os._exit(code)  # sys.exit would wait for processes that wait for this one


def is_main() -> bool:
    """Returns whether this process is the one that writes shared files."""
    return jax.process_index() == 0


def by_main(log: Callable[[str], None]) -> Callable[[str], None]:
    """Returns `log` in the main process, and a function that does nothing in the others."""
    return log if is_main() else _ignore


def barrier(name: str) -> None:
    """Waits until every process has reached the barrier of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_agree(flag: bool) -> bool:
    """Returns whether `flag` is true in every process."""
    return bool(allgather(np.array([flag], np.float64)).all())


def allgather(values: Float[np.ndarray, " k"]) -> Float[np.ndarray, "processes k"]:
    """Gathers the values of every process, in float64."""
    values = np.ascontiguousarray(values, np.float64)
    if jax.process_count() == 1:
        return values[None]
    # As pairs of 32-bit words, because JAX would round float64 to float32.
    return np.asarray(multihost_utils.process_allgather(values.view(np.uint32))).view(np.float64)


def local(tree: Any) -> Any:
    """Returns this process's first copy of arrays that are replicated over devices."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, tree)


def _ignore(_: str) -> None:
    pass
