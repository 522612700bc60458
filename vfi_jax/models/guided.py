"""Networks that region priors can guide: the field that asks for it, the prior of both frames, and where it enters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Float, UInt8

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.base import Network
from vfi_jax.nn import constant
from vfi_jax.nn.regions import CODES, WITH_POSITIONS, RegionNorm, region_codes
from vfi_jax.ops.pair import stack_pair
from vfi_jax.types import Array, Batch

FIELD = "regions"  # the argument of `apply`, and the field of a batch
# Of a spec: names, layouts, initial values, and what a file may lack, because it changes nothing at the start.
NAMES = ((r"^region_([a-z0-9]+)/", r"region.\1."),)
LAYOUTS = ((r"^region\..*\.weight$", "conv"),)
INIT_RULES = ((r"^region_\w+/(gamma|beta)/", constant(0.0)), (r"^region_\w+/slope$", constant(0.25)))
NEUTRAL = (r"^region\.",)
ADDITIONS = (r"^region_",)

Guide = Callable[[Array], Array]  # features to features


class Guided(Network, kw_only=True):
    """Base class of the networks whose encoders normalize features by region priors.

    Attributes:
      region_channels: channels of the prior: 0, there is none; 8, random codes; 11, the position in the region as well.
    """

    region_channels: int = 0

    def add_guides(self, *places: str) -> None:
        """Adds a `RegionNorm` for each place, if the network has a prior; called by `setup`."""
        if self.region_channels not in (0, CODES, WITH_POSITIONS):
            raise UsageError(f"region_channels is {self.region_channels}: 0, {CODES} or {WITH_POSITIONS} is needed")
        for place in places if self.region_channels else ():
            setattr(self, f"region_{place}", RegionNorm(self.dtype))

    def guide(self, place: str, prior: Float[Array, "b _ _ r"] | None) -> Guide:
        """Returns the normalization at a place by a prior; without a prior it does nothing."""
        if prior is None:
            return lambda features: features
        norm = getattr(self, f"region_{place}")
        return lambda features: norm(features, prior)

    def prior(
        self, regions: UInt8[Array, "b 2 _ _"] | None, frames: Float[Array, "b 2 h w 3"], seed: ArrayLike
    ) -> Float[Array, "b2 h2 w2 r"] | None:
        """Returns the codes of both frames, stacked as `stack_pair` does; None without maps.

        Args:
          regions: label maps of half the frames' sides, rounded up.
          frames: the inputs.
          seed: of the codes, see `region_codes`.

        Raises:
          UsageError: the network has no prior.
          UserError: maps of another number or size.
        """
        if regions is None:
            return None
        if not self.region_channels:
            raise UsageError(f"{self.variant or 'this network'} sees no regions: set its field region_channels=8")
        wanted = (frames.shape[0], 2, *(-(-side // 2) for side in frames.shape[2:4]))
        if regions.shape != wanted:
            raise UserError(f"region maps have shape {regions.shape}: {wanted} is half of the frames'")
        return stack_pair(region_codes(jnp.asarray(regions), self.region_channels, seed))

    def any_regions(self, frames: Float[Array, "b 2 h w 3"]) -> UInt8[Array, "b 2 h2 w2"] | None:
        """Returns maps without regions, with which every parameter takes part; None if the network has no prior."""
        half = (-(-side // 2) for side in frames.shape[2:4])
        return jnp.zeros((frames.shape[0], 2, *half), jnp.uint8) if self.region_channels else None


def regions_of(batch: Batch, rng: Array | None) -> dict[str, Any]:
    """Returns the arguments of `apply` for the maps of a batch, whose samples get codes of their own in each step."""
    if FIELD not in batch:
        return {}
    return {FIELD: batch[FIELD], "region_seed": 0 if rng is None else rng}
