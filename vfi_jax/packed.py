"""Small sets that live on the device: one array of cropped windows, sampled and augmented there."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open

from vfi_jax.config import Augment, Data, Window
from vfi_jax.data.augment import Decision, choices, times, transform
from vfi_jax.types import Array, UsageError, UserError

KIND = "vfi_jax packed windows"


def read(path: Path) -> tuple[UInt8[np.ndarray, "m n h w 3"], dict[str, Any]]:
    """The windows of a packed file and what it says of them (`names`: one a window, `CLIP/FIRST FRAME`).

    Raises:
      UserError: no such file, not a packed set, or cut short.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(KIND, "null"))
            if about is None:
                raise UserError(f"{path} holds no packed windows: make one with `vfi-jax prepare pack`")
            return file.get_tensor("frames"), about
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole packed set: {str(error).splitlines()[0]}; make it again") from None


@dataclasses.dataclass(frozen=True)
class Held:
    """Windows of a packed set as a source: what validation reads."""

    frames: UInt8[np.ndarray, "m n h w 3"]
    names: Sequence[str]

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.names)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """`frames` and `name` of a window."""
        return {"frames": self.frames[index], "name": self.names[index]}


class PackedBatches:
    """An endless iterator of batches made on the device: each epoch a new order, each sample new decisions.

    A batch is a function of the seed and its number alone, so the state is that number. Batches are `frames` uint8
    `[b, k, s, s, 3]`, `target` `[b, s, s, 3]`, `t` `[b, 1, 1, 1]`, split over the mesh's `data`.
    """

    def __init__(self, frames: UInt8[Any, "m n h w 3"], data: Data, batch_size: int, seed: int, mesh: Mesh) -> None:
        """Puts `frames` onto every device.

        Raises:
          UserError: fewer windows than a batch, smaller than the crop, or of another length than the config says.
          UsageError: augmentation that only the host does.
        """
        if data.augment.enlarge or data.augment.jitter:
            raise UsageError("data.augment.enlarge and jitter must be 0 for a packed set: make records to use them")
        count, length, height, width = frames.shape[:4]
        if count < batch_size:
            raise UserError(f"{count} packed windows do not fill a batch of {batch_size}")
        if length != data.window.frames:
            raise UserError(f"packed windows have {length} frames; data.window.frames says {data.window.frames}")
        if min(height, width) < data.augment.crop:
            raise UserError(f"packed windows are {width}x{height}: smaller than data.augment.crop {data.augment.crop}")
        self._frames = jax.device_put(frames, NamedSharding(mesh, PartitionSpec()))
        self._sample = jax.jit(
            functools.partial(_batch, window=data.window, augment=data.augment, batch_size=batch_size),
            out_shardings=NamedSharding(mesh, PartitionSpec("data")),
        )
        self._key, self._next = jax.random.key(seed), 0

    def __iter__(self) -> PackedBatches:
        return self

    def __next__(self) -> dict[str, Array]:
        batch = self._sample(self._frames, self._key, self._next)
        self._next += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Number of the next batch."""
        return {"next_batch": self._next}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues from `get_state`."""
        self._next = state["next_batch"]

    def close(self) -> None:
        """Lets go of the windows."""
        self._frames = None


def _batch(
    frames: Array, key: Array, number: Array, *, window: Window, augment: Augment, batch_size: int
) -> dict[str, Array]:
    per_epoch = frames.shape[0] // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, number // per_epoch), frames.shape[0])
    chosen = lax.dynamic_slice(order, ((number % per_epoch) * batch_size,), (batch_size,))
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, number), 1), batch_size)
    return jax.vmap(lambda index, key: _augmented(frames, index, key, window, augment))(chosen, keys)


def _augmented(frames: Array, index: Array, key: Array, window: Window, augment: Augment) -> dict[str, Array]:
    keys = jax.random.split(key, 4)
    inputs, target, probability = choices(window)
    choice = jax.random.choice(keys[0], len(target), p=jnp.asarray(probability, jnp.float32))
    side, (height, width) = augment.crop, frames.shape[2:4]
    top = jax.random.randint(keys[1], (), 0, height - side + 1)
    left = jax.random.randint(keys[2], (), 0, width - side + 1)

    def cut(frame: Array) -> Array:
        return lax.dynamic_slice(frames, (index, frame, top, left, 0), (1, 1, side, side, 3))[0, 0]

    sample = {
        "frames": jnp.stack([cut(frame) for frame in jnp.asarray(inputs)[choice]]),
        "target": cut(jnp.asarray(target)[choice]),
        "t": jnp.asarray(times(inputs, target))[choice].reshape(1, 1, 1),
    }
    return transform(sample, _decision(keys[3], augment))


def _decision(key: Array, config: Augment) -> Decision:
    """As `data.augment.draw`."""
    chance = jax.random.uniform(key, (6,))
    flags = chance[:4] < jnp.array(
        [config.reverse_channels, config.flip_rows, config.flip_columns, config.reverse_time]
    )
    turn = 1 + jnp.minimum(jnp.floor(3 * chance[5]), 2).astype(jnp.int32)
    transpose = jax.random.uniform(jax.random.fold_in(key, 1)) < config.transpose
    return Decision(*flags, jnp.where(chance[4] < config.rotate, turn, 0), transpose)
