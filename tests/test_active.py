"""Convolutions in active blocks equal those of whole images that are masked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parity import apart

from vfi_jax.models import registry, ugsp_network
from vfi_jax.nn import active

RNG = np.random.default_rng(0)
EQUAL = 1e-5
SIZE, WIDTH = (37, 50), 5


def blobs(height, width, boxes):
    """A mask of some boxes (image, top, left, height, width) with holes, in a batch of two."""
    mask = np.zeros((2, height, width, 1), np.float32)
    for image, top, left, rows, columns in boxes:
        mask[image, top : top + rows, left : left + columns] = 1
    return mask * (RNG.random(mask.shape) < 0.8)


@jax.jit
def whole(x, keep, kernel):
    return keep * lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def in_blocks(x, keep, kernel):
    blocks = active.active_blocks(keep)

    def update(found, places, pixels):
        return found.at[places].set(pixels * blocks.keep[places])

    start = jnp.zeros((*blocks.keep.shape[:2], kernel.shape[-1]))
    return blocks.image(active.fold_convolution(update, start, active.to_blocks(x), kernel, blocks))


BOXES = {
    "edges, corners and odd places": [(0, 0, 0, 9, 20), (0, 15, 15, 3, 30), (1, 30, 40, 7, 10), (1, 7, 7, 2, 2)],
    "last row and column": [(0, 36, 0, 1, 50), (1, 0, 49, 37, 1)],
    "one pixel": [(1, 36, 49, 1, 1)],
    "nothing": [],
    "all": [(0, 0, 0, 37, 50), (1, 0, 0, 37, 50)],
}


@pytest.mark.parametrize("boxes", BOXES.values(), ids=BOXES.keys())
@pytest.mark.parametrize("chunk", [8, 1000])
def test_equal_to_the_masked_convolution(monkeypatch, boxes, chunk):
    monkeypatch.setattr(active, "CHUNK_BYTES", chunk * 64 * WIDTH)
    keep, x = blobs(*SIZE, boxes), RNG.normal(size=(2, *SIZE, WIDTH)).astype(np.float32)
    kernel = 0.3 * RNG.normal(size=(3, 3, WIDTH, 7)).astype(np.float32)
    compiled = jax.jit(functools.partial(in_blocks))  # not the program of another chunk
    assert apart(compiled(x, keep, kernel), whole(x, keep, kernel)) < EQUAL


def test_work_follows_the_mask():
    """The number of active blocks, which is that of the rounds but for the size of a chunk."""
    keep = np.zeros((1, 8, 8, 1), np.float32)
    keep[0, 0, 0] = keep[0, 1, 1] = keep[0, 7, 6] = 1
    blocks = active.active_blocks(keep)
    assert int(blocks.count) == 2
    assert blocks.places.tolist() == [0, 15, *[16] * 14]


@pytest.mark.slow
def test_a_pruned_model_in_blocks():
    """Masks of several shares, each level by itself."""
    fields = {"widths": (4, 6, 8, 10)}
    plain, variables = registry.create("ugsp", **fields)
    model = registry.build("ugsp", **fields, skips=True)
    frames = RNG.random((2, 2, 64, 96, 3), np.float32)

    def masks(*shares):
        """Of the levels; each the top left part of its frame with this share of both sides."""
        made = []
        for step, share in zip(ugsp_network.MASK_STEPS, shares, strict=True):
            rows, columns = 64 // step, 96 // step
            made.append(blobs(rows, columns, [(i, 0, 0, round(share * rows), round(share * columns)) for i in (0, 1)]))
        return made

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, variables, masks):
        estimate = model.apply(variables, frames, ugsp_network.given(masks), method="estimate")
        return estimate.out.frame, estimate.branch.features

    for shares in ((0.4, 0.4, 0.3), (1.0, 0.7, 0.0), (1.0, 1.0, 1.0)):
        given = masks(*shares)
        for ours, wanted in zip(
            *(jax.tree.leaves(run(each, variables, given)) for each in (model, plain)), strict=True
        ):
            assert apart(ours, wanted) < EQUAL
