"""The table of all public models."""

from __future__ import annotations

from types import MappingProxyType

from vfi_jax.models import cain, classical, dbvi, ifrnet, raft, rife, rife_v4
from vfi_jax.models.spec import ModelSpec

MODELS: MappingProxyType[str, ModelSpec] = MappingProxyType(
    {**rife.SPECS, **rife_v4.SPECS, **ifrnet.SPECS, **cain.SPECS, **dbvi.SPECS, **raft.SPECS, **classical.SPECS}
)
