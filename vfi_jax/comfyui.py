"""A node for ComfyUI: images between the images of a batch.

ComfyUI finds it through a file in its folder `custom_nodes`, with one line:

    from vfi_jax.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch needs the GPU's memory too; before JAX starts

import numpy as np

from vfi_jax import weights
from vfi_jax.errors import UserError
from vfi_jax.inference import Interpolator
from vfi_jax.inference.arrays import host_array
from vfi_jax.models.registry import MODELS
from vfi_jax.weights import table

MAX_FACTOR = 64


class Interpolate:
    """Interpolates a batch of images in the order of time: n of them become (n - 1) * factor + 1."""

    DESCRIPTION = "Video frame interpolation by vfi_jax: n images become (n - 1) * factor + 1."
    CATEGORY = "image/animation"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    FUNCTION = "interpolate"

    def __init__(self) -> None:
        self._interpolator: Interpolator | None = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Returns the inputs in ComfyUI's form."""
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "frames in the order of time"}),
                "factor": ("INT", {"default": 2, "min": 2, "max": MAX_FACTOR, "tooltip": "times as many images"}),
                "model": (_models(), {"default": weights.DEFAULT, "tooltip": "models whose weights are installed"}),
            }
        }

    def interpolate(self, images: Any, factor: int, model: str) -> tuple[Any]:
        """Returns the images with those between them.

        Args:
          images: a tensor of PyTorch, `[b, h, w, 3]` float in 0..1.
          factor: whole.
          model: a name in MODELS.

        Raises:
          UserError: one image, or images with other channels than RGB.
          UsageError: the model does not support the factor.
        """
        frames = host_array(images)
        if frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) < 2:
            raise UserError(f"two or more RGB images are needed, [b, h, w, 3], not a batch of shape {frames.shape}")
        if self._interpolator is None or self._interpolator.model.variant != model:
            self._interpolator = Interpolator(model)
        return (_tensor(_interpolated(self._interpolator, frames, factor, _progress(len(frames) - 1))),)


def _interpolated(
    interpolator: Interpolator, frames: np.ndarray, factor: int, progress: Callable[[int], object]
) -> np.ndarray:
    """Returns all images in the order of time, float32; `progress` is called with 1 after each pair."""
    times = interpolator.times(factor)
    result = np.empty(((len(frames) - 1) * factor + 1, *frames.shape[1:]), np.float32)
    result[::factor] = frames
    for number, pair in enumerate(itertools.pairwise(frames)):
        between = interpolator.between([np.clip(frame, 0, 1) for frame in pair], times)
        for place, frame in enumerate(between, number * factor + 1):
            result[place] = frame
        progress(1)
    return result


def _models() -> list[str]:
    """Names of the models of two frames whose weights are shipped or installed."""
    names = [name for name, spec in MODELS.items() if spec.kind == "interpolation" and spec.num_frames == 2]
    return [name for name in names if table.shipped(name).exists() or table.path_of(name).exists()]


def _progress(total: int) -> Callable[[int], object]:
    """Returns ComfyUI's progress bar, through which it interrupts a run too; outside of it, one that does nothing."""
    try:
        from comfy.utils import ProgressBar
    except ImportError:
        return lambda _: None
    return ProgressBar(total).update


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.from_dlpack(array)


NODE_CLASS_MAPPINGS = {"vfi_jax.Interpolate": Interpolate}
NODE_DISPLAY_NAME_MAPPINGS = {"vfi_jax.Interpolate": "Interpolate frames (vfi_jax)"}
