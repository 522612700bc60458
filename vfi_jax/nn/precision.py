"""Named precision policies: in what the convolutions and matrix products of a model are computed.

Under each of them parameters, flows, masks, coordinates, warps and losses are float32.
"""

from __future__ import annotations

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from vfi_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Policy:
    """One policy.

    Attributes:
      dtype: compute dtype, for the models' field `dtype`.
      products: what `jax.default_matmul_precision` takes; None leaves it to the backend.
    """

    dtype: DTypeLike | None
    products: str | None

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """What is traced inside has the policy's products, but for those that name a precision themselves."""
        return jax.default_matmul_precision(self.products)


POLICIES = {
    "float32": Policy(jnp.float32, "highest"),  # without it TPUs multiply in bfloat16 and newer GPUs in TF32
    "default": Policy(jnp.float32, None),
    "bfloat16": Policy(jnp.bfloat16, None),
}


def named(name: str) -> Policy:
    """The policy of that name.

    Raises:
      UsageError: there is none.
    """
    if name not in POLICIES:
        *most, last = POLICIES
        raise UsageError(f"no precision is called {name!r}: {', '.join(most)} or {last}")
    return POLICIES[name]
