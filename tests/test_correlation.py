"""Correlation and its look-up against stored cases of RAFT's published code, both forms."""

import jax
import numpy as np
import pytest
from parity import apart, ops

from vfi_jax.ops import correlate, correlation_volume, look_up
from vfi_jax.ops.correlation import correlate_densely, look_up_densely

QUERY = np.s_[0, 3, 5]


@pytest.fixture(scope="module")
def stored():
    return ops("ops_dbvi", "raft_corr")


def test_volume(stored):
    volume = correlation_volume(stored["fmap1"], stored["fmap2"])
    for level, maps in enumerate(volume):
        assert apart(maps[QUERY], stored[f"volume_level{level}_query_3_5"]) < 1e-5


@pytest.mark.parametrize("radius", [3, 4])
def test_look_up_in_both_forms(stored, radius):
    first, second, centers = stored["fmap1"], stored["fmap2"], stored["coords"]
    expected = stored[f"lookup_r{radius}_every4px"]
    found = jax.jit(look_up, static_argnums=2)(correlation_volume(first, second), centers, radius)
    assert apart(found[:, ::4, ::4], expected) < 1e-5
    on_demand = jax.jit(correlate, static_argnums=3)(first, second, centers, radius)
    assert apart(on_demand, found) < 1e-5


@pytest.mark.slow
def test_odd_sides_and_centers_far_outside():
    """By hand: at a whole pixel the middle channel of level 0 is the product itself; far away all is zero."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1, 9, 11, 4)).astype(np.float32)
    centers = np.zeros((1, 9, 11, 2), np.float32) + np.float32([7, 2])
    centers[0, 0, 0] = 3e9, -3e9
    for found in (look_up(correlation_volume(first, second), centers, 1), correlate(first, second, centers, 1)):
        level0 = np.asarray(found)[0, 4, 6, :9].reshape(3, 3)  # x, y
        wanted = (second[0, 1:4, 6:9] @ first[0, 4, 6]).T / 2
        assert apart(level0, wanted) < 1e-5
        assert not np.asarray(found)[0, 0, 0].any()


def test_gradients_of_both_forms_agree(stored):
    first, second, centers = (stored[name][:, :8, :8] for name in ("fmap1", "fmap2", "coords"))
    weight = np.random.default_rng(1).normal(size=(1, 8, 8, 4 * 49)).astype(np.float32)
    volume = lambda a, b: (look_up(correlation_volume(a, b), centers, 3) * weight).sum()  # noqa: E731
    on_demand = lambda a, b: (correlate(a, b, centers, 3) * weight).sum()  # noqa: E731
    for ours, theirs in zip(*(jax.jit(jax.grad(f, (0, 1)))(first, second) for f in (volume, on_demand)), strict=True):
        assert apart(ours, theirs) < 1e-4 * np.abs(theirs).max()


@pytest.mark.slow
def test_forms_for_tpus_are_the_same_functions(stored):
    """Values and gradients, those at whole pixels too; centers far outside see nothing."""
    first, second = (stored[name][:, :8, :8] for name in ("fmap1", "fmap2"))
    centers = np.array(stored["coords"][:, :8, :8])
    centers[:, 2:4], centers[:, 4, 0] = np.round(centers[:, 2:4]), (3e9, -3e9)
    weight = np.random.default_rng(1).normal(size=(1, 8, 8, 4 * 49)).astype(np.float32)

    def values(of_volume, on_demand):
        def forms(first, second, centers):
            return of_volume(correlation_volume(first, second), centers, 3), on_demand(first, second, centers, 3)

        def total(*inputs):
            found = forms(*inputs)
            return sum((form * weight).sum() for form in found), found

        (_, found), gradients = jax.jit(jax.value_and_grad(total, (0, 1, 2), has_aux=True))(first, second, centers)
        return *found, *gradients

    gathered, dense = values(look_up, correlate), values(look_up_densely, correlate_densely)
    for ours, theirs in zip(dense, gathered, strict=True):
        assert apart(ours, theirs) < 1e-5 * np.abs(theirs).max()


def test_maps_without_four_levels():
    maps = np.zeros((1, 7, 20, 2), np.float32)
    with pytest.raises(ValueError, match="8x8 at least"):
        correlation_volume(maps, maps)
