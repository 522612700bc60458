"""The fields that every network has."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike


class Network(nn.Module, kw_only=True):
    """Base class of the networks: what `create` and `load` set in every one of them, by keyword.

    A new family subclasses it, `class RIFE(Network, kw_only=True)`, and declares its own fields only. `variant`,
    `channel_order` and `any_time` describe the weights; the network's own computation need not read them.

    Attributes:
      dtype: compute dtype of the convolutions; flows, coordinates and frames stay float32.
      variant: name in MODELS.
      channel_order: "rgb" or "bgr", the order of the frames that the weights were trained on.
      any_time: whether the weights support other times than 0.5.
    """

    dtype: DTypeLike = jnp.float32
    variant: str = ""
    channel_order: str = "rgb"
    any_time: bool = True
