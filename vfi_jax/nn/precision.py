"""Named precisions: how the convolutions and matrix products of a model are computed.

Under each of them parameters, flows, masks, coordinates, warps and losses are float32.
"""

from __future__ import annotations

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vfi_jax.errors import UsageError

DEFAULT = "float32"  # of the `Interpolator`, of training, of evaluation and of the shell


@dataclasses.dataclass(frozen=True)
class Precision:
    """One precision.

    Attributes:
      dtype: compute dtype, for the models' field `dtype`; None keeps the model's own.
      products: argument of `jax.default_matmul_precision`; None leaves it to the backend.
    """

    dtype: DTypeLike | None
    products: str | None

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Sets the precision of products traced inside, except those that name one themselves."""
        return jax.default_matmul_precision(self.products)


AS_IS = Precision(None, None)  # the model's own dtype, products left to the backend

PRECISIONS = {
    "float32": Precision(jnp.float32, "highest"),  # without it TPUs multiply in bfloat16 and newer GPUs in TF32
    "default": Precision(jnp.float32, None),
    "bfloat16": Precision(jnp.bfloat16, None),
}


def named(name: str) -> Precision:
    """Returns the precision of that name.

    Raises:
      UsageError: there is none.
    """
    if name not in PRECISIONS:
        *most, last = PRECISIONS
        raise UsageError(f"no precision is called {name!r}: {', '.join(most)} or {last}")
    return PRECISIONS[name]
