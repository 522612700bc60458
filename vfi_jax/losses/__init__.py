"""Losses: pure functions of arrays; weights and schedules live in a model's objective."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

from jaxtyping import Float

from vfi_jax.errors import UsageError
from vfi_jax.losses.census import census_loss, census_map
from vfi_jax.losses.charbonnier import charbonnier_loss
from vfi_jax.losses.contrast import contrast_loss
from vfi_jax.losses.flow import adaptive_flow_loss, endpoint_error, flow_distillation
from vfi_jax.losses.geometry import geometry_loss
from vfi_jax.losses.laplacian import laplacian_loss, laplacian_pyramid
from vfi_jax.losses.psnr import psnr_loss
from vfi_jax.losses.texture import texture_loss, texture_loss_l1
from vfi_jax.ops.kinks import absolute
from vfi_jax.system.plugins import Registry, unknown
from vfi_jax.types import Array, Batch

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

# `loss(frame, inputs) -> scalar` for a predicted frame and the two input frames around it, `[b, 2, h, w, 3]`.
CONSISTENCY = MappingProxyType({"texture": texture_loss, "texture_l1": texture_loss_l1})


def extra_loss(name: str) -> Callable[[Array, Batch], Array]:
    """Returns an additional loss of a recipe as a function of the predicted frame and the batch.

    Args:
      name: in CONSISTENCY or in RECONSTRUCTION.

    Raises:
      UsageError: no such loss, or a plugin that cannot be used.
    """
    if name in CONSISTENCY:
        return lambda frame, batch: CONSISTENCY[name](frame, _around(batch["frames"]))
    if name not in RECONSTRUCTION:
        raise UsageError(unknown("loss", name, [*CONSISTENCY, *RECONSTRUCTION]))
    loss = RECONSTRUCTION.find(name)
    return lambda frame, batch: loss(frame, batch["target"])


def _around(frames: Float[Array, "b n h w 3"]) -> Float[Array, "b 2 h w 3"]:
    """The two frames in the middle, between which the predicted one lies."""
    middle = frames.shape[1] // 2
    return frames[:, middle - 1 : middle + 1]


__all__ = [
    "CONSISTENCY",
    "RECONSTRUCTION",
    "adaptive_flow_loss",
    "census_loss",
    "census_map",
    "charbonnier_loss",
    "contrast_loss",
    "endpoint_error",
    "extra_loss",
    "flow_distillation",
    "geometry_loss",
    "laplacian_loss",
    "laplacian_pyramid",
    "psnr_loss",
    "texture_loss",
    "texture_loss_l1",
]
