"""Recipes for the files in `configs/`: the defaults, what a file changes of them, and its variants."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vfi_jax.config.data import Augment
from vfi_jax.config.train import Train
from vfi_jax.config.values import as_dict, parse
from vfi_jax.errors import UsageError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# Augmentation that changes nothing but the crop.
NO_AUGMENTATION: Mapping[str, float] = types.MappingProxyType(
    {field.name: 0.0 for field in dataclasses.fields(Augment) if field.name != "crop"}
)

# What the variant `smoke` of a recipe changes: some steps of small crops of synthetic scenes.
SMOKE: Mapping[str, Any] = types.MappingProxyType(
    {
        "epochs": 0,
        "steps": 20,
        "batch_size": 4,
        "log_every": 1,
        "checkpoint_every": 5,
        "validate_every": 10,
        "validation_samples": 4,
        "data": {"path": "synthetic:48", "mix": (), "workers": 0, "augment": {"crop": 64}},
    }
)


def defaults(**values: Any) -> ConfigDict:
    """Builds a recipe: `values`, nested as `Train` is, and the defaults of all other fields.

    Raises:
      UsageError: see `parse`.
    """
    from ml_collections import ConfigDict  # recipes alone need it

    return ConfigDict(as_dict(parse(Train, values)), allow_dotted_keys=True)  # keys: package.module:NAME


def vary(recipe: ConfigDict, variant: str, **variants: Mapping[str, Any]) -> ConfigDict:
    """Applies the changes of a variant to a recipe; the variant "default" changes nothing.

    Nested fields are changed one by one; mappings such as `rate_factors` are replaced.

    Raises:
      UsageError: there is no such variant; see also `parse`.
    """
    if variant == "default":
        return recipe
    if variant not in variants:
        raise UsageError(f"no variant {variant!r}: there are {', '.join(['default', *sorted(variants)])}")
    return defaults(**merged(recipe.to_dict(), variants[variant]))


def merged(values: Mapping[str, Any], *changes: Mapping[str, Any], kind: type = Train) -> dict[str, Any]:
    """Values of a dataclass with changes, each over those before it; both are nested as the dataclass is."""
    hints, result = typing.get_type_hints(kind), dict(values)
    for change in changes:
        for name, value in change.items():
            nested = dataclasses.is_dataclass(hints.get(name))
            result[name] = merged(result.get(name, {}), value, kind=hints[name]) if nested else value
    return result
