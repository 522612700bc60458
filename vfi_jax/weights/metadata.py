"""Metadata of our weights files, checked before it is believed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from vfi_jax.errors import UsageError, UserError
from vfi_jax.models.registry import MODELS, build, module_shapes, spec_of
from vfi_jax.system.files import AnyPath

CHANNEL_ORDERS = ("rgb", "bgr")
TRUTH = {"True": True, "False": False}
SHOWN = 60  # characters of a value in a message
# Fields that metadata holds by themselves, or that belong to a use of the weights instead of to them.
UNWRITTEN = frozenset({"name", "parent", "variant", "dtype", "channel_order", "any_time"})


@dataclasses.dataclass(frozen=True)
class Metadata:
    """Metadata of weights.

    Attributes:
      model: name in MODELS, or `package.module:NAME`; "" where the file does not say.
      channel_order: "rgb", "bgr", or "".
      any_time: whether the weights support other times than 0.5; None where the file does not say.
      fields: of the module, in which it differs from the variant.
    """

    model: str = ""
    channel_order: str = ""
    any_time: bool | None = None
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def parse(path: AnyPath, metadata: Mapping[str, str]) -> Metadata:
    """Reads and checks metadata.

    Args:
      path: of the file, for the message.
      metadata: as safetensors hold it; other entries than those of `Metadata` are left alone.

    Raises:
      UserError: a model that is not known, or a value that says nothing possible.
    """
    model, order, any_time = (metadata.get(name, "") for name in ("model", "channel_order", "any_time"))
    if model and ":" not in model and model not in MODELS:
        raise _damaged(path, f"model: {model}", "no model is called so")
    if order and order not in CHANNEL_ORDERS:
        raise _damaged(path, f"channel_order: {order}", " or ".join(CHANNEL_ORDERS))
    if any_time and any_time not in TRUTH:
        raise _damaged(path, f"any_time: {any_time}", " or ".join(TRUTH))
    fields = _fields(path, model, metadata["fields"]) if "fields" in metadata else {}
    return Metadata(model, order, TRUTH.get(any_time), fields)


def changed_fields(model: nn.Module) -> dict[str, Any]:
    """Returns the fields in which a module differs from its variant, except those in `UNWRITTEN`."""
    plain = build(model.variant)
    names = sorted(model.__dataclass_fields__.keys() - UNWRITTEN)
    return {name: getattr(model, name) for name in names if getattr(model, name) != getattr(plain, name)}


def _fields(path: AnyPath, model: str, text: str) -> dict[str, Any]:
    """The fields of the module, after a trace of the network that they give."""
    try:
        given = json.loads(text)
        fields = {name: _hashable(value) for name, value in given.items()}
    except (ValueError, AttributeError, RecursionError):
        raise _damaged(path, f"fields: {text}", "names and values in JSON") from None
    if not fields:
        return {}
    if not model:
        raise _damaged(path, f"fields: {text}", "they need a model")
    if wrong := sorted(fields.keys() & UNWRITTEN):
        raise _damaged(path, f"fields: {text}", f"{wrong[0]} is none of them")
    try:
        plain = build(model)
        for name in fields.keys() & plain.__dataclass_fields__.keys():
            _check_type(name, fields[name], getattr(plain, name))
        module_shapes(spec_of(model), build(model, **fields))
    except UsageError as error:
        raise _damaged(path, f"fields: {text}", str(error)) from None
    except Exception as error:  # whatever a network raises that is built from such values
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _damaged(path, f"fields: {text}", reason[: 2 * SHOWN]) from None
    return fields


def _check_type(name: str, value: Any, usual: Any) -> None:
    """Raises TypeError where a value is of another kind than the variant's; numbers are of one kind, None of any."""
    if value is None or usual is None or callable(usual):
        return
    number = (int, float)
    same = isinstance(value, number) if isinstance(usual, number) else isinstance(value, type(usual))
    if not same or isinstance(value, bool) != isinstance(usual, bool):
        raise TypeError(f"{name} is {value!r}, and a {type(usual).__name__} is needed")


def _hashable(value: Any) -> Any:
    """Lists as tuples, since fields of modules are hashed."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _damaged(path: AnyPath, entry: str, reason: str) -> UserError:
    shown = entry if len(entry) <= SHOWN else f"{entry[:SHOWN]}..."
    return UserError(f"{path}: its metadata is damaged ({' '.join(shown.split())}; {' '.join(reason.split())})")
