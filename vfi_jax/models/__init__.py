"""The table of all public models."""

from __future__ import annotations

from types import MappingProxyType

from vfi_jax.models import rife_v4
from vfi_jax.types import ModelSpec

MODELS: MappingProxyType[str, ModelSpec] = MappingProxyType({**rife_v4.SPECS})
