"""Training batches: from host pipelines and packed sets, mixed and shared."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from vfi_jax.config import Augment, Data, Mix, Window
from vfi_jax.data import parts, pipeline, sources
from vfi_jax.errors import UsageError, UserError
from vfi_jax.system import sharding
from vfi_jax.training import device_batches


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_batches_do_not_depend_on_workers(workers):
    source = sources.Synthetic(10, 5, 40, 48)
    data = Data(window=Window(5, sorted_share=0.5), augment=Augment(crop=32), workers=workers)
    batches = pipeline.GrainBatches([source], data, 4, seed=3)
    found = [next(batches) for _ in range(4)]
    state = batches.get_state()
    following = next(batches)
    batches.close()
    assert json.loads(json.dumps(state)) == {"global_next_index": 16}
    checksum = [(batch["name"].tolist(), int(batch["frames"].sum()), int(batch["target"].sum())) for batch in found]
    alone = pipeline.GrainBatches([source], dataclasses.replace(data, workers=0), 4, seed=3)
    assert checksum == [
        (batch["name"].tolist(), int(batch["frames"].sum()), int(batch["target"].sum()))
        for batch in (next(alone) for _ in range(4))
    ]
    alone.set_state(state)
    assert np.array_equal(next(alone)["frames"], following["frames"])
    alone.close()
    names = [name for batch in found for name in batch["name"].tolist()]
    assert len(set(names[:10])) == 10  # an epoch has every window once
    assert names[:6] != names[10:]


def test_enlargement_comes_before_the_crop():
    """Crops larger than the frames are possible, and all of the sample grows."""
    augment = Augment(64, enlarge=1.0, jitter=0.05)
    batches = pipeline.GrainBatches([sources.Synthetic(4, 3, 40, 48)], Data(augment=augment), 4, 0)
    batch = next(batches)
    batches.close()
    assert batch["frames"].shape == (4, 2, 64, 64, 3)
    assert batch["target"].shape == (4, 64, 64, 3)


def test_processes_share_a_batch():
    source = sources.Synthetic(10, 3, 40, 48)
    data = Data(augment=Augment(crop=32))
    parts = [pipeline.GrainBatches([source], data, 4, 0, process_index=i, process_count=2) for i in range(2)]
    all_of_it = pipeline.GrainBatches([source], data, 4, 0)
    batch, halves = next(all_of_it), [next(part) for part in parts]
    assert sorted(name for half in halves for name in half["name"].tolist()) == sorted(batch["name"].tolist())
    for iterator in (*parts, all_of_it):
        iterator.close()


def test_packed_batches():
    frames = np.arange(12, dtype=np.uint8).repeat(5 * 32 * 32 * 3).reshape(12, 5, 32, 32, 3)
    frames = frames + 20 * np.arange(5, dtype=np.uint8)[None, :, None, None, None]
    data = Data(window=Window(5, sorted_share=1.0), augment=Augment(16, 0, 0, 0, 0.5, 0))
    names = {data.path: [f"clip/{window}" for window in range(12)]}
    batches = device_batches.PackedBatches({data.path: frames}, data, 4, 0, sharding.data_mesh(), names=names)
    seen = []
    for _ in range(3):
        names = batches.names(batches.get_state())
        batch = jax.device_get(next(batches))
        windows = batch["frames"][:, 0, 0, 0, 0] % 20
        assert names == [f"{data.path}: clip/{window}" for window in windows]
        seen += windows.tolist()
        first, last = (batch["frames"][:, i, 0, 0, 0] // 20 for i in range(2))
        target = batch["target"][:, 0, 0, 0] // 20
        assert (target - first.astype(int)) / (last.astype(int) - first) == pytest.approx(batch["t"].ravel())
    assert sorted(seen) == list(range(12))
    state = batches.get_state()
    following = next(batches)
    again = device_batches.PackedBatches({data.path: frames}, data, 4, 0, sharding.data_mesh())
    again.set_state(json.loads(json.dumps(state)))
    assert np.array_equal(next(again)["frames"], following["frames"])
    for wrong, line in (
        (dataclasses.replace(data, window=Window(3)), "have 5 frames"),
        (dataclasses.replace(data, augment=Augment(64)), "smaller than --config.data.augment.crop 64"),
        (dataclasses.replace(data, augment=Augment(16, enlarge=0.1)), "must be 0 for a packed set"),
    ):
        with pytest.raises(UserError, match=line):
            device_batches.PackedBatches({wrong.path: frames}, wrong, 4, 0, sharding.data_mesh())


def test_mixed_batches():
    """Each set gives its share of every batch, and all of its windows in an epoch of its own."""
    sets = {name: np.full((6, 3, 32, 32, 3), level, np.uint8) for name, level in (("a", 0), ("b", 100))}
    for frames in sets.values():
        frames += np.arange(6, dtype=np.uint8)[:, None, None, None, None]
    data = Data(path="a", mix=(Mix("b", 0.3),), augment=Augment(16, 0, 0, 0, 0, 0))
    batches = device_batches.PackedBatches(sets, data, 8, 0, sharding.data_mesh())
    seen = np.stack([next(batches)["target"][:, 0, 0, 0] for _ in range(3)])
    assert (seen[:, :6] < 100).all()
    assert sorted(seen[:, 6:].ravel()) == list(range(100, 106))
    for share, line in ((0.01, "leaves b no sample"), (1.0, "leaves a no sample")):
        with pytest.raises(UsageError, match=line):
            device_batches.PackedBatches(
                sets, dataclasses.replace(data, mix=(Mix("b", share),)), 8, 0, sharding.data_mesh()
            )


def test_mixed_sources():
    whole = sources.Synthetic(20, 3, 40, 48)
    made = [parts.Part(whole, range(10)), parts.Part(whole, range(10, 20))]
    data = Data(mix=(Mix("other", 0.25),), augment=Augment(crop=32))
    batches = pipeline.GrainBatches(made, data, 4, 0)
    names = [name for _ in range(10) for name in next(batches)["name"].tolist()]
    batches.close()
    others = set(whole.names[10:])
    assert sum(name in others for name in names) == 10
