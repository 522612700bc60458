"""Dataclasses of recipes from nested mappings and back, and checks of their values."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vfi_jax.config.fields import INT_MAX
from vfi_jax.config.train import Train
from vfi_jax.errors import UsageError


def parse(kind: type, values: Mapping[str, Any], where: str = "config") -> Any:
    """Builds a dataclass of this package from nested mappings.

    Lists become tuples; integers become floats where the field is one.

    Raises:
      UsageError: an unknown field (the message names the nearest), a missing one, or a value of a wrong type.
    """
    hints = typing.get_type_hints(kind)
    for name in values:
        _check_name(name, hints, where)
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise UsageError(f"{where} lacks {field.name!r}")
    return kind(**{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()})


def unknown_fields(kind: type, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Returns the paths of the fields in nested mappings that a dataclass of this package does not have."""
    hints, unknown = typing.get_type_hints(kind), []
    for name, value in values.items():
        if name not in hints:
            unknown.append(prefix + name)
        elif dataclasses.is_dataclass(hints[name]) and isinstance(value, Mapping):
            unknown += unknown_fields(hints[name], value, f"{prefix}{name}.")
    return unknown


def _check_name(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        nearest = difflib.get_close_matches(name, known, 1)
        raise UsageError(f"{where} has no {name!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""))


def field_path(path: str) -> str:
    """Checks the path of a flag, and gives it as ml_collections reads it.

    Args:
      path: names of nested fields, `optimizer.rate`; what follows the name of a mapping is one key of it, which may
        have dots and slashes, `extra_losses.package.module:NAME`.

    Returns:
      The path with such a key in brackets, `extra_losses['package.module:NAME']`.

    Raises:
      UsageError: an unknown field.
    """
    kind, where, names = Train, "config", path.split(".")
    for number, name in enumerate(names, 1):
        if not dataclasses.is_dataclass(kind):
            raise UsageError(f"{where} has no {name!r}: it is a single value")
        hints = typing.get_type_hints(kind)
        _check_name(name, hints, where)
        kind, where = hints[name], f"{where}.{name}"
        if typing.get_origin(kind) is Mapping and number < len(names):
            return f"{'.'.join(names[:number])}[{'.'.join(names[number:])!r}]"
    return path


def _value(kind: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return parse(kind, value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(typing.get_args(kind)[0], item, where) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: _value(typing.get_args(kind)[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Any:
        return _hashable(value)
    if not isinstance(kind, types.GenericAlias) and origin is None and type(value) is kind:
        return value
    shown = getattr(kind, "__name__", str(kind))
    raise UsageError(f"{where} must be {shown}, not {value!r} ({type(value).__name__})")


def _hashable(value: Any) -> Any:
    """Returns lists as tuples, at every depth, because fields of modules are hashed."""
    if isinstance(value, Mapping):
        return {key: _hashable(item) for key, item in value.items()}
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def as_dict(config: Any) -> dict[str, Any]:
    """The inverse of `parse`: plain nested dicts, ready for JSON."""
    return dataclasses.asdict(config)


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the values of a dataclass of this package by the paths of their fields, such as `data.augment.crop`."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        nested = dataclasses.is_dataclass(value)
        values |= flat(value, f"{prefix}{field.name}.") if nested else {prefix + field.name: value}
    return values


def check_bounds(config: Any, flag: Callable[[str], str] = "--config.{}".format) -> None:
    """Checks every number of a dataclass of this package against the bounds of its field, and every value for JSON.

    Args:
      config: the dataclass; nested ones are checked as well.
      flag: gives the flag that sets a field, for the message, from the field's path such as `data.augment.crop`.

    Raises:
      UsageError: a number lies outside, or a value is such that a run's saved config could not hold it.
    """
    for path, value, least, most in _bounds(config):
        numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) and least <= number <= most for number in numbers):
            wanted = f"{least:g} or more" if most >= INT_MAX - 2 else f"a number from {least:g} to {most:g}"
            raise UsageError(f"{flag(path)} is {value}: {wanted} is needed")
    values = as_dict(config)
    for path, value in flat(config).items():
        if not is_exact(functools.reduce(operator.getitem, path.split("."), values)):
            raise UsageError(
                f"{flag(path)} is {value}: a config holds finite numbers, text, True, False and None, and lists and "
                "mappings of them"
            )


def is_exact(value: Any) -> bool:
    """Returns whether JSON gives a value back as it is, but for tuples, which become lists."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and is_exact(item) for name, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_exact, value))
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


def _bounds(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, float, float]]:
    """Path, value and bounds of each field that has some."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _bounds(value, f"{prefix}{field.name}.")
        elif field.metadata:
            yield prefix + field.name, value, field.metadata["least"], field.metadata["most"]
