"""Arrays over devices: one mesh with one axis, `data`."""

from __future__ import annotations

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vfi_jax.training.state import State
from vfi_jax.training.step import Batch
from vfi_jax.types import Array


def data_mesh() -> Mesh:
    """All devices on one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicate(state: State) -> State:
    """The same state on every device, as a step gives it: numbers that lie elsewhere would make it another program."""
    return jax.device_put(state, NamedSharding(data_mesh(), PartitionSpec()))


def shard_batch(batch: Batch, mesh: Mesh) -> dict[str, Array]:
    """A batch of this host, `[b / hosts, ...]`, as global arrays split over `data`; what is on devices stays there."""
    split = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: a if isinstance(a, jax.Array) else jax.make_array_from_process_local_data(split, a)
        for name, a in batch.items()
    }
