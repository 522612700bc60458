"""Every public call with the types that its callers rely on; pyright checks this file, nothing runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type

import flax.linen as nn
import jax
import numpy as np

import vfi_jax
from vfi_jax import weights
from vfi_jax.inference import flip_ensemble, recursive
from vfi_jax.inference.flow import FlowEstimator
from vfi_jax.models import ModelSpec
from vfi_jax.types import Array, LossAux, Output


def models() -> None:
    """The table, fresh weights, files and runs."""
    spec = assert_type(vfi_jax.MODELS["rife"], ModelSpec)
    assert_type(spec.any_time, bool)
    model, variables = vfi_jax.create("rife_m", seed=0, scale=0.5)
    assert_type(model, nn.Module)
    assert_type(variables, dict[str, Any])
    vfi_jax.load("rife_lap")
    vfi_jax.load("rife_m", "flownet.pkl")
    vfi_jax.load("rife_lap", Path("runs/footage"), step="newest")
    vfi_jax.load("dbvi_2x", "dbvi.pth", frozen={"raft": "raft-things.pth"})
    weights.get("rife_v4_25")
    assert_type(vfi_jax.load_exported("rife_lap.stablehlo"), vfi_jax.Interpolator)


def state_dicts(state: Mapping[str, np.ndarray]) -> None:
    """PyTorch's names and layouts, in both directions."""
    variables = vfi_jax.from_torch("rife_m", state)
    assert_type(vfi_jax.to_torch("rife_m", variables), dict[str, Any])
    vfi_jax.from_torch("dbvi_2x", state, frozen={"raft": state})


def interpolation(frame0: np.ndarray, frame1: np.ndarray, frames: jax.Array, t: jax.Array) -> None:
    """Frames in, frames out; a module applied; wrappers."""
    interpolate = vfi_jax.Interpolator()
    assert_type(interpolate(frame0, frame1, t=0.5), np.ndarray)
    model, variables = vfi_jax.load("rife_lap")
    vfi_jax.Interpolator("rife_m")
    vfi_jax.Interpolator(model, variables)
    out = model.apply(variables, frames, t)
    if isinstance(out, Output):
        assert out.flows is None or out.flows[-1].ndim == 4
    vfi_jax.Interpolator(flip_ensemble(model), variables)
    vfi_jax.Interpolator(recursive(model), variables)


def objective(batch: Mapping[str, jax.Array], key: jax.Array) -> Array:
    """A training objective."""
    spec = vfi_jax.MODELS["rife"]
    model, variables = vfi_jax.create("rife")
    total, aux = spec.loss(model, variables, batch, spec.loss_config, step=0, rng=key)
    assert isinstance(aux, LossAux)
    return total + sum(aux.terms.values())


def flow(frame0: np.ndarray, frame1: np.ndarray) -> np.ndarray:
    """Optical flow."""
    return FlowEstimator(*vfi_jax.load("raft", "raft-things.pth"))(frame0, frame1)
