"""Additional metrics of an evaluation, such as functions of other packages.

A metric is a function `(frame, truth) -> [b]` of two batches `[b, h, w, 3]` on the scale 0..255: both uint8 where the
protocol rounds predictions, else both float32. It is named `package.module:NAME`, or by the name under which an
installed package registers it in the entry point group `vfi_jax.metrics`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from vfi_jax.benchmarks import BatchMetric, Score
from vfi_jax.errors import UsageError, UserError
from vfi_jax.evaluation.cache import source_fingerprint
from vfi_jax.system.plugins import Registry

GROUP = "vfi_jax.metrics"  # of entry points
METRICS: Registry[Callable[..., object]] = Registry({}, GROUP, Callable, "metric")
RESERVED = frozenset(field.name for field in dataclasses.fields(Score)) | {
    "by_group", "by_motion", "capped", "code", "data", "flolpips_raft", "images", "lpips_alex", "lpips_vgg", "metrics",
    "motion", "protocol", "psnr_luma", "seconds", "settings", "ssim_uniform", "tof", "undefined", "version", "vmaf",
}  # fmt: skip
Frames = Shaped[np.ndarray, "b h w 3"]


@dataclasses.dataclass(frozen=True)
class ExtraMetric:
    """An additional metric.

    Attributes:
      name: of its column in tables, CSV and JSON.
      function: computes it for a batch.
      identity: of its weights or its source; kept results of another identity are computed again.
    """

    name: str
    function: BatchMetric
    identity: str


def load_metric(reference: str) -> ExtraMetric:
    """Imports a metric of another package.

    Args:
      reference: `package.module:NAME`, or a name in the entry point group.

    Returns:
      The metric; its column is called NAME.

    Raises:
      UsageError: it cannot be imported, is no function, or has a name of evaluation's own.
    """
    function = METRICS.find(reference)
    name = reference.rpartition(":")[2]
    if name in RESERVED:
        raise UsageError(f"metric {reference}: {name!r} is a name of evaluation's own; rename the function")

    def compute(frame: Frames, truth: Frames, _: Frames) -> Mapping[str, Float64[np.ndarray, "b"]]:
        values = np.asarray(function(frame, truth), np.float64)
        if values.shape != frame.shape[:1]:
            raise UserError(f"metric {reference}: the result has shape {values.shape}, not ({len(frame)},)")
        return {name: values}

    return ExtraMetric(name, compute, _source_of(function))


def _source_of(function: Callable[..., object]) -> str:
    """Fingerprint of the file that defines a function; its name where there is no such file."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:  # written in C, or an object that is called
        file = inspect.getsourcefile(type(function)) if not inspect.isbuiltin(function) else None
    return source_fingerprint([Path(file)]) if file else repr(function)
