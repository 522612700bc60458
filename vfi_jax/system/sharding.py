"""Placement of arrays on devices: one mesh with one axis, `data`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vfi_jax.types import Array, Batch


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices along the axis `data`; by default all devices of all processes."""
    count = jax.device_count() if devices is None else len(devices)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The placement of an array that is whole on every device."""
    return NamedSharding(mesh, PartitionSpec())


def divided(mesh: Mesh) -> NamedSharding:
    """The placement of an array whose first axis is divided over the axis `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def replicate(tree: Any, mesh: Mesh | None = None, *, may_alias: bool | None = None) -> Any:
    """Copies a tree of arrays to every device of a mesh, by default `data_mesh()`.

    A jitted step returns its state in this placement, so that a state placed like this does not recompile it. With
    `may_alias=False` nothing shares memory with the arrays given, so that the copies can be donated.
    """
    return jax.device_put(tree, replicated(mesh or data_mesh()), may_alias=may_alias)


def split(array: Array, mesh: Mesh) -> jax.Array:
    """Divides the first axis of an array over the axis `data`."""
    return jax.device_put(array, divided(mesh))


def shard_batch(batch: Batch, mesh: Mesh) -> dict[str, Array]:
    """Makes global arrays out of a process's share `[b / processes, ...]`, divided over the axis `data`.

    Arrays that are on devices already are passed on.
    """
    return {
        name: a if isinstance(a, jax.Array) else jax.make_array_from_process_local_data(divided(mesh), a)
        for name, a in batch.items()
    }
