"""JSON as RFC 8259 defines it: numbers that are not finite are written as null, and files are read in one shape."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vfi_jax.system.files import AnyPath


def dumps(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """Formats a value as JSON; `nan`, `inf` and `-inf`, which JSON has no numbers for, become null.

    Args:
      value: mappings, sequences, text, numbers, booleans and None.
      indent: spaces per level; None: one line.
      sort_keys: whether to sort the keys of mappings.
    """
    return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, allow_nan=False)


def read_object(path: AnyPath) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is not UTF-8, not JSON, or JSON of another shape; the message is one line.
    """
    return parse_object(path.read_bytes())


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parses a JSON object.

    Raises:
      ValueError: not UTF-8, not JSON, or JSON of another shape; the message is one line.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except (RecursionError, ValueError) as error:  # nested thousands of levels deep; a number of thousands of digits
        raise ValueError(f"no JSON of ours: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"JSON, but no object: {type(value).__name__}")
    return value


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
