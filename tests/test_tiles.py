"""Convolutions in active tiles equal those of whole images that are masked."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from parity import apart

from vfi_jax.errors import UsageError
from vfi_jax.models import registry, ugsp
from vfi_jax.nn import tiles

RNG = np.random.default_rng(0)
EQUAL = 1e-5
SIDE, SIZE, LAYERS, WIDTH = 8, (37, 50), 3, 5


def blobs(height, width, boxes):
    """A mask of some boxes (image, top, left, height, width) with holes, in a batch of two."""
    mask = np.zeros((2, height, width, 1), np.float32)
    for image, top, left, rows, columns in boxes:
        mask[image, top : top + rows, left : left + columns] = 1
    return mask * (RNG.random(mask.shape) < 0.8)


def convolved(x, kernel, pad):
    return lax.conv_general_dilated(x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.jit
def whole(x, keep, kernels):
    for kernel in kernels:
        x = jnp.tanh(convolved(x, kernel, 1)) * keep
    return x


@functools.partial(jax.jit, static_argnums=3)
def in_tiles(x, keep, kernels, capacity):
    plan = tiles.tile_plan(keep, SIDE, capacity)
    x, inside = tiles.gather(x, plan, 1), tiles.gather(keep, plan)
    for index, kernel in enumerate(kernels):
        x = tiles.with_halo(x, plan) if index else x
        x = jnp.tanh(convolved(x, kernel, 0)) * inside
    return tiles.scatter(x, plan, jnp.zeros(WIDTH))


@pytest.mark.parametrize("spare", [0, 7])
def test_a_chain_in_tiles(spare):
    """Across borders and corners of tiles, at the edges of the image and between images, with sides that are odd."""
    keep = blobs(*SIZE, [(0, 0, 0, 9, 20), (0, 15, 15, 3, 30), (1, 30, 40, 7, 10), (1, 7, 7, 2, 2), (0, 36, 0, 1, 50)])
    x = RNG.normal(size=(2, *SIZE, WIDTH)).astype(np.float32)
    kernels = [jnp.float32(0.3 * RNG.normal(size=(3, 3, WIDTH, WIDTH))) for _ in range(LAYERS)]
    count = int(tiles.active_tiles(keep, SIDE).sum())
    assert 10 < count < 40
    assert apart(in_tiles(x, keep, kernels, count + spare), whole(x, keep, kernels)) < EQUAL


def test_nothing_is_active():
    keep, x = np.zeros((2, *SIZE, 1), np.float32), np.ones((2, *SIZE, WIDTH), np.float32)
    kernels = [jnp.ones((3, 3, WIDTH, WIDTH)) for _ in range(LAYERS)]
    assert not np.any(in_tiles(x, keep, kernels, 4))


def test_a_pruned_model_in_tiles():
    """The least capacity that is enough, a larger one, and all pixels where none is, for each level by itself."""
    fields = {"widths": (4, 6, 8, 10)}
    plain, variables = registry.create("ugsp", **fields)
    model = registry.build("ugsp", **fields, capacities=(0.2, 0.6))
    frames = RNG.random((2, 2, 128, 192, 3), np.float32)

    def masks(*shares):
        """Of the levels; each the top left part of its frame with this share of both sides."""
        made = []
        for step, share in zip(ugsp.MASK_STEPS, shares, strict=True):
            rows, columns = 128 // step, 192 // step
            made.append(blobs(rows, columns, [(i, 0, 0, round(share * rows), round(share * columns)) for i in (0, 1)]))
        return made

    @functools.partial(jax.jit, static_argnums=0)
    def run(model, variables, masks):
        estimate = model.apply(variables, frames, ugsp.given(masks), method="estimate")
        return estimate.out.frame, estimate.branch.features

    for shares in ((0.4, 0.4, 0.3), (1.0, 0.7, 0.4), (1.0, 1.0, 1.0)):
        given = masks(*shares)
        for ours, wanted in zip(
            *(jax.tree.leaves(run(each, variables, given)) for each in (model, plain)), strict=True
        ):
            assert apart(ours, wanted) < EQUAL


@pytest.mark.parametrize("capacities", [(0,), (0.5, 0.2), (1.0,), (0.5, 0.5), (-0.1,)])
def test_wrong_capacities_are_one_line(capacities):
    with pytest.raises(UsageError, match=r"^capacities are \(.*\): rising fractions of the tiles, above 0 and below 1"):
        tiles.capacities_in_tiles(capacities, 10)
    assert tiles.capacities_in_tiles((0.01, 0.5), 20) == [1, 10]
