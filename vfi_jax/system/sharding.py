"""Arrays over devices: one mesh with one axis, `data`."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vfi_jax.types import Array, Batch


def data_mesh() -> Mesh:
    """All devices on one axis, `data`."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicate(tree: Any) -> Any:
    """Places a tree of arrays on every device, as a jitted step returns it, so that the step is not compiled again."""
    return jax.device_put(tree, NamedSharding(data_mesh(), PartitionSpec()))


def shard_batch(batch: Batch, mesh: Mesh) -> dict[str, Array]:
    """Splits a host's share `[b / hosts, ...]` of a batch over the axis `data`; arrays on devices are passed on."""
    split = NamedSharding(mesh, PartitionSpec("data"))
    return {
        name: a if isinstance(a, jax.Array) else jax.make_array_from_process_local_data(split, a)
        for name, a in batch.items()
    }
