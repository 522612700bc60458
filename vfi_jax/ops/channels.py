"""The order of color channels, which belongs to weights."""

from __future__ import annotations

from vfi_jax.types import Model


def order_of(model: Model) -> slice:
    """Returns the slice of the channel axis that turns RGB into the order of a model's weights, and back.

    `frames[..., order_of(model)]` is what `model.apply` takes; the frame that it returns is turned in the same way.
    """
    return slice(None, None, -1) if model.channel_order == "bgr" else slice(None)
