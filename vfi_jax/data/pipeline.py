"""Batches on the host, from sources: shuffled, augmented and resumable, with Grain."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from vfi_jax.config import Data, Distance, Window
from vfi_jax.data.augment import crop, draw, map_fields, transform
from vfi_jax.data.color_jitter import enlarge, jitter
from vfi_jax.data.distance_maps import of_crop
from vfi_jax.data.distances import distance_sample, validation_distance_sample
from vfi_jax.data.regions import disturbed
from vfi_jax.data.sources import Source
from vfi_jax.data.windows import REGION_FIELD, training_sample, validation_sample
from vfi_jax.errors import UserError

ORDER_OFFSET, AUGMENTATION_OFFSET = 1, 2  # added to the seed, so that the two draws are independent
DRAWS = 8  # of a sample whose distance map is not finite
READ_AHEAD = 4  # batches that threads prepare in advance; Grain's default of 500 fills the memory and starves the step


class _MakeSample(grain.transforms.RandomMap):
    """Maps a window to an augmented sample."""

    def __init__(self, data: Data) -> None:
        self._data, self._augment = data, data.augment
        if data.distance.maps or data.distance.reference:  # the map of reversed frames is another, and is read
            self._augment = dataclasses.replace(data.augment, reverse_time=0.0)

    def random_map(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        sample = self._cropped(element, rng)
        if self._augment.jitter:
            sample = jitter(sample, self._augment.jitter, rng)
        if REGION_FIELD in sample:
            sample = {**sample, REGION_FIELD: disturbed(sample[REGION_FIELD], self._data.regions, rng)}
        return transform(sample, draw(rng, self._augment))

    def _cropped(self, element: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        data = self._data
        if not (data.distance.maps or data.distance.reference):
            return self._crop(training_sample(element, data.window, rng), rng)
        for number in range(1, DRAWS + 1):
            sample = self._crop(
                distance_sample(
                    element,
                    data.window,
                    data.distance,
                    rng,
                    reverse=data.augment.reverse_time,
                    fill=number == DRAWS,
                ),
                rng,
            )
            if all(np.isfinite(sample[name]).all() for name in map_fields(sample)):
                break
        maps = {name: of_crop(sample[name][..., 0], data.distance)[..., None] for name in map_fields(sample)}
        return {**sample, **maps}

    def _crop(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        # Steps that are off take nothing from rng, so that adding one leaves the draws of other recipes alone.
        if self._augment.enlarge and rng.random() < self._augment.enlarge:
            sample = enlarge(sample)
        return crop(sample, self._augment.crop, rng)


class GrainBatches:
    """Endless iterator of this process's training batches.

    A batch holds `frames` uint8 `[b, k, s, s, 3]`, `target` `[b, s, s, 3]`, `t` float32 `[b, 1, 1, 1]`, `name`, and the
    source's labels. Each epoch has its own order; the batches depend on the seed, not on the number of workers.
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
        """Starts at the beginning of the data.

        Args:
          sources: those of `data.path` and of `data.mix`, in this order.
          data: window, augmentation, shares and workers.
          batch_size: of all processes together.
          seed: of order and augmentation.
          process_index: of this process.
          process_count: number of processes.

        Raises:
          UserError: fewer windows than a batch.
        """
        if len(sources[0]) < batch_size:
            raise UserError(
                f"{len(sources[0])} windows do not fill a batch of {batch_size}: lower batch_size or add footage"
            )
        if not flags.FLAGS.is_parsed():  # Grain's workers read a flag
            flags.FLAGS.mark_as_parsed()
        shuffled = [grain.MapDataset.source(source).shuffle(seed=seed + ORDER_OFFSET).repeat() for source in sources]
        if len(shuffled) > 1:
            shares = list(data.shares.values())
            shuffled = [grain.MapDataset.mix(shuffled, [1 - sum(shares), *shares])]
        samples = shuffled[0].random_map(_MakeSample(data), seed=seed + AUGMENTATION_OFFSET)
        threads = min(READ_AHEAD, os.cpu_count() or 1)
        self._iterator = grain.experimental.ElasticIterator(
            samples,
            batch_size,
            grain.sharding.ShardOptions(process_index, process_count, drop_remainder=True),
            read_options=grain.ReadOptions(num_threads=threads, prefetch_buffer_size=READ_AHEAD),
            multiprocessing_options=grain.MultiprocessingOptions(num_workers=data.workers) if data.workers else None,
        )

    def __iter__(self) -> GrainBatches:
        return self

    def __next__(self) -> dict[str, Any]:
        return next(self._iterator)

    def get_state(self) -> dict[str, Any]:
        """Returns the position in the data, ready for JSON; it does not depend on workers and processes."""
        return dict(self._iterator.get_state())

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from a position that `get_state` returned."""
        self._iterator.set_state(dict(state))

    def names(self, state: Mapping[str, Any]) -> Sequence[str]:
        """Returns no names, because the batches have a field `name`."""
        del state
        return []

    def close(self) -> None:
        """Stops the worker processes."""
        if close := getattr(self._iterator, "close", None):
            close()


def validation_batches(
    source: Source,
    window: Window,
    batch_size: int,
    limit: int,
    *,
    process_index: int = 0,
    process_count: int = 1,
    distance: Distance | None = None,
) -> Iterator[dict[str, Any]]:
    """Yields batches of whole frames without augmentation; all frames of a batch have one size.

    Args:
      source: the windows.
      window: the selections of frames; `validation_sample` takes one of them.
      batch_size: maximum number of samples per batch.
      limit: maximum number of windows, evenly spread over the source.
      process_index: of this process, which takes every `process_count`-th window.
      process_count: number of processes.
      distance: of the maps that samples get for their t; None: they get numbers.

    Yields:
      `frames` uint8 `[b, k, h, w, 3]`, `target` `[b, h, w, 3]`, `t` float32 `[b, 1, 1, 1]`, and `name`.
    """
    indices = np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int)
    share = indices[process_index::process_count]
    make = functools.partial(validation_distance_sample, config=distance) if distance else validation_sample
    samples = (make(source[index], window) for index in share)
    for _, alike in itertools.groupby(samples, key=lambda sample: sample["frames"].shape):
        while group := list(itertools.islice(alike, batch_size)):
            yield {name: np.stack([sample[name] for sample in group]) for name in group[0]}
