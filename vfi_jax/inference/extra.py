"""Extra channels of frames, such as opacity, depth or masks, which move with the picture.

Where a model gives final flows to both frames and a mask, the channels of both frames are warped and blended by them,
as the picture is. Where it does not, each channel is interpolated as a gray picture by the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Float

from vfi_jax.ops import split_pair, stack_halves, stack_pair, warp
from vfi_jax.types import Array, Model, Output


def moved(
    model: Model, variables: Mapping[str, Any], output: Output, extra: Float[Array, "b n h w c"], t: Array
) -> Float[Array, "b h w c"]:
    """Returns the extra channels at time t.

    Args:
      model: that has given `output`.
      variables: of the model.
      output: for the pictures that the channels belong to.
      extra: of all frames that the model takes, in 0..1.
      t: as `Model.apply` takes it.
    """
    flow = output.flows[-1] if output.flows else None
    size = extra.shape[-3:-1]
    if flow is None or output.mask is None or (flow.shape[1:], output.mask.shape[1:]) != ((*size, 4), (*size, 1)):
        grays = jnp.moveaxis(extra, -1, 0)[..., None]
        frames = (model.apply(variables, jnp.repeat(gray, 3, -1), t).frame.mean(-1) for gray in grays)
        return jnp.stack(list(frames), -1)
    middle = extra.shape[1] // 2
    first, second = split_pair(warp(stack_pair(extra[:, middle - 1 : middle + 1]), stack_halves(flow)))
    return output.mask * first + (1 - output.mask) * second
