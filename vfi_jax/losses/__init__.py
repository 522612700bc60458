"""Losses: pure functions of arrays; weights and schedules live in a model's objective."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from jaxtyping import Float

from vfi_jax.losses.census import census_loss, census_map
from vfi_jax.losses.charbonnier import charbonnier_loss
from vfi_jax.losses.contrast import contrast_loss
from vfi_jax.losses.flow import adaptive_flow_loss, endpoint_error, flow_distillation
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.losses.laplacian import laplacian_loss, laplacian_pyramid
from vfi_jax.losses.psnr import psnr_loss
from vfi_jax.ops.kinks import absolute
from vfi_jax.system.plugins import Registry
from vfi_jax.types import Array

LEVELS = 5  # of the Laplacian pyramid


def _l1(frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    return absolute(frame - target).mean()


def _laplacian(frame: Float[Array, "b h w 3"], target: Float[Array, "b h w 3"]) -> Float[Array, ""]:
    return laplacian_loss(frame, target, LEVELS)


BUILT_IN = MappingProxyType(
    {
        "census": census_loss,
        "charbonnier": charbonnier_loss,
        "contrast": contrast_loss,
        "l1": _l1,
        "laplacian": _laplacian,
        "psnr": psnr_loss,
    }
)
# `loss(frame, target) -> scalar` for a predicted frame and its target, both `[b, h, w, 3]` in 0..1, by the names that
# recipes use; with those that installed packages register under the entry point group `vfi_jax.losses`.
RECONSTRUCTION: Registry[Callable[[Array, Array], Array]] = Registry(BUILT_IN, "vfi_jax.losses", Callable, "loss")

__all__ = [
    "RECONSTRUCTION",
    "adaptive_flow_loss",
    "census_loss",
    "census_map",
    "charbonnier_loss",
    "contrast_loss",
    "endpoint_error",
    "flow_distillation",
    "geometry_loss",
    "laplacian_loss",
    "laplacian_pyramid",
    "psnr_loss",
]
