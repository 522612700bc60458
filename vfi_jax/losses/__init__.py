"""Losses: pure functions of arrays; weights and schedules live in a model's objective."""

from vfi_jax.losses.laplacian import laplacian_loss, laplacian_pyramid

__all__ = ["laplacian_loss", "laplacian_pyramid"]
