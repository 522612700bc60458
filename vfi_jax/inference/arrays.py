"""Arrays of other libraries: whatever has `__dlpack__`, the protocol by which they hand memory on to each other."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from vfi_jax.errors import UserError

_HOST = 1  # DLPack's number of the device whose memory is the host's


def host_array(array: Any) -> np.ndarray:
    """Returns an array in the host's memory, without a copy if it lies there.

    Args:
      array: of NumPy or JAX, of any library that has `__dlpack__`, or what `numpy.asarray` takes.

    Raises:
      UserError: it cannot be handed on, for example because gradients are tracked, or its device is unknown to JAX.
    """
    if isinstance(array, np.ndarray | jax.Array) or not hasattr(array, "__dlpack__"):
        return np.asarray(array)
    try:
        on_host = array.__dlpack_device__()[0] == _HOST
        return np.from_dlpack(array) if on_host else np.asarray(jax.dlpack.from_dlpack(array))
    except (BufferError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"a frame of {type(array).__module__} cannot be read through DLPack: {reason}") from None
