"""Values of weights: what becomes float32, and what is refused."""

from __future__ import annotations

import collections
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from vfi_jax.errors import UserError


def to_numpy(value: Any) -> np.ndarray:
    """Returns an array or a tensor as a NumPy array; bfloat16 of PyTorch, which NumPy lacks, becomes float32."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    # A tensor has `numpy()` only when it is detached from gradients and devices.
    tensor = value.detach().cpu()
    return np.asarray((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())


def to_float32(name: str, value: Any) -> np.ndarray:
    """Returns weights as float32.

    Args:
      name: of the array, for the message.
      value: array or tensor of any floating-point type.

    Raises:
      UserError: whole numbers (quantized weights), NaN, infinity, or numbers beyond float32.
    """
    array = to_numpy(value)
    if not _is_floating(array.dtype):
        raise UserError(f"{name} holds {array.dtype}, and weights are floating-point numbers: quantized, perhaps?")
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    if not np.isfinite(result).all():
        raise UserError(f"{name} holds {_fault(array)}")
    return result


def check_finite(name: str, value: Any) -> None:
    """Raises UserError where an array holds NaN or infinity."""
    to_float32(name, value)


def casts(arrays: Iterable[Any], *, silent: Collection[str] = ()) -> str:
    """Describes the casts of arrays to float32; "" where all are float32 or of a type in `silent`."""
    counts = collections.Counter(str(to_numpy(array).dtype) for array in arrays)
    shown = {dtype: count for dtype, count in sorted(counts.items()) if dtype not in ("float32", *silent)}
    listed = ", ".join(f"{count} of {dtype}" for dtype, count in shown.items())
    return f"{sum(shown.values())} arrays become float32: {listed}" if shown else ""


def _is_floating(dtype: np.dtype) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"  # which is a type of ml_dtypes


def _fault(array: np.ndarray) -> str:
    if np.isnan(array).any():
        return "NaN"
    if np.isinf(array).any():
        return "infinity" + (" (an overflow of float16)" if array.dtype == np.float16 else "")
    return "numbers beyond float32 (3.4e38)"
