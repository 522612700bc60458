"""The node for ComfyUI, by the interface that ComfyUI documents for nodes."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

import vfi_jax
from vfi_jax import comfyui
from vfi_jax.errors import UsageError, UserError

RNG = np.random.default_rng(0)


@pytest.fixture
def node():
    """A node, as ComfyUI makes it, with a model of known answers instead of the default."""
    made = comfyui.NODE_CLASS_MAPPINGS["vfi_jax.Interpolate"]()
    made._interpolator = vfi_jax.Interpolator("average")
    return made


def executed(node, **given):
    """Runs a node as ComfyUI does: inputs by name, to the method that FUNCTION names; outputs in a tuple."""
    assert set(given) == set(type(node).INPUT_TYPES()["required"])
    outputs = getattr(node, node.FUNCTION)(**given)
    assert isinstance(outputs, tuple)
    assert len(outputs) == len(node.RETURN_TYPES)
    return outputs


def test_the_interface():
    assert set(comfyui.NODE_CLASS_MAPPINGS) == set(comfyui.NODE_DISPLAY_NAME_MAPPINGS)
    for kind in comfyui.NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(kind, kind.FUNCTION))
        assert kind.RETURN_TYPES == ("IMAGE",)
        assert len(kind.RETURN_NAMES) == len(kind.RETURN_TYPES)
        assert all(isinstance(text, str) for text in (kind.CATEGORY, kind.DESCRIPTION))
        required = kind.INPUT_TYPES()["required"]
        assert required["images"][0] == "IMAGE"
        name, limits = required["factor"]
        assert name == "INT"
        assert limits["min"] <= limits["default"] <= limits["max"]
        models, about = required["model"]  # a list is a choice
        assert isinstance(models, list)
        assert {"rife_lap", "rife_lap_s", about["default"]} <= set(models)
        assert "raft" not in models


def test_images_between(node, monkeypatch):
    monkeypatch.setattr(comfyui, "_tensor", lambda array: array)
    steps = []
    bar = types.SimpleNamespace(
        ProgressBar=lambda total: types.SimpleNamespace(update=lambda n: steps.append((n, total)))
    )
    monkeypatch.setitem(sys.modules, "comfy", types.ModuleType("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.utils", bar)
    images = RNG.random((3, 9, 7, 3), np.float32)
    (out,) = executed(node, images=images, factor=4, model="average")
    assert (out.shape, out.dtype) == ((9, 9, 7, 3), np.float32)
    assert np.array_equal(out[::4], images)
    assert np.allclose(out[5], 0.75 * images[1] + 0.25 * images[2], atol=1e-6)
    assert steps == [(1, 2)] * 2


@pytest.mark.parametrize("shape", [(1, 9, 7, 3), (3, 9, 7, 4), (9, 7, 3)])
def test_what_is_refused(node, shape):
    with pytest.raises(UserError, match="two or more RGB images are needed") as error:
        node.interpolate(RNG.random(shape, np.float32), 2, "average")
    assert "\n" not in str(error.value)


def test_factors_of_midpoint_models(node):
    node._interpolator.model = types.SimpleNamespace(any_time=False, variant="average")
    with pytest.raises(UsageError, match="power of two"):
        node.interpolate(RNG.random((2, 9, 7, 3), np.float32), 3, "average")


@pytest.mark.torch
def test_tensors(node):
    torch = pytest.importorskip("torch")
    images = torch.rand((2, 9, 7, 3), generator=torch.Generator().manual_seed(0))
    (out,) = executed(node, images=images, factor=2, model="average")
    assert (out.shape, out.dtype, out.device.type) == ((3, 9, 7, 3), torch.float32, "cpu")
    assert torch.equal(out[::2], images)
    assert torch.allclose(out[1], images.mean(0), atol=1e-6)
    out.mul_(2)  # PyTorch's own
