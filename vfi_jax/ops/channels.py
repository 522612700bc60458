"""The order of color channels, which belongs to weights."""

from __future__ import annotations

from typing import Any


def order_of(model: Any) -> slice:
    """What puts RGB channels into the order of a model's weights, and back."""
    return slice(None, None, -1) if model.channel_order == "bgr" else slice(None)
