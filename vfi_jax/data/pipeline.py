"""From a source to batches on the host: shuffled, augmented, resumable, with Grain."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from vfi_jax.config import Augment, Data, Window
from vfi_jax.data.augment import crop, draw, transform
from vfi_jax.data.color_jitter import enlarge, jitter
from vfi_jax.data.sources import Source
from vfi_jax.data.windows import training_sample, validation_sample
from vfi_jax.errors import UserError

ORDER, AUGMENTATION = 1, 2  # added to the seed, so that the two draws differ
AHEAD = 4  # batches made in threads before they are asked for; Grain's own 500 fill the memory and starve the step


class _Prepare(grain.transforms.RandomMap):
    """Window to augmented sample."""

    def __init__(self, window: Window, augment: Augment) -> None:
        self._window, self._augment = window, augment

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        augment, sample = self._augment, training_sample(element, self._window, rng)
        # Steps that are off take nothing from rng, so that recipes without them draw what they always did.
        if augment.enlarge and rng.random() < augment.enlarge:
            sample = enlarge(sample)
        sample = crop(sample, augment.crop, rng)
        if augment.jitter:
            sample = jitter(sample, augment.jitter, rng)
        return transform(sample, draw(rng, augment))


class Batches:
    """An endless iterator of training batches of this process.

    Batches: `frames` uint8 `[b, k, s, s, 3]`, `target` `[b, s, s, 3]`, `t` float32 `[b, 1, 1, 1]`, `name`, and the
    source's labels. Each epoch has an order of its own; the same seed gives the same batches for any number of workers.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        data: Data,
        batch_size: int,
        seed: int,
        *,
        process_index: int = 0,
        process_count: int = 1,
    ) -> None:
        """`sources` are `data.path` and those of `data.mix`; `batch_size` is that of all processes together.

        Raises:
          UserError: fewer windows than a batch.
        """
        if len(sources[0]) < batch_size:
            raise UserError(
                f"{len(sources[0])} windows do not fill a batch of {batch_size}: lower batch_size or add footage"
            )
        if not flags.FLAGS.is_parsed():  # Grain's workers read a flag
            flags.FLAGS.mark_as_parsed()
        shuffled = [grain.MapDataset.source(source).shuffle(seed=seed + ORDER).repeat() for source in sources]
        if len(shuffled) > 1:
            shares = list(data.shares.values())
            shuffled = [grain.MapDataset.mix(shuffled, [1 - sum(shares), *shares])]
        samples = shuffled[0].random_map(_Prepare(data.window, data.augment), seed=seed + AUGMENTATION)
        self._iterator = grain.experimental.ElasticIterator(
            samples,
            batch_size,
            grain.sharding.ShardOptions(process_index, process_count, drop_remainder=True),
            read_options=grain.ReadOptions(num_threads=min(AHEAD, os.cpu_count() or 1), prefetch_buffer_size=AHEAD),
            multiprocessing_options=grain.MultiprocessingOptions(num_workers=data.workers) if data.workers else None,
        )

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """The place in the data, ready for JSON; independent of workers and processes."""
        return dict(self._iterator.get_state())

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`."""
        self._iterator.set_state(dict(state))

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """None: the batches have them."""
        del state
        return []

    def close(self) -> None:
        """Ends the workers."""
        if close := getattr(self._iterator, "close", None):
            close()


def validation_batches(
    source: Source, window: Window, batch_size: int, limit: int, *, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, Any]]:
    """Whole frames without augmentation, at most `limit` of them evenly spread; a batch has one size of frames.

    Each process takes every `process_count`-th of them.

    Yields:
      `frames` uint8 `[b, k, h, w, 3]`, `target`, `t`, `name`; b is at most `batch_size`.
    """
    indices = np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int)
    mine = indices[process_index::process_count]
    samples = (validation_sample(source[index], window) for index in mine)
    for _, alike in itertools.groupby(samples, key=lambda sample: sample["frames"].shape):
        while group := list(itertools.islice(alike, batch_size)):
            yield {name: np.stack([sample[name] for sample in group]) for name in group[0]}
