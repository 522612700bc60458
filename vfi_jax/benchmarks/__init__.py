"""Benchmarks: evaluation protocols as data, and their scores.

Unless a protocol says otherwise, predictions are rounded to 8 bits (half to even) and compared with the 8-bit truth:
PSNR over all pixels and channels, SSIM in the "matlab" variant, IE as the mean absolute difference; each is averaged
over images (RIFE's benchmark scripts). A prediction that equals its truth has 100 dB; their number stands beside the
mean.
"""

from __future__ import annotations

from vfi_jax.benchmarks.protocol import Benchmark, BenchmarkSample, fingerprint
from vfi_jax.benchmarks.scoring import (
    BatchMetric,
    Score,
    ScoredImage,
    capped,
    means,
    motion_of,
    pictures,
    predict,
    scores,
    strip,
    undefined,
)
from vfi_jax.benchmarks.table import BENCHMARKS, KINDS, named

__all__ = [
    "BENCHMARKS",
    "KINDS",
    "BatchMetric",
    "Benchmark",
    "BenchmarkSample",
    "Score",
    "ScoredImage",
    "capped",
    "fingerprint",
    "means",
    "motion_of",
    "named",
    "pictures",
    "predict",
    "scores",
    "strip",
    "undefined",
]
