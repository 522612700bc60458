"""Batches of packed sets, drawn and augmented on the device."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import UInt8

from vfi_jax.config import Augment, Data, Window
from vfi_jax.data.augment import Decision, transform
from vfi_jax.data.windows import frame_selections, target_times
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import sharding
from vfi_jax.types import Array


class PackedBatches:
    """An endless iterator of batches drawn on the device, with a new order in each epoch and new crops of each sample.

    A batch depends only on the seed and on its number, which is the iterator's state. Batches hold `frames`, uint8 `[b,
    k, s, s, 3]`, `target` `[b, s, s, 3]` and `t` `[b, 1, 1, 1]`, divided over the mesh's axis `data`.
    """

    def __init__(
        self,
        sets: Mapping[str, UInt8[Any, "m n h w 3"]],
        data: Data,
        batch_size: int,
        seed: int,
        mesh: Mesh,
        *,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Copies the windows onto every device.

        Args:
          sets: windows by path: those of `data.path`, and of the sets in `data.mix`.
          data: window, augmentation and shares.
          batch_size: global batch size.
          seed: of order and augmentation.
          mesh: all devices.
          names: of the windows, by path.

        Raises:
          UserError: too few windows for a batch, or windows smaller than the crop or unlike `data.window`.
          UsageError: augmentation that only host pipelines support; shares that leave a set without samples.
        """
        if data.augment.enlarge or data.augment.jitter:
            raise UsageError(
                "--config.data.augment.enlarge and jitter must be 0 for a packed set; make records instead"
            )
        counts = samples_of(data, batch_size)
        for path, frames in sets.items():
            _check(path, frames.shape, data, counts[path])
        # With `device_put` the processes would send each other the whole set to check that it is the same.
        placement = sharding.replicated(mesh)
        self._sets = [jax.make_array_from_process_local_data(placement, frames) for frames in sets.values()]
        self._sample = jax.jit(
            functools.partial(
                _batch, window=data.window, augment=data.augment, counts=tuple(counts[path] for path in sets)
            ),
            out_shardings=sharding.divided(mesh),
        )
        self._counts, self._names = counts, names or {}
        self._key, self._next = jax.random.key(seed), 0

    def __iter__(self) -> PackedBatches:
        return self

    def __next__(self) -> dict[str, Array]:
        batch = self._sample(self._sets, self._key, self._next)
        self._next += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """Returns the number of the next batch."""
        return {"next_batch": self._next}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues from a state that `get_state` returned."""
        self._next = state["next_batch"]

    def names(self, state: Mapping[str, int]) -> list[str]:
        """Returns `PATH: NAME` for each sample of the next batch at a state; without names the window's number."""
        names = []
        for number, (frames, (path, count)) in enumerate(zip(self._sets, self._counts.items(), strict=True)):
            chosen = _chosen(_set_key(self._key, number), state["next_batch"], frames.shape[0], count)
            windows = self._names.get(path)
            names += [f"{path}: {windows[index] if windows else f'window {index}'}" for index in np.asarray(chosen)]
        return names

    def close(self) -> None:
        """Releases the windows."""
        self._sets = []


def samples_of(data: Data, batch_size: int) -> dict[str, int]:
    """Returns the number of samples per batch from `data.path` and from each set of `data.mix`: their shares, rounded.

    Raises:
      UsageError: a set gives no sample.
    """
    counts = {path: round(share * batch_size) for path, share in data.shares.items()}
    counts = {data.path: batch_size - sum(counts.values()), **counts}
    for path, count in counts.items():
        if count < 1:
            raise UsageError(f"--config.data.mix leaves {path} no sample of a batch of {batch_size}")
    return counts


def _check(path: str, shape: tuple[int, ...], data: Data, samples: int) -> None:
    count, length, height, width = shape[:4]
    if count < samples:
        raise UserError(f"{path}: {count} packed windows do not give the {samples} samples of a batch")
    if length != data.window.frames:
        raise UserError(
            f"{path}: packed windows have {length} frames; --config.data.window.frames is {data.window.frames}"
        )
    if min(height, width) < data.augment.crop:
        raise UserError(
            f"{path}: packed windows are {width}x{height}: smaller than --config.data.augment.crop {data.augment.crop}"
        )


def _batch(
    sets: Sequence[Array], key: Array, number: Array, *, window: Window, augment: Augment, counts: tuple[int, ...]
) -> dict[str, Array]:
    parts = []
    for index, (frames, count) in enumerate(zip(sets, counts, strict=True)):
        parts.append(_part(frames, _set_key(key, index), number, window, augment, count))
    return jax.tree.map(lambda *values: jnp.concatenate(values), *parts)


def _set_key(key: Array, index: int) -> Array:
    """Returns the random key of a set."""
    return jax.random.fold_in(key, index) if index else key


def _chosen(key: Array, number: Array | int, windows: int, count: int) -> Array:
    """Returns the windows of a set that are in a batch; an epoch has each window once, in a new order."""
    per_epoch = windows // count
    order = jax.random.permutation(jax.random.fold_in(key, number // per_epoch), windows)
    return lax.dynamic_slice(order, ((number % per_epoch) * count,), (count,))


def _part(frames: Array, key: Array, number: Array, window: Window, augment: Augment, count: int) -> dict[str, Array]:
    """Returns the samples of one set."""
    chosen = _chosen(key, number, frames.shape[0], count)
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, number), 1), count)
    return jax.vmap(lambda index, key: _augmented(frames, index, key, window, augment))(chosen, keys)


def _augmented(frames: Array, index: Array, key: Array, window: Window, augment: Augment) -> dict[str, Array]:
    keys = jax.random.split(key, 4)
    inputs, target, probability = frame_selections(window)
    choice = jax.random.choice(keys[0], len(target), p=jnp.asarray(probability, jnp.float32))
    side, (height, width) = augment.crop, frames.shape[2:4]
    top = jax.random.randint(keys[1], (), 0, height - side + 1)
    left = jax.random.randint(keys[2], (), 0, width - side + 1)

    def cut(frame: Array) -> Array:
        return lax.dynamic_slice(frames, (index, frame, top, left, 0), (1, 1, side, side, 3))[0, 0]

    sample = {
        "frames": jnp.stack([cut(frame) for frame in jnp.asarray(inputs)[choice]]),
        "target": cut(jnp.asarray(target)[choice]),
        "t": jnp.asarray(target_times(inputs, target))[choice].reshape(1, 1, 1),
    }
    return transform(sample, _decision(keys[3], augment))


def _decision(key: Array, config: Augment) -> Decision:
    """Draws a decision with the probabilities of `data.augment.draw`."""
    chance = jax.random.uniform(key, (6,))
    flags = chance[:4] < jnp.array(
        [config.reverse_channels, config.flip_rows, config.flip_columns, config.reverse_time]
    )
    turn = 1 + jnp.minimum(jnp.floor(3 * chance[5]), 2).astype(jnp.int32)
    transpose = jax.random.uniform(jax.random.fold_in(key, 1)) < config.transpose
    return Decision(*flags, jnp.where(chance[4] < config.rotate, turn, 0), transpose)
