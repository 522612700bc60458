"""Work on many items in parallel processes, with a progress bar."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from vfi_jax.system import machine, progress

Item, Result = TypeVar("Item"), TypeVar("Result")
MIN_ITEMS = 32  # fewer are done in this process, since others take seconds to start


def parallel_map(function: Callable[[Item], Result], items: Sequence[Item], **bar: str) -> Iterator[Result]:
    """Yields `function(item)` for each item, in order, computed by as many processes as there are processors.

    Args:
      function: a function that can be pickled.
      items: arguments of the calls.
      **bar: options of the progress bar.
    """
    processes = min(machine.processors(), len(items))
    if processes < 2 or len(items) < MIN_ITEMS:
        yield from map(function, progress.bar(items, **bar))
        return
    # Spawned, because JAX's threads do not survive a fork.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from progress.bar(pool.map(function, items), total=len(items), **bar)
